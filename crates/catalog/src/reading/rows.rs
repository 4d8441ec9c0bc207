//! Rows of tasks.

use qianli_model::TenantId;
use qianli_model::reading::{Discrepancy, Held, Priority, Reader, State};
use sqlx::AssertSqlSafe;

use super::Task;
use crate::error::CatalogError;
use crate::workitem::tx::{Tx, on_tx};

/// What is read of a task `t`, with its first reading `p`.
pub(super) const COLUMNS: &str = "t.id, t.tenant_id, t.owner_id, t.study_uid, t.parent_id, t.rule_id,
    t.grant_id, t.state, t.priority, t.subspecialty, t.reader_id, t.reader, t.discrepancy, t.question,
    t.made_by, t.made_ms, t.due_ms, t.complete_ms, t.claimed_ms, t.final_ms, t.updated_ms, t.instances,
    t.late, t.late_seen, t.touched, t.workitem_uid, t.revision,
    COALESCE(p.reader_id, 0) AS first_reader_id, COALESCE(p.reader, '') AS first_reader";

/// Where it is read from.
pub(super) const FROM: &str =
    "FROM reading_tasks t LEFT JOIN reading_tasks p ON p.id = t.parent_id AND t.parent_id > 0";

#[derive(sqlx::FromRow)]
pub(super) struct Row {
    id: i64,
    tenant_id: i64,
    owner_id: i64,
    study_uid: String,
    parent_id: i64,
    rule_id: i64,
    grant_id: i64,
    state: String,
    priority: i64,
    subspecialty: String,
    reader_id: i64,
    reader: String,
    discrepancy: String,
    question: String,
    made_by: String,
    made_ms: i64,
    due_ms: i64,
    complete_ms: i64,
    claimed_ms: i64,
    final_ms: i64,
    updated_ms: i64,
    instances: i64,
    late: i64,
    late_seen: i64,
    touched: bool,
    workitem_uid: String,
    revision: i64,
    first_reader_id: i64,
    first_reader: String,
}

impl Row {
    pub(super) fn task(self) -> Result<Task, CatalogError> {
        const CORRUPT: CatalogError = CatalogError::Corrupt("a reading task");
        let reader = |id, name: String| (!name.is_empty()).then_some(Reader { id, name });
        Ok(Task {
            id: self.id,
            tenant: TenantId(self.tenant_id),
            owner: TenantId(self.owner_id),
            study: self.study_uid,
            parent: self.parent_id,
            rule: self.rule_id,
            grant: self.grant_id,
            held: Held {
                state: State::parse(&self.state).ok_or(CORRUPT)?,
                priority: Priority::of_rank(self.priority).ok_or(CORRUPT)?,
                due_ms: self.due_ms,
                begun_ms: if self.complete_ms > 0 { self.complete_ms } else { self.made_ms },
                reader: reader(self.reader_id, self.reader),
                discrepancy: Discrepancy::parse(&self.discrepancy).ok_or(CORRUPT)?,
                late: self.late,
                first_reader: reader(self.first_reader_id, self.first_reader),
                is_second: self.parent_id > 0,
                is_foreign: self.owner_id != self.tenant_id,
                touched: self.touched,
            },
            subspecialty: self.subspecialty,
            question: self.question,
            made_by: self.made_by,
            made_ms: self.made_ms,
            complete_ms: self.complete_ms,
            claimed_ms: self.claimed_ms,
            final_ms: self.final_ms,
            updated_ms: self.updated_ms,
            instances: self.instances,
            late_seen: self.late_seen,
            workitem: self.workitem_uid,
            revision: self.revision,
        })
    }
}

/// A task by a condition on `t` with two numbers or a number and a text.
pub(super) async fn by_workitem(
    tx: &mut Tx,
    tenant: i64,
    uid: &str,
) -> Result<Option<Task>, CatalogError> {
    let text = format!("SELECT {COLUMNS} {FROM} WHERE t.tenant_id = $1 AND t.workitem_uid = $2");
    let row: Option<Row> = on_tx!(tx, connection => {
        sqlx::query_as(AssertSqlSafe(text))
            .bind(tenant)
            .bind(uid)
            .fetch_optional(connection)
            .await?
    });
    row.map(Row::task).transpose()
}

/// Adds a task without workitem and grant; its key, or `None` when there is one of the same study, readers and kind.
pub(super) async fn add(tx: &mut Tx, task: &Task) -> Result<Option<i64>, CatalogError> {
    const TEXT: &str = "INSERT INTO reading_tasks (tenant_id, owner_id, study_uid, parent_id, rule_id,
            grant_id, state, priority, subspecialty, reader_id, reader, discrepancy, question, made_by,
            made_ms, due_ms, complete_ms, claimed_ms, final_ms, updated_ms, instances, late, late_seen,
            touched, workitem_uid, revision)
        VALUES ($1, $2, $3, $4, $5, 0, 'open', $6, $7, 0, '', 'none', $8, $9, $10, $11, $12, 0, 0, $10,
            $13, 0, 0, $14, '', 0)
        ON CONFLICT (tenant_id, owner_id, study_uid, parent_id) DO NOTHING RETURNING id";
    let row: Option<(i64,)> = on_tx!(tx, connection => {
        sqlx::query_as(TEXT)
            .bind(task.tenant.0)
            .bind(task.owner.0)
            .bind(&task.study)
            .bind(task.parent)
            .bind(task.rule)
            .bind(task.held.priority.rank())
            .bind(&task.subspecialty)
            .bind(&task.question)
            .bind(&task.made_by)
            .bind(task.made_ms)
            .bind(task.held.due_ms)
            .bind(task.complete_ms)
            .bind(task.instances)
            .bind(task.held.touched)
            .fetch_optional(connection)
            .await?
    });
    Ok(row.map(|row| row.0))
}

/// Writes what can change of a task, if it is still as it was read; `false` when it is not.
pub(super) async fn save(tx: &mut Tx, task: &Task, now_ms: i64) -> Result<bool, CatalogError> {
    const TEXT: &str =
        "UPDATE reading_tasks SET rule_id = $3, grant_id = $4, state = $5, priority = $6,
            subspecialty = $7, reader_id = $8, reader = $9, discrepancy = $10, question = $11,
            due_ms = $12, complete_ms = $13, claimed_ms = $14, final_ms = $15, updated_ms = $16,
            instances = $17, late = $18, late_seen = $19, touched = $20, workitem_uid = $21,
            revision = revision + 1
        WHERE id = $1 AND revision = $2";
    let reader = task.held.reader.clone().unwrap_or_default();
    let written = on_tx!(tx, connection => {
        sqlx::query(TEXT)
            .bind(task.id)
            .bind(task.revision)
            .bind(task.rule)
            .bind(task.grant)
            .bind(task.held.state.as_str())
            .bind(task.held.priority.rank())
            .bind(&task.subspecialty)
            .bind(reader.id)
            .bind(reader.name)
            .bind(task.held.discrepancy.as_str())
            .bind(&task.question)
            .bind(task.held.due_ms)
            .bind(task.complete_ms)
            .bind(task.claimed_ms)
            .bind(task.final_ms)
            .bind(now_ms)
            .bind(task.instances)
            .bind(task.held.late)
            .bind(task.late_seen)
            .bind(task.held.touched)
            .bind(&task.workitem)
            .execute(connection)
            .await?
            .rows_affected()
    });
    Ok(written > 0)
}
