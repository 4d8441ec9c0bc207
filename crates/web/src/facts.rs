//! What DICOMweb does here, as data for documents: read from the tables that the code itself runs on.

use qianli_model::Tag;
use qianli_model::query::Level;

use crate::dicomweb::{qido, routes, stow};
use crate::{REQUESTS_AT_ONCE, server};

/// One thing that can be asked of DICOMweb.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Name of the group that it belongs to.
    pub group: &'static str,
    /// HTTP method.
    pub verb: &'static str,
    /// Path relative to the DICOMweb root, variables in braces.
    pub path: String,
    /// Section of PS3.18; empty for what is ours.
    pub section: &'static str,
    /// Names of its query parameters.
    pub query: &'static [&'static str],
    /// Media types of bodies that it takes.
    pub takes: &'static [&'static str],
    /// Media types of answers, the default first.
    pub gives: &'static [&'static str],
}

/// Every resource, in order.
pub fn resources() -> Vec<Resource> {
    let of_group = |(group, _, routes): &(&'static str, &'static str, &'static [routes::Route])| {
        let group = *group;
        routes.iter().map(move |route| Resource {
            group,
            verb: route.verb.name(),
            path: route.shown(),
            section: route.section,
            query: route.query,
            takes: route.takes,
            gives: route.gives,
        })
    };
    routes::GROUPS.iter().flat_map(of_group).collect()
}

/// Paths of the pages, variables in braces, each with GET and POST where it has them.
pub fn pages() -> impl Iterator<Item = &'static str> {
    crate::portal::PAGES.iter().map(|page| page.path)
}

/// Attributes that a search answers with at a level without being asked for: those that are always
/// there, and those that are there where the index or the data set has them.
pub fn returned(level: Level) -> (Vec<Tag>, Vec<Tag>) {
    qido::returned(level)
}

/// What bounds a request, each with its value in words.
pub fn limits() -> Vec<(&'static str, String)> {
    vec![
        ("HTTP connections at once; more wait", server::CONNECTIONS.to_string()),
        ("DICOMweb requests worked on at once; more are 503", REQUESTS_AT_ONCE.to_string()),
        ("time for the header of an HTTP request", format!("{} s", server::HEADER_TIME.as_secs())),
        ("an answer of which the client takes nothing", format!("{} s", server::STALL.as_secs())),
        ("rows of a search without `limit`", qido::DEFAULT_LIMIT.to_string()),
        ("rows of a search at most", qido::MAX_LIMIT.to_string()),
        ("parts of one store request", stow::MAX_PARTS.to_string()),
        ("silence in the body of a store request", format!("{} s", stow::STALL.as_secs())),
    ]
}
