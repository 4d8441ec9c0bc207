//! Tasks are made: by a rule when a study comes, or by a person; and they follow their study.

use qianli_model::grant::Priors;
use qianli_model::order::Order;
use qianli_model::reading::{Discrepancy, Held, Priority, Reader, Rule, State, choose};
use qianli_model::routing::Facts;
use qianli_model::{AeTitle, Scope, TenantId};
use sqlx::AssertSqlSafe;

use super::rows::{COLUMNS, FROM, Row};
use super::{Changed, Task, face, rows, steps};
use crate::Catalog;
use crate::db::on_db;
use crate::error::CatalogError;
use crate::workitem::tx::Tx;

/// How often following a study is tried while others change its tasks.
const TRIES: usize = 32;

/// What became of the tasks of a study.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Followed {
    /// A rule made one.
    pub made: bool,
    /// How many were changed: the study is complete, or images came late.
    pub changed: usize,
}

/// What a person asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Study Instance UID, of the scope's tenant.
    pub study: String,
    /// Who is to read.
    pub to: TenantId,
    /// How urgent.
    pub priority: Priority,
    /// Minutes until it is due; `None` for what is usual.
    pub due_minutes: Option<i64>,
    /// What kind of reader.
    pub subspecialty: String,
    /// What whoever asks wants to know.
    pub question: String,
    /// Earlier studies that a reader elsewhere may see.
    pub priors: Priors,
    /// Days for which a reader elsewhere sees the study; 0 for no end.
    pub days: i64,
}

/// What is known of a study when rules are asked.
struct Seen {
    series: Vec<Facts>,
    instances: i64,
    asked: Option<Priority>,
}

/// How a task comes to be.
struct Birth<'b> {
    scope: &'b Scope,
    to: TenantId,
    rule: i64,
    priority: Priority,
    minutes: i64,
    subspecialty: &'b str,
    question: &'b str,
    made_by: String,
    see: (Priors, i64),
    touched: bool,
    complete: bool,
}

impl Catalog {
    /// Makes the task that the rules of the scope's tenant want of a study, and lets its tasks know how far the study
    /// is. While it arrives (`complete` is false) a task is there already and says so. Doing it again changes nothing;
    /// images that come after the study was complete flag its tasks.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn follow_reading(
        &self,
        scope: &Scope,
        study: &str,
        complete: bool,
        random: &(dyn Fn() -> u128 + Sync),
        now_ms: i64,
    ) -> Result<Followed, CatalogError> {
        let mut followed = Followed::default();
        let tasks = self.tasks_of_study(scope, study).await?;
        let rules: Vec<Rule> =
            self.reading_rules(scope).await?.into_iter().map(|row| row.rule).collect();
        if tasks.is_empty() && rules.iter().all(|rule| rule.disabled) {
            return Ok(followed);
        }
        let Some(seen) = self.seen_for_reading(scope, study).await? else { return Ok(followed) };
        let rule = choose(&rules, &seen.series, seen.asked);
        if tasks.is_empty()
            && let Some(rule) = rule
        {
            let birth = Birth {
                scope,
                to: rule.to,
                rule: rule.id,
                priority: rule.priority_for(seen.asked),
                minutes: rule.minutes_for(seen.asked),
                subspecialty: &rule.subspecialty,
                question: "",
                made_by: rule.label.clone(),
                see: (rule.priors, rule.days),
                touched: false,
                complete,
            };
            if self.bear(study, &seen, birth, random, now_ms).await?.is_some() {
                followed.made = true;
                return Ok(followed);
            }
        }
        for task in self.tasks_of_study(scope, study).await? {
            let known = (rule, seen.asked, seen.instances);
            if self.follow_task(scope, task.id, known, complete, random, now_ms).await? {
                followed.changed += 1;
            }
        }
        Ok(followed)
    }

    /// Asks for a reading of a study of the scope's tenant. A task of the same readers is not made twice: one that
    /// was cancelled is opened again, any other is given back as it is.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn request_reading(
        &self,
        scope: &Scope,
        request: &Request,
        random: &(dyn Fn() -> u128 + Sync),
        now_ms: i64,
    ) -> Result<Changed, CatalogError> {
        let Some(seen) = self.seen_for_reading(scope, &request.study).await? else {
            return Ok(Changed::Absent);
        };
        let birth = Birth {
            scope,
            to: request.to,
            rule: 0,
            priority: request.priority,
            minutes: request.due_minutes.unwrap_or_else(|| request.priority.minutes()),
            subspecialty: &request.subspecialty,
            question: &request.question,
            made_by: Reader::of(scope).name,
            see: (request.priors, request.days),
            touched: true,
            complete: true,
        };
        if let Some(task) = self.bear(&request.study, &seen, birth, random, now_ms).await? {
            return Ok(Changed::Done(Box::new(task)));
        }
        let tasks = self.tasks_of_study(scope, &request.study).await?;
        let same = tasks.into_iter().find(|task| task.tenant == request.to && task.parent == 0);
        match same {
            Some(task) if task.held.state == State::Cancelled => {
                let ask = (&qianli_model::reading::Ask::Reopen, request.question.as_str());
                self.change_reading(scope, task.id, ask, random, now_ms).await
            }
            Some(task) => Ok(Changed::Done(Box::new(task))),
            None => Ok(Changed::Absent),
        }
    }

    /// Tasks of a study of the scope's tenant, whoever reads.
    async fn tasks_of_study(&self, scope: &Scope, study: &str) -> Result<Vec<Task>, CatalogError> {
        let text = format!(
            "SELECT {COLUMNS} {FROM} WHERE t.owner_id = $1 AND t.study_uid = $2 ORDER BY t.id"
        );
        let rows: Vec<Row> = on_db!(self.db(), pools => {
            sqlx::query_as(AssertSqlSafe(text))
                .bind(scope.tenant().0)
                .bind(study)
                .fetch_all(&pools.read)
                .await?
        });
        rows.into_iter().map(Row::task).collect()
    }

    /// Makes a task, lets the readers see the study, and gives it its face. `None` when there is one already.
    async fn bear(
        &self,
        study: &str,
        seen: &Seen,
        birth: Birth<'_>,
        random: &(dyn Fn() -> u128 + Sync),
        now_ms: i64,
    ) -> Result<Option<Task>, CatalogError> {
        let owner = birth.scope.tenant();
        let held = Held {
            state: State::Open,
            priority: birth.priority,
            due_ms: now_ms.saturating_add(birth.minutes.saturating_mul(60_000)),
            begun_ms: now_ms,
            reader: None,
            discrepancy: Discrepancy::None,
            late: 0,
            first_reader: None,
            is_second: false,
            is_foreign: birth.to != owner,
            touched: birth.touched,
        };
        let mut task = Task {
            id: 0,
            tenant: birth.to,
            owner,
            study: study.to_owned(),
            parent: 0,
            rule: birth.rule,
            grant: 0,
            held,
            subspecialty: birth.subspecialty.to_owned(),
            question: birth.question.to_owned(),
            made_by: birth.made_by,
            made_ms: now_ms,
            complete_ms: if birth.complete { now_ms } else { 0 },
            claimed_ms: 0,
            final_ms: 0,
            updated_ms: now_ms,
            instances: if birth.complete { seen.instances } else { 0 },
            late_seen: 0,
            workitem: String::new(),
            revision: 0,
        };
        let mut tx = Tx::of_reading(self.db(), task.tenant.0).await?;
        let Some(id) = rows::add(&mut tx, &task).await? else { return Ok(None) };
        task.id = id;
        let mut audited = steps::entries(birth.scope, &task, ("make", &task.made_by), now_ms);
        if task.held.is_foreign {
            let (grant, entry) =
                steps::grant(&mut tx, birth.scope, &task, birth.see, now_ms).await?;
            task.grant = grant;
            audited.push(entry);
        }
        face::write(&mut tx, &mut task, None, random, now_ms).await?;
        rows::save(&mut tx, &task, now_ms).await?;
        let detail = task.held.priority.as_str();
        let step = steps::Did { did: "make", detail, note: birth.question, place: 1 };
        steps::tell(&mut tx, birth.scope, &task, step, now_ms).await?;
        steps::audit(&mut tx, audited).await?;
        tx.commit().await?;
        task.revision += 1;
        Ok(Some(task))
    }

    /// Lets one task know how far its study is. `false` when that is what it knew.
    async fn follow_task(
        &self,
        scope: &Scope,
        id: i64,
        (rule, asked, instances): (Option<&Rule>, Option<Priority>, i64),
        complete: bool,
        random: &(dyn Fn() -> u128 + Sync),
        now_ms: i64,
    ) -> Result<bool, CatalogError> {
        for _ in 0..TRIES {
            let Some(task) = self.reading_task(scope, id).await? else { return Ok(false) };
            let mut after = task.clone();
            let mut did = "";
            let settles = complete && task.complete_ms == 0;
            if settles {
                (after.complete_ms, after.instances) = (now_ms, instances);
                did = "complete";
            }
            // A rule that fits better speaks up when the series it looks for arrives; readers stay the same.
            let better = rule
                .filter(|rule| task.complete_ms == 0 && task.parent == 0 && rule.to == task.tenant);
            if let Some(rule) = better
                && !task.held.touched
                && task.rule > 0
                && (settles || (task.rule != rule.id && task.held.state == State::Open))
            {
                after.rule = rule.id;
                after.subspecialty.clone_from(&rule.subspecialty);
                after.held.priority = rule.priority_for(asked);
                let minutes = rule.minutes_for(asked).saturating_mul(60_000);
                after.held.due_ms = now_ms.saturating_add(minutes);
                if did.is_empty() {
                    did = "rule";
                }
            }
            if task.complete_ms > 0 {
                let late = instances.saturating_sub(task.instances).saturating_sub(task.late_seen);
                after.held.late = late.max(0);
                if after.held.late > task.held.late {
                    did = "late";
                }
            }
            if did.is_empty() || task.held.state == State::Cancelled {
                return Ok(false);
            }
            let present = face::present(self.db(), &task).await?;
            let mut tx = Tx::of_reading(self.db(), task.tenant.0).await?;
            if !face::write(&mut tx, &mut after, present, random, now_ms).await?
                || !rows::save(&mut tx, &after, now_ms).await?
            {
                continue;
            }
            let detail = match did {
                "late" => after.held.late.to_string(),
                "rule" => after.held.priority.as_str().to_owned(),
                _ => instances.to_string(),
            };
            let step = steps::Did { did, detail: &detail, note: "", place: 1 };
            steps::tell(&mut tx, scope, &after, step, now_ms).await?;
            steps::audit(&mut tx, steps::entries(scope, &after, (did, &detail), now_ms)).await?;
            tx.commit().await?;
            return Ok(true);
        }
        Err(Self::busy_reading())
    }

    /// Series of a study, how many instances it has, and what its order asks for. `None` when it is not here.
    async fn seen_for_reading(
        &self,
        scope: &Scope,
        study: &str,
    ) -> Result<Option<Seen>, CatalogError> {
        const SERIES: &str = "SELECT r.modality_key, r.body_part_key, r.station_name_key,
                r.description_key, s.description_key, s.instance_count,
                COALESCE((SELECT i.calling_ae FROM instances i
                    WHERE i.series_id = r.id AND i.is_current LIMIT 1), '')
            FROM studies s JOIN series r ON r.study_id = s.id
            WHERE s.tenant_id = $1 AND s.study_uid = $2 ORDER BY r.id LIMIT 1000";
        const ORDERS: &str = "SELECT o.json FROM orders o WHERE o.tenant_id = $1
            AND (o.study_uid = $2 OR o.id IN (SELECT x.order_id FROM study_orders x
                WHERE x.tenant_id = $1 AND x.study_uid = $2))
            ORDER BY o.id LIMIT 32";
        let rows: Vec<(String, String, String, String, String, i64, String)> = on_db!(self.db(), pools => {
            sqlx::query_as(SERIES)
                .bind(scope.tenant().0)
                .bind(study)
                .fetch_all(&pools.read)
                .await?
        });
        let Some(instances) = rows.first().map(|row| row.5) else { return Ok(None) };
        let orders: Vec<(String,)> = on_db!(self.db(), pools => {
            sqlx::query_as(ORDERS)
                .bind(scope.tenant().0)
                .bind(study)
                .fetch_all(&pools.read)
                .await?
        });
        let asks = |(json,): (String,)| {
            let order: Order = serde_json::from_str(&json).ok()?;
            Priority::of_order(&order.procedure.priority)
        };
        let series =
            rows.into_iter().map(|(modality, body_part, station, series, of, _, source)| Facts {
                source: AeTitle::parse(&source).ok(),
                modality,
                body_part,
                station,
                study_description: of,
                series_description: series,
            });
        Ok(Some(Seen {
            series: series.collect(),
            instances,
            asked: orders.into_iter().filter_map(asks).min(),
        }))
    }
}
