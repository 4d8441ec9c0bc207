//! What can go wrong with the catalog, sorted by what a caller does about it.
//!
//! No variant carries row values: the details that Postgres adds to constraint violations quote
//! them, so only its primary message and code are kept.

use std::sync::Arc;

/// Why a catalog call failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CatalogError {
    /// The configuration cannot work; the text says what to change.
    #[error("catalog configuration: {0}")]
    Config(String),
    /// The database cannot be opened; the text says which and what to do, without the password.
    #[error("cannot open the catalog database {target}: {reason}; {advice}")]
    Connect {
        /// The database, without credentials.
        target: String,
        /// What the driver said.
        reason: String,
        /// What an operator should do.
        advice: &'static str,
    },
    /// The schema cannot be brought up to date.
    #[error("cannot migrate the catalog: {0}")]
    Migrate(String),
    /// The database does not answer now; the same call may succeed later.
    #[error("the catalog database is not available: {0}")]
    Unavailable(Cause),
    /// The database refused a statement; repeating it will not help.
    #[error("the catalog database refused a statement: {0}")]
    Database(Cause),
    /// A stored row cannot be understood; `rebuild` repairs it.
    #[error("a row of the catalog is damaged: {0}")]
    Corrupt(&'static str),
    /// A value is too large to be kept.
    #[error("{0} is too large for the catalog")]
    TooLarge(&'static str),
    /// An attribute without an index was asked for, and what else was asked leaves too many rows to
    /// compare them all.
    #[error("the query is too broad")]
    TooBroad,
    /// [`crate::Catalog::close`] was called.
    #[error("the catalog is closed")]
    Closed,
}

impl CatalogError {
    /// Whether the same call may succeed later without anything being changed.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Connect { .. } | Self::Closed)
    }
}

/// What the database said: its primary message and code, never its details.
#[derive(Debug, Clone)]
pub struct Cause {
    message: Arc<str>,
    code: Option<Arc<str>>,
    broken: bool,
}

impl Cause {
    pub(crate) fn new(message: &str) -> Self {
        Self { message: message.into(), code: None, broken: false }
    }

    pub(crate) fn broken(message: &str) -> Self {
        Self { broken: true, ..Self::new(message) }
    }

    /// Whether the connection broke, as opposed to a database that is busy or away.
    pub(crate) fn is_broken_connection(&self) -> bool {
        self.broken
    }

    /// SQLSTATE on Postgres, the extended result code on SQLite.
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{} (code {code})", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl From<sqlx::Error> for CatalogError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error;
        match &error {
            Error::Database(inner) => {
                let code = inner.code();
                let cause = Cause {
                    message: inner.message().into(),
                    code: code.as_deref().map(Arc::from),
                    broken: false,
                };
                if code.as_deref().is_some_and(is_transient_code) {
                    Self::Unavailable(cause)
                } else {
                    Self::Database(cause)
                }
            }
            Error::PoolClosed => Self::Closed,
            Error::Tls(_) | Error::PoolTimedOut | Error::WorkerCrashed => {
                Self::Unavailable(Cause::new(&error.to_string()))
            }
            // A connection that breaks in the middle of a message is reported as a protocol error.
            Error::Io(_) | Error::Protocol(_) => {
                Self::Unavailable(Cause::broken(&error.to_string()))
            }
            Error::ColumnDecode { .. } | Error::Decode(_) => Self::Corrupt("a column's value"),
            _ => Self::Database(Cause::new(&error.to_string())),
        }
    }
}

/// SQLSTATE classes for lost connections, exhausted resources, operator intervention and rolled
/// back transactions; SQLite's BUSY (5), LOCKED (6), IOERR (10) and FULL (13) with their extensions.
fn is_transient_code(code: &str) -> bool {
    if code.len() == 5 {
        return ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class))
            || code == "55P03";
    }
    code.parse::<u32>().is_ok_and(|number| matches!(number & 0xFF, 5 | 6 | 10 | 13))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_by_whether_waiting_helps() {
        for code in ["08006", "40P01", "40001", "53300", "57P01", "5", "517", "13", "778"] {
            assert!(is_transient_code(code), "{code}");
        }
        for code in ["23505", "22021", "42P01", "2067", "1", "19"] {
            assert!(!is_transient_code(code), "{code}");
        }
    }
}
