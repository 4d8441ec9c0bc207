//! The two ways a node is deployed, on which every behaviour must hold: the embedded one (SQLite
//! and a local directory) and the cloud one (Postgres and an S3 server).

use super::{external, postgres, s3};

/// Where a node keeps its index and its objects.
#[derive(Debug, Clone)]
pub enum Setup {
    /// SQLite and a local directory under the node's data folder.
    Embedded,
    /// A database of its own on a Postgres server, a prefix of its own in an S3 bucket.
    Cloud(Cloud),
}

/// The servers that the cloud setup needs.
#[derive(Debug, Clone)]
pub struct Cloud {
    /// Where databases are created.
    pub postgres: postgres::Admin,
    /// Where objects go.
    pub s3: s3::Server,
}

impl Setup {
    /// The embedded setup needs nothing and is always there.
    pub fn embedded() -> Option<Self> {
        Some(Self::Embedded)
    }

    /// The cloud setup, unless its servers are not named in the environment.
    pub fn cloud() -> Option<Self> {
        let postgres = external("QIANLI_TEST_POSTGRES", "Postgres + S3")?;
        let s3 = external("QIANLI_TEST_S3", "Postgres + S3")?;
        Some(Self::Cloud(Cloud {
            postgres: postgres::Admin::new(&postgres),
            s3: s3::Server::parse(&s3),
        }))
    }

    /// A word for file names and printed figures.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Embedded => "sqlite-local",
            Self::Cloud(_) => "postgres-s3",
        }
    }
}

/// Makes two tests of one check: `NAME::embedded` and `NAME::cloud`.
#[macro_export]
macro_rules! on_both_setups {
    ($($(#[$doc:meta])* $name:ident = $check:path;)+) => {
        $(
            $(#[$doc])*
            mod $name {
                #[allow(unused_imports, reason = "the check may be a path from the outer module")]
                use super::*;

                #[test]
                fn embedded() {
                    if let Some(setup) = $crate::support::setup::Setup::embedded() {
                        $check(&setup);
                    }
                }

                #[test]
                fn cloud() {
                    if let Some(setup) = $crate::support::setup::Setup::cloud() {
                        $check(&setup);
                    }
                }
            }
        )+
    };
}
