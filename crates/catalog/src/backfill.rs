//! Fills in what is computed for rows that were recorded before it was: search words of names, and
//! attributes that were added to the index. In small steps, so that nothing waits for it and a crash
//! costs one step.

use std::collections::BTreeSet;

use qianli_model::query::{Level, Path, stored};
use qianli_model::{sounds, tag};
use sqlx::AssertSqlSafe;

use crate::db::{Db, on_db};
use crate::error::CatalogError;
use crate::index::{ALWAYS, Entry, Index, NAMES, Value};
use crate::keys::bounded;
use crate::pack::unpack;
use crate::types::Backfill;

/// Rows of one step.
const STEP: i64 = 500;

/// Registers the attributes of this configuration, forgets those of an earlier one, and says whether
/// there is something to fill in.
pub(crate) async fn prepare(db: &Db, index: &Index) -> Result<bool, CatalogError> {
    for entry in index.entries() {
        on_db!(db, pools => {
            sqlx::query(REGISTER).bind(&entry.name).execute(&pools.write).await?;
        });
    }
    on_db!(db, pools => {
        sqlx::query(NOTHING_STORED).bind(NAMES).execute(&pools.write).await?;
    });
    let mut is_work_left = false;
    for row in all(db).await? {
        let entry = index.entries().iter().find(|entry| entry.name == row.name);
        match entry {
            Some(entry) => entry.set_ready(row.done),
            None if row.name != NAMES => {
                forget(db, &row.name).await?;
                continue;
            }
            None => index.set_names(row.done),
        }
        is_work_left |= !row.done;
    }
    Ok(is_work_left)
}

/// An empty archive lacks nothing.
const REGISTER: &str = "INSERT INTO backfills (name, done)
    SELECT $1, NOT EXISTS (SELECT 1 FROM studies) WHERE TRUE ON CONFLICT DO NOTHING";

const NOTHING_STORED: &str = "UPDATE backfills SET done = TRUE
    WHERE name = $1 AND NOT done AND NOT EXISTS (SELECT 1 FROM studies)";

/// Removes an attribute from the index: it would miss what is recorded from now on.
async fn forget(db: &Db, name: &str) -> Result<(), CatalogError> {
    on_db!(db, pools => {
        let mut transaction = pools.write.begin().await?;
        for text in [
            "DELETE FROM backfills WHERE name = $1",
            "DELETE FROM study_attributes WHERE attribute = $1",
            "DELETE FROM series_attributes WHERE attribute = $1",
            "DELETE FROM instance_attributes WHERE attribute = $1",
        ] {
            sqlx::query(text).bind(name).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
    });
    Ok(())
}

/// The digits of the attributes that this archive indexes by somebody's choice, and whether anything is
/// stored, so that the choice matters.
pub(crate) async fn chosen(db: &Db) -> Result<(BTreeSet<String>, bool), CatalogError> {
    let names = all(db).await?.into_iter().map(|row| row.name);
    let chosen = names.filter(|name| name != NAMES && !ALWAYS.contains(&name.as_str())).collect();
    let stored: (bool,) = on_db!(db, pools => {
        sqlx::query_as("SELECT EXISTS (SELECT 1 FROM studies)").fetch_one(&pools.read).await?
    });
    Ok((chosen, stored.0))
}

/// The largest number of a row that a back-fill goes through.
pub(crate) async fn last(db: &Db, name: &str) -> Result<i64, CatalogError> {
    let level = Path::parse(name).map_or(Level::Study, |path| path.level());
    let text = match level {
        Level::Study => "SELECT COALESCE(MAX(id), 0) FROM studies",
        Level::Series => "SELECT COALESCE(MAX(id), 0) FROM series",
        Level::Instance => "SELECT COALESCE(MAX(id), 0) FROM instances",
    };
    let row: (i64,) = on_db!(db, pools => sqlx::query_as(text).fetch_one(&pools.read).await?);
    Ok(row.0)
}

/// How far everything is.
pub(crate) async fn all(db: &Db) -> Result<Vec<Backfill>, CatalogError> {
    let rows: Vec<(String, i64, bool)> = on_db!(db, pools => {
        sqlx::query_as("SELECT name, position, done FROM backfills ORDER BY name")
            .fetch_all(&pools.read)
            .await?
    });
    Ok(rows.into_iter().map(|(name, position, done)| Backfill { name, position, done }).collect())
}

/// Does one step of the first thing that is not done. `None` when everything is.
pub(crate) async fn step(db: &Db, index: &Index) -> Result<Option<Backfill>, CatalogError> {
    for row in all(db).await?.into_iter().filter(|row| !row.done) {
        let entry = index.entries().iter().find(|entry| entry.name == row.name);
        let (position, count) = match entry {
            Some(entry) => attribute(db, entry, row.position).await?,
            None if row.name == NAMES => names(db, row.position).await?,
            // Of another node's configuration: that node fills it.
            None => continue,
        };
        let done = count < STEP;
        on_db!(db, pools => {
            sqlx::query("UPDATE backfills SET position = $2, done = $3 WHERE name = $1")
                .bind(&row.name)
                .bind(position)
                .bind(done)
                .execute(&pools.write)
                .await?;
        });
        match entry {
            Some(entry) => entry.set_ready(done),
            None => index.set_names(done),
        }
        return Ok(Some(Backfill { name: row.name, position, done }));
    }
    Ok(None)
}

/// Search words of the studies after an id. Returns the last id and how many there were.
async fn names(db: &Db, after: i64) -> Result<(i64, i64), CatalogError> {
    let text = "SELECT id, study_json FROM studies WHERE id > $1 ORDER BY id LIMIT $2";
    let rows: Vec<(i64, String)> = on_db!(db, pools => {
        sqlx::query_as(text).bind(after).bind(STEP).fetch_all(&pools.read).await?
    });
    let count = rows.len() as i64;
    let last = rows.last().map_or(after, |row| row.0);
    let words: Vec<(i64, [String; 2])> =
        rows.into_iter().map(|(id, json)| (id, name_sounds(&json))).collect();
    // What was filled meanwhile is as new.
    let text = "UPDATE studies SET name_sounds = $2, referring_sounds = $3
        WHERE id = $1 AND name_sounds = '' AND referring_sounds = ''";
    on_db!(db, pools => {
        let mut transaction = pools.write.begin().await?;
        for (id, [name, referring]) in &words {
            if name.is_empty() && referring.is_empty() {
                continue;
            }
            let query = sqlx::query(text).bind(id).bind(name).bind(referring);
            query.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
    });
    Ok((last, count))
}

/// Search words of patient and referring physician from a study's attributes.
pub(crate) fn name_sounds(study_json: &str) -> [String; 2] {
    [tag::PATIENT_NAME, tag::REFERRING_PHYSICIAN_NAME]
        .map(|tag| sounds::stored(&bounded(&stored::person_name(study_json.as_bytes(), tag))))
}

/// Values of an attribute of the rows after an id. Returns the last id and how many rows there were.
async fn attribute(db: &Db, entry: &Entry, after: i64) -> Result<(i64, i64), CatalogError> {
    let rows: Vec<(i64, Vec<u8>)> = match entry.level {
        Level::Study => texts(db, "SELECT id, study_json FROM studies", after).await?,
        Level::Series => texts(db, "SELECT id, series_json FROM series", after).await?,
        Level::Instance => {
            let text = "SELECT id, header FROM instances WHERE id > $1 ORDER BY id LIMIT $2";
            let rows: Vec<(i64, Vec<u8>)> = on_db!(db, pools => {
                sqlx::query_as(text).bind(after).bind(STEP).fetch_all(&pools.read).await?
            });
            let unpacked = move || -> Result<Vec<(i64, Vec<u8>)>, CatalogError> {
                rows.into_iter().map(|(id, header)| Ok((id, unpack(&header)?))).collect()
            };
            tokio::task::spawn_blocking(unpacked).await.map_err(|_| CatalogError::Closed)??
        }
    };
    let count = rows.len() as i64;
    let last = rows.last().map_or(after, |row| row.0);
    let values: Vec<(i64, Value)> =
        rows.iter().flat_map(|(id, json)| entry.values(json).map(|value| (*id, value))).collect();
    let (table, owner) = table_of(entry.level);
    let owners = match entry.level {
        Level::Study => "studies",
        Level::Series => "series",
        Level::Instance => "instances",
    };
    // An owner may have been deleted since it was read.
    let text = format!(
        "INSERT INTO {table} ({owner}, attribute, value)
        SELECT o.id, $2, $3 FROM {owners} o WHERE o.id = $1 ON CONFLICT DO NOTHING"
    );
    let text: &str = &text;
    on_db!(db, pools => {
        let mut transaction = pools.write.begin().await?;
        for (id, value) in &values {
            let query = sqlx::query(AssertSqlSafe(text)).bind(id);
            query.bind(&value.attribute).bind(&value.key).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
    });
    Ok((last, count))
}

async fn texts(db: &Db, select: &str, after: i64) -> Result<Vec<(i64, Vec<u8>)>, CatalogError> {
    let text = format!("{select} WHERE id > $1 ORDER BY id LIMIT $2");
    let rows: Vec<(i64, String)> = on_db!(db, pools => {
        sqlx::query_as(AssertSqlSafe(text)).bind(after).bind(STEP).fetch_all(&pools.read).await?
    });
    Ok(rows.into_iter().map(|(id, json)| (id, json.into_bytes())).collect())
}

/// The table of a level's attributes, and its column that names the owner.
pub(crate) fn table_of(level: Level) -> (&'static str, &'static str) {
    match level {
        Level::Study => ("study_attributes", "study_id"),
        Level::Series => ("series_attributes", "series_id"),
        Level::Instance => ("instance_attributes", "instance_id"),
    }
}
