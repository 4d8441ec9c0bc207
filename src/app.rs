//! Every long-lived handle of a process, built from [`Config`] in one place.

use std::os::unix::fs::DirBuilderExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use qianli_archive::{Archive, ArchiveConfig, Blobs, BlobsConfig, SopClassPolicy};
use qianli_catalog::types::DuplicatePolicy;
use qianli_catalog::{Catalog, CatalogConfig};
use qianli_model::charset::Knowledge;
use qianli_model::dataset::Limits;
use qianli_model::query::Path as AttributePath;
use qianli_model::{Scope, TenantId};

use crate::config::{Config, Duplicates, SopClasses};
use crate::outbound::{Caller, Outbound};

/// How long a commit may take before its senders are told to try again.
const COMMIT_PATIENCE: Duration = Duration::from_secs(15);

/// The handles.
#[derive(Clone)]
pub struct App {
    /// The settings they were built from.
    pub config: Config,
    /// Catalog and blobs, joined.
    pub archive: Archive,
    /// What sends objects to other nodes.
    pub outbound: Outbound,
}

/// What a process does when `indexed_attributes` is another list than that of the archive. With two
/// lists, what one process stores is missing from the other's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherAttributes {
    /// It says so and ends: nodes.
    Refuse,
    /// It works with the archive's list: commands of an operator, who need not repeat it.
    Adopt,
}

impl App {
    /// Opens index and store as a command of an operator does, see [`Self::open_as`].
    ///
    /// # Errors
    ///
    /// As [`Self::open_as`].
    pub async fn open(config: Config) -> anyhow::Result<Self> {
        Self::open_as(config, OtherAttributes::Adopt).await
    }

    /// Opens index and store and brings the index to this version's schema.
    ///
    /// # Errors
    ///
    /// One of them cannot be reached or used; the text says which and what to do.
    pub async fn open_as(mut config: Config, other: OtherAttributes) -> anyhow::Result<Self> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&config.data)
            .with_context(|| format!("make the data folder {}", config.data.display()))?;
        let mut catalog = open_catalog(&config).await?;
        catalog.migrate().await.context("bring the index to this version's schema")?;
        let theirs =
            catalog.other_attributes().await.context("read which attributes are indexed")?;
        if let Some(theirs) = theirs {
            if other == OtherAttributes::Refuse {
                bail!(
                    "indexed_attributes is [{}] here, but this archive indexes [{}]; every node of \
                     an archive needs the same list: correct it, or, to change it, stop every node \
                     and run `qianli migrate` with the new list",
                    names(&config.indexed_attributes),
                    names(&theirs)
                );
            }
            catalog.close().await;
            config.indexed_attributes = theirs;
            catalog = open_catalog(&config).await?;
        }
        if catalog.prepare_search().await.context("prepare the index of attributes")? {
            crate::jobs::ask_for_backfill(&catalog).await.context("ask for the back-fill")?;
        }
        let blobs = Blobs::open(&BlobsConfig { url: config.store.clone() })?;
        let archive = Archive::new(catalog, blobs, archive_config(&config))?;
        let outbound = Outbound::new(Caller::of(&config));
        Ok(Self { config, archive, outbound })
    }

    /// The default tenant, acting for whoever uses this process.
    pub fn scope(&self) -> Scope {
        Scope::local(TenantId::DEFAULT)
    }

    /// A tenant by its name, acting for whoever uses this process.
    ///
    /// # Errors
    ///
    /// There is no such tenant.
    pub async fn scope_of(&self, tenant: &str) -> anyhow::Result<Scope> {
        match self.archive.catalog().tenant(tenant).await? {
            Some(tenant) => Ok(Scope::local(tenant.id)),
            None => {
                bail!("there is no tenant {tenant:?}; `qianli tenant list` names those there are")
            }
        }
    }
}

/// Attributes as they stand in a list of settings.
pub(crate) fn names(attributes: &[AttributePath]) -> String {
    attributes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Connects to the index only.
///
/// # Errors
///
/// It cannot be reached; the text says what to do.
pub async fn open_catalog(config: &Config) -> anyhow::Result<Catalog> {
    let settings = CatalogConfig {
        max_connections: config.database_connections,
        timeout: COMMIT_PATIENCE,
        settle_after: config.settle_after,
        indexed_attributes: config.indexed_attributes.clone(),
        ..CatalogConfig::new(config.database.clone())
    };
    let place = config.database_for_people();
    Catalog::connect(settings).await.with_context(|| format!("open the index {place}"))
}

fn archive_config(config: &Config) -> ArchiveConfig {
    ArchiveConfig {
        spool_memory_budget: config.spool_memory,
        pixel_memory: config.pixel_memory,
        max_object: config.max_object,
        duplicates: match config.duplicates {
            Duplicates::KeepBoth => DuplicatePolicy::KeepBoth,
            Duplicates::Refuse => DuplicatePolicy::Refuse,
        },
        sop_classes: match config.sop_classes {
            SopClasses::All => SopClassPolicy::All,
            SopClasses::Standard => SopClassPolicy::Standard,
        },
        delete_grace: config.delete_grace,
        limits: Limits {
            text: Knowledge { unlabelled: config.unlabelled_charset, ..Knowledge::default() },
            ..Limits::default()
        },
        mislabelled: config
            .source_charsets
            .iter()
            .map(|source| (source.sender.clone(), source.encoding))
            .collect(),
        ..ArchiveConfig::new(config.spool.clone())
    }
}

/// Milliseconds since 1970-01-01T00:00Z.
pub(crate) fn now_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}
