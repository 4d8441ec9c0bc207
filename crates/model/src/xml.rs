//! The Native DICOM Model (PS3.19 annex A.1): DICOM JSON to XML and back.
//!
//! Both directions go through DICOM JSON (PS3.18 annex F), the form in which this program keeps and
//! handles data sets. Private data elements are written as the model asks: with their creator and
//! without the block that they happened to use; a reader gives them blocks again.

mod read;
mod write;

use crate::dataset::Limits;
use crate::header::BASE_URL_MARK;
use crate::json::cursor::Malformed;

/// Media type of one data set as XML (PS3.18 table 8.7.3-4).
pub const MEDIA_TYPE: &str = "application/dicom+xml";

/// Namespace of the model's elements (PS3.19 A.1.6).
pub const NAMESPACE: &str = "http://dicom.nema.org/PS3.19/models/NativeDICOM";

/// Why a document could not be converted. Never holds a value of the data set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// The text is not DICOM JSON.
    #[error("the DICOM JSON is malformed near byte {at}: {what}")]
    Json {
        /// Offset in the text.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// The text is not XML, or not of the Native DICOM Model.
    #[error("the XML is malformed near byte {at}: {what}")]
    Xml {
        /// Offset in the text.
        at: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The text nests deeper or holds more than [`Limits`] allow.
    #[error("the document exceeds a limit: {0}")]
    Limit(&'static str),
}

impl From<Malformed> for XmlError {
    fn from(error: Malformed) -> Self {
        Self::Json { at: error.at, what: error.what }
    }
}

/// Writes a DICOM JSON object as one XML document, appended to `out`. `base_url` takes the place of
/// every [`BASE_URL_MARK`] in bulk data references.
///
/// Characters that XML 1.0 cannot hold become U+FFFD. One pass over the text; nothing but the
/// answer is held.
///
/// # Errors
///
/// [`XmlError::Json`] when the text is no DICOM JSON object, [`XmlError::Limit`] when it nests
/// deeper than the default of [`Limits::max_depth`]. `out` then holds part of a document.
pub fn from_json(json: &[u8], base_url: &str, out: &mut Vec<u8>) -> Result<(), XmlError> {
    write::document(json, base_url, out)
}

/// Reads one XML document into a DICOM JSON object: attributes in ascending order, private elements
/// in blocks with their creators, numbers as JSON numbers where their VR has them.
///
/// Document types are refused, so there is nothing to expand; other references than characters and
/// the five of XML itself are errors.
///
/// # Errors
///
/// [`XmlError::Xml`] when it is not a document of the model, [`XmlError::Limit`] when it exceeds
/// `limits` (`max_depth`, `max_elements`, and `max_json` for either side).
pub fn to_json(xml: &[u8], limits: &Limits) -> Result<Vec<u8>, XmlError> {
    read::document(xml, limits)
}

/// Whether a byte stands for the URL of the instance.
fn is_mark(byte: u8) -> bool {
    byte == BASE_URL_MARK
}

#[cfg(test)]
mod tests;
