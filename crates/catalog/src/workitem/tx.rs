//! One transaction on whichever database is open, so that steps are written once.

use sqlx::{Postgres, Sqlite, Transaction};

use crate::db::Db;
use crate::error::CatalogError;
use crate::query::Dialect;

/// A transaction that writes.
pub(crate) enum Tx {
    Postgres(Transaction<'static, Postgres>),
    Sqlite(Transaction<'static, Sqlite>),
}

/// Runs the same expression on whichever transaction it is.
macro_rules! on_tx {
    ($tx:expr, $connection:ident => $body:expr) => {
        match $tx {
            $crate::workitem::tx::Tx::Postgres(transaction) => {
                let $connection = &mut **transaction;
                $body
            }
            $crate::workitem::tx::Tx::Sqlite(transaction) => {
                let $connection = &mut **transaction;
                $body
            }
        }
    };
}
pub(crate) use on_tx;

/// What a transaction does to subscriptions. Who subscribes must neither miss a change nor get its
/// first report after one that it precedes, so the two wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subscriptions {
    /// Reads them to tell who is subscribed.
    Read,
    /// Changes them.
    Write,
}

/// Names the advisory lock of Postgres; any number that nothing else uses.
const LOCK: i64 = 0x7570_7372;

/// The same for orders.
const ORDERS: i64 = 0x6f72_6472;

impl Tx {
    pub(super) async fn begin(
        db: &Db,
        tenant: i64,
        use_of: Subscriptions,
    ) -> Result<Self, CatalogError> {
        match db {
            Db::Postgres(pools) => {
                let mut transaction = pools.write.begin().await?;
                // Before anything is written: the transaction gets its number, and with it the
                // place of its reports, only when it has the lock.
                let text = match use_of {
                    Subscriptions::Read => "SELECT pg_advisory_xact_lock_shared($1)",
                    Subscriptions::Write => "SELECT pg_advisory_xact_lock($1)",
                };
                let lock = LOCK.wrapping_mul(1 << 24).wrapping_add(tenant);
                sqlx::query(text).bind(lock).execute(&mut *transaction).await?;
                Ok(Self::Postgres(transaction))
            }
            Db::Sqlite(pools) => Ok(Self::Sqlite(pools.write.begin_with("BEGIN IMMEDIATE").await?)),
        }
    }

    /// Begins a transaction in which this tenant's orders change; another one waits until it ends, so
    /// that the same order is not made twice.
    pub(crate) async fn of_orders(db: &Db, tenant: i64) -> Result<Self, CatalogError> {
        match db {
            Db::Postgres(pools) => {
                let mut transaction = pools.write.begin().await?;
                let lock = ORDERS.wrapping_mul(1 << 24).wrapping_add(tenant);
                sqlx::query("SELECT pg_advisory_xact_lock($1)")
                    .bind(lock)
                    .execute(&mut *transaction)
                    .await?;
                Ok(Self::Postgres(transaction))
            }
            Db::Sqlite(pools) => Ok(Self::Sqlite(pools.write.begin_with("BEGIN IMMEDIATE").await?)),
        }
    }

    /// Begins a transaction in which reading tasks of a tenant change, and their workitems with them.
    pub(crate) async fn of_reading(db: &Db, tenant: i64) -> Result<Self, CatalogError> {
        Self::begin(db, tenant, Subscriptions::Read).await
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Self::Postgres(_) => Dialect::Postgres,
            Self::Sqlite(_) => Dialect::Sqlite,
        }
    }

    pub(crate) async fn commit(self) -> Result<(), CatalogError> {
        match self {
            Self::Postgres(transaction) => transaction.commit().await?,
            Self::Sqlite(transaction) => transaction.commit().await?,
        }
        Ok(())
    }
}
