//! DICOM JSON (PS3.18 annex F), written while scanning.
//!
//! One pass over the events of [`crate::dataset::Scanner`] writes the JSON text, finds the bulk
//! values and keeps what the header needs. How single values are written is in `value.rs`, which
//! fields are kept in `capture.rs`, where frames lie in [`crate::frames`].

use crate::dataset::{DataSetError, InflateSource, Limits, Scanner, Source};
use crate::header::{BulkValue, HeaderError, InstanceHeader, Warning};
use crate::syntax::TransferSyntax;

mod capture;
mod coerce;
pub(crate) mod cursor;
pub(crate) mod number;
pub(crate) mod text;
mod value;
mod walk;

pub(crate) use capture::level_of;
use walk::Walk;

/// A data set as DICOM JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The JSON object; bulk values as in [`InstanceHeader::json`].
    pub json: Vec<u8>,
    /// Every value behind a BulkDataURI.
    pub bulk: Vec<BulkValue>,
    /// Specific Character Set (0008,0005) as it was declared: the JSON is UTF-8 whatever it was.
    pub charset: Option<String>,
    /// Oddities.
    pub warnings: Vec<Warning>,
}

/// Writes any data set as DICOM JSON, without asking for the attributes of an instance: query
/// identifiers, event reports, procedure steps.
///
/// # Errors
///
/// [`DataSetError`] when the data set cannot be walked to its end.
pub fn document(
    source: &mut dyn Source,
    syntax: TransferSyntax,
    limits: &Limits,
) -> Result<Document, DataSetError> {
    let walk = walk(source, syntax, limits)?;
    let Walk { json, bulk, declared: charset, warnings, .. } = walk;
    Ok(Document { json, bulk, charset, warnings: warnings.list })
}

/// Reads a header; see [`InstanceHeader::read`].
pub(crate) fn read_header(
    source: &mut dyn Source,
    syntax: TransferSyntax,
    limits: &Limits,
) -> Result<InstanceHeader, HeaderError> {
    let mut walk = walk(source, syntax, limits)?;
    let frames = walk.frame_table(syntax);
    Ok(walk.capture.finish(walk.json, walk.bulk, walk.warnings.list, frames, syntax)?)
}

fn walk<'l>(
    source: &mut dyn Source,
    syntax: TransferSyntax,
    limits: &'l Limits,
) -> Result<Walk<'l>, DataSetError> {
    let mut walk = Walk::new(limits);
    if syntax.is_deflated() {
        let mut inflated = InflateSource::over(source, limits.max_inflated);
        walk.run(&mut Scanner::new(&mut inflated, syntax.encoding(), limits))?;
    } else {
        walk.run(&mut Scanner::new(source, syntax.encoding(), limits))?;
    }
    Ok(walk)
}

#[cfg(test)]
mod tests;
