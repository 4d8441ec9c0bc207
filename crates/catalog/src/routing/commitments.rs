//! Requests for storage commitment of what was sent on (PS3.4 annex J): kept before they are made, so that an answer
//! finds them whoever takes it, on whichever association, after whatever crash.

use std::collections::{BTreeMap, HashMap};

use qianli_model::{AeTitle, Scope};
use sqlx::AssertSqlSafe;

use super::Delivery;
use super::deliveries::clean;
use crate::Catalog;
use crate::db::{Db, on_db};
use crate::deletion::begin;
use crate::error::CatalogError;
use crate::types::Location;

/// How often a destination may say of an object that it does not keep it before a person has to look.
const MOST_LOST: i64 = 4;

const CORRUPT: CatalogError = CatalogError::Corrupt("a request for storage commitment");

/// A request that is about to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asking<'a> {
    /// Transaction UID: nobody can guess it.
    pub transaction: &'a str,
    /// Who is asked.
    pub title: &'a AeTitle,
    /// About which objects.
    pub objects: &'a [Location],
    /// How many times the destination was asked by then.
    pub asked: i64,
    /// When it is asked again (ms since 1970).
    pub until_ms: i64,
    /// Now (ms since 1970).
    pub now_ms: i64,
}

/// What a destination answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Transaction UID.
    pub transaction: String,
    /// SOP Instance UIDs that it keeps.
    pub committed: Vec<String>,
    /// Those that it does not, with its reason, and whether sending it again can help.
    pub failed: Vec<(String, String, bool)>,
}

/// What a destination was asked about a delivery, and did not answer.
pub(super) struct Asked {
    /// How often it was asked.
    pub(super) times: i64,
    /// By SOP Instance UID and content: until when it may answer.
    until: HashMap<(String, String), i64>,
}

impl Asked {
    /// When it is asked again about an object; `None` for now.
    pub(super) fn until(&self, one: &Location, now_ms: i64) -> Option<i64> {
        let key = (one.instance.to_string(), one.content_hash.clone());
        self.until.get(&key).copied().filter(|at| *at > now_ms)
    }
}

impl Catalog {
    /// Keeps a request for storage commitment, before it is made.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn ask_commitment(
        &self,
        delivery: &Delivery,
        asking: &Asking<'_>,
    ) -> Result<(), CatalogError> {
        const TEXT: &str = "INSERT INTO commitments
                (transaction_uid, delivery_id, title, objects, asked, asked_ms, until_ms)
            VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let objects: Vec<_> = asking
            .objects
            .iter()
            .map(|one| (one.instance.as_str(), one.content_hash.as_str()))
            .collect();
        let objects = serde_json::to_string(&objects).map_err(|_| CORRUPT)?;
        on_db!(self.db(), pools => {
            sqlx::query(TEXT)
                .bind(asking.transaction)
                .bind(delivery.id)
                .bind(asking.title.as_str())
                .bind(objects)
                .bind(asking.asked)
                .bind(asking.now_ms)
                .bind(asking.until_ms)
                .execute(&pools.write)
                .await?;
        });
        Ok(())
    }

    /// Forgets a request that could not be made.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn drop_commitment(&self, transaction: &str) -> Result<(), CatalogError> {
        const TEXT: &str = "DELETE FROM commitments WHERE transaction_uid = $1";
        on_db!(self.db(), pools => {
            sqlx::query(TEXT).bind(transaction).execute(&pools.write).await?;
        });
        Ok(())
    }

    /// Whether a request still waits for its answer.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn commitment_waits(&self, transaction: &str) -> Result<bool, CatalogError> {
        const TEXT: &str = "SELECT delivery_id FROM commitments WHERE transaction_uid = $1";
        let row: Option<(i64,)> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT).bind(transaction).fetch_optional(&pools.read).await?
        });
        Ok(row.is_some())
    }

    pub(super) async fn asked_about(&self, delivery: i64) -> Result<Asked, CatalogError> {
        const TEXT: &str =
            "SELECT objects, asked, until_ms FROM commitments WHERE delivery_id = $1";
        let rows: Vec<(String, i64, i64)> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT).bind(delivery).fetch_all(&pools.read).await?
        });
        let mut asked = Asked { times: 0, until: HashMap::new() };
        for (objects, times, until_ms) in rows {
            asked.times = asked.times.max(times);
            let objects: Vec<(String, String)> =
                serde_json::from_str(&objects).map_err(|_| CORRUPT)?;
            for object in objects {
                let until = asked.until.entry(object).or_insert(until_ms);
                *until = until_ms.max(*until);
            }
        }
        Ok(asked)
    }

    /// Takes an answer of the peer `title`: what it keeps, and what it does not, which is sent again after `pause_ms`
    /// (each next time after twice that) and in the end waits for a person. An object that it says nothing about
    /// counts as not kept. False when nobody waits for such an answer of this peer.
    ///
    /// A transaction is found by its UID, which only its peer was told, whatever the tenant of `scope`: a report
    /// comes to the AE title that asked, which may be one of all tenants.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn commitment_reported(
        &self,
        scope: &Scope,
        title: &AeTitle,
        report: &Report,
        (pause_ms, now_ms): (i64, i64),
    ) -> Result<bool, CatalogError> {
        const WAKE: &str = "UPDATE deliveries SET revision = revision + 1, updated_ms = $2,
                attempts = CASE WHEN state = 'failed' THEN 0 ELSE attempts END,
                due_ms = CASE WHEN state = 'waiting' THEN due_ms ELSE $2 END,
                state = CASE WHEN state = 'sending' THEN 'sending' ELSE 'waiting' END
            WHERE id = $1";
        const KEPT: &str = "UPDATE delivered SET outcome = 'committed', words = '', at_ms = $4
            WHERE delivery_id = $1 AND sop_uid = $2 AND content_hash = $3 AND outcome = 'sent'";
        const LOST: &str = "UPDATE delivered SET uncommitted = uncommitted + 1, words = $4,
                outcome = CASE WHEN $5 AND uncommitted + 1 < $6 THEN 'lost' ELSE 'refused' END,
                at_ms = $7 + $8 * (CASE uncommitted WHEN 0 THEN 1 WHEN 1 THEN 2 ELSE 4 END)
            WHERE delivery_id = $1 AND sop_uid = $2 AND content_hash = $3 AND outcome = 'sent'";
        const DONE: &str = "DELETE FROM commitments WHERE transaction_uid = $1";
        let lock = match self.db() {
            Db::Postgres(_) => " FOR UPDATE",
            Db::Sqlite(_) => "",
        };
        let find = format!(
            "SELECT delivery_id, objects FROM commitments
            WHERE transaction_uid = $1 AND title = $2{lock}"
        );
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let row: Option<(i64, String)> = sqlx::query_as(AssertSqlSafe(find))
                .bind(&report.transaction)
                .bind(title.as_str())
                .fetch_optional(&mut *transaction)
                .await?;
            let Some((delivery, objects)) = row else { return Ok(false) };
            let asked: BTreeMap<String, String> =
                serde_json::from_str::<Vec<_>>(&objects).map_err(|_| CORRUPT)?.into_iter().collect();
            let mut silent = asked.clone();
            for sop in &report.committed {
                silent.remove(sop);
                let Some(hash) = asked.get(sop) else { continue };
                sqlx::query(KEPT)
                    .bind(delivery)
                    .bind(sop)
                    .bind(hash)
                    .bind(now_ms)
                    .execute(&mut *transaction)
                    .await?;
            }
            for (sop, ..) in &report.failed {
                silent.remove(sop);
            }
            let named = report.failed.iter().map(|(sop, why, helps)| (sop.as_str(), why.as_str(), *helps));
            let unsaid = silent
                .keys()
                .map(String::as_str)
                .map(|sop| (sop, "its answer does not mention it", true));
            for (sop, why, helps) in named.chain(unsaid) {
                let Some(hash) = asked.get(sop) else { continue };
                sqlx::query(LOST)
                    .bind(delivery)
                    .bind(sop)
                    .bind(hash)
                    .bind(clean(&format!("not committed: {why}")))
                    .bind(helps)
                    .bind(MOST_LOST)
                    .bind(now_ms)
                    .bind(pause_ms)
                    .execute(&mut *transaction)
                    .await?;
            }
            sqlx::query(DONE).bind(&report.transaction).execute(&mut *transaction).await?;
            sqlx::query(WAKE).bind(delivery).bind(now_ms).execute(&mut *transaction).await?;
            transaction.commit().await?;
        });
        tracing::debug!(by = scope.principal().name(), %title, "took a report of storage commitment");
        Ok(true)
    }
}
