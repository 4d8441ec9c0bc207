//! Runs queries. The compiling to SQL is in [`compile`], the reading of wildcards in [`pattern`].

mod compile;
pub(crate) mod pattern;
mod rules;

use qianli_model::Scope;
use qianli_model::query::{Level, Query};
use sqlx::{AssertSqlSafe, ColumnIndex, Decode, Row, Type};

use crate::db::Db;
use crate::error::CatalogError;
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

/// Binds a statement's values and runs it.
macro_rules! run {
    ($pool:expr, $statement:expr, $make:path, $fetch:ident) => {{
        let mut query = $make(AssertSqlSafe($statement.text));
        for value in $statement.binds {
            query = match value {
                Bind::Text(text) => query.bind(text),
                Bind::Number(number) => query.bind(number),
            };
        }
        query.$fetch($pool).await?
    }};
}

pub(crate) async fn find(
    db: &Db,
    scope: &Scope,
    query: &Query,
) -> Result<Vec<Found>, CatalogError> {
    let statement = compile(Dialect::of(db), scope.tenant(), query, Answer::Rows);
    match db {
        Db::Postgres(pools) => {
            let rows = run!(&pools.read, statement, sqlx::query, fetch_all);
            rows.iter().map(|row| found(row, query.level)).collect::<Result<_, sqlx::Error>>()
        }
        Db::Sqlite(pools) => {
            let rows = run!(&pools.read, statement, sqlx::query, fetch_all);
            rows.iter().map(|row| found(row, query.level)).collect()
        }
    }
    .map_err(CatalogError::from)
}

pub(crate) async fn count(db: &Db, scope: &Scope, query: &Query) -> Result<i64, CatalogError> {
    if query.conditions.is_empty() {
        let totals = crate::feed::totals(db, scope).await?;
        return Ok(match query.level {
            Level::Study => totals.studies,
            Level::Series => totals.series,
            Level::Instance => totals.instances,
        });
    }
    let statement = compile(Dialect::of(db), scope.tenant(), query, Answer::Count);
    let (count,): (i64,) = match db {
        Db::Postgres(pools) => run!(&pools.read, statement, sqlx::query_as, fetch_one),
        Db::Sqlite(pools) => run!(&pools.read, statement, sqlx::query_as, fetch_one),
    };
    Ok(count)
}

/// Reads a row; the columns are those of [`compile`], by position.
fn found<'r, R>(row: &'r R, level: Level) -> Result<Found, sqlx::Error>
where
    R: Row,
    usize: ColumnIndex<R>,
    String: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    bool: Decode<'r, R::Database> + Type<R::Database>,
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
        })
    } else {
        None
    };
    Ok(Found { study, series, instance })
}

/// The database's plan for a query, on Postgres with times.
#[cfg(test)]
pub(crate) async fn explained(db: &Db, scope: &Scope, query: &Query) -> String {
    let mut statement = compile(Dialect::of(db), scope.tenant(), query, Answer::Rows);
    let lines: Vec<String> = match db {
        Db::Postgres(pools) => {
            statement.text.insert_str(0, "EXPLAIN (ANALYZE, BUFFERS) ");
            let run = async {
                let rows: Vec<(String,)> = run!(&pools.read, statement, sqlx::query_as, fetch_all);
                Ok::<_, sqlx::Error>(rows.into_iter().map(|row| row.0).collect())
            };
            run.await.unwrap()
        }
        Db::Sqlite(pools) => {
            statement.text.insert_str(0, "EXPLAIN QUERY PLAN ");
            let run = async {
                let rows: Vec<(i64, i64, i64, String)> =
                    run!(&pools.read, statement, sqlx::query_as, fetch_all);
                Ok::<_, sqlx::Error>(rows.into_iter().map(|row| row.3).collect())
            };
            run.await.unwrap()
        }
    };
    lines.join("\n")
}
