//! Loads and writes a batch on SQLite: prepared statements in one transaction on the one connection
//! that writes. Statements run in process, so one per row is cheap.

use qianli_model::query::Level;
use sqlx::{AssertSqlSafe, SqliteConnection, SqlitePool};

use super::plan::{Plan, Series, Study, Version, VersionRow, join_list};
use super::prepare::{INSTANCE_TEXT, Prepared, SERIES_TEXT, STUDY_TEXT};
use super::rows::{series_from, study_from};
use super::{
    DELETE_PATIENT, LEAVE_PATIENT, RecordError, SETTLE_STEPS, Settings, settled_payload, trail,
    update_text,
};
use crate::audit::{Head, advance, audit_is_off, seal};
use crate::backfill::table_of;
use crate::index::Value;
use crate::types::Recorded;

/// Records a batch in one transaction.
pub(super) async fn record(
    pool: &SqlitePool,
    settings: &Settings,
    batch: &[Prepared],
) -> Result<Vec<Recorded>, RecordError> {
    // Takes the write lock at once: another process must not slip between reading and writing.
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    let mut plan = load(&mut transaction, batch).await?;
    plan.decide(batch, &settings.index);
    if plan.events.is_empty() {
        transaction.rollback().await?;
        return Ok(plan.outcomes);
    }
    write_studies(&mut transaction, &mut plan, batch).await?;
    write_series(&mut transaction, &mut plan).await?;
    insert_instances(&mut transaction, &plan, batch).await?;
    finish(&mut transaction, settings, &plan, batch).await?;
    let head = add_to_trail(&mut transaction, settings, &plan, batch).await?;
    transaction.commit().await?;
    settings.chain.put(head);
    Ok(plan.outcomes)
}

/// Adds to the audit trail; returns the new head of this writer's chain.
async fn add_to_trail(
    connection: &mut SqliteConnection,
    settings: &Settings,
    plan: &Plan,
    batch: &[Prepared],
) -> Result<Head, RecordError> {
    let head = match settings.chain.take() {
        Ok(head) => Some(head),
        Err(chain) => crate::audit::load(&mut *connection, chain).await?,
    };
    if let Some(head) = head {
        let rows = seal(&head, trail::entries(plan, batch));
        if audit_is_off() || advance(connection, &head, &rows).await? {
            return Ok(head.after(&rows));
        }
    }
    settings.chain.leave();
    Err(RecordError::Race)
}

async fn load(connection: &mut SqliteConnection, batch: &[Prepared]) -> Result<Plan, RecordError> {
    let mut plan = Plan::default();
    let mut seen = std::collections::HashSet::new();
    for item in batch {
        let study = match plan.study_of(item) {
            Some(study) => study,
            None if !seen.insert((item.tenant, item.study_uid.as_str(), "", "")) => continue,
            None => {
                let row =
                    sqlx::query("SELECT * FROM studies WHERE tenant_id = $1 AND study_uid = $2")
                        .bind(item.tenant)
                        .bind(&item.study_uid)
                        .fetch_optional(&mut *connection)
                        .await?;
                let Some(row) = row else { continue };
                plan.add_study(study_from(&row)?)
            }
        };
        let series = match plan.series_of(item) {
            Some(series) => series,
            None if !seen.insert((item.tenant, &item.study_uid, &item.series_uid, "")) => continue,
            None => {
                let row =
                    sqlx::query("SELECT * FROM series WHERE study_id = $1 AND series_uid = $2")
                        .bind(plan.studies[study].id)
                        .bind(&item.series_uid)
                        .fetch_optional(&mut *connection)
                        .await?;
                let Some(row) = row else { continue };
                plan.add_series(series_from(&row, study)?)
            }
        };
        if !seen.insert((item.tenant, &item.study_uid, &item.series_uid, item.sop_uid())) {
            continue;
        }
        let rows: Vec<(i64, String, bool, i64)> = sqlx::query_as(
            "SELECT id, content_hash, is_current, blob_size FROM instances
            WHERE series_id = $1 AND sop_uid = $2",
        )
        .bind(plan.series[series].id)
        .bind(item.sop_uid())
        .fetch_all(&mut *connection)
        .await?;
        for (id, hash, is_current, size) in rows {
            let version = Version { hash, is_current, size, row: VersionRow::Stored(id) };
            plan.add_version(series, item.sop_uid().to_owned(), version);
        }
    }
    Ok(plan)
}

/// Inserts new studies, updates those that changed, and keeps their patients.
async fn write_studies(
    connection: &mut SqliteConnection,
    plan: &mut Plan,
    batch: &[Prepared],
) -> Result<(), RecordError> {
    for index in 0..plan.studies.len() {
        if plan.studies[index].patient_row.is_none() {
            let from = &batch[plan.studies[index].patient_from];
            enter_patient(connection, plan, index, from).await?;
        }
        let study = &mut plan.studies[index];
        if study.is_new {
            insert_study(connection, study).await?;
            continue;
        }
        if study.touched {
            sqlx::query(UPDATE_STUDY)
                .bind(study.id)
                .bind(study.series_count)
                .bind(study.instance_count)
                .bind(study.size)
                .bind(study.updated_ms)
                .bind(study.patient_conflict)
                .bind(join_list(&study.modalities))
                .bind(join_list(&study.sop_classes))
                .execute(&mut *connection)
                .await?;
        }
        if study.filled {
            let text = update_text("studies", &STUDY_TEXT, &["study_json", "patient_row"]);
            let mut query = sqlx::query(AssertSqlSafe(text)).bind(study.id);
            for value in &study.text {
                query = query.bind(value);
            }
            query.bind(&study.json).bind(study.patient_row).execute(&mut *connection).await?;
        }
        let Some(left) = study.left_patient else { continue };
        let (rest,): (i64,) =
            sqlx::query_as(LEAVE_PATIENT).bind(left).fetch_one(&mut *connection).await?;
        if rest == 0 {
            sqlx::query(DELETE_PATIENT).bind(left).execute(&mut *connection).await?;
            plan.totals.entry(plan.studies[index].tenant).or_default().patients -= 1;
        }
    }
    Ok(())
}

const UPDATE_STUDY: &str = "UPDATE studies SET series_count = $2, instance_count = $3, size = $4,
    updated_ms = $5, patient_conflict = $6, modalities = $7, sop_classes = $8 WHERE id = $1";

async fn enter_patient(
    connection: &mut SqliteConnection,
    plan: &mut Plan,
    index: usize,
    from: &Prepared,
) -> Result<(), RecordError> {
    let (tenant, id, issuer, study) = plan.studies[index].patient_key();
    let (row, total): (i64, i64) = sqlx::query_as(INSERT_PATIENT)
        .bind(tenant)
        .bind(from.received_ms)
        .bind(id)
        .bind(issuer)
        .bind(study)
        .bind(&from.patient_name)
        .bind(&from.patient_birth_date)
        .bind(&from.patient_sex)
        .fetch_one(connection)
        .await?;
    plan.studies[index].patient_row = Some(row);
    if total == 1 {
        plan.totals.entry(tenant).or_default().patients += 1;
    }
    Ok(())
}

const INSERT_PATIENT: &str = "INSERT INTO patients (tenant_id, study_count, updated_ms, patient_id,
        issuer, study_uid, name, birth_date, sex)
    VALUES ($1, 1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (tenant_id, patient_id, issuer, study_uid) DO UPDATE SET
        study_count = patients.study_count + 1,
        updated_ms = MAX(patients.updated_ms, excluded.updated_ms),
        name = CASE WHEN patients.name = '' THEN excluded.name ELSE patients.name END,
        birth_date = CASE WHEN patients.birth_date = '' THEN excluded.birth_date
            ELSE patients.birth_date END,
        sex = CASE WHEN patients.sex = '' THEN excluded.sex ELSE patients.sex END
    RETURNING id, study_count";

async fn insert_study(
    connection: &mut SqliteConnection,
    study: &mut Study,
) -> Result<(), RecordError> {
    let columns = ["tenant_id", "patient_row", "study_uid", "study_json", "modalities"];
    let counters = ["sop_classes", "series_count", "instance_count", "size", "patient_conflict"];
    let times = ["created_ms", "updated_ms"];
    let sql = insert("studies", &[&columns, &counters, &times, &STUDY_TEXT], " RETURNING id");
    let mut query = sqlx::query_as(AssertSqlSafe(sql))
        .bind(study.tenant)
        .bind(study.patient_row)
        .bind(&study.uid)
        .bind(&study.json)
        .bind(join_list(&study.modalities))
        .bind(join_list(&study.sop_classes))
        .bind(study.series_count)
        .bind(study.instance_count)
        .bind(study.size)
        .bind(study.patient_conflict)
        .bind(study.created_ms)
        .bind(study.updated_ms);
    for value in &study.text {
        query = query.bind(value);
    }
    let (id,): (i64,) = query.fetch_one(connection).await?;
    study.id = Some(id);
    Ok(())
}

async fn write_series(
    connection: &mut SqliteConnection,
    plan: &mut Plan,
) -> Result<(), RecordError> {
    for series in &mut plan.series {
        if series.is_new {
            let study = plan.studies[series.study].id;
            insert_series(connection, series, study).await?;
            continue;
        }
        if series.touched {
            sqlx::query(
                "UPDATE series SET instance_count = $2, size = $3, updated_ms = $4 WHERE id = $1",
            )
            .bind(series.id)
            .bind(series.instance_count)
            .bind(series.size)
            .bind(series.updated_ms)
            .execute(&mut *connection)
            .await?;
        }
        if series.filled {
            let text = update_text("series", &SERIES_TEXT, &["series_json", "series_number"]);
            let mut query = sqlx::query(AssertSqlSafe(text)).bind(series.id);
            for value in &series.text {
                query = query.bind(value);
            }
            query.bind(&series.json).bind(series.number).execute(&mut *connection).await?;
        }
    }
    Ok(())
}

async fn insert_series(
    connection: &mut SqliteConnection,
    series: &mut Series,
    study: Option<i64>,
) -> Result<(), RecordError> {
    let columns = ["study_id", "series_uid", "series_json", "series_number", "instance_count"];
    let counters = ["size", "created_ms", "updated_ms"];
    let sql = insert("series", &[&columns, &counters, &SERIES_TEXT], " RETURNING id");
    let mut query = sqlx::query_as(AssertSqlSafe(sql))
        .bind(study)
        .bind(&series.uid)
        .bind(&series.json)
        .bind(series.number)
        .bind(series.instance_count)
        .bind(series.size)
        .bind(series.created_ms)
        .bind(series.updated_ms);
    for value in &series.text {
        query = query.bind(value);
    }
    let (id,): (i64,) = query.fetch_one(connection).await?;
    series.id = Some(id);
    Ok(())
}

async fn insert_instances(
    connection: &mut SqliteConnection,
    plan: &Plan,
    batch: &[Prepared],
) -> Result<(), RecordError> {
    for id in &plan.retired {
        sqlx::query("UPDATE instances SET is_current = FALSE WHERE id = $1")
            .bind(id)
            .execute(&mut *connection)
            .await?;
    }
    let columns = ["series_id", "instance_number", "blob_digest", "blob_size", "data_set_offset"];
    let others = ["received_ms", "is_current", "header", "layout"];
    let sql: &str = &insert("instances", &[&columns, &others, &INSTANCE_TEXT], "");
    for row in &plan.inserts {
        let item = &batch[row.item];
        let mut query = sqlx::query(AssertSqlSafe(sql))
            .bind(plan.series[row.series].id)
            .bind(item.instance_number)
            .bind(item.blob_digest)
            .bind(item.blob_size)
            .bind(item.data_set_offset)
            .bind(item.received_ms)
            .bind(row.is_current)
            .bind(item.header.as_slice())
            .bind(item.layout.as_slice());
        for value in &item.instance_text {
            query = query.bind(value);
        }
        let inserted = query.execute(&mut *connection).await?;
        for value in &item.indexed {
            let owner = Some(inserted.last_insert_rowid());
            insert_value(connection, Level::Instance, owner, value).await?;
        }
    }
    for (study, value) in &plan.study_values {
        insert_value(connection, Level::Study, plan.studies[*study].id, value).await?;
    }
    for (series, value) in &plan.series_values {
        insert_value(connection, Level::Series, plan.series[*series].id, value).await?;
    }
    Ok(())
}

/// Enters a value into the index of its attribute.
async fn insert_value(
    connection: &mut SqliteConnection,
    level: Level,
    owner: Option<i64>,
    value: &Value,
) -> Result<(), RecordError> {
    let (table, column) = table_of(level);
    let text = format!(
        "INSERT INTO {table} ({column}, attribute, value) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
    );
    sqlx::query(AssertSqlSafe(text))
        .bind(owner)
        .bind(&value.attribute)
        .bind(&value.key)
        .execute(connection)
        .await?;
    Ok(())
}

/// Totals, jobs and events.
async fn finish(
    connection: &mut SqliteConnection,
    settings: &Settings,
    plan: &Plan,
    batch: &[Prepared],
) -> Result<(), RecordError> {
    for (tenant, delta) in &plan.totals {
        sqlx::query(ADD_TOTALS)
            .bind(tenant)
            .bind(settings.shard)
            .bind(delta.patients)
            .bind(delta.studies)
            .bind(delta.series)
            .bind(delta.instances)
            .bind(delta.bytes)
            .execute(&mut *connection)
            .await?;
    }
    for study in plan.studies.iter().filter(|study| study.touched) {
        sqlx::query(SETTLE)
            .bind(study.tenant)
            .bind(&study.uid)
            .bind(settled_payload(&study.uid))
            .bind(study.updated_ms + settings.settle_ms)
            .bind(settings.settle_ms / SETTLE_STEPS)
            .execute(&mut *connection)
            .await?;
    }
    for (kind, item) in &plan.events {
        let item = &batch[*item];
        sqlx::query(
            "INSERT INTO events (tenant_id, kind, study_uid, series_uid, sop_uid, at_ms)
            VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(item.tenant)
        .bind(*kind)
        .bind(&item.study_uid)
        .bind(&item.series_uid)
        .bind(item.sop_uid())
        .bind(item.received_ms)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

const ADD_TOTALS: &str = "INSERT INTO tenant_totals
        (tenant_id, shard, patients, studies, series, instances, bytes)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (tenant_id, shard) DO UPDATE SET
        patients = tenant_totals.patients + excluded.patients,
        studies = tenant_totals.studies + excluded.studies,
        series = tenant_totals.series + excluded.series,
        instances = tenant_totals.instances + excluded.instances,
        bytes = tenant_totals.bytes + excluded.bytes";

const SETTLE: &str = "INSERT INTO jobs (tenant_id, kind, dedupe_key, payload, state, run_at_ms)
    VALUES ($1, 'study.settled', $2, $3, 'ready', $4)
    ON CONFLICT (tenant_id, kind, dedupe_key) DO UPDATE SET
        run_at_ms = MAX(jobs.run_at_ms, excluded.run_at_ms),
        revision = jobs.revision + 1,
        state = CASE WHEN jobs.state = 'dead' THEN 'ready' ELSE jobs.state END
    WHERE jobs.state <> 'ready' OR jobs.run_at_ms + $5 < excluded.run_at_ms";

fn insert(table: &str, columns: &[&[&str]], tail: &str) -> String {
    let names = columns.concat();
    let values: Vec<String> = (1..=names.len()).map(|number| format!("${number}")).collect();
    format!("INSERT INTO {table} ({}) VALUES ({}){tail}", names.join(", "), values.join(", "))
}
