//! Deliveries: made, claimed, noted and ended.

use std::collections::{BTreeSet, HashMap};

use qianli_model::audit::{Action, Outcome};
use qianli_model::routing::{Facts, Goal, Rule, Verdict, decide, wants_commitment};
use qianli_model::{AeTitle, Scope, TenantId};
use serde_json::json;
use sqlx::AssertSqlSafe;

use super::{DeliveriesOf, Delivery, DeliveryRow, Ended, Left, Said};
use crate::Catalog;
use crate::audit::{Append, AuditEntry};
use crate::db::{Db, on_db};
use crate::deletion::begin;
use crate::error::CatalogError;
use crate::retrieve::{LOCATION, LocationRow, location};
use crate::types::Location;

/// Longest words of a peer that are kept (characters).
const LONGEST: usize = 400;

const CORRUPT: CatalogError = CatalogError::Corrupt("a delivery");

#[derive(sqlx::FromRow)]
struct FactsRow {
    #[sqlx(flatten)]
    place: Place,
    calling_ae: String,
    modality_key: String,
    body_part_key: String,
    station_name_key: String,
    series_description: String,
    study_description: String,
    received_ms: i64,
}

#[derive(sqlx::FromRow)]
struct Place {
    study_uid: String,
    series_uid: String,
    sop_uid: String,
    sop_class_uid: String,
    transfer_syntax: String,
    blob_key: String,
    content_hash: String,
    blob_size: i64,
    data_set_offset: i64,
}

impl Place {
    fn location(self) -> Result<Location, CatalogError> {
        let row: LocationRow = (
            self.study_uid,
            self.series_uid,
            self.sop_uid,
            self.sop_class_uid,
            self.transfer_syntax,
            self.blob_key,
            self.content_hash,
            self.blob_size,
            self.data_set_offset,
        );
        location(row)
    }
}

/// What a peer said, in a length and without what a terminal would obey.
pub(super) fn clean(words: &str) -> String {
    words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect()
}

/// What is remembered of an object that was sent.
struct Remembered {
    hash: String,
    outcome: String,
    words: String,
    at_ms: i64,
}

impl Catalog {
    /// The current objects of a study with what rules look at, and when each came.
    async fn facts(
        &self,
        scope: &Scope,
        study: &str,
    ) -> Result<Vec<(Facts, Location, i64)>, CatalogError> {
        let text = format!(
            "SELECT {LOCATION}, i.calling_ae, r.modality_key, r.body_part_key, r.station_name_key,
                r.description_key AS series_description, s.description_key AS study_description,
                i.received_ms
            FROM studies s JOIN series r ON r.study_id = s.id
            JOIN instances i ON i.series_id = r.id AND i.is_current
            WHERE s.tenant_id = $1 AND s.study_uid = $2
            ORDER BY r.series_number, r.series_uid, i.instance_number, i.sop_uid"
        );
        let rows: Vec<FactsRow> = on_db!(self.db(), pools => {
            sqlx::query_as(AssertSqlSafe(text))
                .bind(scope.tenant().0)
                .bind(study)
                .fetch_all(&pools.read)
                .await?
        });
        let read = |row: FactsRow| {
            let facts = Facts {
                source: AeTitle::parse(&row.calling_ae).ok(),
                modality: row.modality_key,
                body_part: row.body_part_key,
                station: row.station_name_key,
                study_description: row.study_description,
                series_description: row.series_description,
            };
            Ok((facts, row.place.location()?, row.received_ms))
        };
        rows.into_iter().map(read).collect()
    }

    async fn rules_of(&self, scope: &Scope) -> Result<Vec<Rule>, CatalogError> {
        Ok(self.route_rules(scope).await?.into_iter().map(|row| row.rule).collect())
    }

    /// Where rules of the scope's tenant send objects of a study, and how many of them each, whatever the
    /// time of the day and whatever was sent before.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn routes_of(
        &self,
        scope: &Scope,
        study: &str,
        settled: bool,
    ) -> Result<Vec<(Goal, usize)>, CatalogError> {
        let rules = self.rules_of(scope).await?;
        let goals: BTreeSet<&Goal> =
            rules.iter().filter(|rule| !rule.disabled).map(|rule| &rule.to).collect();
        if goals.is_empty() {
            return Ok(Vec::new());
        }
        let facts = self.facts(scope, study).await?;
        let count = |goal: &Goal| {
            let goes = |facts: &Facts| {
                let verdict = decide(&rules, goal, facts, settled, 0);
                matches!(verdict, Verdict::Now | Verdict::Later(_))
            };
            facts.iter().filter(|(facts, ..)| goes(facts)).count()
        };
        let counted = goals.into_iter().map(|goal| (goal.clone(), count(goal)));
        Ok(counted.filter(|(_, objects)| *objects > 0).collect())
    }

    /// Sends a study on its way as the rules say: makes a delivery for each destination, or wakes the one
    /// that is there. Doing it twice is doing it once. Returns how many deliveries there are.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn plan_deliveries(
        &self,
        scope: &Scope,
        study: &str,
        settled: bool,
        now_ms: i64,
    ) -> Result<usize, CatalogError> {
        // What is under way meanwhile looks again when it is done, by the revision. What failed for good is
        // tried again since there is something new.
        const TEXT: &str =
            "INSERT INTO deliveries (tenant_id, goal_kind, goal_name, study_uid, state,
                settled, revision, attempts, due_ms, worker, lease_until_ms, words, created_ms,
                updated_ms)
            VALUES ($1, $2, $3, $4, 'waiting', $5, 0, 0, $6, '', 0, '', $6, $6)
            ON CONFLICT (tenant_id, goal_kind, goal_name, study_uid) DO UPDATE SET
                settled = excluded.settled,
                revision = deliveries.revision + 1,
                attempts = CASE WHEN deliveries.state IN ('delivered', 'committed', 'failed') THEN 0
                    ELSE deliveries.attempts END,
                due_ms = CASE
                    WHEN deliveries.state IN ('delivered', 'committed', 'committing', 'failed')
                    OR deliveries.attempts = 0 THEN excluded.due_ms ELSE deliveries.due_ms END,
                state = CASE WHEN deliveries.state = 'sending' THEN 'sending' ELSE 'waiting' END,
                updated_ms = excluded.updated_ms";
        let goals = self.routes_of(scope, study, settled).await?;
        if goals.is_empty() {
            return Ok(0);
        }
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            for (goal, _) in &goals {
                sqlx::query(TEXT)
                    .bind(scope.tenant().0)
                    .bind(goal.kind())
                    .bind(goal.name())
                    .bind(study)
                    .bind(settled)
                    .bind(now_ms)
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await?;
        });
        Ok(goals.len())
    }

    /// Takes the delivery that is due longest, of any tenant, to a destination that nobody is sending to, and
    /// leases it to `worker`; a lease that ran out (its worker died) counts as due. Only for the node's own
    /// workers.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn claim_delivery(
        &self,
        worker: &str,
        lease_ms: i64,
        now_ms: i64,
    ) -> Result<Option<Delivery>, CatalogError> {
        let lock = match self.db() {
            Db::Postgres(_) => "FOR UPDATE OF d SKIP LOCKED",
            Db::Sqlite(_) => "",
        };
        let text = format!(
            "UPDATE deliveries SET state = 'sending', worker = $1, lease_until_ms = $2,
                updated_ms = $3
            WHERE id = (SELECT d.id FROM deliveries d
                WHERE ((d.state IN ('waiting', 'committing') AND d.due_ms <= $3)
                        OR (d.state = 'sending' AND d.lease_until_ms <= $3))
                    AND NOT EXISTS (SELECT 1 FROM deliveries o WHERE o.tenant_id = d.tenant_id
                        AND o.goal_kind = d.goal_kind AND o.goal_name = d.goal_name
                        AND o.id <> d.id AND o.state = 'sending' AND o.lease_until_ms > $3)
                ORDER BY d.due_ms, d.id LIMIT 1 {lock})
            RETURNING id, tenant_id, goal_kind, goal_name, study_uid, settled, attempts, revision"
        );
        type Row = (i64, i64, String, String, String, bool, i64, i64);
        let row: Option<Row> = on_db!(self.db(), pools => {
            sqlx::query_as(AssertSqlSafe(text))
                .bind(worker)
                .bind(now_ms.saturating_add(lease_ms))
                .bind(now_ms)
                .fetch_optional(&pools.write)
                .await?
        });
        let Some((id, tenant, kind, name, study, settled, attempts, revision)) = row else {
            return Ok(None);
        };
        let to = Goal::of(&kind, &name).ok_or(CORRUPT)?;
        let tenant = TenantId(tenant);
        Ok(Some(Delivery { id, tenant, to, study, settled, attempts, revision }))
    }

    /// Keeps a delivery leased until a time (ms since 1970). False when another worker has it.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn keep_delivery(
        &self,
        delivery: &Delivery,
        worker: &str,
        until_ms: i64,
    ) -> Result<bool, CatalogError> {
        const TEXT: &str = "UPDATE deliveries SET lease_until_ms = $3
            WHERE id = $1 AND worker = $2 AND state = 'sending'";
        on_db!(self.db(), pools => {
            let kept = sqlx::query(TEXT)
                .bind(delivery.id)
                .bind(worker)
                .bind(until_ms)
                .execute(&pools.write)
                .await?;
            Ok(kept.rows_affected() > 0)
        })
    }

    /// What is left to do of a delivery: what rules send there and the destination has not taken yet.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn left_of(&self, delivery: &Delivery, now_ms: i64) -> Result<Left, CatalogError> {
        const SAID: &str = "SELECT sop_uid, content_hash, outcome, words, at_ms FROM delivered
            WHERE delivery_id = $1";
        const FORGOTTEN: &str = "SELECT forgotten_ms FROM deliveries WHERE id = $1";
        let scope = Scope::system(delivery.tenant, "objects are sent on by rules");
        let rules = self.rules_of(&scope).await?;
        let said: Vec<(String, String, String, String, i64)> = on_db!(self.db(), pools => {
            sqlx::query_as(SAID).bind(delivery.id).fetch_all(&pools.read).await?
        });
        let remembered =
            |(sop, hash, outcome, words, at_ms)| (sop, Remembered { hash, outcome, words, at_ms });
        let said: HashMap<String, Remembered> = said.into_iter().map(remembered).collect();
        let forgotten: Option<(i64,)> = on_db!(self.db(), pools => {
            sqlx::query_as(FORGOTTEN).bind(delivery.id).fetch_optional(&pools.read).await?
        });
        let forgotten = forgotten.map_or(0, |(ms,)| ms);
        let asked = self.asked_about(delivery.id).await?;
        let mut left = Left { asked: asked.times, ..Left::default() };
        for (facts, location, received_ms) in self.facts(&scope, &delivery.study).await? {
            let verdict = decide(&rules, &delivery.to, &facts, delivery.settled, now_ms);
            if matches!(verdict, Verdict::No) {
                continue;
            }
            let known = said.get(location.instance.as_str());
            match known.filter(|one| one.hash == location.content_hash) {
                Some(one) if one.outcome == "refused" => {
                    left.refused += 1;
                    left.words.clone_from(&one.words);
                    continue;
                }
                // It is sent again, after a while.
                Some(one) if one.outcome == "lost" && one.at_ms > now_ms => {
                    left.later_ms = Some(left.later_ms.map_or(one.at_ms, |b| b.min(one.at_ms)));
                    continue;
                }
                Some(one) if one.outcome == "lost" => {}
                Some(one) if one.outcome == "committed" => {
                    left.committed += 1;
                    continue;
                }
                Some(_) => {
                    if wants_commitment(&rules, &delivery.to, &facts) {
                        match asked.until(&location, now_ms) {
                            Some(at) => {
                                let first = left.asked_until_ms.map_or(at, |b| b.min(at));
                                left.asked_until_ms = Some(first);
                            }
                            None => left.ask.push(location),
                        }
                    }
                    continue;
                }
                None if known.is_none() && received_ms <= forgotten => continue,
                None => {}
            }
            match verdict {
                Verdict::Now => left.now.push(location),
                Verdict::Later(at) => left.later_ms = Some(left.later_ms.map_or(at, |b| b.min(at))),
                Verdict::No | Verdict::WhenSettled => {}
            }
        }
        Ok(left)
    }

    /// Notes what a destination said about objects of a delivery.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn note_delivered(
        &self,
        delivery: &Delivery,
        said: &[Said],
        at_ms: i64,
    ) -> Result<(), CatalogError> {
        const TEXT: &str = "INSERT INTO delivered
                (delivery_id, sop_uid, content_hash, outcome, words, at_ms)
            VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT (delivery_id, sop_uid) DO UPDATE SET content_hash = excluded.content_hash,
                outcome = excluded.outcome, words = excluded.words, at_ms = excluded.at_ms,
                uncommitted = CASE WHEN delivered.content_hash = excluded.content_hash
                    THEN delivered.uncommitted ELSE 0 END";
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            for one in said {
                sqlx::query(TEXT)
                    .bind(delivery.id)
                    .bind(&one.instance)
                    .bind(&one.content_hash)
                    .bind(if one.refused.is_some() { "refused" } else { "sent" })
                    .bind(clean(one.refused.as_deref().unwrap_or_default()))
                    .bind(at_ms)
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await?;
        });
        Ok(())
    }

    /// Gives a delivery back. One that was asked for again meanwhile is looked at again at once, unless it
    /// waits because something went wrong.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn end_delivery(
        &self,
        delivery: &Delivery,
        worker: &str,
        ended: &Ended,
        now_ms: i64,
    ) -> Result<(), CatalogError> {
        const TEXT: &str = "UPDATE deliveries SET worker = '', lease_until_ms = 0,
                state = CASE WHEN revision = $3 OR $8 THEN $4 ELSE 'waiting' END,
                attempts = $5,
                due_ms = CASE WHEN revision = $3 OR $8 THEN $6 ELSE $9 END,
                words = $7, updated_ms = $9
            WHERE id = $1 AND worker = $2 AND state = 'sending'";
        // Whatever was asked before, nobody waits for it any more.
        const ANSWERED: &str = "DELETE FROM commitments WHERE delivery_id = $1
            AND EXISTS (SELECT 1 FROM deliveries d WHERE d.id = $1 AND d.revision = $2
                AND d.state IN ('delivered', 'committed'))";
        let (state, attempts, due_ms, words, waits) = match ended {
            Ended::Delivered => ("delivered", 0, 0, "", false),
            Ended::Committed => ("committed", 0, 0, "", false),
            Ended::Committing(at) => ("committing", 0, *at, "", false),
            Ended::Again(at) => ("waiting", 0, *at, "", false),
            Ended::Retry(at, words) => {
                ("waiting", delivery.attempts.saturating_add(1), *at, words.as_str(), true)
            }
            Ended::Failed(words) => ("failed", delivery.attempts, 0, words.as_str(), false),
        };
        on_db!(self.db(), pools => {
            sqlx::query(TEXT)
                .bind(delivery.id)
                .bind(worker)
                .bind(delivery.revision)
                .bind(state)
                .bind(attempts)
                .bind(due_ms)
                .bind(clean(words))
                .bind(waits)
                .bind(now_ms)
                .execute(&pools.write)
                .await?;
            if matches!(ended, Ended::Delivered | Ended::Committed) {
                sqlx::query(ANSWERED).bind(delivery.id).bind(delivery.revision).execute(&pools.write).await?;
            }
        });
        Ok(())
    }

    /// Deliveries of the scope's tenant, the one that changed last first.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn deliveries(
        &self,
        scope: &Scope,
        of: &DeliveriesOf,
        limit: u32,
    ) -> Result<Vec<DeliveryRow>, CatalogError> {
        const TEXT: &str =
            "SELECT d.id, d.goal_kind, d.goal_name, d.study_uid, d.state, d.attempts,
                d.due_ms,
                (SELECT COUNT(*) FROM delivered o WHERE o.delivery_id = d.id
                    AND o.outcome IN ('sent', 'committed')) + d.forgotten AS sent,
                (SELECT COUNT(*) FROM delivered o WHERE o.delivery_id = d.id
                    AND o.outcome = 'committed') AS committed,
                (SELECT COUNT(*) FROM delivered o WHERE o.delivery_id = d.id
                    AND o.outcome = 'refused') AS refused,
                d.words, d.created_ms, d.updated_ms
            FROM deliveries d WHERE d.tenant_id = $1 AND ($2 = '' OR d.study_uid = $2)
                AND ($3 = '' OR d.state = $3)
            ORDER BY d.updated_ms DESC, d.id DESC LIMIT $4";
        #[derive(sqlx::FromRow)]
        struct Row {
            id: i64,
            goal_kind: String,
            goal_name: String,
            study_uid: String,
            state: String,
            attempts: i64,
            due_ms: i64,
            sent: i64,
            committed: i64,
            refused: i64,
            words: String,
            created_ms: i64,
            updated_ms: i64,
        }
        let rows: Vec<Row> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT)
                .bind(scope.tenant().0)
                .bind(&of.study)
                .bind(&of.state)
                .bind(i64::from(limit))
                .fetch_all(&pools.read)
                .await?
        });
        let read = |row: Row| {
            Ok(DeliveryRow {
                id: row.id,
                to: Goal::of(&row.goal_kind, &row.goal_name).ok_or(CORRUPT)?,
                study: row.study_uid,
                state: row.state,
                attempts: row.attempts,
                due_ms: row.due_ms,
                sent: row.sent,
                committed: row.committed,
                refused: row.refused,
                words: row.words,
                created_ms: row.created_ms,
                updated_ms: row.updated_ms,
            })
        };
        rows.into_iter().map(read).collect()
    }

    /// Sends a delivery of the scope's tenant once more: what was refused, or with `all` everything. False when
    /// there is none of that key.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn replay_delivery(
        &self,
        scope: &Scope,
        delivery: i64,
        all: bool,
        now_ms: i64,
    ) -> Result<bool, CatalogError> {
        const WAKE: &str =
            "UPDATE deliveries SET revision = revision + 1, attempts = 0, due_ms = $3,
                settled = TRUE, updated_ms = $3,
                state = CASE WHEN state = 'sending' THEN 'sending' ELSE 'waiting' END,
                forgotten_ms = CASE WHEN $4 THEN 0 ELSE forgotten_ms END,
                forgotten = CASE WHEN $4 THEN 0 ELSE forgotten END
            WHERE tenant_id = $1 AND id = $2 RETURNING study_uid, goal_kind, goal_name";
        const FORGET: &str = "DELETE FROM delivered WHERE delivery_id = $1
            AND (outcome = 'refused' OR $2)";
        // What it was asked in vain, it is asked afresh.
        const UNASK: &str = "DELETE FROM commitments WHERE delivery_id = $1";
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let row: Option<(String, String, String)> = sqlx::query_as(WAKE)
                .bind(scope.tenant().0)
                .bind(delivery)
                .bind(now_ms)
                .bind(all)
                .fetch_optional(&mut *transaction)
                .await?;
            let Some((study, kind, name)) = row else { return Ok(false) };
            sqlx::query(FORGET).bind(delivery).bind(all).execute(&mut *transaction).await?;
            sqlx::query(UNASK).bind(delivery).execute(&mut *transaction).await?;
            let details = json!({
                "did": "replay", "delivery": delivery, "to": format!("{kind}:{name}"), "all": all,
            });
            let mut entry = AuditEntry::new(scope, Action::ChangeRoute, Outcome::Success, now_ms);
            entry.study = study;
            transaction.append_audit(vec![entry.with(&details)]).await?;
            transaction.commit().await?;
        });
        Ok(true)
    }
}
