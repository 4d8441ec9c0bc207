//! Opening the two databases, each as a pool to read and a pool to write.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, Executor, Pool, Postgres, Sqlite};

use crate::config::CatalogConfig;
use crate::error::{CatalogError, Cause};

/// How long a call waits for a connection. While a database is away every call ends with an error
/// after this time.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a sign of life may take: whoever asks wants to know now.
const PING: Duration = Duration::from_secs(2);

/// The open database.
#[derive(Clone)]
pub(crate) enum Db {
    Postgres(Pools<Postgres>),
    Sqlite(Pools<Sqlite>),
}

/// Connections of one database. Writing has its own: readers cannot starve the writer, and SQLite
/// has one writer anyway.
pub(crate) struct Pools<D: sqlx::Database> {
    pub read: Pool<D>,
    pub write: Pool<D>,
    /// Holds the private folder of `sqlite::memory:` until the last clone is gone.
    _folder: Option<Arc<tempfile::TempDir>>,
    /// The file of SQLite.
    file: Option<Arc<DatabaseFile>>,
}

/// A database file and which one it was when it was opened.
struct DatabaseFile {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl DatabaseFile {
    fn new(path: PathBuf) -> Self {
        let identity = Self::identity(&path);
        Self { path, identity }
    }

    #[cfg(unix)]
    fn identity(path: &Path) -> Option<(u64, u64)> {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
    }

    #[cfg(not(unix))]
    fn identity(path: &Path) -> Option<(u64, u64)> {
        path.is_file().then_some((0, 0))
    }
}

impl<D: sqlx::Database> Clone for Pools<D> {
    fn clone(&self) -> Self {
        Self {
            read: self.read.clone(),
            write: self.write.clone(),
            _folder: self._folder.clone(),
            file: self.file.clone(),
        }
    }
}

/// Runs the same expression on whichever database is open.
macro_rules! on_db {
    ($db:expr, $pools:ident => $body:expr) => {
        match $db {
            $crate::db::Db::Postgres($pools) => $body,
            $crate::db::Db::Sqlite($pools) => $body,
        }
    };
}
pub(crate) use on_db;

impl Db {
    pub(crate) async fn open(config: &CatalogConfig) -> Result<Self, CatalogError> {
        if config.max_connections == 0 {
            return Err(CatalogError::Config("max_connections must be at least 1".into()));
        }
        if !(1..=1024).contains(&config.record_batch) {
            return Err(CatalogError::Config("record_batch must be from 1 to 1024".into()));
        }
        if config.record_queue == 0 {
            return Err(CatalogError::Config("record_queue must be at least 1".into()));
        }
        if let Some(path) = config.url.strip_prefix("sqlite:") {
            return open_sqlite(config, path).await.map(Self::Sqlite);
        }
        if ["postgres://", "postgresql://"].iter().any(|scheme| config.url.starts_with(scheme)) {
            return open_postgres(config).await.map(Self::Postgres);
        }
        Err(CatalogError::Config("the database URL must begin with sqlite: or postgres://".into()))
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "postgres",
            Self::Sqlite(_) => "sqlite",
        }
    }

    /// Whether the file is still the one that was opened. SQLite goes on writing to a file that was
    /// removed or replaced under it; what is committed there is lost with the process.
    pub(crate) fn check_file(&self) -> Result<(), CatalogError> {
        let file = on_db!(self, pools => pools.file.as_deref());
        match file {
            Some(file) if DatabaseFile::identity(&file.path) != file.identity => {
                Err(CatalogError::Unavailable(Cause::new(
                    "its file was removed or replaced while it was open; stop the node, put the \
                     file back and start again",
                )))
            }
            _ => Ok(()),
        }
    }

    pub(crate) async fn ping(&self) -> Result<(), CatalogError> {
        self.check_file()?;
        let sign = async {
            on_db!(self, pools => {
                sqlx::query("SELECT 1").execute(&pools.read).await?;
            });
            Ok(())
        };
        tokio::time::timeout(PING, sign).await.unwrap_or_else(|_| {
            Err(CatalogError::Unavailable(Cause::new("it did not answer within two seconds")))
        })
    }

    pub(crate) async fn close(&self) {
        if let Self::Sqlite(pools) = self {
            // Keeps the planner's statistics fresh; only advice, so a failure does not matter.
            let _ = sqlx::query("PRAGMA optimize").execute(&pools.write).await;
        }
        on_db!(self, pools => {
            pools.read.close().await;
            pools.write.close().await;
        });
    }
}

async fn open_postgres(config: &CatalogConfig) -> Result<Pools<Postgres>, CatalogError> {
    let options = postgres_options(&config.url)?;
    let milliseconds = config.timeout.as_millis();
    // JIT costs more than our statements. The time limits end a statement whose caller has given up,
    // and a transaction whose node hangs: its locks stop other nodes, its age stops the change feed.
    let session = format!(
        "SET jit = off; SET statement_timeout = {milliseconds};
        SET idle_in_transaction_session_timeout = {milliseconds}; "
    );
    let pool = |connections: u32, plans: &str| {
        let session = format!("{session}{plans}");
        PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(config.timeout.min(PATIENCE))
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    // A connection that just worked is trusted; one that idled may be dead.
                    if meta.idle_for > Duration::from_secs(1) {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .after_connect(move |connection, _| {
                let session = session.clone();
                Box::pin(async move {
                    connection.execute(sqlx::AssertSqlSafe(session)).await?;
                    Ok(())
                })
            })
            .connect_lazy_with(options.clone())
    };
    let pools = Pools {
        read: pool(config.max_connections.saturating_sub(2).max(1), READING),
        write: pool(2, WRITING),
        _folder: None,
        file: None,
    };
    sqlx::query("SELECT 1").execute(&pools.write).await.map_err(|error| CatalogError::Connect {
        target: redacted(&config.url),
        reason: CatalogError::from(error).to_string(),
        advice: "check that Postgres runs there, that the database and the user exist, and the \
                 password",
    })?;
    Ok(pools)
}

/// Plans are made for the values at hand: a general plan cannot know that a pattern is selective.
const READING: &str = "SET plan_cache_mode = force_custom_plan";

/// Statements that write find a few rows by their keys, whatever the tables hold: planned once, and
/// never from the statistics of a table that was empty then.
const WRITING: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off;
    SET enable_hashjoin = off; SET enable_mergejoin = off";

/// Options of a Postgres URL. The driver's own error is dropped: it may quote the password.
pub(crate) fn postgres_options(url: &str) -> Result<PgConnectOptions, CatalogError> {
    let options = PgConnectOptions::from_str(url).map_err(|_| {
        CatalogError::Config(format!(
            "the database URL {} is malformed; expected postgres://user:password@host:5432/database",
            redacted(url)
        ))
    })?;
    Ok(options.application_name("qianli"))
}

async fn open_sqlite(config: &CatalogConfig, path: &str) -> Result<Pools<Sqlite>, CatalogError> {
    let path = path.strip_prefix("//").unwrap_or(path);
    let failed = |reason: String, advice| CatalogError::Connect {
        target: format!("sqlite:{path}"),
        reason,
        advice,
    };
    if path.is_empty() || path.contains('?') {
        return Err(CatalogError::Config(
            "the SQLite URL must be sqlite: and the path of a file, without options".into(),
        ));
    }
    let in_memory = path == ":memory:";
    let folder = if in_memory {
        let folder = tempfile::tempdir().map_err(|error| {
            failed(error.to_string(), "check that the temporary folder is writable")
        })?;
        Some(Arc::new(folder))
    } else {
        None
    };
    let file = match &folder {
        Some(folder) => folder.path().join("catalog.sqlite"),
        None => PathBuf::from(path),
    };
    create_private(&file).map_err(|error| {
        failed(error.to_string(), "check that the folder exists and is writable")
    })?;
    let synchronous = if in_memory { SqliteSynchronous::Off } else { SqliteSynchronous::Full };
    let options = SqliteConnectOptions::new()
        .filename(&file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .foreign_keys(true)
        .busy_timeout(config.timeout.min(PATIENCE))
        .pragma("mmap_size", "268435456")
        .statement_cache_capacity(200);
    let acquire = config.timeout.min(PATIENCE);
    let write = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(config.timeout)
        .idle_timeout(None)
        .max_lifetime(None)
        .after_release(|connection, _| {
            Box::pin(async move {
                // SQLite ends a transaction by itself when the disk is full, and the driver goes on
                // counting it. Such a connection refuses every further transaction.
                connection.ping().await?;
                Ok(!connection.is_in_transaction())
            })
        })
        .connect_with(options.clone())
        .await
        .map_err(|error| {
            failed(
                CatalogError::from(error).to_string(),
                "check that the file is a database of this program and that its folder is on a \
                 local, writable disk",
            )
        })?;
    let read = SqlitePoolOptions::new()
        .max_connections(config.max_connections)
        .acquire_timeout(acquire)
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(options.pragma("query_only", "on"));
    let file = Some(Arc::new(DatabaseFile::new(file)));
    Ok(Pools { read, write, _folder: folder, file })
}

/// Creates the file and its folder for the owner alone, if they are not there: patient data lies in
/// it. SQLite gives the journal the same permissions.
fn create_private(file: &Path) -> std::io::Result<()> {
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file).map(drop)
}

/// The URL without user name, password and query.
pub(crate) fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    format!("{scheme}://{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_never_printed() {
        for url in [
            "postgres://user:se@cret@host:5432/db?password=secret",
            "postgres://user:secret@host:bad/db",
            "postgres://user:sec/ret@host",
        ] {
            let shown = format!("{:?}", CatalogConfig::new(url));
            assert!(!shown.contains("ret"), "{shown}");
            if let Err(error) = postgres_options(url) {
                assert!(!error.to_string().contains("ret"), "{error}");
            }
        }
    }

    #[tokio::test]
    async fn a_file_that_vanished_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let db = Db::open(&CatalogConfig::new(format!("sqlite:{}", path.display()))).await.unwrap();
        db.ping().await.unwrap();
        std::fs::remove_file(&path).unwrap();
        let error = db.ping().await.unwrap_err().to_string();
        assert!(error.contains("removed or replaced"), "{error}");
    }

    #[tokio::test]
    async fn what_cannot_work_says_what_to_do() {
        for (url, part) in [
            ("mysql://host/db", "sqlite: or postgres://"),
            ("sqlite:", "path of a file"),
            ("postgres://nobody:secret@127.0.0.1:1/none", "check that Postgres runs"),
            ("sqlite:/proc/nowhere/catalog.sqlite", "folder exists and is writable"),
        ] {
            let config =
                CatalogConfig { timeout: Duration::from_secs(2), ..CatalogConfig::new(url) };
            let error = Db::open(&config).await.err().map(|error| error.to_string());
            let error = error.unwrap_or_default();
            assert!(error.contains(part), "{url}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
