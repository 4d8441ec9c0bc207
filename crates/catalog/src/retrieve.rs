//! Reads what retrieval needs: locations, headers, frames. One statement each, no parsing of
//! objects.

use std::collections::{HashMap, HashSet};

use qianli_model::{
    Scope, SeriesUid, SopInstanceUid, StudyUid, TransferSyntax, frames::FrameTable,
    header::BulkValue,
};
use sqlx::AssertSqlSafe;

use crate::db::{Db, on_db};
use crate::deletion::now_ms;
use crate::error::CatalogError;
use crate::grants::reach::{Asked, condition};
use crate::keys::digest;
use crate::pack::{unpack, unpacked_length};
use crate::types::{Detail, Location, Metadata, Target};

pub(crate) const LOCATION: &str =
    "s.study_uid, r.series_uid, i.sop_uid, i.sop_class_uid, i.transfer_syntax,
    i.blob_key, i.content_hash, i.blob_size, i.data_set_offset";

pub(crate) type LocationRow = (String, String, String, String, String, String, String, i64, i64);

/// FROM and WHERE of the instances of a target, as far as the scope sees it. `$1` is the tenant, the
/// UIDs follow, and then the numbers that come back.
fn selection(
    columns: &str,
    scope: &Scope,
    target: &Target,
    current: bool,
    order: &str,
) -> (String, Vec<i64>) {
    let mut text = format!(
        "SELECT {columns} FROM studies s JOIN series r ON r.study_id = s.id
        JOIN instances i ON i.series_id = r.id{}
        WHERE s.tenant_id = $1 AND s.study_uid = $2",
        if current { " AND i.is_current" } else { "" }
    );
    let mut next = 3;
    let uids =
        [("r.series_uid", target.series.is_some()), ("i.sop_uid", target.instance.is_some())];
    for (column, wanted) in uids {
        if wanted {
            text.push_str(&format!(" AND {column} = ${next}"));
            next += 1;
        }
    }
    let numbers = restrict(&mut text, scope, next);
    text.push_str(order);
    (text, numbers)
}

/// Adds what the scope sees of studies to a WHERE with the Study Instance UID at `$2`, and returns
/// what is to be bound from the placeholder `next` on.
fn restrict(text: &mut String, scope: &Scope, next: usize) -> Vec<i64> {
    let mut numbers = Vec::new();
    let asked = Asked { study: Some("$2"), grant: None, now_ms: now_ms() };
    let seen = condition(scope, asked, |value| {
        numbers.push(value);
        format!("${}", next + numbers.len() - 1)
    });
    if let Some(seen) = seen {
        text.push_str(" AND ");
        text.push_str(&seen);
    }
    numbers
}

const IN_ORDER: &str = " ORDER BY r.series_number NULLS LAST, r.series_uid,
    i.instance_number NULLS LAST, i.sop_uid";

const NEWEST_FIRST: &str = " ORDER BY i.id DESC";

/// Runs a [`selection`] and gives its rows.
macro_rules! select {
    ($db:expr, $scope:expr, $target:expr, $selection:expr) => {{
        let (text, numbers) = $selection;
        on_db!($db, pools => {
            let mut query = sqlx::query_as(AssertSqlSafe(text))
                .bind($scope.tenant().0)
                .bind($target.study.as_str());
            if let Some(series) = &$target.series {
                query = query.bind(series.as_str());
            }
            if let Some(instance) = &$target.instance {
                query = query.bind(instance.as_str());
            }
            for number in numbers {
                query = query.bind(number);
            }
            query.fetch_all(&pools.read).await?
        })
    }};
}

pub(crate) async fn locate(
    db: &Db,
    scope: &Scope,
    target: &Target,
) -> Result<Vec<Location>, CatalogError> {
    let selected = selection(LOCATION, scope, target, true, IN_ORDER);
    let rows: Vec<LocationRow> = select!(db, scope, target, selected);
    rows.into_iter().map(location).collect()
}

pub(crate) async fn versions(
    db: &Db,
    scope: &Scope,
    target: &Target,
) -> Result<Vec<Location>, CatalogError> {
    let selected = selection(LOCATION, scope, target, false, NEWEST_FIRST);
    let rows: Vec<LocationRow> = select!(db, scope, target, selected);
    rows.into_iter().map(location).collect()
}

pub(crate) async fn metadata(
    db: &Db,
    scope: &Scope,
    target: &Target,
) -> Result<Vec<Metadata>, CatalogError> {
    let columns = "r.series_uid, i.sop_uid, i.content_hash, i.header";
    let selected = selection(columns, scope, target, true, IN_ORDER);
    let rows: Vec<(String, String, String, Vec<u8>)> = select!(db, scope, target, selected);
    let unpack_all = move || {
        rows.into_iter()
            .map(|(series, instance, content_hash, header)| {
                Ok(Metadata {
                    series: uid(SeriesUid::parse(&series))?,
                    instance: uid(SopInstanceUid::parse(&instance))?,
                    content_hash,
                    json: unpack(&header)?,
                })
            })
            .collect()
    };
    // A long series is some milliseconds of computing: not on a thread that serves sockets.
    tokio::task::spawn_blocking(unpack_all).await.map_err(|_| CatalogError::Closed)?
}

type DetailRow =
    (String, String, String, String, String, String, String, i64, i64, Vec<u8>, Vec<u8>);

pub(crate) async fn detail(
    db: &Db,
    scope: &Scope,
    target: &Target,
) -> Result<Option<Detail>, CatalogError> {
    let selected = selection(&format!("{LOCATION}, i.header, i.layout"), scope, target, true, "");
    let rows: Vec<DetailRow> = select!(db, scope, target, selected);
    rows.into_iter().next().map(detail_from).transpose()
}

/// Headers and layouts beyond this (bytes, packed and not) are not read ahead.
const SHORT_PACKED: i64 = 16 << 10;
const SHORT: usize = 64 << 10;

/// Details of the instances of a series around one: as many as [`NEIGHBOURS`] says to each side by
/// instance number. Long headers are left out.
pub(crate) async fn neighbours(
    db: &Db,
    scope: &Scope,
    target: &Target,
) -> Result<Vec<Detail>, CatalogError> {
    if target.series.is_none() || target.instance.is_none() {
        return Ok(Vec::new());
    }
    let mut text = format!(
        "SELECT {LOCATION}, i.header, i.layout
        FROM studies s JOIN series r ON r.study_id = s.id
        JOIN instances x ON x.series_id = r.id AND x.sop_uid = $4 AND x.is_current
        JOIN instances i ON i.series_id = r.id AND i.is_current
            AND (x.instance_number IS NULL OR i.instance_number
                BETWEEN x.instance_number - {NEIGHBOURS} AND x.instance_number + {NEIGHBOURS})
            AND LENGTH(i.header) + LENGTH(i.layout) <= {SHORT_PACKED}
        WHERE s.tenant_id = $1 AND s.study_uid = $2 AND r.series_uid = $3"
    );
    let numbers = restrict(&mut text, scope, 5);
    text.push_str(&format!(" LIMIT 2 * {NEIGHBOURS}"));
    let rows: Vec<DetailRow> = select!(db, scope, target, (text, numbers));
    let is_short = |row: &DetailRow| {
        [&row.9, &row.10].iter().all(|packed| unpacked_length(packed).is_some_and(|n| n <= SHORT))
    };
    let unpack_all = move || rows.into_iter().filter(is_short).map(detail_from).collect();
    tokio::task::spawn_blocking(unpack_all).await.map_err(|_| CatalogError::Closed)?
}

const NEIGHBOURS: i64 = 512;

fn detail_from(row: DetailRow) -> Result<Detail, CatalogError> {
    let (a, b, c, d, e, f, g, h, i, header, layout) = row;
    let (frames, bulk): (FrameTable, Vec<BulkValue>) =
        serde_json::from_slice(&unpack(&layout)?).map_err(|_| CatalogError::Corrupt("frames"))?;
    let location = location((a, b, c, d, e, f, g, h, i))?;
    Ok(Detail { location, frames, bulk, json: unpack(&header)? })
}

/// Which blob keys some row points at: an instance's, or also a deletion's that can be undone. A
/// digest finds the rows, the key itself decides.
pub(crate) async fn referenced_blobs(
    db: &Db,
    keys: &[String],
    deleted_too: bool,
) -> Result<HashSet<String>, CatalogError> {
    let wanted: HashMap<i64, Vec<&String>> =
        keys.iter().fold(HashMap::new(), |mut wanted: HashMap<i64, Vec<&String>>, key| {
            wanted.entry(digest(key)).or_default().push(key);
            wanted
        });
    let digests: Vec<i64> = wanted.into_keys().collect();
    let mut found = HashSet::new();
    let tables: &[&str] =
        if deleted_too { &["instances", "deleted_instances"] } else { &["instances"] };
    let condition = match db {
        Db::Postgres(_) => "= ANY($1)",
        Db::Sqlite(_) => "IN (SELECT value FROM json_each($1))",
    };
    let selects: Vec<String> = tables
        .iter()
        .map(|table| format!("SELECT blob_key FROM {table} WHERE blob_digest {condition}"))
        .collect();
    let text: &str = &selects.join(" UNION ALL ");
    for part in digests.chunks(1000) {
        let rows: Vec<(String,)> = match db {
            Db::Postgres(pools) => {
                sqlx::query_as(AssertSqlSafe(text)).bind(part).fetch_all(&pools.read).await?
            }
            Db::Sqlite(pools) => {
                let list: Vec<String> = part.iter().map(i64::to_string).collect();
                sqlx::query_as(AssertSqlSafe(text))
                    .bind(format!("[{}]", list.join(",")))
                    .fetch_all(&pools.read)
                    .await?
            }
        };
        found.extend(rows.into_iter().map(|row| row.0));
    }
    Ok(keys.iter().filter(|key| found.contains(*key)).cloned().collect())
}

pub(crate) fn location(row: LocationRow) -> Result<Location, CatalogError> {
    let (study, series, instance, sop_class, syntax, blob_key, content_hash, size, offset) = row;
    Ok(Location {
        study: uid(StudyUid::parse(&study))?,
        series: uid(SeriesUid::parse(&series))?,
        instance: uid(SopInstanceUid::parse(&instance))?,
        sop_class,
        transfer_syntax: TransferSyntax::from_uid(&syntax)
            .ok_or(CatalogError::Corrupt("a transfer syntax"))?,
        blob_key,
        content_hash,
        blob_size: u64::try_from(size).map_err(|_| CatalogError::Corrupt("a blob's size"))?,
        data_set_offset: u64::try_from(offset).map_err(|_| CatalogError::Corrupt("an offset"))?,
    })
}

fn uid<T, E>(parsed: Result<T, E>) -> Result<T, CatalogError> {
    parsed.map_err(|_| CatalogError::Corrupt("a UID"))
}
