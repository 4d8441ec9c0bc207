//! What keeps rows and objects together when something outside lost an object: which objects the
//! rows need, and pointing a row at another copy.

use sqlx::AssertSqlSafe;

use crate::db::{Db, on_db};
use crate::error::CatalogError;
use crate::keys::digest;
use crate::retrieve::{LOCATION, LocationRow, location};
use crate::types::Location;

/// A copy of an object that takes the place of one that was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Key of the copy.
    pub blob_key: String,
    /// Bytes of the copy.
    pub blob_size: u64,
    /// Offset of the data set in the copy.
    pub data_set_offset: u64,
}

/// The rows after `after`, of every tenant, older contents included, in the order of their numbers.
pub(crate) async fn page(
    db: &Db,
    after: i64,
    limit: u32,
    newest_first: bool,
) -> Result<Vec<(i64, Location)>, CatalogError> {
    let (compare, order) = if newest_first { ("<", "DESC") } else { (">", "ASC") };
    let text = format!(
        "SELECT {LOCATION}, i.id FROM instances i JOIN series r ON r.id = i.series_id
        JOIN studies s ON s.id = r.study_id WHERE i.id {compare} $1 ORDER BY i.id {order} LIMIT $2"
    );
    type Row = (String, String, String, String, String, String, String, i64, i64, i64);
    let rows: Vec<Row> = on_db!(db, pools => {
        sqlx::query_as(AssertSqlSafe(text))
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(&pools.read)
            .await?
    });
    rows.into_iter()
        .map(|(a, b, c, d, e, f, g, h, i, id)| {
            let row: LocationRow = (a, b, c, d, e, f, g, h, i);
            Ok((id, location(row)?))
        })
        .collect()
}

const RELOCATE: &str = "UPDATE instances
    SET blob_key = $1, blob_digest = $2, blob_size = $3, data_set_offset = $4
    WHERE blob_digest = $5 AND blob_key = $6 RETURNING series_id, is_current";

const STUDY_SIZE: &str = "UPDATE studies SET size = size + $2
    WHERE id = (SELECT study_id FROM series WHERE id = $1) RETURNING tenant_id";

const TOTAL_SIZE: &str = "UPDATE tenant_totals SET bytes = bytes + $2 WHERE tenant_id = $1
    AND shard = (SELECT MIN(shard) FROM tenant_totals WHERE tenant_id = $1)";

/// Points the row of `lost` at a copy with the same data set. `false` when no row has it any more.
pub(crate) async fn relocate(
    db: &Db,
    lost: &Location,
    copy: &Copied,
) -> Result<bool, CatalogError> {
    let size = i64::try_from(copy.blob_size).map_err(|_| CatalogError::Corrupt("a blob's size"))?;
    let offset =
        i64::try_from(copy.data_set_offset).map_err(|_| CatalogError::Corrupt("an offset"))?;
    let before = i64::try_from(lost.blob_size).unwrap_or_default();
    let begin = match db {
        Db::Postgres(_) => "BEGIN",
        Db::Sqlite(_) => "BEGIN IMMEDIATE",
    };
    on_db!(db, pools => {
        let mut transaction = pools.write.begin_with(begin).await?;
        let row: Option<(i64, bool)> = sqlx::query_as(RELOCATE)
            .bind(&copy.blob_key)
            .bind(digest(&copy.blob_key))
            .bind(size)
            .bind(offset)
            .bind(digest(&lost.blob_key))
            .bind(&lost.blob_key)
            .fetch_optional(&mut *transaction)
            .await?;
        let Some((series, is_current)) = row else { return Ok(false) };
        // Sizes count the contents that answer.
        if is_current && size != before {
            let (tenant,): (i64,) = sqlx::query_as(STUDY_SIZE)
                .bind(series)
                .bind(size - before)
                .fetch_one(&mut *transaction)
                .await?;
            sqlx::query(TOTAL_SIZE)
                .bind(tenant)
                .bind(size - before)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(true)
    })
}
