//! DICOM JSON (PS3.18 annex F), written while scanning.

use crate::dataset::{Limits, Source};
use crate::header::{HeaderError, InstanceHeader};
use crate::syntax::TransferSyntax;

/// Reads a header; see [`InstanceHeader::read`].
pub(crate) fn read_header(
    _source: &mut dyn Source,
    _syntax: TransferSyntax,
    _limits: &Limits,
) -> Result<InstanceHeader, HeaderError> {
    Err(crate::Refusal::CannotUnderstand(String::new()).into())
}
