//! Runs queries. The compiling to SQL is in [`compile`], the reading of wildcards in [`pattern`].
//! What has neither column nor index is compared row by row, within bounds.

mod compile;
pub(crate) mod pattern;
mod rules;

use futures_util::TryStreamExt;
use qianli_model::Scope;
use qianli_model::query::{Kind, Level, PathCondition, Query, Rule, stored};
use sqlx::{AssertSqlSafe, ColumnIndex, Decode, Row, Type};
use tokio::sync::Semaphore;

use crate::db::Db;
use crate::error::CatalogError;
use crate::index::{Entry, Index};
use crate::pack::unpack;
use crate::record::split_list;
use crate::types::{Found, InstanceRow, SeriesRow, StudyRow};
use compile::{Answer, compile};
use rules::Bind;

/// The one difference that compiling a query knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Postgres,
    Sqlite,
}

impl Dialect {
    fn of(db: &Db) -> Self {
        match db {
            Db::Postgres(_) => Self::Postgres,
            Db::Sqlite(_) => Self::Sqlite,
        }
    }
}

/// Binds a statement's values.
macro_rules! bound {
    ($statement:expr, $make:path) => {{
        let mut query = $make(AssertSqlSafe($statement.text));
        for value in $statement.binds {
            query = match value {
                Bind::Text(text) => query.bind(text),
                Bind::Number(number) => query.bind(number),
            };
        }
        query
    }};
}

/// What a query asks of attributes without columns, by how it is answered.
#[derive(Default)]
struct Parts<'q> {
    /// Looked up in the index of an attribute.
    indexed: Vec<(&'q Entry, &'q Rule)>,
    /// Compared row by row.
    scanned: Vec<PathCondition>,
}

impl<'q> Parts<'q> {
    async fn of(db: &Db, query: &'q Query, index: &'q Index) -> Result<Self, CatalogError> {
        let mut parts = Self::default();
        for condition in &query.paths {
            index.refresh(db, &condition.path).await?;
            // Sounds are not in the index of an attribute.
            let by_sound = query.fuzzy && condition.path.kind() == Some(Kind::PersonName);
            match index.ready(&condition.path).filter(|_| !by_sound) {
                Some(entry) => parts.indexed.push((entry, &condition.rule)),
                None => parts.scanned.push(condition.clone()),
            }
        }
        Ok(parts)
    }
}

pub(crate) async fn find(
    db: &Db,
    scope: &Scope,
    query: &Query,
    index: &Index,
    scans: &Semaphore,
) -> Result<Vec<Found>, CatalogError> {
    let parts = Parts::of(db, query, index).await?;
    if !parts.scanned.is_empty() {
        return scan(db, scope, query, parts, scans).await.map(|answer| answer.rows);
    }
    let with_header = query.with_headers && query.level == Level::Instance;
    let answer = Answer::Rows { with_header };
    let statement = compile(Dialect::of(db), scope, query, &parts.indexed, answer);
    let mut found: Vec<Found> = match db {
        Db::Postgres(pools) => {
            let rows = bound!(statement, sqlx::query).fetch_all(&pools.read).await?;
            rows.iter()
                .map(|row| found(row, query.level, with_header))
                .collect::<Result<_, sqlx::Error>>()?
        }
        Db::Sqlite(pools) => {
            let rows = bound!(statement, sqlx::query).fetch_all(&pools.read).await?;
            rows.iter()
                .map(|row| found(row, query.level, with_header))
                .collect::<Result<_, sqlx::Error>>()?
        }
    };
    if !with_header {
        return Ok(found);
    }
    let unpacked = move || {
        found.iter_mut().try_for_each(unpack_header)?;
        Ok(found)
    };
    tokio::task::spawn_blocking(unpacked).await.map_err(|_| CatalogError::Closed)?
}

pub(crate) async fn count(
    db: &Db,
    scope: &Scope,
    query: &Query,
    index: &Index,
    scans: &Semaphore,
) -> Result<i64, CatalogError> {
    // The counters are of the whole tenant.
    if query.conditions.is_empty() && query.paths.is_empty() && scope.viewer().is_none() {
        let totals = crate::feed::totals(db, scope).await?;
        return Ok(match query.level {
            Level::Study => totals.studies,
            Level::Series => totals.series,
            Level::Instance => totals.instances,
        });
    }
    let parts = Parts::of(db, query, index).await?;
    if !parts.scanned.is_empty() {
        let all = Query { limit: 0, offset: u32::MAX, ..query.clone() };
        return scan(db, scope, &all, parts, scans).await.map(|answer| answer.matched);
    }
    let dialect = Dialect::of(db);
    let statement = compile(dialect, scope, query, &parts.indexed, Answer::Count);
    let (count,): (i64,) = match db {
        Db::Postgres(pools) => bound!(statement, sqlx::query_as).fetch_one(&pools.read).await?,
        Db::Sqlite(pools) => bound!(statement, sqlx::query_as).fetch_one(&pools.read).await?,
    };
    Ok(count)
}

/// Most rows that one query compares; instance rows cost a header each.
const MOST_ROWS: u32 = 20_000;
const MOST_HEADERS: u32 = 10_000;

/// What a scan found.
#[derive(Default)]
struct Scanned {
    rows: Vec<Found>,
    /// Rows that match, those before the offset too.
    matched: i64,
}

/// Goes through the rows that the other conditions leave, in the order of the answer, and compares
/// their stored attributes. The level of the rows is the lowest that a condition speaks of.
async fn scan(
    db: &Db,
    scope: &Scope,
    query: &Query,
    parts: Parts<'_>,
    scans: &Semaphore,
) -> Result<Scanned, CatalogError> {
    let lowest = parts.scanned.iter().map(|condition| condition.path.level()).max();
    let level = query.level.max(lowest.unwrap_or(query.level));
    let by_header = lowest == Some(Level::Instance);
    let with_header = by_header || (query.with_headers && query.level == Level::Instance);
    let most = if by_header { MOST_HEADERS } else { MOST_ROWS };
    let wide = Query { level, limit: most + 1, offset: 0, ..query.clone() };
    let answer = Answer::Rows { with_header };
    let statement = compile(Dialect::of(db), scope, &wide, &parts.indexed, answer);
    let turn = scans.acquire().await.map_err(|_| CatalogError::Closed)?;
    let mut comparison = Comparison {
        query,
        scanned: parts.scanned,
        by_header,
        last: None,
        found: Scanned::default(),
    };
    let mut left = most;
    macro_rules! compare {
        ($rows:expr) => {{
            let mut rows = $rows;
            while let Some(row) = rows.try_next().await? {
                if left == 0 {
                    return Err(CatalogError::TooBroad);
                }
                left -= 1;
                if comparison.take(found(&row, level, with_header)?)? {
                    break;
                }
            }
        }};
    }
    match db {
        Db::Postgres(pools) => compare!(bound!(statement, sqlx::query).fetch(&pools.read)),
        Db::Sqlite(pools) => compare!(bound!(statement, sqlx::query).fetch(&pools.read)),
    }
    drop(turn);
    Ok(comparison.found)
}

/// A scan under way.
struct Comparison<'q> {
    query: &'q Query,
    scanned: Vec<PathCondition>,
    by_header: bool,
    /// The study and series of the last match: their other rows are the same answer.
    last: Option<(String, Option<String>)>,
    found: Scanned,
}

impl Comparison<'_> {
    /// Compares one row. Returns whether the answer is complete.
    fn take(&mut self, mut row: Found) -> Result<bool, CatalogError> {
        let query = self.query;
        let series = row.series.as_ref().map(|series| series.uid.clone());
        let entity = (row.study.uid.clone(), series.filter(|_| query.level > Level::Study));
        if query.level < Level::Instance && self.last.as_ref() == Some(&entity) {
            return Ok(false);
        }
        unpack_header(&mut row)?;
        if !self.is_match(&row) {
            return Ok(false);
        }
        self.last = Some(entity);
        self.found.matched += 1;
        if self.found.matched <= i64::from(query.offset) {
            return Ok(false);
        }
        if query.level < Level::Instance {
            row.instance = None;
        }
        if query.level < Level::Series {
            row.series = None;
        }
        if let Some(instance) = row.instance.as_mut().filter(|_| !query.with_headers) {
            instance.header = None;
        }
        self.found.rows.push(row);
        Ok(self.found.rows.len() >= query.limit as usize)
    }

    fn is_match(&self, row: &Found) -> bool {
        let header = row.instance.as_ref().and_then(|instance| instance.header.as_deref());
        if let Some(header) = header.filter(|_| self.by_header) {
            return stored::matches(header, &self.scanned, self.query.fuzzy);
        }
        self.scanned.iter().all(|condition| {
            let json = match (condition.path.level(), &row.series) {
                (Level::Series, Some(series)) => &series.json,
                _ => &row.study.json,
            };
            stored::matches(json.as_bytes(), std::slice::from_ref(condition), self.query.fuzzy)
        })
    }
}

/// Headers come out of the row packed.
fn unpack_header(row: &mut Found) -> Result<(), CatalogError> {
    if let Some(header) = row.instance.as_mut().and_then(|instance| instance.header.as_mut()) {
        *header = unpack(header)?;
    }
    Ok(())
}

/// Reads a row; the columns are those of [`compile`], by position.
fn found<'r, R>(row: &'r R, level: Level, with_header: bool) -> Result<Found, sqlx::Error>
where
    R: Row,
    usize: ColumnIndex<R>,
    String: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    bool: Decode<'r, R::Database> + Type<R::Database>,
    Vec<u8>: Decode<'r, R::Database> + Type<R::Database>,
{
    let modalities: String = row.try_get(2)?;
    let sop_classes: String = row.try_get(3)?;
    let study = StudyRow {
        uid: row.try_get(0)?,
        json: row.try_get(1)?,
        modalities: split_list(&modalities).collect(),
        sop_classes: split_list(&sop_classes).collect(),
        series_count: row.try_get(4)?,
        instance_count: row.try_get(5)?,
        size: row.try_get(6)?,
        updated_ms: row.try_get(7)?,
        patient_conflict: row.try_get(8)?,
    };
    let series = if level >= Level::Series {
        Some(SeriesRow {
            uid: row.try_get(9)?,
            json: row.try_get(10)?,
            instance_count: row.try_get(11)?,
        })
    } else {
        None
    };
    let instance = if level == Level::Instance {
        Some(InstanceRow {
            uid: row.try_get(12)?,
            json: row.try_get(13)?,
            transfer_syntax: row.try_get(14)?,
            size: row.try_get(15)?,
            header: if with_header { Some(row.try_get(16)?) } else { None },
        })
    } else {
        None
    };
    Ok(Found { study, series, instance })
}

/// The database's plan for a query, on Postgres with times.
#[cfg(test)]
pub(crate) async fn explained(db: &Db, scope: &Scope, query: &Query, index: &Index) -> String {
    let parts = Parts::of(db, query, index).await.unwrap();
    let answer = Answer::Rows { with_header: false };
    let mut statement = compile(Dialect::of(db), scope, query, &parts.indexed, answer);
    let lines: Vec<String> = match db {
        Db::Postgres(pools) => {
            statement.text.insert_str(0, "EXPLAIN (ANALYZE, BUFFERS) ");
            let rows: Vec<(String,)> =
                bound!(statement, sqlx::query_as).fetch_all(&pools.read).await.unwrap();
            rows.into_iter().map(|row| row.0).collect()
        }
        Db::Sqlite(pools) => {
            statement.text.insert_str(0, "EXPLAIN QUERY PLAN ");
            let rows: Vec<(i64, i64, i64, String)> =
                bound!(statement, sqlx::query_as).fetch_all(&pools.read).await.unwrap();
            rows.into_iter().map(|row| row.3).collect()
        }
    };
    lines.join("\n")
}
