//! Parsing of match values.

use super::{Indexed, MatchValueError, Rule};

pub(super) fn parse(_attribute: Indexed, _text: &str) -> Result<Option<Rule>, MatchValueError> {
    Ok(None)
}
