//! Whether instances are safe here: what storage commitment promises (PS3.4 annex J).

use std::collections::HashMap;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use qianli_catalog::types::{Location, Target};
use qianli_model::query::{Indexed, Level, Rule};
use qianli_model::{Permission, Query, Scope, SeriesUid, SopInstanceUid, StudyUid};

use crate::{Archive, ArchiveError, in_time, permit};

/// Instances that are looked up at once.
const BATCH: usize = 500;

/// Objects that the store is asked about at once.
const ASKED_AT_ONCE: usize = 16;

/// What is known of an instance that somebody wants committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Safety {
    /// Its row is there, and its object is whole in the store.
    Safe,
    /// There is none of that SOP Instance UID.
    Missing,
    /// It is of another SOP class.
    OtherClass,
    /// There is a row, but the object is not all there; an operator must look.
    Damaged,
}

impl Archive {
    /// Says of each instance, in this order, whether it is safe: its row and its object are durable.
    /// The store is asked for every object, the index alone proves nothing.
    ///
    /// # Errors
    ///
    /// The catalog or the store failed: nothing can be said then.
    pub async fn safety_of(
        &self,
        scope: &Scope,
        asked: &[(String, SopInstanceUid)],
    ) -> Result<Vec<Safety>, ArchiveError> {
        // Whoever may bring objects may ask whether they arrived.
        permit(scope, Permission::Store)?;
        let mut known = Vec::with_capacity(asked.len());
        for batch in asked.chunks(BATCH) {
            let locations = self.of_instances(scope, batch).await?;
            let asked: Vec<(Option<Location>, String)> = batch
                .iter()
                .map(|(class, instance)| (locations.get(instance.as_str()).cloned(), class.clone()))
                .collect();
            let checked: Vec<Safety> = stream::iter(asked)
                .map(|(location, class)| async move {
                    let Some(location) = location else { return Ok(Safety::Missing) };
                    if location.sop_class != class {
                        return Ok(Safety::OtherClass);
                    }
                    let whole = self.is_whole(&location).await?;
                    Ok::<_, ArchiveError>(if whole { Safety::Safe } else { Safety::Damaged })
                })
                .buffered(ASKED_AT_ONCE)
                .try_collect()
                .await?;
            known.extend(checked);
        }
        Ok(known)
    }

    /// Where these instances lie, by their UIDs.
    async fn of_instances(
        &self,
        scope: &Scope,
        batch: &[(String, SopInstanceUid)],
    ) -> Result<HashMap<String, Location>, ArchiveError> {
        let uids = batch.iter().map(|(_, uid)| uid.to_string()).collect();
        // One UID may stand in several studies, though it must not.
        let limit = u32::try_from(batch.len()).unwrap_or(u32::MAX).saturating_mul(4);
        let query =
            Query::all(Level::Instance, limit).with(Indexed::SopInstanceUid, Rule::AnyOf(uids));
        let found = in_time(self.catalog().find(scope, &query)).await?;
        let mut series: Vec<(String, String)> =
            found.into_iter().filter_map(|row| Some((row.study.uid, row.series?.uid))).collect();
        series.sort_unstable();
        series.dedup();
        let mut locations = HashMap::new();
        for (study, series) in series {
            let (Ok(study), Ok(series)) = (StudyUid::parse(&study), SeriesUid::parse(&series))
            else {
                continue;
            };
            let target = Target { study, series: Some(series), instance: None };
            let located = in_time(self.catalog().locate(scope, &target)).await?;
            locations.extend(located.into_iter().map(|one| (one.instance.to_string(), one)));
        }
        Ok(locations)
    }
}
