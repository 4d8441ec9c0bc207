//! Opening the two databases.

use crate::config::CatalogConfig;
use crate::error::CatalogError;

pub(crate) enum Db {
    Postgres,
    Sqlite,
}

impl Db {
    pub(crate) async fn open(config: &CatalogConfig) -> Result<Self, CatalogError> {
        if config.url.starts_with("sqlite:") {
            return Ok(Self::Sqlite);
        }
        Ok(Self::Postgres)
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Sqlite => "sqlite",
        }
    }
}

/// The URL without user name, password and query.
pub(crate) fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}://{rest}")
}
