//! The queue of slow work.

use super::fixture::{NOW, instance, scope};
use crate::{Catalog, Job};

super::on_both!(
    a_job_runs_once_when_due,
    the_same_job_is_not_queued_twice,
    a_dead_worker_loses_its_lease,
    a_job_asked_for_while_it_runs_runs_again,
    failing_ends_in_death_and_can_be_revived,
    a_study_settles_after_its_last_instance,
    workers_never_share_a_job,
);

async fn claim(catalog: &Catalog, now: i64) -> Option<Job> {
    catalog.claim_job("worker-a", 1000, now).await.unwrap()
}

async fn a_job_runs_once_when_due(catalog: &Catalog) {
    catalog.enqueue(&scope(), "forward", "k", "{\"a\":1}", 500).await.unwrap();
    assert_eq!(claim(catalog, 499).await, None);
    let job = claim(catalog, 500).await.unwrap();
    assert_eq!((job.kind.as_str(), job.payload.as_str()), ("forward", "{\"a\":1}"));
    assert_eq!((job.tenant, job.attempts), (scope().tenant(), 0));
    assert_eq!(claim(catalog, 600).await, None, "it is leased");
    catalog.finish_job(&job).await.unwrap();
    assert_eq!(claim(catalog, 10_000).await, None);
}

async fn the_same_job_is_not_queued_twice(catalog: &Catalog) {
    catalog.enqueue(&scope(), "forward", "k", "old", 100).await.unwrap();
    catalog.enqueue(&scope(), "forward", "k", "new", 200).await.unwrap();
    catalog.enqueue(&scope(), "thumbnail", "k", "other kind", 300).await.unwrap();
    assert_eq!(claim(catalog, 150).await, None, "the later time counts");
    let payloads =
        [claim(catalog, 400).await, claim(catalog, 400).await, claim(catalog, 400).await]
            .map(|job| job.map(|job| job.payload));
    assert_eq!(payloads, [Some("new".into()), Some("other kind".into()), None]);
}

async fn a_dead_worker_loses_its_lease(catalog: &Catalog) {
    catalog.enqueue(&scope(), "forward", "k", "", 0).await.unwrap();
    claim(catalog, 100).await.unwrap();
    assert_eq!(claim(catalog, 1099).await, None);
    assert_eq!(claim(catalog, 1100).await.unwrap().attempts, 1);
}

async fn a_job_asked_for_while_it_runs_runs_again(catalog: &Catalog) {
    catalog.enqueue(&scope(), "forward", "k", "first", 0).await.unwrap();
    let job = claim(catalog, 100).await.unwrap();
    catalog.enqueue(&scope(), "forward", "k", "second", 200).await.unwrap();
    assert_eq!(claim(catalog, 300).await, None, "not beside itself");
    catalog.finish_job(&job).await.unwrap();
    assert_eq!(claim(catalog, 300).await.unwrap().payload, "second");
}

async fn failing_ends_in_death_and_can_be_revived(catalog: &Catalog) {
    catalog.enqueue(&scope(), "forward", "k", "", 0).await.unwrap();
    for attempt in 0..3 {
        let job = claim(catalog, 100 + attempt * 1000).await.unwrap();
        assert_eq!(job.attempts, attempt);
        let dead = catalog.fail_job(&job, 1000 + attempt * 1000, 3).await.unwrap();
        assert_eq!(dead, attempt == 2);
        assert_eq!(claim(catalog, 999 + attempt * 1000).await, None, "not before its time");
    }
    assert_eq!(claim(catalog, 1_000_000).await, None);
    catalog.enqueue(&scope(), "forward", "k", "", 0).await.unwrap();
    assert_eq!(claim(catalog, 1_000_000).await.unwrap().attempts, 0);
}

async fn a_study_settles_after_its_last_instance(catalog: &Catalog) {
    let mut new = instance(1, 1, 1);
    catalog.record(&scope(), new.clone()).await.unwrap();
    assert_eq!(claim(catalog, NOW + 59_999).await, None);
    new = instance(1, 1, 2);
    new.received_ms = NOW + 30_000;
    catalog.record(&scope(), new).await.unwrap();
    assert_eq!(claim(catalog, NOW + 89_999).await, None, "pushed back");
    let job = claim(catalog, NOW + 90_000).await.unwrap();
    assert_eq!(job.kind, "study.settled");
    assert_eq!(job.payload, "{\"study\":\"1.2.1\"}");
    assert_eq!(job.dedupe_key, "1.2.1");

    // What arrives while the job runs makes it run once more.
    let mut late = instance(1, 1, 3);
    late.received_ms = NOW + 90_100;
    catalog.record(&scope(), late).await.unwrap();
    catalog.finish_job(&job).await.unwrap();
    assert_eq!(claim(catalog, NOW + 150_000).await, None);
    let job = claim(catalog, NOW + 150_100).await.unwrap();
    catalog.finish_job(&job).await.unwrap();
    assert_eq!(claim(catalog, i64::MAX - 2000).await, None);
}

async fn workers_never_share_a_job(catalog: &Catalog) {
    for job in 0..40 {
        catalog.enqueue(&scope(), "forward", &job.to_string(), "", 0).await.unwrap();
    }
    let workers: Vec<_> = (0..8)
        .map(|worker| {
            let catalog = catalog.clone();
            tokio::spawn(async move {
                let mut done = Vec::new();
                while let Some(job) =
                    catalog.claim_job(&worker.to_string(), 60_000, 10).await.unwrap()
                {
                    catalog.finish_job(&job).await.unwrap();
                    done.push(job.dedupe_key);
                }
                done
            })
        })
        .collect();
    let mut done = Vec::new();
    for worker in workers {
        done.extend(worker.await.unwrap());
    }
    done.sort();
    done.dedup();
    assert_eq!(done.len(), 40);
}
