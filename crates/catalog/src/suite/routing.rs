//! Routing: rules of one tenant, deliveries that are made once and lose nothing.

use qianli_model::destination::Destination;
use qianli_model::routing::{Goal, When, Which};
use qianli_model::{AeTitle, Scope};

use super::fixture::{NOW, instance, number, other_tenant, scope, study_target};
use crate::routing::{
    Asking, DeliveriesOf, Delivery, Ended, NewRule, Report, Said, WebAddress, WebAuth,
};
use crate::types::NewDeletion;
use crate::{Catalog, NewInstance};

super::on_both!(
    rules_are_of_one_tenant_and_audited,
    secrets_are_not_listed,
    deliveries_are_made_once_and_leased,
    only_what_is_not_acknowledged_is_left,
    refusals_wait_for_a_person_and_are_replayed,
    one_at_a_time_goes_to_a_destination,
    commitment_is_asked_heard_and_remembered,
    what_was_sent_long_ago_is_forgotten,
);

fn rule(to: &str, which: Which) -> NewRule {
    let to = to.parse().unwrap();
    NewRule {
        label: "夜间".into(),
        which,
        to,
        window: None,
        when: When::Settled,
        commits: false,
        at_ms: NOW,
    }
}

async fn reachable(catalog: &Catalog, scope: &Scope, title: &str) {
    let there = Destination::new(AeTitle::parse(title).unwrap(), "127.0.0.1:104");
    catalog.put_destination(scope, &there, NOW).await.unwrap();
}

async fn claim(catalog: &Catalog, now_ms: i64) -> Option<Delivery> {
    catalog.claim_delivery("a", 1000, now_ms).await.unwrap()
}

async fn record(catalog: &Catalog, new: NewInstance) {
    catalog.record(&scope(), new).await.unwrap();
}

/// A rule for everything, and a study of two instances that it sends.
async fn planned(catalog: &Catalog) -> Delivery {
    reachable(catalog, &scope(), "PACS").await;
    catalog.add_route_rule(&scope(), &rule("dicom:PACS", Which::default())).await.unwrap();
    for sop in [1, 2] {
        record(catalog, instance(1, 1, sop)).await;
    }
    assert_eq!(catalog.plan_deliveries(&scope(), "1.2.1", true, NOW).await.unwrap(), 1);
    claim(catalog, NOW).await.unwrap()
}

fn said(left: &crate::routing::Left, at: usize, refused: Option<&str>) -> Said {
    Said {
        instance: left.now[at].instance.to_string(),
        content_hash: left.now[at].content_hash.clone(),
        refused: refused.map(str::to_owned),
    }
}

async fn rules_are_of_one_tenant_and_audited(catalog: &Catalog) {
    let other = other_tenant(catalog).await;
    let which = Which { modality: "CT".into(), description: "Thorax*".into(), ..Which::default() };
    let new = NewRule { window: "22:00-06:00+08:00".parse().ok(), ..rule("dicom:PACS", which) };
    assert_eq!(catalog.add_route_rule(&scope(), &new).await.unwrap(), None, "it has no address");
    reachable(catalog, &other, "PACS").await;
    assert_eq!(catalog.add_route_rule(&scope(), &new).await.unwrap(), None, "another tenant's");
    reachable(catalog, &scope(), "PACS").await;
    let id = catalog.add_route_rule(&scope(), &new).await.unwrap().unwrap();
    let rows = catalog.route_rules(&scope()).await.unwrap();
    assert_eq!(rows.len(), 1);
    let read = &rows[0].rule;
    assert_eq!((read.id, read.label.as_str()), (id, "夜间"));
    assert_eq!(read.which.modality, "ct", "folded, as what it is compared with");
    assert_eq!(read.which.description, "thorax*");
    assert_eq!((&read.to, read.window, read.when), (&new.to, new.window, new.when));
    assert_eq!(catalog.route_rules(&other).await.unwrap(), []);
    assert!(!catalog.set_route_rule_disabled(&other, id, true).await.unwrap());
    assert!(!catalog.remove_route_rule(&other, id).await.unwrap());
    assert!(catalog.set_route_rule_disabled(&scope(), id, true).await.unwrap());
    assert!(catalog.route_rules(&scope()).await.unwrap()[0].rule.disabled);
    assert!(catalog.remove_route_rule(&scope(), id).await.unwrap());
    let audited = "SELECT COUNT(*) FROM audit WHERE action = 'change route'";
    assert_eq!(number(catalog, audited).await, 3);
}

async fn secrets_are_not_listed(catalog: &Catalog) {
    let nowhere = catalog.add_route_rule(&scope(), &rule("web:cloud", Which::default())).await;
    assert_eq!(nowhere.unwrap(), None, "there is no such destination");
    let auth = WebAuth::Basic("ward".into(), "hidden".into());
    let url = "https://a.example/dicom-web";
    catalog.set_web_goal(&scope(), "cloud", url, &auth, false).await.unwrap();
    let listed = catalog.web_goals(&scope()).await.unwrap();
    assert_eq!((listed[0].auth.as_str(), listed[0].login.as_str()), ("basic", "ward"));
    assert!(!format!("{listed:?} {auth:?}").contains("hidden"));
    let found = catalog.web_goal(&scope(), "cloud").await.unwrap().unwrap();
    assert_eq!(found, WebAddress { url: url.to_owned(), auth, trusted: false });
    let other = other_tenant(catalog).await;
    assert_eq!(catalog.web_goal(&other, "cloud").await.unwrap(), None);
    let new = rule("web:cloud", Which::default());
    assert!(catalog.add_route_rule(&other, &new).await.unwrap().is_none(), "another tenant's");
    let id = catalog.add_route_rule(&scope(), &new).await.unwrap().unwrap();
    assert!(!catalog.remove_web_goal(&scope(), "cloud").await.unwrap(), "a rule needs it");
    assert!(catalog.remove_route_rule(&scope(), id).await.unwrap());
    assert!(!catalog.remove_web_goal(&other, "cloud").await.unwrap());
    assert!(catalog.remove_web_goal(&scope(), "cloud").await.unwrap());
    let told = "SELECT COUNT(*) FROM audit WHERE details LIKE '%hidden%'";
    assert_eq!(number(catalog, told).await, 0);
}

async fn deliveries_are_made_once_and_leased(catalog: &Catalog) {
    let delivery = planned(catalog).await;
    assert_eq!((delivery.study.as_str(), delivery.attempts), ("1.2.1", 0));
    assert_eq!(claim(catalog, NOW + 999).await, None, "it is leased");
    assert!(catalog.keep_delivery(&delivery, "a", NOW + 5000).await.unwrap());
    assert_eq!(claim(catalog, NOW + 4999).await, None, "it gave a sign of life");
    let again = catalog.claim_delivery("b", 1000, NOW + 5000).await.unwrap().unwrap();
    assert_eq!(again.id, delivery.id, "its worker died");
    assert!(!catalog.keep_delivery(&delivery, "a", NOW + 9000).await.unwrap());
    catalog.end_delivery(&delivery, "a", &Ended::Delivered, NOW).await.unwrap();
    let rows = catalog.deliveries(&scope(), &DeliveriesOf::default(), 10).await.unwrap();
    assert_eq!((rows.len(), rows[0].state.as_str()), (1, "sending"), "it is not a's any more");
    // More of the study came while it was sent: it is looked at again.
    catalog.plan_deliveries(&scope(), "1.2.1", true, NOW + 5100).await.unwrap();
    catalog.end_delivery(&again, "b", &Ended::Delivered, NOW + 5200).await.unwrap();
    let third = claim(catalog, NOW + 5200).await.unwrap();
    catalog.end_delivery(&third, "a", &Ended::Delivered, NOW + 5300).await.unwrap();
    assert_eq!(claim(catalog, NOW + 99_999).await, None);
    let other = other_tenant(catalog).await;
    assert_eq!(catalog.deliveries(&other, &DeliveriesOf::default(), 10).await.unwrap(), []);
    assert!(!catalog.replay_delivery(&other, third.id, true, NOW).await.unwrap());
}

async fn only_what_is_not_acknowledged_is_left(catalog: &Catalog) {
    let delivery = planned(catalog).await;
    let left = catalog.left_of(&delivery, NOW).await.unwrap();
    assert_eq!((left.now.len(), left.later_ms, left.refused), (2, None, 0));
    catalog.note_delivered(&delivery, &[said(&left, 0, None)], NOW).await.unwrap();
    let rest = catalog.left_of(&delivery, NOW).await.unwrap();
    assert_eq!(rest.now, left.now[1..]);
    let away = Ended::Retry(NOW + 2000, "nobody\u{7} answers".into());
    catalog.end_delivery(&delivery, "a", &away, NOW).await.unwrap();
    let rows = catalog.deliveries(&scope(), &DeliveriesOf::default(), 10).await.unwrap();
    assert_eq!((rows[0].state.as_str(), rows[0].words.as_str()), ("waiting", "nobody  answers"));
    assert_eq!((rows[0].sent, rows[0].refused, rows[0].attempts), (1, 0, 1));
    assert_eq!(claim(catalog, NOW + 1999).await, None);
    let retried = claim(catalog, NOW + 2000).await.unwrap();
    assert_eq!(catalog.left_of(&retried, NOW).await.unwrap(), rest);
    // What a rule does not send any more is not left either.
    let rules = catalog.route_rules(&scope()).await.unwrap();
    catalog.remove_route_rule(&scope(), rules[0].rule.id).await.unwrap();
    assert_eq!(catalog.left_of(&retried, NOW).await.unwrap().now, []);
}

async fn refusals_wait_for_a_person_and_are_replayed(catalog: &Catalog) {
    let delivery = planned(catalog).await;
    let left = catalog.left_of(&delivery, NOW).await.unwrap();
    let both = [said(&left, 0, None), said(&left, 1, Some("A900H: no such class"))];
    catalog.note_delivered(&delivery, &both, NOW).await.unwrap();
    let rest = catalog.left_of(&delivery, NOW).await.unwrap();
    assert_eq!((rest.now.len(), rest.refused), (0, 1));
    assert_eq!(rest.words, "A900H: no such class");
    let failed = Ended::Failed(rest.words);
    catalog.end_delivery(&delivery, "a", &failed, NOW).await.unwrap();
    assert_eq!(claim(catalog, NOW + 99_999).await, None);
    let of = DeliveriesOf { state: "failed".into(), ..DeliveriesOf::default() };
    assert_eq!(catalog.deliveries(&scope(), &of, 10).await.unwrap().len(), 1);
    assert!(catalog.replay_delivery(&scope(), delivery.id, false, NOW + 10).await.unwrap());
    let again = claim(catalog, NOW + 10).await.unwrap();
    assert_eq!(catalog.left_of(&again, NOW).await.unwrap().now, left.now[1..], "the refused one");
    catalog.end_delivery(&again, "a", &Ended::Delivered, NOW + 20).await.unwrap();
    assert!(catalog.replay_delivery(&scope(), delivery.id, true, NOW + 30).await.unwrap());
    let all = claim(catalog, NOW + 30).await.unwrap();
    assert_eq!(catalog.left_of(&all, NOW).await.unwrap().now.len(), 2);
    let audited = "SELECT COUNT(*) FROM audit WHERE details LIKE '%replay%'";
    assert_eq!(number(catalog, audited).await, 2);
}

async fn one_at_a_time_goes_to_a_destination(catalog: &Catalog) {
    let first = planned(catalog).await;
    record(catalog, instance(2, 1, 1)).await;
    assert_eq!(catalog.plan_deliveries(&scope(), "1.2.2", true, NOW).await.unwrap(), 1);
    assert_eq!(claim(catalog, NOW).await, None, "the destination is busy");
    reachable(catalog, &scope(), "OTHER").await;
    catalog.add_route_rule(&scope(), &rule("dicom:OTHER", Which::default())).await.unwrap();
    let routes = catalog.routes_of(&scope(), "1.2.2", true).await.unwrap();
    let names: Vec<&str> = routes.iter().map(|(goal, _): &(Goal, usize)| goal.name()).collect();
    assert_eq!(names, ["OTHER", "PACS"]);
    catalog.plan_deliveries(&scope(), "1.2.2", true, NOW).await.unwrap();
    assert_eq!(claim(catalog, NOW).await.unwrap().to.name(), "OTHER");
    catalog.end_delivery(&first, "a", &Ended::Delivered, NOW).await.unwrap();
    assert_eq!(claim(catalog, NOW).await.unwrap().study, "1.2.2");
}

async fn commitment_is_asked_heard_and_remembered(catalog: &Catalog) {
    let delivery = planned(catalog).await;
    let rules = catalog.route_rules(&scope()).await.unwrap();
    catalog.remove_route_rule(&scope(), rules[0].rule.id).await.unwrap();
    let asks = NewRule { commits: true, ..rule("dicom:PACS", Which::default()) };
    catalog.add_route_rule(&scope(), &asks).await.unwrap();
    let left = catalog.left_of(&delivery, NOW).await.unwrap();
    assert_eq!((left.now.len(), left.ask.len()), (2, 0), "first it is sent");
    let both = [said(&left, 0, None), said(&left, 1, None)];
    catalog.note_delivered(&delivery, &both, NOW).await.unwrap();
    let left = catalog.left_of(&delivery, NOW).await.unwrap();
    assert_eq!((left.now.len(), left.ask.len(), left.asked), (0, 2, 0));
    let title = AeTitle::parse("PACS").unwrap();
    let asking = Asking {
        transaction: "2.25.7",
        title: &title,
        objects: &left.ask,
        asked: 1,
        until_ms: NOW + 1000,
        now_ms: NOW,
    };
    catalog.ask_commitment(&delivery, &asking).await.unwrap();
    let waits = catalog.left_of(&delivery, NOW + 999).await.unwrap();
    assert_eq!((waits.ask.len(), waits.asked_until_ms), (0, Some(NOW + 1000)));
    let again = catalog.left_of(&delivery, NOW + 1000).await.unwrap();
    assert_eq!((again.ask.len(), again.asked), (2, 1), "its time is over");
    catalog.end_delivery(&delivery, "a", &Ended::Committing(NOW + 1000), NOW).await.unwrap();
    assert_eq!(claim(catalog, NOW + 999).await, None);

    // A late report still counts, from whom was asked only; what it leaves out counts as lost.
    let [kept, lost] = [0, 1].map(|at| left.ask[at].instance.to_string());
    let committed = vec![kept.clone()];
    let report = Report { transaction: "2.25.7".into(), committed, failed: Vec::new() };
    let stranger = AeTitle::parse("OTHER").unwrap();
    let take = async |title: &AeTitle, report: &Report| {
        catalog.commitment_reported(&scope(), title, report, (10, NOW + 2000)).await.unwrap()
    };
    assert!(!take(&stranger, &report).await);
    assert!(take(&title, &report).await);
    assert!(!take(&title, &report).await, "once");
    let woken = claim(catalog, NOW + 2000).await.unwrap();
    let left = catalog.left_of(&woken, NOW + 2000).await.unwrap();
    assert_eq!((left.committed, left.now.len(), left.later_ms), (1, 0, Some(NOW + 2010)));
    let left = catalog.left_of(&woken, NOW + 2010).await.unwrap();
    assert_eq!(left.now.len(), 1, "it is sent again");
    catalog.note_delivered(&woken, &[said(&left, 0, None)], NOW + 2010).await.unwrap();
    let left = catalog.left_of(&woken, NOW + 2010).await.unwrap();
    assert_eq!((left.ask.len(), left.asked), (1, 0), "and asked about, for the first time");
    let asking = Asking { transaction: "2.25.8", objects: &left.ask, ..asking };
    catalog.ask_commitment(&woken, &asking).await.unwrap();
    // Of another class: sending it again does not help.
    let failed = vec![(lost, "it is of another class".to_owned(), false)];
    let report = Report { transaction: "2.25.8".into(), committed: Vec::new(), failed };
    assert!(take(&title, &report).await);
    let left = catalog.left_of(&woken, NOW + 9999).await.unwrap();
    assert_eq!((left.committed, left.refused, left.now.len()), (1, 1, 0));
    assert_eq!(left.words, "not committed: it is of another class");
    let rows = catalog.deliveries(&scope(), &DeliveriesOf::default(), 10).await.unwrap();
    assert_eq!((rows[0].sent, rows[0].committed, rows[0].refused), (1, 1, 1));
}

async fn what_was_sent_long_ago_is_forgotten(catalog: &Catalog) {
    let delivery = planned(catalog).await;
    let left = catalog.left_of(&delivery, NOW).await.unwrap();
    let both = [said(&left, 0, None), said(&left, 1, None)];
    catalog.note_delivered(&delivery, &both, NOW).await.unwrap();
    catalog.end_delivery(&delivery, "a", &Ended::Delivered, NOW + 5).await.unwrap();
    let forget = async |before| {
        let done = catalog.forget_deliveries(before).await.unwrap();
        (done.deliveries, done.objects)
    };
    assert_eq!(forget(NOW + 4).await, (0, 0), "it is too young");
    assert_eq!(forget(NOW + 5).await, (0, 2));
    assert_eq!(forget(NOW + 5).await, (0, 0));
    let rows = catalog.deliveries(&scope(), &DeliveriesOf::default(), 10).await.unwrap();
    assert_eq!(
        (rows[0].sent, rows[0].state.as_str(), rows[0].updated_ms),
        (2, "delivered", NOW + 5)
    );
    // A late object goes alone.
    let late = NewInstance { received_ms: NOW + 6, ..instance(1, 1, 3) };
    record(catalog, late).await;
    catalog.plan_deliveries(&scope(), "1.2.1", true, NOW + 7).await.unwrap();
    let again = claim(catalog, NOW + 7).await.unwrap();
    let left = catalog.left_of(&again, NOW + 7).await.unwrap();
    assert_eq!(left.now.len(), 1);
    catalog.note_delivered(&again, &[said(&left, 0, None)], NOW + 7).await.unwrap();
    catalog.end_delivery(&again, "a", &Ended::Delivered, NOW + 8).await.unwrap();
    let rows = catalog.deliveries(&scope(), &DeliveriesOf::default(), 10).await.unwrap();
    assert_eq!(rows[0].sent, 3);
    // Unless a person wants everything.
    assert!(catalog.replay_delivery(&scope(), delivery.id, true, NOW + 9).await.unwrap());
    let all = claim(catalog, NOW + 9).await.unwrap();
    assert_eq!(catalog.left_of(&all, NOW + 9).await.unwrap().now.len(), 3);
    catalog.end_delivery(&all, "a", &Ended::Failed("refused".into()), NOW + 9).await.unwrap();
    assert_eq!(forget(NOW + 99).await, (0, 0), "a person has to look at it");
    // Of a study that is gone nothing stays.
    let new = NewDeletion {
        by: "a test".into(),
        peer: String::new(),
        at_ms: NOW + 10,
        purge_at_ms: NOW + 10,
    };
    catalog.delete(&scope(), &study_target(1), &new).await.unwrap().unwrap();
    assert_eq!(forget(NOW + 99).await.0, 1);
    let rows = catalog.deliveries(&scope(), &DeliveriesOf::default(), 10).await.unwrap();
    assert_eq!(rows, []);
}
