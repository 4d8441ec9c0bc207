//! Deliveries to DICOM peers, by the engine for everything that goes out (`src/outbound.rs`).

use std::collections::{HashMap, HashSet};

use qianli_catalog::routing::{Delivery, Said};
use qianli_catalog::types::{Location, Target};
use qianli_model::{AeTitle, Scope, StudyUid};

use super::{BATCH, Router, Sent, Trouble};
use crate::outbound::{Fate, Patience, Selection, Sending};

/// Sends objects and notes what the peer says of each.
pub(super) async fn send(
    router: &Router,
    scope: &Scope,
    delivery: &Delivery,
    title: &AeTitle,
    objects: Vec<Location>,
) -> Result<Sent, Trouble> {
    let catalog = router.app.archive.catalog();
    let Some(destination) = catalog.destination(scope, title).await? else {
        return Ok(Sent::Later(format!("no address is registered for {title}")));
    };
    let study = StudyUid::parse(&delivery.study)?;
    for batch in objects.chunks(BATCH) {
        let hashes: HashMap<&str, &str> =
            batch.iter().map(|one| (one.instance.as_str(), one.content_hash.as_str())).collect();
        let only: HashSet<_> = batch.iter().map(|one| one.instance.clone()).collect();
        let target = Target { study: study.clone(), series: None, instance: None };
        let what = [Selection { target, only: Some(only) }];
        let sending = Sending {
            // A delivery that fails is tried again later, and others get their turn meanwhile.
            patience: Patience { objects: 2, calls: 1, ..Patience::default() },
            ..Sending::new(destination.clone(), "route")
        };
        let delivered =
            router.app.outbound.send(&router.app.archive, scope, &what, sending).await?;
        let (mut said, mut trouble) = (Vec::new(), None);
        for one in delivered {
            let refused = match one.fate {
                Fate::Sent | Fate::Warned(..) => None,
                Fate::Failed(failure) if failure.is_transient => {
                    trouble = Some(failure.words);
                    continue;
                }
                Fate::Failed(failure) => Some(failure.words),
                Fate::Cancelled => continue,
            };
            let Some(hash) = hashes.get(one.sop_instance.as_str()) else { continue };
            said.push(Said {
                instance: one.sop_instance.to_string(),
                content_hash: (*hash).to_owned(),
                refused,
            });
        }
        router.note(delivery, &said).await?;
        if let Some(words) = trouble {
            return Ok(Sent::Later(words));
        }
    }
    Ok(Sent::Done)
}
