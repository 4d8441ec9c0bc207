//! Writing orders: a batch of commands becomes rows, jobs and one audit row, or nothing at all.

use qianli_model::audit::{Action, Outcome};
use qianli_model::order::{Command, Order, OrderKey, OrderPatient, OrderRefusal, apply};
use qianli_model::{Scope, sounds};
use serde_json::json;
use sqlx::AssertSqlSafe;

use super::read::{COLUMNS, Row, row};
use super::{Applied, MATCH_JOB, MessageId, OrderRow, hl7};
use crate::Catalog;
use crate::audit::{Append, AuditEntry};
use crate::error::CatalogError;
use crate::keys::{bounded, name_keys, text_key, time_key};
use crate::workitem::tx::{Tx, on_tx};

/// Most orders that news of one patient change at once.
const MOST_OF_PATIENT: i64 = 1000;

impl Catalog {
    /// Does what a message asks, all of it or nothing. A message with an identity that was taken before
    /// does nothing again. Its numbers are its facility's: they mean orders of that facility, and those that
    /// no facility has named yet. `origin` is who brought it: `hl7`, `rest` or `page`; `random` makes the
    /// numbers that a new order lacks.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn apply_orders(
        &self,
        scope: &Scope,
        (origin, message): (&'static str, Option<&MessageId>),
        commands: &[Command],
        random: impl Fn() -> u128 + Sync,
        now_ms: i64,
    ) -> Result<Applied, CatalogError> {
        let tenant = scope.tenant().0;
        let mut tx = Tx::of_orders(self.db(), tenant).await?;
        if let Some(message) = message
            && !hl7::take(&mut tx, tenant, message, now_ms).await?
        {
            return Ok(Applied::Before);
        }
        let domain = message.map(|message| text_key(&message.facility)).unwrap_or_default();
        let mut touched = Vec::new();
        let mut did = Vec::new();
        for (index, command) in commands.iter().enumerate() {
            let by = (scope, origin, domain.as_str(), now_ms);
            match one(&mut tx, by, command, &random).await? {
                Ok((orders, word)) => {
                    touched.extend(orders);
                    did.push(word);
                }
                Err(refusal) => return Ok(Applied::Refused(index, refusal)),
            }
        }
        touched.sort_unstable();
        touched.dedup();
        did.dedup();
        let details = json!({"did": did, "orders": touched, "origin": origin});
        audit(&mut tx, scope, &details, now_ms).await?;
        tx.commit().await?;
        Ok(Applied::Done(touched))
    }
}

/// Adds the audit row of a change, last in its transaction. Details hold numbers of the catalog only.
pub(super) async fn audit(
    tx: &mut Tx,
    scope: &Scope,
    details: &serde_json::Value,
    now_ms: i64,
) -> Result<(), CatalogError> {
    let entry = AuditEntry::new(scope, Action::ChangeOrder, Outcome::Success, now_ms);
    let entry = entry.with(details);
    on_tx!(tx, connection => connection.append_audit(vec![entry]).await)
}

type Did = Result<(Vec<i64>, &'static str), OrderRefusal>;

async fn one(
    tx: &mut Tx,
    (scope, origin, domain, now_ms): (&Scope, &'static str, &str, i64),
    command: &Command,
    random: &(impl Fn() -> u128 + Sync),
) -> Result<Did, CatalogError> {
    let tenant = scope.tenant().0;
    let (key, word) = match command {
        Command::Put(order) => (OrderKey::of(order), "put"),
        Command::Change(order) => (OrderKey::of(order), "change"),
        Command::Advance(key, ..) => (key.clone(), "advance"),
        Command::Cancel(key) => (key.clone(), "cancel"),
        Command::Discontinue(key) => (key.clone(), "discontinue"),
        Command::Patient(patient) => {
            return news(tx, (tenant, domain), (patient, patient), false, now_ms).await;
        }
        Command::Merge(gone, stays) => {
            return news(tx, (tenant, domain), (gone, stays), true, now_ms).await;
        }
    };
    match (find(tx, tenant, &key, domain).await?, command) {
        (Some(known), _) => match apply(&known.order, command) {
            Ok(order) => {
                if order != known.order {
                    update(tx, tenant, known.id, &order, now_ms).await?;
                }
                adopt(tx, known.id, domain).await?;
                Ok(Ok((vec![known.id], word)))
            }
            Err(refusal) => Ok(Err(refusal)),
        },
        (None, _) if is_elsewhere(tx, tenant, &key).await? => Ok(Err(OrderRefusal::OtherFacility)),
        (None, Command::Put(new)) => {
            let mut order = (**new).clone();
            order.complete(random());
            let id = insert(tx, scope, origin, &order, now_ms).await?;
            adopt(tx, id, domain).await?;
            Ok(Ok((vec![id], word)))
        }
        (None, _) => Ok(Err(OrderRefusal::Unknown)),
    }
}

/// An order that no facility has named yet becomes one of the facility that names it.
async fn adopt(tx: &mut Tx, id: i64, domain: &str) -> Result<(), CatalogError> {
    const TEXT: &str = "UPDATE orders SET domain_key = $2 WHERE id = $1 AND domain_key = ''";
    if !domain.is_empty() {
        on_tx!(tx, connection => {
            sqlx::query(TEXT).bind(id).bind(domain).execute(connection).await?;
        });
    }
    Ok(())
}

/// Whether the Study Instance UID of a key, which is one in the world, is that of some order.
async fn is_elsewhere(tx: &mut Tx, tenant: i64, key: &OrderKey) -> Result<bool, CatalogError> {
    const TEXT: &str = "SELECT id FROM orders WHERE tenant_id = $1 AND study_uid = $2";
    if key.study_uid.is_empty() {
        return Ok(false);
    }
    let uid = bounded(&key.study_uid);
    let row: Option<(i64,)> = on_tx!(tx, connection => {
        sqlx::query_as(TEXT).bind(tenant).bind(uid).fetch_optional(connection).await?
    });
    Ok(row.is_some())
}

/// The order that a key means: by Study Instance UID, by accession number and procedure, by the
/// placer's and the filler's number, and by the accession number alone where it is that of one order. Of orders with
/// the same numbers those of the facility `domain` (empty for any) come first, then those of none; others' do not count.
pub(super) async fn find(
    tx: &mut Tx,
    tenant: i64,
    key: &OrderKey,
    domain: &str,
) -> Result<Option<OrderRow>, CatalogError> {
    let text = |value: &str| text_key(value);
    let (accession, procedure) = (text(&key.accession), text(&key.procedure));
    let ways: [(&str, &str, String, String); 5] = [
        ("study_uid", "study_uid", bounded(&key.study_uid), bounded(&key.study_uid)),
        ("accession_key", "procedure_id_key", accession.clone(), procedure.clone()),
        ("filler_key", "filler_key", text(&key.filler), text(&key.filler)),
        ("placer_key", "placer_key", text(&key.placer), text(&key.placer)),
        ("accession_key", "accession_key", accession.clone(), accession),
    ];
    for (index, (first, second, a, b)) in ways.into_iter().enumerate() {
        if a.is_empty() || b.is_empty() {
            continue;
        }
        // One accession number or order number can hold several procedures: then it names none alone.
        if index >= 2 && !procedure.is_empty() && !key.accession.is_empty() {
            continue;
        }
        for whose in [domain, ""] {
            // Without a domain any order counts.
            let is_any = domain.is_empty();
            let statement = format!(
                "SELECT {COLUMNS} FROM orders o
                WHERE o.tenant_id = $1 AND o.{first} = $2 AND o.{second} = $3
                    AND ($4 OR o.domain_key = $5) ORDER BY o.id LIMIT 2"
            );
            let found: Vec<Row> = on_tx!(&mut *tx, connection => {
                sqlx::query_as(AssertSqlSafe(statement))
                    .bind(tenant)
                    .bind(a.as_str())
                    .bind(b.as_str())
                    .bind(is_any)
                    .bind(whose)
                    .fetch_all(connection)
                    .await?
            });
            if let Ok([found]) = <[Row; 1]>::try_from(found) {
                return row(found).map(Some);
            }
        }
    }
    Ok(None)
}

/// News of a patient, for orders that are not finished. An ID without an issuer is the facility's own.
async fn news(
    tx: &mut Tx,
    (tenant, domain): (i64, &str),
    (of, says): (&OrderPatient, &OrderPatient),
    merged: bool,
    now_ms: i64,
) -> Result<Did, CatalogError> {
    const WHICH: &str = "FROM orders o WHERE o.tenant_id = $1 AND o.patient_id_key = $2
        AND ((o.issuer_key = $3 AND $3 <> '') OR ((o.issuer_key = '' OR $3 = '')
            AND (o.domain_key = $5 OR o.domain_key = '' OR $5 = '')))
        AND o.state NOT IN ('COMPLETED', 'DISCONTINUED') ORDER BY o.id LIMIT $4";
    let statement = format!("SELECT {COLUMNS} {WHICH}");
    let rows: Vec<Row> = on_tx!(&mut *tx, connection => {
        sqlx::query_as(AssertSqlSafe(statement))
            .bind(tenant)
            .bind(text_key(&of.id))
            .bind(text_key(&of.issuer))
            .bind(MOST_OF_PATIENT)
            .bind(domain)
            .fetch_all(connection)
            .await?
    });
    let mut touched = Vec::new();
    for found in rows {
        let OrderRow { id, mut order, .. } = row(found)?;
        let before = order.clone();
        order.hear_of(says, merged);
        if order != before {
            update(tx, tenant, id, &order, now_ms).await?;
            touched.push(id);
        }
    }
    Ok(Ok((touched, if merged { "merge patient" } else { "patient" })))
}

/// Text columns of an order, in the order of the statements below.
fn columns(order: &Order) -> [String; 14] {
    let [alphabetic, ideographic, phonetic] = name_keys(&order.patient.name);
    [
        bounded(&order.procedure.study_uid),
        text_key(&order.patient.id),
        text_key(&order.patient.issuer),
        alphabetic,
        ideographic,
        phonetic,
        bounded(&order.patient.birth_date),
        bounded(&order.patient.sex),
        text_key(&order.accession),
        text_key(&order.procedure.id),
        text_key(&order.placer),
        text_key(&order.filler),
        bounded(&order.procedure.priority),
        order.state().as_str().to_owned(),
    ]
}

fn json_of(order: &Order) -> Result<String, CatalogError> {
    serde_json::to_string(order).map_err(|_| CatalogError::TooLarge("an order"))
}

async fn insert(
    tx: &mut Tx,
    scope: &Scope,
    origin: &str,
    order: &Order,
    now_ms: i64,
) -> Result<i64, CatalogError> {
    const TEXT: &str = "INSERT INTO orders (tenant_id, study_uid, patient_id_key, issuer_key,
            name_alphabetic_key, name_ideographic_key, name_phonetic_key, birth_date, sex,
            accession_key, procedure_id_key, placer_key, filler_key, priority, state, origin, json,
            created_by, created_ms, updated_ms)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
            $19)
        RETURNING id";
    let tenant = scope.tenant().0;
    let json = json_of(order)?;
    let (id,): (i64,) = on_tx!(&mut *tx, connection => {
        let mut query = sqlx::query_as(TEXT).bind(tenant);
        for text in columns(order) {
            query = query.bind(text);
        }
        query
            .bind(origin)
            .bind(json)
            .bind(bounded(scope.principal().name()))
            .bind(now_ms)
            .fetch_one(connection)
            .await?
    });
    parts(tx, tenant, id, order, now_ms).await?;
    Ok(id)
}

pub(super) async fn update(
    tx: &mut Tx,
    tenant: i64,
    id: i64,
    order: &Order,
    now_ms: i64,
) -> Result<(), CatalogError> {
    const TEXT: &str = "UPDATE orders SET study_uid = $3, patient_id_key = $4, issuer_key = $5,
            name_alphabetic_key = $6, name_ideographic_key = $7, name_phonetic_key = $8,
            birth_date = $9, sex = $10, accession_key = $11, procedure_id_key = $12,
            placer_key = $13, filler_key = $14, priority = $15, state = $16, json = $17,
            updated_ms = $18
        WHERE tenant_id = $1 AND id = $2";
    let json = json_of(order)?;
    on_tx!(&mut *tx, connection => {
        let mut query = sqlx::query(TEXT).bind(tenant).bind(id);
        for text in columns(order) {
            query = query.bind(text);
        }
        query.bind(json).bind(now_ms).execute(connection).await?;
    });
    for text in [
        "DELETE FROM order_steps WHERE order_id = $1",
        "DELETE FROM order_words WHERE order_id = $1",
    ] {
        on_tx!(&mut *tx, connection => {
            sqlx::query(text).bind(id).execute(connection).await?;
        });
    }
    parts(tx, tenant, id, order, now_ms).await
}

/// The rows that hang on an order, and the job that looks for studies which were here before it.
async fn parts(
    tx: &mut Tx,
    tenant: i64,
    id: i64,
    order: &Order,
    now_ms: i64,
) -> Result<(), CatalogError> {
    const STEP: &str = "INSERT INTO order_steps (order_id, tenant_id, position, step_id_key,
            modality_key, station_ae_key, station_name_key, start_date, start_time,
            performer_alphabetic_key, performer_ideographic_key, performer_phonetic_key, status)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
    const WORD: &str = "INSERT INTO order_words (order_id, tenant_id, word) VALUES ($1, $2, $3)
        ON CONFLICT (order_id, word) DO NOTHING";
    for (position, step) in (0_i64..).zip(&order.steps) {
        let [alphabetic, ideographic, phonetic] = name_keys(&step.performer);
        let texts = [
            text_key(&step.id),
            text_key(&step.modality),
            text_key(&step.station_ae),
            text_key(&step.station_name),
            bounded(&step.start_date),
            time_key(&step.start_time),
            alphabetic,
            ideographic,
            phonetic,
            step.status.as_str().to_owned(),
        ];
        on_tx!(&mut *tx, connection => {
            let mut query = sqlx::query(STEP).bind(id).bind(tenant).bind(position);
            for text in texts {
                query = query.bind(text);
            }
            query.execute(connection).await?;
        });
    }
    let words = sounds::stored(&order.patient.name);
    for word in words.split(' ').filter(|word| !word.is_empty()) {
        on_tx!(&mut *tx, connection => {
            sqlx::query(WORD).bind(id).bind(tenant).bind(word).execute(connection).await?;
        });
    }
    job(tx, tenant, (MATCH_JOB, &id.to_string()), now_ms).await
}

/// Asks for a job once.
pub(super) async fn job(
    tx: &mut Tx,
    tenant: i64,
    (kind, key): (&str, &str),
    run_at_ms: i64,
) -> Result<(), CatalogError> {
    const TEXT: &str = "INSERT INTO jobs (tenant_id, kind, dedupe_key, payload, state, run_at_ms)
        VALUES ($1, $2, $3, '{}', 'ready', $4)
        ON CONFLICT (tenant_id, kind, dedupe_key) DO UPDATE SET
            run_at_ms = excluded.run_at_ms,
            revision = jobs.revision + 1,
            attempts = CASE WHEN jobs.state = 'dead' THEN 0 ELSE jobs.attempts END,
            state = CASE WHEN jobs.state = 'dead' THEN 'ready' ELSE jobs.state END";
    on_tx!(tx, connection => {
        sqlx::query(TEXT)
            .bind(tenant)
            .bind(kind)
            .bind(key)
            .bind(run_at_ms)
            .execute(connection)
            .await?;
    });
    Ok(())
}
