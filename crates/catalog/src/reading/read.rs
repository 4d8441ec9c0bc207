//! Looks tasks up: lists, one, counts, history, and the feed of the live worklist.

use qianli_model::reading::State;
use qianli_model::{Scope, TenantId};
use sqlx::{AssertSqlSafe, FromRow};

use super::rows::{COLUMNS, FROM, Row};
use super::{Counts, Filter, Listed, ListedStudy, Step, Task, Workload};
use crate::Catalog;
use crate::access::Tenant;
use crate::db::{Db, on_db};
use crate::error::CatalogError;
use crate::keys::text_key;
use crate::record::split_list;
use crate::workitem::read::SHOWN;

/// Rows of a list where nobody says how many.
const USUAL: u32 = 200;

/// Most rows of a list.
const MOST: u32 = 1000;

/// How long back done tasks count as a reader's work of the day (ms).
const DAY_MS: i64 = 86_400_000;

/// A task with its study. The study of another tenant is shown as long as the task's grant holds; of several
/// statements that read it, this is the one that pages make their lists of.
#[derive(FromRow)]
struct ListedRow {
    #[sqlx(flatten)]
    row: Row,
    owner_name: String,
    owner_title: String,
    reads_name: String,
    reads_title: String,
    study_json: Option<String>,
    modalities: Option<String>,
    body_parts: Option<String>,
    series_count: Option<i64>,
    instance_count: Option<i64>,
    second_id: Option<i64>,
    second_state: Option<String>,
}

impl ListedRow {
    fn read(self) -> Result<Listed, CatalogError> {
        const CORRUPT: CatalogError = CatalogError::Corrupt("a reading task");
        let task = self.row.task()?;
        let study = self.study_json.map(|json| ListedStudy {
            json,
            modalities: split_list(&self.modalities.unwrap_or_default()).collect(),
            body_parts: {
                let all = self.body_parts.unwrap_or_default();
                let mut parts: Vec<String> =
                    all.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect();
                parts.sort_unstable();
                parts.dedup();
                parts
            },
            series: self.series_count.unwrap_or(0),
            instances: self.instance_count.unwrap_or(0),
        });
        let second = match (self.second_id, self.second_state) {
            (Some(id), Some(state)) => Some((id, State::parse(&state).ok_or(CORRUPT)?)),
            _ => None,
        };
        Ok(Listed {
            owner: Tenant { id: task.owner, name: self.owner_name, title: self.owner_title },
            reads: Tenant { id: task.tenant, name: self.reads_name, title: self.reads_title },
            task,
            study,
            second,
        })
    }
}

/// Values of a statement, in the order of their placeholders.
#[derive(Default)]
struct Binds(Vec<Bind>);

enum Bind {
    Number(i64),
    Text(String),
}

impl Binds {
    fn number(&mut self, value: i64) -> String {
        self.0.push(Bind::Number(value));
        format!("${}", self.0.len())
    }

    fn text(&mut self, value: &str) -> String {
        self.0.push(Bind::Text(value.to_owned()));
        format!("${}", self.0.len())
    }
}

macro_rules! bound {
    ($query:expr, $binds:expr) => {{
        let mut query = $query;
        for bind in $binds.0 {
            query = match bind {
                Bind::Number(value) => query.bind(value),
                Bind::Text(value) => query.bind(value),
            };
        }
        query
    }};
}

impl Catalog {
    /// A task that the scope's tenant reads or handed out.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn reading_task(&self, scope: &Scope, id: i64) -> Result<Option<Task>, CatalogError> {
        let text = format!(
            "SELECT {COLUMNS} {FROM} WHERE t.id = $1 AND (t.tenant_id = $2 OR t.owner_id = $2)"
        );
        let row: Option<Row> = on_db!(self.db(), pools => {
            sqlx::query_as(AssertSqlSafe(text))
                .bind(id)
                .bind(scope.tenant().0)
                .fetch_optional(&pools.read)
                .await?
        });
        row.map(Row::task).transpose()
    }

    /// The same with what a list shows of it.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn reading_listed(
        &self,
        scope: &Scope,
        id: i64,
        now_ms: i64,
    ) -> Result<Option<Listed>, CatalogError> {
        let mut binds = Binds::default();
        let me = binds.number(scope.tenant().0);
        let id = binds.number(id);
        let clause = format!("t.id = {id} AND (t.tenant_id = {me} OR t.owner_id = {me})");
        Ok(self.listed(binds, &me, (&clause, "t.id"), (1, 0), now_ms).await?.pop())
    }

    /// Tasks that the scope's tenant reads, or handed out: those that are to be done by urgency and time, others by
    /// when they last changed.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn reading_list(
        &self,
        scope: &Scope,
        filter: &Filter,
        now_ms: i64,
    ) -> Result<Vec<Listed>, CatalogError> {
        let mut binds = Binds::default();
        let me = binds.number(scope.tenant().0);
        let mut clauses = vec![match filter.given {
            true => format!("t.owner_id = {me} AND t.tenant_id <> {me}"),
            false => format!("t.tenant_id = {me}"),
        }];
        let states = match filter.states.as_slice() {
            [] => &[State::Open, State::Claimed],
            states => states,
        };
        let words: Vec<String> = states.iter().map(|state| binds.text(state.as_str())).collect();
        clauses.push(format!("t.state IN ({})", words.join(", ")));
        if let Some(priority) = filter.priority {
            clauses.push(format!("t.priority = {}", binds.number(priority.rank())));
        }
        if !filter.modality.is_empty() {
            let modality = binds.text(&text_key(&filter.modality));
            clauses.push(format!(
                "s.id IS NOT NULL AND EXISTS (SELECT 1 FROM series m
                    WHERE m.study_id = s.id AND m.modality_key = {modality})"
            ));
        }
        if !filter.hospital.is_empty() {
            clauses.push(format!("o.name = {}", binds.text(&filter.hospital)));
        }
        for (column, value) in [
            ("t.subspecialty", &filter.subspecialty),
            ("t.reader", &filter.reader),
            ("t.study_uid", &filter.study),
        ] {
            if !value.is_empty() {
                clauses.push(format!("{column} = {}", binds.text(value)));
            }
        }
        if let Some(before_ms) = filter.due_before_ms {
            clauses.push(format!("t.due_ms < {}", binds.number(before_ms)));
        }
        let order = match states.iter().any(|state| state.is_final()) {
            true => "t.updated_ms DESC, t.id DESC",
            false => "t.priority, t.due_ms, t.id",
        };
        let limit = if filter.limit == 0 { USUAL } else { filter.limit.min(MOST) };
        let clause = clauses.join(" AND ");
        self.listed(binds, &me, (&clause, order), (limit, filter.offset), now_ms).await
    }

    async fn listed(
        &self,
        mut binds: Binds,
        me: &str,
        (clause, order): (&str, &str),
        (limit, offset): (u32, u32),
        now_ms: i64,
    ) -> Result<Vec<Listed>, CatalogError> {
        let now = binds.number(now_ms);
        let limit = binds.number(i64::from(limit));
        let offset = binds.number(i64::from(offset));
        let parts = match self.db() {
            Db::Postgres(_) => "string_agg(m.body_part_key, ',')",
            Db::Sqlite(_) => "group_concat(m.body_part_key, ',')",
        };
        let text = format!(
            "SELECT {COLUMNS}, o.name AS owner_name, o.title AS owner_title, r.name AS reads_name,
                r.title AS reads_title, s.study_json, s.modalities, s.series_count, s.instance_count,
                (SELECT {parts} FROM series m WHERE m.study_id = s.id) AS body_parts,
                c.id AS second_id, c.state AS second_state
            {FROM} JOIN tenants o ON o.id = t.owner_id JOIN tenants r ON r.id = t.tenant_id
            LEFT JOIN reading_tasks c ON c.parent_id = t.id
            LEFT JOIN studies s ON s.tenant_id = t.owner_id AND s.study_uid = t.study_uid
                AND (t.owner_id = {me} OR EXISTS (SELECT 1 FROM grants g WHERE g.id = t.grant_id
                    AND g.tenant_id = t.owner_id AND g.to_tenant = {me} AND g.revoked_ms = 0
                    AND (g.expires_ms = 0 OR g.expires_ms > {now})))
            WHERE {clause} ORDER BY {order} LIMIT {limit} OFFSET {offset}"
        );
        let rows: Vec<ListedRow> = on_db!(self.db(), pools => {
            bound!(sqlx::query_as(AssertSqlSafe(text)), binds).fetch_all(&pools.read).await?
        });
        rows.into_iter().map(ListedRow::read).collect()
    }

    /// How many tasks the scope's tenant has to read.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn reading_counts(&self, scope: &Scope, now_ms: i64) -> Result<Counts, CatalogError> {
        const TEXT: &str = "SELECT state, COUNT(*),
                CAST(COALESCE(SUM(CASE WHEN due_ms < $2 THEN 1 ELSE 0 END), 0) AS BIGINT),
                CAST(COALESCE(SUM(CASE WHEN priority = 0 THEN 1 ELSE 0 END), 0) AS BIGINT)
            FROM reading_tasks WHERE tenant_id = $1 AND state IN ('open', 'claimed')
            GROUP BY state";
        let rows: Vec<(String, i64, i64, i64)> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT)
                .bind(scope.tenant().0)
                .bind(now_ms)
                .fetch_all(&pools.read)
                .await?
        });
        let mut counts = Counts::default();
        for (state, count, overdue, stat) in rows {
            match State::parse(&state) {
                Some(State::Open) => counts.open = count,
                _ => counts.claimed = count,
            }
            counts.overdue = counts.overdue.saturating_add(overdue);
            counts.stat = counts.stat.saturating_add(stat);
        }
        Ok(counts)
    }

    /// Who reads how much for the scope's tenant, by name.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn reading_workload(
        &self,
        scope: &Scope,
        now_ms: i64,
    ) -> Result<Vec<Workload>, CatalogError> {
        const TEXT: &str = "SELECT reader,
                CAST(SUM(CASE WHEN state = 'claimed' THEN 1 ELSE 0 END) AS BIGINT),
                CAST(SUM(CASE WHEN state = 'claimed' AND due_ms < $2 THEN 1 ELSE 0 END) AS BIGINT),
                CAST(SUM(CASE WHEN state = 'done' THEN 1 ELSE 0 END) AS BIGINT)
            FROM reading_tasks WHERE tenant_id = $1 AND reader <> ''
                AND (state = 'claimed' OR (state = 'done' AND final_ms > $3))
            GROUP BY reader ORDER BY reader LIMIT 500";
        let rows: Vec<(String, i64, i64, i64)> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT)
                .bind(scope.tenant().0)
                .bind(now_ms)
                .bind(now_ms.saturating_sub(DAY_MS))
                .fetch_all(&pools.read)
                .await?
        });
        let of = |(reader, claimed, overdue, done)| Workload { reader, claimed, overdue, done };
        Ok(rows.into_iter().map(of).collect())
    }

    /// Names by which tasks of the scope's tenant that are to be done can be told apart: subspecialties, and the
    /// hospitals whose studies they are.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn reading_choices(
        &self,
        scope: &Scope,
    ) -> Result<(Vec<String>, Vec<Tenant>), CatalogError> {
        const WORDS: &str = "SELECT DISTINCT subspecialty FROM reading_tasks
            WHERE tenant_id = $1 AND subspecialty <> '' ORDER BY subspecialty LIMIT 200";
        const OWNERS: &str = "SELECT id, name, title FROM tenants
            WHERE id IN (SELECT owner_id FROM reading_tasks WHERE tenant_id = $1)
            ORDER BY name LIMIT 500";
        let words: Vec<(String,)> = on_db!(self.db(), pools => {
            sqlx::query_as(WORDS).bind(scope.tenant().0).fetch_all(&pools.read).await?
        });
        let owners: Vec<(i64, String, String)> = on_db!(self.db(), pools => {
            sqlx::query_as(OWNERS).bind(scope.tenant().0).fetch_all(&pools.read).await?
        });
        let tenant = |(id, name, title)| Tenant { id: TenantId(id), name, title };
        Ok((
            words.into_iter().map(|(word,)| word).collect(),
            owners.into_iter().map(tenant).collect(),
        ))
    }

    /// What was done with a task that the scope's tenant reads or handed out, the oldest first.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn reading_history(&self, scope: &Scope, id: i64) -> Result<Vec<Step>, CatalogError> {
        let text = format!(
            "SELECT {STEP} FROM reading_history h WHERE h.task_id = $1
                AND (h.tenant_id = $2 OR h.owner_id = $2)
            ORDER BY h.sequence LIMIT 500"
        );
        self.steps(text, [id, scope.tenant().0, 0]).await
    }

    /// Steps of tasks that the scope's tenant reads or handed out after a position, the oldest first. On Postgres
    /// nothing is shown from the oldest running transaction on: see the change feed.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn reading_events_after(
        &self,
        scope: &Scope,
        after: i64,
        limit: u32,
    ) -> Result<Vec<Step>, CatalogError> {
        let shown = self.shown_steps();
        let text = format!(
            "SELECT {STEP} FROM reading_history h WHERE h.sequence > $1
                AND (h.tenant_id = $2 OR h.owner_id = $2) AND {shown} ORDER BY h.sequence LIMIT $3"
        );
        self.steps(text, [after, scope.tenant().0, i64::from(limit)]).await
    }

    /// Position of the last step of any tenant, for a node that watches for new ones.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn newest_reading_event(&self) -> Result<i64, CatalogError> {
        let shown = self.shown_steps();
        let text = format!("SELECT COALESCE(MAX(sequence), 0) FROM reading_history WHERE {shown}");
        let (newest,): (i64,) = on_db!(self.db(), pools => {
            sqlx::query_as(AssertSqlSafe(text)).fetch_one(&pools.read).await?
        });
        Ok(newest)
    }

    fn shown_steps(&self) -> &'static str {
        match self.db() {
            Db::Postgres(_) => SHOWN,
            Db::Sqlite(_) => "1 = 1",
        }
    }

    async fn steps(
        &self,
        text: String,
        [first, tenant, limit]: [i64; 3],
    ) -> Result<Vec<Step>, CatalogError> {
        type StepRow = (i64, i64, String, String, String, String, String, i64);
        let rows: Vec<StepRow> = on_db!(self.db(), pools => {
            let mut query = sqlx::query_as(AssertSqlSafe(text)).bind(first).bind(tenant);
            if limit > 0 {
                query = query.bind(limit);
            }
            query.fetch_all(&pools.read).await?
        });
        let step = |(sequence, task, did, by_kind, by, detail, note, at_ms)| Step {
            sequence,
            task,
            did,
            by_kind,
            by,
            detail,
            note,
            at_ms,
        };
        Ok(rows.into_iter().map(step).collect())
    }
}

const STEP: &str = "h.sequence, h.task_id, h.did, h.by_kind, h.by_name, h.detail, h.note, h.at_ms";
