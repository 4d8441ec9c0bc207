//! Where an instance came from: kept with its row, so that a lost image can be traced.

use std::sync::Arc;

use crate::peer::Coercions;

/// The door through which an instance came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// C-STORE over a DIMSE association.
    Dimse,
    /// STOW-RS.
    Stow,
    /// `qianli import`.
    Import,
    /// `qianli rebuild`: from the store, when the index was lost.
    Rebuild,
}

impl Route {
    /// The word that is stored in the catalog and shown to operators.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dimse => "dimse",
            Self::Stow => "stow",
            Self::Import => "import",
            Self::Rebuild => "rebuild",
        }
    }
}

/// Who delivered an instance, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// The door.
    pub route: Route,
    /// Network address of the sender, or empty for local routes.
    pub peer: String,
    /// The sender's AE title; becomes (0002,0016) Source Application Entity Title where known.
    pub calling_ae: Option<String>,
    /// The AE title that was called.
    pub called_ae: Option<String>,
    /// How its objects are read, as the register of peers said when it came.
    pub coercions: Option<Arc<Coercions>>,
}

impl Provenance {
    /// An instance that came by `route` from a sender without AE titles.
    pub fn new(route: Route, peer: impl Into<String>) -> Self {
        Self { route, peer: peer.into(), calling_ae: None, called_ae: None, coercions: None }
    }
}
