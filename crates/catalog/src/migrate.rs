//! Embedded migrations: two folders with the same numbers and names, one per database.

use std::borrow::Cow;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{Connection, PgPool, SqlSafeStr, SqlitePool};

use crate::db::Db;
use crate::error::CatalogError;

/// Number, name, Postgres text, SQLite text.
pub(crate) const MIGRATIONS: &[(i64, &str, &str, &str)] = &[
    (
        1,
        "index",
        include_str!("../../../migrations/postgres/0001_index.sql"),
        include_str!("../../../migrations/sqlite/0001_index.sql"),
    ),
    (
        2,
        "search",
        include_str!("../../../migrations/postgres/0002_search.sql"),
        include_str!("../../../migrations/sqlite/0002_search.sql"),
    ),
    (
        10,
        "workitems",
        include_str!("../../../migrations/postgres/0010_workitems.sql"),
        include_str!("../../../migrations/sqlite/0010_workitems.sql"),
    ),
    (
        20,
        "deletions",
        include_str!("../../../migrations/postgres/0020_deletions.sql"),
        include_str!("../../../migrations/sqlite/0020_deletions.sql"),
    ),
    (
        21,
        "conflicts",
        include_str!("../../../migrations/postgres/0021_conflicts.sql"),
        include_str!("../../../migrations/sqlite/0021_conflicts.sql"),
    ),
    (
        22,
        "ingest",
        include_str!("../../../migrations/postgres/0022_ingest.sql"),
        include_str!("../../../migrations/sqlite/0022_ingest.sql"),
    ),
    (
        30,
        "access",
        include_str!("../../../migrations/postgres/0030_access.sql"),
        include_str!("../../../migrations/sqlite/0030_access.sql"),
    ),
    (
        40,
        "audit",
        include_str!("../../../migrations/postgres/0040_audit.sql"),
        include_str!("../../../migrations/sqlite/0040_audit.sql"),
    ),
    (
        50,
        "grants",
        include_str!("../../../migrations/postgres/0050_grants.sql"),
        include_str!("../../../migrations/sqlite/0050_grants.sql"),
    ),
    (
        60,
        "identities",
        include_str!("../../../migrations/postgres/0060_identities.sql"),
        include_str!("../../../migrations/sqlite/0060_identities.sql"),
    ),
    (
        61,
        "second_factors",
        include_str!("../../../migrations/postgres/0061_second_factors.sql"),
        include_str!("../../../migrations/sqlite/0061_second_factors.sql"),
    ),
    (
        62,
        "invitations",
        include_str!("../../../migrations/postgres/0062_invitations.sql"),
        include_str!("../../../migrations/sqlite/0062_invitations.sql"),
    ),
    (
        70,
        "peers",
        include_str!("../../../migrations/postgres/0070_peers.sql"),
        include_str!("../../../migrations/sqlite/0070_peers.sql"),
    ),
    (
        71,
        "destinations",
        include_str!("../../../migrations/postgres/0071_destinations.sql"),
        include_str!("../../../migrations/sqlite/0071_destinations.sql"),
    ),
    (
        72,
        "incidents",
        include_str!("../../../migrations/postgres/0072_incidents.sql"),
        include_str!("../../../migrations/sqlite/0072_incidents.sql"),
    ),
    (
        73,
        "coercions",
        include_str!("../../../migrations/postgres/0073_coercions.sql"),
        include_str!("../../../migrations/sqlite/0073_coercions.sql"),
    ),
    (
        80,
        "orders",
        include_str!("../../../migrations/postgres/0080_orders.sql"),
        include_str!("../../../migrations/sqlite/0080_orders.sql"),
    ),
    (
        90,
        "routing",
        include_str!("../../../migrations/postgres/0090_routing.sql"),
        include_str!("../../../migrations/sqlite/0090_routing.sql"),
    ),
    (
        91,
        "commitments",
        include_str!("../../../migrations/postgres/0091_commitments.sql"),
        include_str!("../../../migrations/sqlite/0091_commitments.sql"),
    ),
    (
        92,
        "forgetting",
        include_str!("../../../migrations/postgres/0092_forgetting.sql"),
        include_str!("../../../migrations/sqlite/0092_forgetting.sql"),
    ),
    (
        100,
        "reading",
        include_str!("../../../migrations/postgres/0100_reading.sql"),
        include_str!("../../../migrations/sqlite/0100_reading.sql"),
    ),
    (
        110,
        "priority",
        include_str!("../../../migrations/postgres/0110_priority.sql"),
        include_str!("../../../migrations/sqlite/0110_priority.sql"),
    ),
];

/// Asks a connection, of either database, how many migrations were applied.
macro_rules! applied {
    ($connection:expr, $there:literal) => {{
        let (there,): (bool,) =
            sqlx::query_as(concat!("SELECT ", $there)).fetch_one($connection).await?;
        if there {
            let (count,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM _sqlx_migrations")
                .fetch_one($connection)
                .await?;
            u32::try_from(count).unwrap_or(u32::MAX)
        } else {
            0
        }
    }};
}

/// Brings the schema up to date and returns how many migrations were applied.
pub(crate) async fn run(db: &Db) -> Result<u32, CatalogError> {
    match db {
        Db::Postgres(pools) => run_postgres(&pools.write).await,
        Db::Sqlite(pools) => run_sqlite(&pools.write).await,
    }
}

/// On a connection of its own, without the time limit of ordinary statements. The advisory lock
/// that sqlx takes makes other nodes wait and then find nothing to do.
async fn run_postgres(pool: &PgPool) -> Result<u32, CatalogError> {
    let mut connection = sqlx::PgConnection::connect_with(&pool.connect_options()).await?;
    let before = applied!(&mut connection, "to_regclass('_sqlx_migrations') IS NOT NULL");
    migrator(|migration| migration.2)
        .run_direct(None, &mut connection, false)
        .await
        .map_err(why)?;
    let after = applied!(&mut connection, "TRUE");
    // A dump restored into a new cluster brings events whose numbers lie above its transactions.
    sqlx::query(
        "UPDATE feed SET base = events.top - pg_current_xact_id()::text::bigint + 1
        FROM (SELECT MAX(sequence) / 4096 AS top FROM events) AS events
        WHERE feed.id = 1 AND feed.base + pg_current_xact_id()::text::bigint <= events.top",
    )
    .execute(&mut connection)
    .await?;
    connection.close().await?;
    Ok(after.saturating_sub(before))
}

async fn run_sqlite(pool: &SqlitePool) -> Result<u32, CatalogError> {
    let mut connection = pool.acquire().await?;
    let before = applied!(
        &mut *connection,
        "EXISTS (SELECT 1 FROM sqlite_master WHERE name = '_sqlx_migrations')"
    );
    migrator(|migration| migration.3)
        .run_direct(None, &mut *connection, false)
        .await
        .map_err(why)?;
    let after = applied!(&mut *connection, "TRUE");
    Ok(after.saturating_sub(before))
}

fn migrator(
    text: fn(&(i64, &'static str, &'static str, &'static str)) -> &'static str,
) -> Migrator {
    let migrations = MIGRATIONS.iter().map(|migration| {
        let name = Cow::Borrowed(migration.1);
        Migration::new(
            migration.0,
            name,
            MigrationType::Simple,
            text(migration).into_sql_str(),
            false,
        )
    });
    Migrator::with_migrations(migrations.collect())
}

fn why(error: MigrateError) -> CatalogError {
    let text = match &error {
        MigrateError::VersionMissing(version) => format!(
            "migration {version} was applied by a newer release; start that release or restore a \
             backup"
        ),
        MigrateError::VersionMismatch(version) => format!(
            "migration {version} was applied with another text; this database belongs to another \
             build"
        ),
        MigrateError::Dirty(version) => {
            format!("migration {version} was left half applied; restore a backup")
        }
        other => other.to_string(),
    };
    CatalogError::Migrate(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The list above must name every file, and both folders must hold the same files.
    #[test]
    fn folders_and_list_agree() {
        let folder = |database: &str| {
            let path = format!("{}/../../migrations/{database}", env!("CARGO_MANIFEST_DIR"));
            let mut names: Vec<String> = std::fs::read_dir(path)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        let listed: Vec<String> =
            MIGRATIONS.iter().map(|(number, name, ..)| format!("{number:04}_{name}.sql")).collect();
        assert_eq!(folder("postgres"), listed);
        assert_eq!(folder("sqlite"), listed);
    }
}
