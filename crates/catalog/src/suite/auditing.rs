//! What the audit trail says, and that whatever is done to it afterwards is found and located.

use std::time::Duration;

use qianli_model::audit::{Action, Outcome};
use qianli_model::scope::Principal;
use qianli_model::{Permissions, Scope, TenantId};

use super::fixture::{
    NOW, execute, instance, number, other_content, other_tenant, scope, study_target, with,
};
use crate::audit::OwnChain;
use crate::record::{at_once, at_once_in};
use crate::types::{DeletionState, NewDeletion};
use crate::{
    AuditEntry, AuditFilter, AuditOrder, AuditRow, Catalog, Exported, Fault, NewInstance, Recorded,
};

super::on_both!(
    a_batch_is_one_row_per_study_and_sender,
    what_changes_nothing_leaves_no_row,
    changes_leave_their_rows,
    reads_are_counted_and_found,
    pages_go_on_where_they_ended,
    whatever_is_done_to_a_chain_is_located,
    a_trail_that_was_rewritten_differs_from_its_export,
    writers_of_one_chain_do_not_spoil_it,
    an_export_continues_where_it_ended,
);

/// The whole trail, oldest first.
async fn trail(catalog: &Catalog) -> Vec<AuditRow> {
    let filter = AuditFilter { order: AuditOrder::OldestFirst, ..AuditFilter::default() };
    catalog.audit_of_all(&filter, 10_000).await.unwrap()
}

/// Chain and fault of every chain that has one.
async fn faults(catalog: &Catalog) -> Vec<(i64, Fault)> {
    let reports = catalog.verify_audit(&Exported::new()).await.unwrap();
    assert!(reports.len() >= 32, "every chain is looked at");
    reports.into_iter().filter_map(|report| Some((report.chain, report.fault?))).collect()
}

fn from(mut new: NewInstance, address: &str, title: &str) -> NewInstance {
    new.provenance.peer = address.into();
    new.provenance.calling_ae = Some(title.into());
    new
}

async fn a_batch_is_one_row_per_study_and_sender(catalog: &Catalog) {
    let sender = Scope::new(TenantId::DEFAULT, Principal::Peer("CT1".into()), Permissions::ALL);
    let mut batch: Vec<_> =
        (1..=5).map(|image| from(instance(1, 1, image), "192.0.2.7", "CT1")).collect();
    batch.push(from(instance(2, 1, 1), "192.0.2.7", "CT1"));
    batch.push(from(instance(1, 2, 1), "192.0.2.8", "CT2"));
    for outcome in at_once(catalog.db(), &sender, batch).await {
        assert!(matches!(outcome.unwrap(), Recorded::Stored { .. }));
    }
    let rows = trail(catalog).await;
    let said: Vec<_> = rows
        .iter()
        .map(|row| {
            let entry = &row.entry;
            (entry.study.as_str(), entry.peer.as_str(), entry.instances, entry.instance.as_str())
        })
        .collect();
    assert_eq!(
        said,
        [
            ("1.2.1", "192.0.2.7", 5, ""),
            ("1.2.2", "192.0.2.7", 1, "1.2.2.1.1"),
            ("1.2.1", "192.0.2.8", 1, "1.2.1.2.1"),
        ]
    );
    let first = &rows[0].entry;
    assert_eq!((first.principal_kind.as_str(), first.principal.as_str()), ("peer", "CT1"));
    assert_eq!((first.action.as_str(), first.outcome.as_str()), ("store", "success"));
    assert_eq!((first.series.as_str(), first.at_ms, first.tenant), ("1.2.1.1", NOW, 1));
    let details: serde_json::Value = serde_json::from_str(&first.details).unwrap();
    assert_eq!(details["calling_ae"], "CT1");
    assert_eq!(details["bytes"], 5000);
    assert_eq!(details["sop_classes"]["1.2.840.10008.5.1.4.1.1.2"], 5);
    for row in &rows {
        assert!(!format!("{row:?}").contains("Wang"), "no names of patients");
    }
    assert_eq!(faults(catalog).await, []);
}

async fn what_changes_nothing_leaves_no_row(catalog: &Catalog) {
    catalog.record(&scope(), instance(1, 1, 1)).await.unwrap();
    assert_eq!(catalog.record(&scope(), instance(1, 1, 1)).await.unwrap(), Recorded::AlreadyHere);
    assert_eq!(trail(catalog).await.len(), 1);
    catalog.record(&scope(), other_content(instance(1, 1, 1), "f")).await.unwrap();
    let rows = trail(catalog).await;
    assert_eq!(rows.len(), 2);
    assert!(rows[1].entry.details.contains("\"replaced\":1"), "{}", rows[1].entry.details);
}

async fn changes_leave_their_rows(catalog: &Catalog) {
    for image in 1..=3 {
        let new = with(instance(1, 1, image), |header| {
            if image == 3 {
                header.patient.id = "SOMEBODY ELSE".into();
            }
        });
        catalog.record(&scope(), new).await.unwrap();
    }
    let here = scope().at("192.0.2.50");
    let study = study_target(1).study;
    let conflict = catalog.patient_conflict(&here, &study).await.unwrap().unwrap();
    assert!(!catalog.settle_patient_conflict(&here, &study, 0).await.unwrap());
    assert!(catalog.settle_patient_conflict(&here, &study, conflict.updated_ms).await.unwrap());
    let new = NewDeletion {
        by: "a test".into(),
        peer: "192.0.2.50".into(),
        at_ms: NOW + 1,
        purge_at_ms: NOW + 2,
    };
    let deletion = catalog.delete(&here, &study_target(1), &new).await.unwrap().unwrap();
    assert_eq!(catalog.delete(&here, &study_target(1), &new).await.unwrap(), None);
    let kept = [DeletionState::Kept];
    let moved = |from, to| {
        let here = here.clone();
        async move { catalog.move_deletion(&here, deletion.id, from, to).await.unwrap() }
    };
    assert!(moved(&kept, DeletionState::Restoring).await);
    assert!(!moved(&kept, DeletionState::Purged).await, "it is being restored");
    assert!(moved(&[DeletionState::Restoring], DeletionState::Restored).await);
    let rows = trail(catalog).await;
    let said: Vec<_> = rows
        .iter()
        .filter(|row| row.entry.action != Action::Store.as_str())
        .map(|row| (row.entry.action.as_str(), row.entry.instances, row.entry.peer.as_str()))
        .collect();
    let mut expected = vec![
        ("delete", 3, "192.0.2.50"),
        ("settle conflict", 0, "192.0.2.50"),
        ("restore", 3, "192.0.2.50"),
    ];
    expected.sort_unstable();
    let mut said = said;
    said.sort_unstable();
    assert_eq!(said, expected);
    assert!(rows.iter().all(|row| row.entry.study == "1.2.1"));
    assert_eq!(faults(catalog).await, []);
}

fn read(by: &str, action: Action, study: &str, at_ms: i64) -> AuditEntry {
    let scope =
        Scope::new(TenantId::DEFAULT, Principal::Peer(by.into()), Permissions::ALL).at("192.0.2.1");
    AuditEntry { study: study.into(), ..AuditEntry::new(&scope, action, Outcome::Success, at_ms) }
}

async fn reads_are_counted_and_found(catalog: &Catalog) {
    catalog.record(&scope(), instance(1, 1, 1)).await.unwrap();
    for image in 0..300 {
        let mut entry = read("READER", Action::ReadPixels, "1.2.1", NOW + 10);
        entry.instance = format!("1.2.1.1.{}", image % 150);
        catalog.note_audit(entry).await.unwrap();
    }
    catalog.note_audit(read("OTHER", Action::ReadMetadata, "1.2.9", NOW + 20)).await.unwrap();
    let all = AuditFilter::default();
    let mut rows = Vec::new();
    for _ in 0..100 {
        rows = catalog.audit(&scope(), &all, 100).await.unwrap();
        if rows.len() >= 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let pixels: Vec<_> = rows.iter().filter(|row| row.entry.action == "read pixels").collect();
    // A slow machine may take longer than a second to say it all.
    let requests: i64 = pixels.iter().map(|row| row.entry.requests).sum();
    assert!(pixels.len() < 20 && requests == 300, "{} rows, {requests}", pixels.len());
    assert!(pixels.iter().any(|row| row.entry.instances > 1));
    let found = async |filter: AuditFilter| {
        let rows = catalog.audit(&scope(), &filter, 100).await.unwrap();
        rows.into_iter().map(|row| row.entry.action).collect::<std::collections::BTreeSet<_>>()
    };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let everything = AuditFilter::default;
    let by = AuditFilter { principal: Some("OTHER".into()), ..everything() };
    assert_eq!(found(by).await, words(&["read metadata"]));
    let study = AuditFilter { study: Some("1.2.1".into()), ..everything() };
    assert_eq!(found(study).await, words(&["read pixels", "store"]));
    let patient = AuditFilter { patient_id: Some("P1".into()), ..everything() };
    assert_eq!(found(patient).await, words(&["read pixels", "store"]));
    let nobody = AuditFilter { patient_id: Some("P2".into()), ..everything() };
    assert_eq!(found(nobody).await, words(&[]));
    let action = AuditFilter { action: Some(Action::Store), ..everything() };
    assert_eq!(found(action).await, words(&["store"]));
    let outcome = AuditFilter { outcome: Some(Outcome::Failed), ..everything() };
    assert_eq!(found(outcome).await, words(&[]));
    let late = AuditFilter { since_ms: Some(NOW + 15), ..everything() };
    assert_eq!(found(late).await, words(&["read metadata"]));
    let early = AuditFilter { until_ms: Some(NOW + 10), ..everything() };
    assert_eq!(found(early).await, words(&["store"]));
    let elsewhere = other_tenant(catalog).await;
    assert_eq!(catalog.audit(&elsewhere, &all, 100).await.unwrap(), []);
    assert_eq!(faults(catalog).await, []);
}

async fn pages_go_on_where_they_ended(catalog: &Catalog) {
    // Three of each time: a page must not end between equals and skip the rest.
    let entries = (0..30).map(|one| read("A", Action::Search, "", NOW + one / 3)).collect();
    catalog.write_audit(entries).await.unwrap();
    for order in [AuditOrder::NewestFirst, AuditOrder::OldestFirst] {
        let mut filter = AuditFilter { order, ..AuditFilter::default() };
        let mut seen = Vec::new();
        loop {
            let page = catalog.audit(&scope(), &filter, 7).await.unwrap();
            let Some(last) = page.last() else { break };
            filter.after = Some((last.entry.at_ms, last.chain, last.number));
            seen.extend(page.iter().map(|row| row.number));
        }
        if order == AuditOrder::NewestFirst {
            seen.reverse();
        }
        assert_eq!(seen, (1..=30).collect::<Vec<_>>(), "{order:?}");
    }
}

/// Ten rows in one chain; returns it.
async fn ten_rows(catalog: &Catalog) -> i64 {
    for row in 0..10 {
        let entry = read("A", Action::Search, "1.2.3", NOW + row);
        catalog.write_audit(vec![entry]).await.unwrap();
    }
    let chain = number(catalog, "SELECT MIN(chain) FROM audit").await;
    assert_eq!(number(catalog, "SELECT MAX(chain) FROM audit").await, chain);
    chain
}

async fn whatever_is_done_to_a_chain_is_located(catalog: &Catalog) {
    let chain = ten_rows(catalog).await;
    assert_eq!(faults(catalog).await, []);
    for table in ["audit", "audit_chains"] {
        execute(catalog, format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}")).await;
    }
    let of = |number: i64| format!("WHERE chain = {chain} AND number = {number}");
    // A row that was altered and whose hash was made right again.
    let rows = trail(catalog).await;
    let mut forged = rows[6].entry.clone();
    forged.principal = "SOMEBODY ELSE".into();
    let forged_hash = AuditRow::hash_of(chain, 7, &forged, &rows[6].previous_hash);
    let forge =
        format!("UPDATE audit SET principal = 'SOMEBODY ELSE', hash = '{forged_hash}' {}", of(7));
    let head = format!("WHERE chain = {chain}");
    let eighth = &rows[7].hash;
    let cases = [
        (format!("UPDATE audit SET study_uid = '9.9' {}", of(4)), Fault::Altered(4)),
        (format!("UPDATE audit SET at_ms = at_ms + 1 {}", of(10)), Fault::Altered(10)),
        (format!("UPDATE audit SET hash = previous_hash {}", of(5)), Fault::Altered(5)),
        (forge, Fault::Replaced(7)),
        (format!("DELETE FROM audit {}", of(1)), Fault::Removed(1)),
        (format!("DELETE FROM audit {}", of(6)), Fault::Removed(6)),
        (format!("DELETE FROM audit {head} AND number > 8"), Fault::TailCut { from: 9, to: 10 }),
        (format!("DELETE FROM audit {head}"), Fault::TailCut { from: 1, to: 10 }),
        (format!("DELETE FROM audit_chains {head}"), Fault::HeadMissing(10)),
        (
            format!("UPDATE audit_chains SET number = 8, hash = '{eighth}' {head}"),
            Fault::BehindHead(9),
        ),
        (format!("UPDATE audit_chains SET hash = '{eighth}' {head}"), Fault::Replaced(10)),
    ];
    for (damage, expected) in cases {
        execute(catalog, damage.as_str()).await;
        assert_eq!(faults(catalog).await, [(chain, expected)], "{damage}");
        for table in ["audit", "audit_chains"] {
            execute(catalog, format!("DELETE FROM {table}")).await;
            execute(catalog, format!("INSERT INTO {table} SELECT * FROM kept_{table}")).await;
        }
        assert_eq!(faults(catalog).await, [], "after putting back: {damage}");
    }
    // A chain that nothing was written to must have its head too.
    let unused = if chain == 3 { 4 } else { 3 };
    execute(catalog, format!("DELETE FROM audit_chains WHERE chain = {unused}")).await;
    assert_eq!(faults(catalog).await, [(unused, Fault::HeadMissing(0))]);
}

/// Who can write to the database can make a whole chain anew. Hashes that left it earlier tell.
async fn a_trail_that_was_rewritten_differs_from_its_export(catalog: &Catalog) {
    let chain = ten_rows(catalog).await;
    let rows = trail(catalog).await;
    let exported: Exported =
        rows.iter().map(|row| ((row.chain, row.number), row.hash.clone())).collect();
    let fault = async || {
        let reports = catalog.verify_audit(&exported).await.unwrap();
        reports.into_iter().find_map(|report| report.fault)
    };
    assert_eq!(fault().await, None);
    // The last two rows and the head go: consistent in itself.
    execute(catalog, format!("DELETE FROM audit WHERE chain = {chain} AND number > 8")).await;
    let eighth = &rows[7].hash;
    execute(
        catalog,
        format!("UPDATE audit_chains SET number = 8, hash = '{eighth}' WHERE chain = {chain}"),
    )
    .await;
    assert_eq!(faults(catalog).await, []);
    assert_eq!(fault().await, Some(Fault::ExportedRemoved(9)));
    // Others come in their place.
    catalog.write_audit(vec![read("B", Action::Search, "", NOW); 3]).await.unwrap();
    assert_eq!(faults(catalog).await, []);
    assert_eq!(fault().await, Some(Fault::NotAsExported(9)));
}

async fn writers_of_one_chain_do_not_spoil_it(catalog: &Catalog) {
    catalog.record(&scope(), instance(1, 1, 1)).await.unwrap();
    let chain = number(catalog, "SELECT MAX(chain) FROM audit").await;
    // Another node adds to the chain of which this one remembers the head.
    let local = scope();
    let done = at_once_in(catalog.db(), &local, vec![instance(1, 1, 2)], OwnChain::at(chain));
    assert!(matches!(done.await[..], [Ok(Recorded::Stored { .. })]));
    for image in 3..6 {
        catalog.record(&scope(), instance(1, 1, image)).await.unwrap();
    }
    // And one begins with a chain whose head was removed.
    let unused = "SELECT MIN(chain) FROM audit_chains WHERE chain > 8 AND number = 0";
    let missing = number(catalog, unused).await;
    execute(catalog, format!("DELETE FROM audit_chains WHERE chain = {missing}")).await;
    let done = at_once_in(catalog.db(), &local, vec![instance(1, 1, 9)], OwnChain::at(missing));
    assert!(matches!(done.await[..], [Ok(Recorded::Stored { .. })]));
    assert_eq!(trail(catalog).await.len(), 6);
    assert_eq!(number(catalog, "SELECT COUNT(*) FROM instances").await, 6);
    assert_eq!(faults(catalog).await, [(missing, Fault::HeadMissing(0))]);
}

async fn an_export_continues_where_it_ended(catalog: &Catalog) {
    let to = "udp://syslog.example:514";
    assert!(catalog.lease_audit_export(to, "a", NOW + 100, NOW).await.unwrap());
    assert!(catalog.lease_audit_export(to, "a", NOW + 200, NOW + 50).await.unwrap());
    assert!(!catalog.lease_audit_export(to, "b", NOW + 300, NOW + 150).await.unwrap());
    assert!(catalog.lease_audit_export(to, "b", NOW + 500, NOW + 201).await.unwrap());
    let chain = ten_rows(catalog).await;
    let numbers = async |limit| {
        let rows = catalog.unexported_audit(to, limit).await.unwrap();
        rows.into_iter().map(|row| row.number).collect::<Vec<_>>()
    };
    assert_eq!(numbers(4).await, [1, 2, 3, 4]);
    assert_eq!(numbers(4).await, [1, 2, 3, 4], "until it is said that they were taken");
    catalog.audit_was_exported(to, chain, 4).await.unwrap();
    assert_eq!(numbers(100).await, [5, 6, 7, 8, 9, 10]);
    // A position never goes back.
    catalog.audit_was_exported(to, chain, 10).await.unwrap();
    catalog.audit_was_exported(to, chain, 2).await.unwrap();
    assert_eq!(numbers(100).await, [] as [i64; 0]);
}
