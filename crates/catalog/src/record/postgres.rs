//! Loads and writes a batch on Postgres: set-based statements, each one round trip for the whole
//! batch. Rows are locked in one order everywhere (studies, patients, totals; sorted within), and
//! whoever holds a study's lock owns its series and instances.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;

use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row};

use super::plan::{Delta, PatientKey, Plan, Series, Study, Version, VersionRow, join_list};
use super::prepare::{INSTANCE_TEXT, Prepared, SERIES_TEXT, STUDY_TEXT};
use super::rows::{series_from, study_from};
use super::{
    DELETE_PATIENT, LEAVE_PATIENT, RecordError, SETTLE_STEPS, Settings, settled_payload, trail,
    update_text,
};
use crate::audit::{AuditRow, Head, Statement, seal};
use crate::types::Recorded;

/// Records a batch in one transaction.
pub(super) async fn record(
    pool: &PgPool,
    settings: &Settings,
    batch: &[Prepared],
) -> Result<Vec<Recorded>, RecordError> {
    let mut transaction = pool.begin().await?;
    let mut plan = load(&mut transaction, batch).await?;
    plan.decide(batch, &settings.index);
    if plan.events.is_empty() {
        transaction.rollback().await?;
        return Ok(plan.outcomes);
    }
    insert_patients(&mut transaction, &mut plan, batch).await?;
    insert_studies(&mut transaction, &mut plan).await?;
    insert_series(&mut transaction, &mut plan).await?;
    retire(&mut transaction, &plan).await?;
    fill(&mut transaction, &mut plan).await?;
    let head = head(&mut transaction, settings).await?;
    let rows = seal(&head, trail::entries(&plan, batch));
    finish(&mut transaction, settings, &plan, batch, (&head, &rows)).await?;
    index_values(&mut transaction, &plan, batch).await?;
    transaction.commit().await?;
    settings.chain.put(head.after(&rows));
    Ok(plan.outcomes)
}

/// The head of this writer's chain, as it left it; read only the first time and after a failure.
async fn head(connection: &mut PgConnection, settings: &Settings) -> Result<Head, RecordError> {
    let chain = match settings.chain.take() {
        Ok(head) => return Ok(head),
        Err(chain) => chain,
    };
    let found: Option<(i64, String)> =
        sqlx::query_as("SELECT number, hash FROM audit_chains WHERE chain = $1")
            .bind(chain)
            .fetch_optional(connection)
            .await?;
    match found {
        Some((number, hash)) => Ok(Head { chain, number, hash }),
        None => {
            settings.chain.leave();
            Err(RecordError::Race)
        }
    }
}

async fn load(connection: &mut PgConnection, batch: &[Prepared]) -> Result<Plan, RecordError> {
    let mut plan = Plan::default();
    let wanted: BTreeSet<(i64, &str)> =
        batch.iter().map(|item| (item.tenant, item.study_uid.as_str())).collect();
    let (tenants, uids): (Vec<i64>, Vec<&str>) = wanted.into_iter().unzip();
    let rows =
        sqlx::query(LOCK_STUDIES).bind(tenants).bind(uids).fetch_all(&mut *connection).await?;
    for row in rows {
        plan.add_study(study_from(&row)?);
    }
    if plan.studies.is_empty() {
        return Ok(plan);
    }
    let by_id: HashMap<i64, usize> =
        plan.studies.iter().enumerate().filter_map(|(i, s)| Some((s.id?, i))).collect();
    let mut wanted: BTreeSet<(i64, &str, &str)> = BTreeSet::new();
    for item in batch {
        if let Some(id) = plan.study_of(item).and_then(|study| plan.studies[study].id) {
            wanted.insert((id, &item.series_uid, item.sop_uid()));
        }
    }
    let mut columns: (Vec<i64>, Vec<&str>, Vec<&str>) = Default::default();
    for (study, series, instance) in wanted {
        columns.0.push(study);
        columns.1.push(series);
        columns.2.push(instance);
    }
    let rows = sqlx::query(LOAD)
        .bind(columns.0)
        .bind(columns.1)
        .bind(columns.2)
        .fetch_all(connection)
        .await?;
    let mut series: HashMap<i64, usize> = HashMap::new();
    for row in rows {
        let Some(study) = by_id.get(&row.try_get::<i64, _>("study_id")?) else { continue };
        let id: i64 = row.try_get("id")?;
        let series = match series.get(&id) {
            Some(series) => *series,
            None => {
                let added = plan.add_series(series_from(&row, *study)?);
                series.insert(id, added);
                added
            }
        };
        if let Some(stored) = row.try_get::<Option<i64>, _>("instance_id")? {
            let version = Version {
                hash: row.try_get("content_hash")?,
                is_current: row.try_get("is_current")?,
                size: row.try_get("blob_size")?,
                row: VersionRow::Stored(stored),
            };
            plan.add_version(series, row.try_get("sop_uid")?, version);
        }
    }
    Ok(plan)
}

const LOCK_STUDIES: &str = "SELECT s.* FROM studies s
    JOIN UNNEST($1::bigint[], $2::text[]) AS u (tenant_id, study_uid)
        ON s.tenant_id = u.tenant_id AND s.study_uid = u.study_uid
    ORDER BY s.tenant_id, s.study_uid FOR UPDATE OF s";

/// A statement of its own, after the lock: only then does it see what the holder before committed.
/// OFFSET 0 keeps the planner from looking through the whole series for each instance, which seems
/// as good while it has no statistics.
pub(crate) const LOAD: &str =
    "SELECT r.*, i.id AS instance_id, i.sop_uid, i.content_hash, i.is_current,
        i.blob_size
    FROM UNNEST($1::bigint[], $2::text[], $3::text[]) AS u (study_id, series_uid, sop_uid)
    JOIN series r ON r.study_id = u.study_id AND r.series_uid = u.series_uid
    LEFT JOIN LATERAL (SELECT * FROM instances
        WHERE instances.series_id = r.id AND instances.sop_uid = u.sop_uid OFFSET 0) i ON TRUE";

/// Finds or makes the patients of studies that have none yet, and counts those that are new.
async fn insert_patients(
    connection: &mut PgConnection,
    plan: &mut Plan,
    batch: &[Prepared],
) -> Result<(), RecordError> {
    let mut wanted: BTreeMap<PatientKey, (i64, usize)> = BTreeMap::new();
    for study in plan.studies.iter().filter(|study| study.patient_row.is_none()) {
        wanted.entry(study.patient_key()).or_insert((0, study.patient_from)).0 += 1;
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let mut columns: [Vec<&str>; 6] = Default::default();
    let (mut tenants, mut counts, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for ((tenant, id, issuer, study), (count, item)) in &wanted {
        let item = &batch[*item];
        tenants.push(*tenant);
        counts.push(*count);
        times.push(item.received_ms);
        let texts =
            [id, issuer, study, &item.patient_name, &item.patient_birth_date, &item.patient_sex];
        for (column, text) in columns.iter_mut().zip(texts) {
            column.push(text);
        }
    }
    let mut query = sqlx::query_as(INSERT_PATIENTS).bind(tenants).bind(counts).bind(times);
    for column in columns {
        query = query.bind(column);
    }
    let rows: Vec<(i64, i64, String, String, String, i64)> = query.fetch_all(connection).await?;
    let mut ids = HashMap::new();
    for (row, tenant, id, issuer, study, total) in rows {
        let key = (tenant, id, issuer, study);
        if wanted.get(&key).is_some_and(|(added, _)| *added == total) {
            plan.totals.entry(tenant).or_default().patients += 1;
        }
        ids.insert(key, row);
    }
    for study in plan.studies.iter_mut().filter(|study| study.patient_row.is_none()) {
        study.patient_row = ids.get(&study.patient_key()).copied();
    }
    Ok(())
}

const INSERT_PATIENTS: &str =
    "INSERT INTO patients (tenant_id, study_count, updated_ms, patient_id,
        issuer, study_uid, name, birth_date, sex)
    SELECT * FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[],
        $6::text[], $7::text[], $8::text[], $9::text[])
    ON CONFLICT (tenant_id, patient_id, issuer, study_uid) DO UPDATE SET
        study_count = patients.study_count + excluded.study_count,
        updated_ms = GREATEST(patients.updated_ms, excluded.updated_ms),
        name = CASE WHEN patients.name = '' THEN excluded.name ELSE patients.name END,
        birth_date = CASE WHEN patients.birth_date = '' THEN excluded.birth_date
            ELSE patients.birth_date END,
        sex = CASE WHEN patients.sex = '' THEN excluded.sex ELSE patients.sex END
    RETURNING id, tenant_id, patient_id, issuer, study_uid, study_count";

/// Inserts new studies with their final values. A row that is there by now was made by another node
/// since [`load`]: the batch starts over and finds it.
async fn insert_studies(connection: &mut PgConnection, plan: &mut Plan) -> Result<(), RecordError> {
    let mut new: Vec<usize> =
        (0..plan.studies.len()).filter(|index| plan.studies[*index].id.is_none()).collect();
    if new.is_empty() {
        return Ok(());
    }
    new.sort_by(|a, b| {
        let (a, b) = (&plan.studies[*a], &plan.studies[*b]);
        (a.tenant, &a.uid).cmp(&(b.tenant, &b.uid))
    });
    let mut sql = Insertion::new("studies");
    let studies = || new.iter().map(|index| &plan.studies[*index]);
    let all = |f: fn(&Study) -> i64| studies().map(f).collect::<Vec<i64>>();
    sql.columns("bigint", &["tenant_id", "patient_row", "series_count", "instance_count", "size"]);
    sql.columns("bigint", &["created_ms", "updated_ms"]);
    sql.columns("boolean", &["patient_conflict"]);
    sql.columns("text", &["study_uid", "study_json", "modalities", "sop_classes"]);
    sql.columns("text", &STUDY_TEXT);
    let text = sql.finish(
        " ON CONFLICT (tenant_id, study_uid) DO NOTHING RETURNING id, tenant_id, study_uid",
    );
    let mut query = sqlx::query(AssertSqlSafe(text))
        .bind(all(|s| s.tenant))
        .bind(all(|s| s.patient_row.unwrap_or_default()))
        .bind(all(|s| s.series_count))
        .bind(all(|s| s.instance_count))
        .bind(all(|s| s.size))
        .bind(all(|s| s.created_ms))
        .bind(all(|s| s.updated_ms))
        .bind(studies().map(|s| s.patient_conflict).collect::<Vec<bool>>())
        .bind(studies().map(|s| s.uid.as_str()).collect::<Vec<_>>())
        .bind(studies().map(|s| s.json.as_str()).collect::<Vec<_>>())
        .bind(studies().map(|s| join_list(&s.modalities)).collect::<Vec<_>>())
        .bind(studies().map(|s| join_list(&s.sop_classes)).collect::<Vec<_>>());
    for column in 0..STUDY_TEXT.len() {
        query = query.bind(studies().map(|s| s.text[column].as_str()).collect::<Vec<_>>());
    }
    let rows = query.fetch_all(connection).await?;
    let mut ids: HashMap<(i64, String), i64> = HashMap::new();
    for row in rows {
        ids.insert((row.try_get(1)?, row.try_get(2)?), row.try_get(0)?);
    }
    for index in new {
        let study = &mut plan.studies[index];
        study.id = ids.get(&(study.tenant, study.uid.clone())).copied();
        if study.id.is_none() {
            return Err(RecordError::Race);
        }
    }
    Ok(())
}

async fn insert_series(connection: &mut PgConnection, plan: &mut Plan) -> Result<(), RecordError> {
    let new: Vec<usize> =
        (0..plan.series.len()).filter(|index| plan.series[*index].id.is_none()).collect();
    if new.is_empty() {
        return Ok(());
    }
    let series = || new.iter().map(|index| &plan.series[*index]);
    let all = |f: fn(&Series) -> i64| series().map(f).collect::<Vec<i64>>();
    let study_ids: Vec<i64> =
        series().map(|s| plan.studies[s.study].id.unwrap_or_default()).collect();
    let mut sql = Insertion::new("series");
    sql.columns("bigint", &["study_id", "series_number", "instance_count", "size"]);
    sql.columns("bigint", &["created_ms", "updated_ms"]);
    sql.columns("text", &["series_uid", "series_json"]);
    sql.columns("text", &SERIES_TEXT);
    let text = sql.finish(" RETURNING id, study_id, series_uid");
    let mut query = sqlx::query(AssertSqlSafe(text))
        .bind(&study_ids)
        .bind(series().map(|s| s.number).collect::<Vec<_>>())
        .bind(all(|s| s.instance_count))
        .bind(all(|s| s.size))
        .bind(all(|s| s.created_ms))
        .bind(all(|s| s.updated_ms))
        .bind(series().map(|s| s.uid.as_str()).collect::<Vec<_>>())
        .bind(series().map(|s| s.json.as_str()).collect::<Vec<_>>());
    for column in 0..SERIES_TEXT.len() {
        query = query.bind(series().map(|s| s.text[column].as_str()).collect::<Vec<_>>());
    }
    let rows = query.fetch_all(connection).await?;
    let mut ids: HashMap<(i64, String), i64> = HashMap::new();
    for row in rows {
        ids.insert((row.try_get(1)?, row.try_get(2)?), row.try_get(0)?);
    }
    for (index, study_id) in new.into_iter().zip(study_ids) {
        let series = &mut plan.series[index];
        series.id = ids.get(&(study_id, series.uid.clone())).copied();
    }
    Ok(())
}

/// Takes superseded instances out of the answers, before their successors come in: there is only
/// one current row per instance at any moment.
async fn retire(connection: &mut PgConnection, plan: &Plan) -> Result<(), RecordError> {
    if !plan.retired.is_empty() {
        sqlx::query("UPDATE instances SET is_current = FALSE WHERE id = ANY($1)")
            .bind(&plan.retired)
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// Writes attributes that were filled; rare, so one statement per study or series will do.
async fn fill(connection: &mut PgConnection, plan: &mut Plan) -> Result<(), RecordError> {
    for study in plan.studies.iter().filter(|study| study.filled && !study.is_new) {
        let text = update_text("studies", &STUDY_TEXT, &["study_json", "patient_row"]);
        let mut query = sqlx::query(AssertSqlSafe(text)).bind(study.id);
        for value in &study.text {
            query = query.bind(value);
        }
        query.bind(&study.json).bind(study.patient_row).execute(&mut *connection).await?;
        let Some(left) = study.left_patient else { continue };
        let (rest,): (i64,) =
            sqlx::query_as(LEAVE_PATIENT).bind(left).fetch_one(&mut *connection).await?;
        if rest == 0 {
            sqlx::query(DELETE_PATIENT).bind(left).execute(&mut *connection).await?;
            plan.totals.entry(study.tenant).or_default().patients -= 1;
        }
    }
    for series in plan.series.iter().filter(|series| series.filled && !series.is_new) {
        let text = update_text("series", &SERIES_TEXT, &["series_json", "series_number"]);
        let mut query = sqlx::query(AssertSqlSafe(text)).bind(series.id);
        for value in &series.text {
            query = query.bind(value);
        }
        query.bind(&series.json).bind(series.number).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Instances, counters, totals, events, the jobs that they cause and the audit trail: one statement.
async fn finish(
    connection: &mut PgConnection,
    settings: &Settings,
    plan: &Plan,
    batch: &[Prepared],
    (head, rows): (&Head, &[AuditRow]),
) -> Result<(), RecordError> {
    let old_series: Vec<&Series> =
        plan.series.iter().filter(|series| series.touched && !series.is_new).collect();
    let old_studies: Vec<&Study> =
        plan.studies.iter().filter(|study| study.touched && !study.is_new).collect();
    let touched: Vec<&Study> = plan.studies.iter().filter(|study| study.touched).collect();
    let series = |f: fn(&Series) -> i64| old_series.iter().map(|s| f(s)).collect::<Vec<i64>>();
    let studies = |f: fn(&Study) -> i64| old_studies.iter().map(|s| f(s)).collect::<Vec<i64>>();
    let totals = |f: fn(&Delta) -> i64| plan.totals.values().map(f).collect::<Vec<i64>>();
    let event_items = || plan.events.iter().map(|(_, item)| &batch[*item]);
    let items = || plan.inserts.iter().map(|insert| &batch[insert.item]);
    let all = |f: fn(&Prepared) -> i64| items().map(f).collect::<Vec<i64>>();
    let series_ids: Vec<i64> =
        plan.inserts.iter().map(|i| plan.series[i.series].id.unwrap_or_default()).collect();
    let mut query = sqlx::query(AssertSqlSafe(FINISH_TEXT.as_str()))
        .bind(series(|s| s.id.unwrap_or_default()))
        .bind(series(|s| s.instance_count))
        .bind(series(|s| s.size))
        .bind(series(|s| s.updated_ms))
        .bind(studies(|s| s.id.unwrap_or_default()))
        .bind(studies(|s| s.series_count))
        .bind(studies(|s| s.instance_count))
        .bind(studies(|s| s.size))
        .bind(studies(|s| s.updated_ms))
        .bind(old_studies.iter().map(|s| s.patient_conflict).collect::<Vec<_>>())
        .bind(old_studies.iter().map(|s| join_list(&s.modalities)).collect::<Vec<_>>())
        .bind(old_studies.iter().map(|s| join_list(&s.sop_classes)).collect::<Vec<_>>())
        .bind(plan.totals.keys().copied().collect::<Vec<_>>())
        .bind(settings.shard)
        .bind(totals(|d| d.patients))
        .bind(totals(|d| d.studies))
        .bind(totals(|d| d.series))
        .bind(totals(|d| d.instances))
        .bind(totals(|d| d.bytes))
        .bind(touched.iter().map(|s| s.tenant).collect::<Vec<_>>())
        .bind(touched.iter().map(|s| s.uid.as_str()).collect::<Vec<_>>())
        .bind(touched.iter().map(|s| settled_payload(&s.uid)).collect::<Vec<_>>())
        .bind(touched.iter().map(|s| s.updated_ms + settings.settle_ms).collect::<Vec<_>>())
        .bind(settings.settle_ms / SETTLE_STEPS)
        .bind(event_items().map(|item| item.tenant).collect::<Vec<_>>())
        .bind(plan.events.iter().map(|(kind, _)| *kind).collect::<Vec<_>>())
        .bind(event_items().map(|item| item.study_uid.as_str()).collect::<Vec<_>>())
        .bind(event_items().map(|item| item.series_uid.as_str()).collect::<Vec<_>>())
        .bind(event_items().map(Prepared::sop_uid).collect::<Vec<_>>())
        .bind(event_items().map(|item| item.received_ms).collect::<Vec<_>>())
        .bind(series_ids)
        .bind(items().map(|item| item.instance_number).collect::<Vec<_>>())
        .bind(all(|item| item.blob_digest))
        .bind(all(|item| item.blob_size))
        .bind(all(|item| item.data_set_offset))
        .bind(all(|item| item.received_ms))
        .bind(plan.inserts.iter().map(|insert| insert.is_current).collect::<Vec<_>>())
        .bind(items().map(|item| item.header.as_slice()).collect::<Vec<_>>())
        .bind(items().map(|item| item.layout.as_slice()).collect::<Vec<_>>());
    for column in 0..INSTANCE_TEXT.len() {
        query =
            query.bind(items().map(|item| item.instance_text[column].as_str()).collect::<Vec<_>>());
    }
    let query = TRAIL.bind(query, head, rows);
    if query.execute(connection).await?.rows_affected() == 0 {
        // The head was not where this writer left it, so there is no event either.
        settings.chain.leave();
        return Err(RecordError::Race);
    }
    Ok(())
}

/// Enters values into the index of attributes; no statement where there are none.
async fn index_values(
    connection: &mut PgConnection,
    plan: &Plan,
    batch: &[Prepared],
) -> Result<(), RecordError> {
    let instances = || {
        plan.inserts.iter().flat_map(|insert| {
            let item = &batch[insert.item];
            let series = plan.series[insert.series].id.unwrap_or_default();
            item.indexed.iter().map(move |value| (series, item, value))
        })
    };
    let is_none = plan.study_values.is_empty() && plan.series_values.is_empty();
    if is_none && instances().next().is_none() {
        return Ok(());
    }
    let study = |index: &usize| plan.studies[*index].id.unwrap_or_default();
    let series = |index: &usize| plan.series[*index].id.unwrap_or_default();
    let studies = || plan.study_values.iter();
    let all_series = || plan.series_values.iter();
    sqlx::query(INDEX_VALUES)
        .bind(studies().map(|(index, _)| study(index)).collect::<Vec<_>>())
        .bind(studies().map(|(_, value)| value.attribute.as_str()).collect::<Vec<_>>())
        .bind(studies().map(|(_, value)| value.key.as_str()).collect::<Vec<_>>())
        .bind(all_series().map(|(index, _)| series(index)).collect::<Vec<_>>())
        .bind(all_series().map(|(_, value)| value.attribute.as_str()).collect::<Vec<_>>())
        .bind(all_series().map(|(_, value)| value.key.as_str()).collect::<Vec<_>>())
        .bind(instances().map(|(series, ..)| series).collect::<Vec<_>>())
        .bind(instances().map(|(_, item, _)| item.sop_uid()).collect::<Vec<_>>())
        .bind(instances().map(|(_, item, _)| item.content_hash()).collect::<Vec<_>>())
        .bind(instances().map(|(.., value)| value.attribute.as_str()).collect::<Vec<_>>())
        .bind(instances().map(|(.., value)| value.key.as_str()).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

const INDEX_VALUES: &str = "WITH studies_done AS (
        INSERT INTO study_attributes (study_id, attribute, value)
        SELECT * FROM UNNEST($1::bigint[], $2::text[], $3::text[]) ON CONFLICT DO NOTHING),
    series_done AS (
        INSERT INTO series_attributes (series_id, attribute, value)
        SELECT * FROM UNNEST($4::bigint[], $5::text[], $6::text[]) ON CONFLICT DO NOTHING)
    INSERT INTO instance_attributes (instance_id, attribute, value)
    SELECT i.id, u.attribute, u.value
    FROM UNNEST($7::bigint[], $8::text[], $9::text[], $10::text[], $11::text[])
        AS u (series_id, sop_uid, content_hash, attribute, value)
    JOIN instances i ON i.sop_uid = u.sop_uid AND i.series_id = u.series_id
        AND i.content_hash = u.content_hash
    ON CONFLICT DO NOTHING";

/// The part of [`FINISH_TEXT`] that adds to the audit trail, behind the columns of instances.
const TRAIL: Statement = Statement { bound: 30 + 9 + INSTANCE_TEXT.len() };

/// [`FINISH`] with the insertion of instances, whose columns are a list, and the audit trail in front.
static FINISH_TEXT: LazyLock<String> = LazyLock::new(|| {
    let mut sql = Insertion { bound: 30, ..Insertion::new("instances") };
    sql.columns("bigint", &["series_id", "instance_number", "blob_digest", "blob_size"]);
    sql.columns("bigint", &["data_set_offset", "received_ms"]);
    sql.columns("boolean", &["is_current"]);
    sql.columns("bytea", &["header", "layout"]);
    sql.columns("text", &INSTANCE_TEXT);
    format!("WITH instances_done AS ({}), {}, {FINISH}", sql.finish(""), TRAIL.parts())
});

/// The last sub-statement's arithmetic is explained at `feed` in the migration.
const FINISH: &str = "series_done AS (
        UPDATE series SET instance_count = u.instances, size = u.size, updated_ms = u.at
        FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[])
            AS u (id, instances, size, at)
        WHERE series.id = u.id),
    studies_done AS (
        UPDATE studies SET series_count = u.series, instance_count = u.instances, size = u.size,
            updated_ms = u.at, patient_conflict = u.conflict, modalities = u.modalities,
            sop_classes = u.sop_classes
        FROM UNNEST($5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
            $10::boolean[], $11::text[], $12::text[])
            AS u (id, series, instances, size, at, conflict, modalities, sop_classes)
        WHERE studies.id = u.id),
    totals_done AS (
        INSERT INTO tenant_totals (tenant_id, shard, patients, studies, series, instances, bytes)
        SELECT u.tenant, $14::bigint, u.patients, u.studies, u.series, u.instances, u.bytes
        FROM UNNEST($13::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[],
            $19::bigint[]) AS u (tenant, patients, studies, series, instances, bytes)
        ON CONFLICT (tenant_id, shard) DO UPDATE SET
            patients = tenant_totals.patients + excluded.patients,
            studies = tenant_totals.studies + excluded.studies,
            series = tenant_totals.series + excluded.series,
            instances = tenant_totals.instances + excluded.instances,
            bytes = tenant_totals.bytes + excluded.bytes),
    jobs_done AS (
        INSERT INTO jobs (tenant_id, kind, dedupe_key, payload, state, run_at_ms)
        SELECT u.tenant, 'study.settled', u.study, u.payload, 'ready', u.at
        FROM UNNEST($20::bigint[], $21::text[], $22::text[], $23::bigint[])
            AS u (tenant, study, payload, at)
        ON CONFLICT (tenant_id, kind, dedupe_key) DO UPDATE SET
            run_at_ms = GREATEST(jobs.run_at_ms, excluded.run_at_ms),
            revision = jobs.revision + 1,
            state = CASE WHEN jobs.state = 'dead' THEN 'ready' ELSE jobs.state END
        WHERE jobs.state <> 'ready' OR jobs.run_at_ms + $24 < excluded.run_at_ms)
    INSERT INTO events (tenant_id, sequence, kind, study_uid, series_uid, sop_uid, at_ms)
    SELECT u.tenant,
        ((SELECT base FROM feed WHERE id = 1) + pg_current_xact_id()::text::bigint) * 4096 + u.n,
        u.kind, u.study, u.series, u.sop, u.at
    FROM UNNEST($25::bigint[], $26::text[], $27::text[], $28::text[], $29::text[], $30::bigint[])
        WITH ORDINALITY AS u (tenant, kind, study, series, sop, at, n)
    WHERE EXISTS (SELECT 1 FROM head_done)";

/// An INSERT from one array per column.
struct Insertion {
    table: &'static str,
    /// Values bound before.
    bound: usize,
    names: Vec<&'static str>,
    arrays: Vec<String>,
}

impl Insertion {
    fn new(table: &'static str) -> Self {
        Self { table, bound: 0, names: Vec::new(), arrays: Vec::new() }
    }

    fn columns(&mut self, kind: &str, names: &[&'static str]) {
        for name in names {
            self.names.push(name);
            self.arrays.push(format!("${}::{kind}[]", self.bound + self.names.len()));
        }
    }

    fn finish(&self, tail: &str) -> String {
        let (names, arrays) = (self.names.join(", "), self.arrays.join(", "));
        format!("INSERT INTO {} ({names}) SELECT * FROM UNNEST({arrays}){tail}", self.table)
    }
}
