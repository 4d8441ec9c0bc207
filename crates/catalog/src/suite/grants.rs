//! Grants and share links: what a viewer sees of another tenant, and from when on no longer.

use qianli_model::grant::{Priors, Rule, Subject, Viewer};
use qianli_model::order::{Command, Order, OrderPatient, Procedure, Step};
use qianli_model::query::{Indexed, Level};
use qianli_model::{Query, Scope, TenantId};

use super::fixture::{NOW, execute, instance, number, other_tenant, scope, study_target, with};
use crate::Catalog;
use crate::deletion::now_ms;
use crate::grants::{NewGrant, NewLink, Origin, Recipient, Which};

super::on_both!(
    a_study_is_shared_and_nothing_else,
    patients_and_rules_reach_what_comes_later,
    rules_select_by_the_priority_of_an_order,
    priors_follow_as_the_grant_says,
    what_ended_shows_nothing,
    passing_on_ends_with_what_was_passed_on,
    broken_glass_waits_for_a_look,
    emergencies_need_the_leave_of_the_tenant,
    links_open_as_often_as_they_say,
    codes_are_not_guessed,
    pseudonyms_hide_what_they_stand_for,
    what_is_not_here_is_not_shared,
);

const OTHER: TenantId = TenantId(2);

const NONE: [u32; 0] = [];

/// Everybody in the other tenant, looking into this one.
fn viewer(by_rule: bool) -> Scope {
    scope().through(Viewer { tenant: Some(OTHER), by_rule, ..Viewer::default() })
}

fn grant(subject: Subject) -> NewGrant {
    NewGrant {
        subject,
        priors: Priors::None,
        to: Recipient::Tenant(OTHER),
        download: true,
        reshare: false,
        project: None,
        purpose: "a second opinion".into(),
        created_by: "wang".into(),
        at_ms: NOW,
        expires_ms: 0,
    }
}

fn study(number: u32) -> Subject {
    Subject::Study(format!("1.2.{number}"))
}

/// Last numbers of the studies that a scope finds; every statement that reads agrees about them.
async fn seen(catalog: &Catalog, scope: &Scope) -> Vec<u32> {
    let found = catalog.find(scope, &Query::all(Level::Study, 100)).await.unwrap();
    let mut numbers: Vec<u32> = found
        .iter()
        .map(|row| row.study.uid.rsplit('.').next().unwrap().parse().unwrap())
        .collect();
    numbers.sort_unstable();
    let count = catalog.count(scope, &Query::all(Level::Study, 100)).await.unwrap();
    assert_eq!(count, i64::try_from(numbers.len()).unwrap());
    for which in 1..=6 {
        let shown = numbers.contains(&which);
        let located = catalog.locate(scope, &study_target(which)).await.unwrap();
        assert_eq!(!located.is_empty(), shown, "locate {which}");
        let metadata = catalog.metadata(scope, &study_target(which)).await.unwrap();
        assert_eq!(!metadata.is_empty(), shown, "metadata {which}");
        let one = instance(which, 1, 1).header;
        let of = (&one.study_uid, &one.series_uid, &one.sop_instance_uid);
        let detail = catalog.detail(scope, of.0, of.1, of.2).await.unwrap();
        assert_eq!(detail.is_some(), shown, "detail {which}");
        let around = catalog.neighbours(scope, of.0, of.1, of.2).await.unwrap();
        assert_eq!(!around.is_empty(), shown, "neighbours {which}");
        let query = Query::all(Level::Instance, 10)
            .equals(Indexed::SopInstanceUid, one.sop_instance_uid.as_str());
        assert_eq!(!catalog.find(scope, &query).await.unwrap().is_empty(), shown, "find {which}");
    }
    numbers
}

async fn fill(catalog: &Catalog, numbers: impl IntoIterator<Item = u32>) {
    for number in numbers {
        catalog.record(&scope(), instance(number, 1, 1)).await.unwrap();
    }
}

async fn a_study_is_shared_and_nothing_else(catalog: &Catalog) {
    let other = other_tenant(catalog).await;
    fill(catalog, 1..=3).await;
    // The same UIDs in the other tenant are another study.
    catalog.record(&other, instance(2, 1, 1)).await.unwrap();
    assert_eq!(seen(catalog, &viewer(false)).await, NONE);
    let id = catalog.add_grant(&scope(), &grant(study(2)), Origin::Share).await.unwrap().unwrap();
    assert_eq!(seen(catalog, &viewer(false)).await, [2]);
    assert_eq!(seen(catalog, &viewer(true)).await, [2]);
    let stranger = Viewer { tenant: Some(TenantId(7)), person: Some(7), ..Viewer::default() };
    assert_eq!(seen(catalog, &scope().through(stranger)).await, NONE);
    assert_eq!(seen(catalog, &scope().through(Viewer::default())).await, NONE);
    // A grant of one tenant opens nothing of another, of the recipient's own either.
    let elsewhere = other.clone().through(*viewer(false).viewer().unwrap());
    assert_eq!(seen(catalog, &elsewhere).await, NONE);
    assert!(catalog.events_after(&viewer(false), 0, 10).await.unwrap().is_empty());

    let to = *viewer(false).viewer().unwrap();
    let sharers = catalog.sharers(&to, now_ms()).await.unwrap();
    assert_eq!(sharers.len(), 1);
    assert_eq!((sharers[0].tenant.id, sharers[0].by_rule), (TenantId::DEFAULT, false));
    assert!(catalog.sharer(&to, TenantId(9), now_ms()).await.unwrap().is_none());

    let listed = catalog.grants(&scope(), Which::OfStudy("1.2.2")).await.unwrap();
    assert_eq!((listed.len(), listed[0].id, listed[0].to_name.as_str()), (1, id, "other"));
    assert_eq!(catalog.grants(&scope(), Which::OfStudy("1.2.1")).await.unwrap(), []);
    assert_eq!(catalog.grants(&other, Which::All).await.unwrap(), []);
    assert!(!catalog.revoke_grant(&other, id, NOW).await.unwrap(), "not theirs to revoke");
    assert!(catalog.revoke_grant(&scope(), id, NOW).await.unwrap());
    assert!(!catalog.revoke_grant(&scope(), id, NOW).await.unwrap());
    assert_eq!(seen(catalog, &viewer(false)).await, NONE);
    assert!(catalog.sharers(&to, now_ms()).await.unwrap().is_empty());
    assert_eq!(catalog.grants(&scope(), Which::All).await.unwrap()[0].revoked_ms, NOW);
}

async fn patients_and_rules_reach_what_comes_later(catalog: &Catalog) {
    other_tenant(catalog).await;
    fill(catalog, 1..=2).await;
    let patient = Subject::Patient { id: "P1".into(), issuer: String::new() };
    catalog.add_grant(&scope(), &grant(patient), Origin::Share).await.unwrap().unwrap();
    assert_eq!(seen(catalog, &viewer(false)).await, [1]);
    let later = with(instance(3, 1, 1), |header| header.patient.id = "P1".into());
    catalog.record(&scope(), later).await.unwrap();
    assert_eq!(seen(catalog, &viewer(false)).await, [1, 3]);

    let rule = Rule { modality: "MR".into(), body_part: "head".into(), ..Rule::default() };
    let rule = grant(Subject::Rule(rule));
    catalog.add_grant(&scope(), &rule, Origin::Share).await.unwrap().unwrap();
    let to = *viewer(false).viewer().unwrap();
    assert!(catalog.sharers(&to, now_ms()).await.unwrap()[0].by_rule);
    for (number, modality, part) in [(4, "MR", "HEAD"), (5, "MR", "KNEE"), (6, "CT", "HEAD")] {
        let new = with(instance(number, 1, 1), |header| {
            header.series.modality = modality.into();
            header.series.body_part = part.into();
        });
        catalog.record(&scope(), new).await.unwrap();
    }
    assert_eq!(seen(catalog, &viewer(true)).await, [1, 3, 4]);
    let late = Rule { modality: "CT".into(), since_ms: NOW + 1, ..Rule::default() };
    catalog.add_grant(&scope(), &grant(Subject::Rule(late)), Origin::Share).await.unwrap().unwrap();
    assert_eq!(seen(catalog, &viewer(true)).await, [1, 3, 4], "these arrived before");
}

async fn rules_select_by_the_priority_of_an_order(catalog: &Catalog) {
    other_tenant(catalog).await;
    let rule = Rule { modality: "CT".into(), priority: "STAT".into(), ..Rule::default() };
    let rule = grant(Subject::Rule(rule));
    catalog.add_grant(&scope(), &rule, Origin::Share).await.unwrap().unwrap();
    for (number, priority) in [(1, "STAT"), (2, "ROUTINE"), (3, "")] {
        let order = Order {
            patient: OrderPatient { id: format!("P{number}"), ..OrderPatient::default() },
            accession: format!("A{number}"),
            procedure: Procedure { priority: priority.into(), ..Procedure::default() },
            steps: vec![Step { modality: "CT".into(), ..Step::default() }],
            ..Order::default()
        };
        let commands = [Command::Put(Box::new(order))];
        let random = || u128::from(number);
        catalog.apply_orders(&scope(), ("page", None), &commands, random, NOW).await.unwrap();
        let new = with(instance(number, 1, 1), |header| {
            header.patient.id = format!("P{number}");
            header.study.accession_number = format!("A{number}");
        });
        catalog.record(&scope(), new).await.unwrap();
    }
    assert_eq!(seen(catalog, &viewer(true)).await, NONE, "nothing is matched yet");
    for number in 1..=3 {
        catalog.match_study(&scope(), &format!("1.2.{number}"), NOW).await.unwrap();
    }
    assert_eq!(seen(catalog, &viewer(true)).await, [1]);
    assert_eq!(seen(catalog, &viewer(false)).await, NONE, "rules are asked where there are some");
}

async fn priors_follow_as_the_grant_says(catalog: &Catalog) {
    other_tenant(catalog).await;
    for (number, date, modality, part) in [
        (1, "20240305", "CT", "CHEST"),
        (2, "20230101", "DX", "CHEST"),
        (3, "20230202", "MR", "KNEE"),
        (4, "20250101", "CT", "CHEST"),
        (5, "20220101", "CT", "HEAD"),
    ] {
        let new = with(instance(number, 1, 1), |header| {
            header.patient.id = "P".into();
            header.study.date = date.into();
            header.series.modality = modality.into();
            header.series.body_part = part.into();
        });
        catalog.record(&scope(), new).await.unwrap();
    }
    // Without a date nobody knows whether it is earlier.
    let undated = with(instance(6, 1, 1), |header| {
        header.patient.id = "P".into();
        header.study.date = String::new();
    });
    catalog.record(&scope(), undated).await.unwrap();
    for (priors, expected) in
        [(Priors::None, vec![1]), (Priors::Related, vec![1, 2, 5]), (Priors::All, vec![1, 2, 3, 5])]
    {
        let new = NewGrant { priors, ..grant(study(1)) };
        let id = catalog.add_grant(&scope(), &new, Origin::Share).await.unwrap().unwrap();
        assert_eq!(seen(catalog, &viewer(false)).await, expected, "{priors:?}");
        assert!(catalog.revoke_grant(&scope(), id, NOW).await.unwrap());
    }
    let rule = Rule { modality: "DX".into(), ..Rule::default() };
    let new = NewGrant { priors: Priors::All, ..grant(Subject::Rule(rule)) };
    catalog.add_grant(&scope(), &new, Origin::Share).await.unwrap().unwrap();
    assert_eq!(seen(catalog, &viewer(true)).await, [2, 5]);
}

async fn what_ended_shows_nothing(catalog: &Catalog) {
    other_tenant(catalog).await;
    fill(catalog, 1..=2).await;
    let ended = NewGrant { expires_ms: NOW + 1, ..grant(study(1)) };
    catalog.add_grant(&scope(), &ended, Origin::Share).await.unwrap().unwrap();
    assert_eq!(seen(catalog, &viewer(false)).await, NONE);
    let to_look_at = NewGrant { download: false, ..grant(study(2)) };
    catalog.add_grant(&scope(), &to_look_at, Origin::Share).await.unwrap().unwrap();
    assert_eq!(seen(catalog, &viewer(false)).await, [2]);
    assert_eq!(seen(catalog, &viewer(false).to_download()).await, NONE);
    assert_eq!(seen(catalog, &scope().to_download()).await, [1, 2], "one's own");
}

async fn passing_on_ends_with_what_was_passed_on(catalog: &Catalog) {
    other_tenant(catalog).await;
    let third = TenantId(3);
    execute(catalog, "INSERT INTO tenants (id, name) VALUES (3, 'third')").await;
    let far = scope().through(Viewer { tenant: Some(third), ..Viewer::default() });
    fill(catalog, 1..=3).await;
    let kept = catalog.add_grant(&scope(), &grant(study(1)), Origin::Share).await.unwrap();
    let until = now_ms() + 1_000_000;
    let may = NewGrant { reshare: true, expires_ms: until, download: false, ..grant(study(2)) };
    let passed = catalog.add_grant(&scope(), &may, Origin::Share).await.unwrap().unwrap();
    let on = NewGrant { to: Recipient::Tenant(third), ..grant(study(2)) };
    let from = viewer(false);
    assert_eq!(catalog.reshare(&from, "1.2.1", &on).await.unwrap(), None, "not allowed");
    assert_eq!(catalog.reshare(&from, "1.2.3", &on).await.unwrap(), None, "not theirs");
    assert_eq!(catalog.reshare(&far, "1.2.2", &on).await.unwrap(), None, "nobody's");
    assert!(catalog.reshare(&from, "1.2.2", &on).await.unwrap().is_some());
    assert_eq!(seen(catalog, &far).await, [2]);
    let may_pass_on = async |scope: &Scope| {
        catalog.sharers(scope.viewer().unwrap(), now_ms()).await.unwrap()[0].reshare
    };
    assert!(may_pass_on(&from).await && !may_pass_on(&far).await);
    let listed = catalog.grants(&scope(), Which::OfStudy("1.2.2")).await.unwrap();
    let child = listed.iter().find(|one| one.origin == Origin::Reshare).unwrap();
    assert_eq!((child.expires_ms, child.download, child.reshare), (until, false, false));
    for to in [TenantId::DEFAULT, OTHER] {
        let back = NewGrant { to: Recipient::Tenant(to), ..on.clone() };
        assert_eq!(catalog.reshare(&from, "1.2.2", &back).await.unwrap(), None, "no way back");
    }
    let mine = Scope::local(OTHER);
    let passed_on = catalog.passed_on(&mine, now_ms()).await.unwrap();
    assert_eq!(passed_on.len(), 1);
    assert!(!catalog.take_back(&Scope::local(third), passed_on[0].id, NOW).await.unwrap());
    assert!(catalog.take_back(&mine, passed_on[0].id, NOW).await.unwrap());
    assert_eq!(seen(catalog, &far).await, NONE);
    assert!(catalog.reshare(&from, "1.2.2", &on).await.unwrap().is_some());
    let again = NewGrant { to: Recipient::Tenant(OTHER), ..on };
    assert_eq!(catalog.reshare(&far, "1.2.2", &again).await.unwrap(), None, "once, not twice");
    assert!(catalog.revoke_grant(&scope(), passed, NOW).await.unwrap());
    assert_eq!(seen(catalog, &far).await, NONE);
    assert_eq!(seen(catalog, &from).await, [1]);
    assert!(kept.is_some());
}

async fn broken_glass_waits_for_a_look(catalog: &Catalog) {
    let other = other_tenant(catalog).await;
    fill(catalog, [1]).await;
    let taken = NewGrant { to: Recipient::Person(9), ..grant(study(1)) };
    let id = catalog.add_grant(&scope(), &taken, Origin::Emergency).await.unwrap().unwrap();
    let person = scope().through(Viewer { person: Some(9), ..Viewer::default() });
    assert_eq!(seen(catalog, &person).await, [1]);
    let patient = Subject::Patient { id: "P1".into(), issuer: String::new() };
    let whole = NewGrant { subject: patient, ..taken.clone() };
    let once = catalog.add_grant(&scope(), &whole, Origin::Emergency).await.unwrap().unwrap();
    let twice = catalog.add_grant(&scope(), &whole, Origin::Emergency).await.unwrap().unwrap();
    assert_eq!(once, twice, "revoking it must close it");
    assert!(catalog.review_grant(&scope(), once, NOW).await.unwrap());
    assert_eq!(catalog.grants(&scope(), Which::Unreviewed).await.unwrap().len(), 1);
    assert!(!catalog.review_grant(&other, id, NOW).await.unwrap());
    assert!(catalog.review_grant(&scope(), id, NOW).await.unwrap());
    assert!(!catalog.review_grant(&scope(), id, NOW).await.unwrap());
    assert_eq!(catalog.grants(&scope(), Which::Unreviewed).await.unwrap(), []);
    let action = "SELECT COUNT(*) FROM audit WHERE action = 'break glass'";
    assert_eq!(number(catalog, action).await, 2);
    catalog.allow_emergency(&scope(), false, NOW).await.unwrap();
    assert_eq!(seen(catalog, &person).await, NONE, "no leave any more");
}

async fn emergencies_need_the_leave_of_the_tenant(catalog: &Catalog) {
    let other = other_tenant(catalog).await;
    fill(catalog, [1]).await;
    let find = async |id: &str, birth: &str| {
        catalog.patient_in_emergency(&scope(), id, birth).await.unwrap()
    };
    assert!(!catalog.allows_emergency(&scope()).await.unwrap());
    assert_eq!(find("P1", "19700101").await, None, "nobody allowed it");
    catalog.allow_emergency(&scope(), true, NOW).await.unwrap();
    assert!(catalog.allows_emergency(&scope()).await.unwrap());
    assert!(!catalog.allows_emergency(&other).await.unwrap());
    let patient = Subject::Patient { id: "P1".into(), issuer: String::new() };
    assert_eq!(find("P1", "19700101").await, Some(patient.clone()));
    for (id, birth) in [("P1", ""), ("P1", "19700102"), ("", "19700101"), ("p1", "19700101")] {
        assert_eq!(find(id, birth).await, None, "{id} {birth}");
    }
    assert_eq!(catalog.patient_of(&scope(), "1.2.1").await.unwrap(), Some(patient));
    assert_eq!(catalog.patient_of(&other, "1.2.1").await.unwrap(), None);
    catalog.allow_emergency(&scope(), false, NOW).await.unwrap();
    assert_eq!(find("P1", "19700101").await, None);
}

fn link(secret: &str) -> NewLink {
    NewLink {
        secret: secret.into(),
        code: "hash".into(),
        name: "王先生".into(),
        subject: study(1),
        priors: Priors::None,
        download: false,
        project: None,
        views: Some(2),
        purpose: "for the patient".into(),
        created_by: "wang".into(),
        at_ms: NOW,
        expires_ms: now_ms() + 1_000_000,
    }
}

async fn links_open_as_often_as_they_say(catalog: &Catalog) {
    let other = other_tenant(catalog).await;
    fill(catalog, 1..=2).await;
    let id = catalog.add_link(&scope(), &link("a")).await.unwrap();
    assert!(catalog.link("b").await.unwrap().is_none());
    let found = catalog.link("a").await.unwrap().unwrap();
    assert_eq!((found.id, found.views_left, found.code.as_str()), (id, Some(2), "hash"));
    let (now, until) = (now_ms(), now_ms() + 1000);
    for secret in ["v1", "v2"] {
        assert!(catalog.open_link(&scope(), id, secret, now, until).await.unwrap());
    }
    assert!(!catalog.open_link(&scope(), id, "v3", now, until).await.unwrap(), "used up");
    let visit = catalog.visit("v1", now).await.unwrap().unwrap();
    assert_eq!((visit.id, visit.views_left, visit.views), (id, Some(0), 2));
    assert!(catalog.visit("v1", until).await.unwrap().is_none());
    assert!(catalog.visit("v3", now).await.unwrap().is_none());
    let holder = scope().through(Viewer { link: Some(id), ..Viewer::default() });
    assert_eq!(seen(catalog, &holder).await, [1]);
    assert_eq!(seen(catalog, &holder.clone().to_download()).await, NONE);
    assert_eq!(catalog.links(&scope(), Some("1.2.1")).await.unwrap().len(), 1);
    assert_eq!(catalog.links(&scope(), Some("1.2.2")).await.unwrap(), []);
    assert_eq!(
        catalog.grants(&scope(), Which::All).await.unwrap(),
        [],
        "links have their own list"
    );
    assert!(!catalog.revoke_link(&other, id, now).await.unwrap());
    assert!(catalog.revoke_link(&scope(), id, now).await.unwrap());
    assert!(catalog.visit("v1", now).await.unwrap().is_none());
    assert_eq!(seen(catalog, &holder).await, NONE);
    let ended = NewLink { expires_ms: now - 1, ..link("c") };
    let ended = catalog.add_link(&scope(), &ended).await.unwrap();
    assert!(!catalog.open_link(&scope(), ended, "v4", now, until).await.unwrap());
}

async fn codes_are_not_guessed(catalog: &Catalog) {
    fill(catalog, [1]).await;
    let id = catalog.add_link(&scope(), &link("a")).await.unwrap();
    let tries = (0..30).map(|_| catalog.attempt_link(id, 5000));
    let tried = futures_util::future::try_join_all(tries).await.unwrap();
    assert_eq!(tried.iter().filter(|one| **one).count(), 5, "the others found it resting");
    assert!(!catalog.attempt_link(id, 5000 + 14 * 60_000).await.unwrap());
    assert!(catalog.attempt_link(id, 5000 + 15 * 60_000).await.unwrap());
}

async fn pseudonyms_hide_what_they_stand_for(catalog: &Catalog) {
    let other = other_tenant(catalog).await;
    fill(catalog, 1..=2).await;
    let project = catalog.project(&scope(), "TRIAL", "a secret", NOW).await.unwrap();
    let again = catalog.project(&scope(), "TRIAL", "another secret", NOW).await.unwrap();
    assert_eq!((again.id, again.secret.as_str()), (project.id, "a secret"));
    assert_ne!(catalog.project(&other, "TRIAL", "theirs", NOW).await.unwrap().id, project.id);
    let new = NewGrant { project: Some(project.id), ..grant(study(1)) };
    catalog.add_grant(&scope(), &new, Origin::Share).await.unwrap().unwrap();
    catalog.add_grant(&scope(), &grant(study(2)), Origin::Share).await.unwrap().unwrap();
    assert_eq!(seen(catalog, &viewer(false)).await, [2], "not as it is");
    assert_eq!(seen(catalog, &viewer(false).under_pseudonyms(project.id)).await, [1]);
    let to = *viewer(false).viewer().unwrap();
    let projects = catalog.projects_of(&to, TenantId::DEFAULT, now_ms()).await.unwrap();
    assert_eq!(projects.iter().map(|one| one.id).collect::<Vec<_>>(), [project.id]);
    assert!(catalog.projects_of(&to, OTHER, now_ms()).await.unwrap().is_empty());
    assert_eq!(
        catalog.grants(&scope(), Which::OfStudy("1.2.1")).await.unwrap()[0].project,
        "TRIAL"
    );
}

async fn what_is_not_here_is_not_shared(catalog: &Catalog) {
    let other = other_tenant(catalog).await;
    fill(catalog, [1]).await;
    assert_eq!(catalog.add_grant(&other, &grant(study(1)), Origin::Share).await.unwrap(), None);
    let patient = Subject::Patient { id: "P9".into(), issuer: String::new() };
    assert_eq!(catalog.add_grant(&scope(), &grant(patient), Origin::Share).await.unwrap(), None);
}
