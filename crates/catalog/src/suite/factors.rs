//! Second factors and invitations.

use qianli_model::{Role, Scope, TenantId};

use super::fixture::{number, other_tenant, scope};
use crate::Catalog;
use crate::access::{Accepted, NewInvitation, NewLoginStep, NewPerson};

super::on_both!(
    codes_and_recovery_codes_count_once,
    a_login_waits_for_a_code_while_its_password_is_right,
    invitations_open_one_account_in_their_tenant,
);

fn person(login: &str) -> NewPerson {
    NewPerson {
        login: login.into(),
        name: String::new(),
        password: "hash".into(),
        must_change: false,
        roles: vec![Role::Reader],
        at_ms: 1000,
    }
}

async fn codes_and_recovery_codes_count_once(catalog: &Catalog) {
    let id = catalog.add_person(&scope(), &person("a")).await.unwrap().unwrap();
    assert!(catalog.begin_totp(id, "QQFIRST").await.unwrap());
    assert!(catalog.begin_totp(id, "QQSECOND").await.unwrap(), "begun anew");
    assert!(!catalog.use_totp(id, 7).await.unwrap(), "it does not count yet");
    let digests = ["one".to_owned(), "two".to_owned()];
    let confirm = async |secret, step| {
        catalog.confirm_totp(&scope(), id, (secret, step), &digests).await.unwrap()
    };
    assert!(!confirm("QQFIRST", 5).await, "another secret");
    assert!(confirm("QQSECOND", 5).await);
    assert!(!confirm("QQSECOND", 6).await);
    assert!(!catalog.begin_totp(id, "QQTHIRD").await.unwrap(), "there is one");
    for (step, fresh) in [(5, false), (4, false), (6, true), (6, false), (7, true)] {
        assert_eq!(catalog.use_totp(id, step).await.unwrap(), fresh, "{step}");
    }
    let (one, other) = tokio::join!(catalog.use_totp(id, 9), catalog.use_totp(id, 9));
    assert!(one.unwrap() != other.unwrap(), "one of two at once");
    assert!(catalog.use_recovery_code(&scope(), id, "one").await.unwrap());
    assert!(!catalog.use_recovery_code(&scope(), id, "one").await.unwrap());
    assert_eq!(catalog.recovery_codes(id).await.unwrap(), 1);
    assert!(catalog.people(&scope()).await.unwrap()[0].second_factor);
    assert!(catalog.remove_totp(&scope(), id).await.unwrap());
    assert!(!catalog.remove_totp(&scope(), id).await.unwrap());
    assert_eq!(catalog.recovery_codes(id).await.unwrap(), 0);
    catalog.require_second_factor(&scope(), true).await.unwrap();
    assert!(catalog.requires_second_factor(TenantId::DEFAULT).await.unwrap());
    let rows = "SELECT COUNT(*) FROM audit WHERE details NOT LIKE '%QQ%' AND action = ";
    assert_eq!(number(catalog, format!("{rows}'change user'")).await, 4);
    assert_eq!(number(catalog, format!("{rows}'change tenant'")).await, 1);
}

async fn a_login_waits_for_a_code_while_its_password_is_right(catalog: &Catalog) {
    let id = catalog.add_person(&scope(), &person("a")).await.unwrap().unwrap();
    let step = |secret: &str| NewLoginStep {
        secret: secret.into(),
        person: id,
        password: "hash".into(),
        next: "/studies".into(),
        at_ms: 1000,
        expires_ms: 5000,
    };
    catalog.begin_login_step(&step("one")).await.unwrap();
    let found = catalog.login_step("one", 4999).await.unwrap().unwrap();
    assert_eq!((found.person, found.login.as_str(), found.next.as_str()), (id, "a", "/studies"));
    assert!(catalog.login_step("one", 5000).await.unwrap().is_none(), "too late");
    assert!(catalog.login_step("two", 2000).await.unwrap().is_none());
    assert!(catalog.end_login_step("one").await.unwrap());
    assert!(!catalog.end_login_step("one").await.unwrap());
    catalog.begin_login_step(&step("three")).await.unwrap();
    catalog.set_password(&scope(), id, "another", false, 1001).await.unwrap();
    assert!(catalog.login_step("three", 2000).await.unwrap().is_none(), "another password");
}

async fn invitations_open_one_account_in_their_tenant(catalog: &Catalog) {
    let other: Scope = other_tenant(catalog).await;
    let new = |secret: &str, expires_ms| NewInvitation {
        secret: secret.into(),
        roles: vec![Role::Auditor, Role::Reader],
        note: "for Li".into(),
        at_ms: 1000,
        expires_ms,
    };
    let id = catalog.invite(&other, &new("one", 5000)).await.unwrap();
    assert_eq!(catalog.invitations(&scope()).await.unwrap(), [], "another tenant's");
    assert!(!catalog.revoke_invitation(&scope(), id, 2000).await.unwrap());
    let invited = catalog.invitation("one", 4999).await.unwrap().unwrap();
    assert_eq!(invited.roles, [Role::Reader, Role::Auditor]);
    assert_eq!(catalog.invitation("one", 5000).await.unwrap(), None, "at its end");
    let mut li = person("Li");
    li.roles = vec![Role::Administrator];
    li.at_ms = 6000;
    let accept = async |secret: &str, who: &NewPerson| {
        catalog.accept_invitation(secret, who, "192.0.2.1").await.unwrap()
    };
    assert_eq!(accept("one", &li).await, Accepted::Over, "at its end");
    li.at_ms = 3000;
    catalog.add_person(&scope(), &person("taken")).await.unwrap();
    let mut taken = li.clone();
    taken.login = "Taken".into();
    assert_eq!(accept("one", &taken).await, Accepted::Taken);
    let mut second = li.clone();
    second.login = "li2".into();
    let (first, second) = tokio::join!(accept("one", &li), accept("one", &second));
    let both = [first, second];
    assert!(both.contains(&Accepted::In) && both.contains(&Accepted::Over), "{both:?}");
    let people = catalog.people(&other).await.unwrap();
    assert_eq!(people.len(), 1);
    assert_eq!(people[0].roles, [Role::Reader, Role::Auditor], "those of the invitation");
    assert_eq!(catalog.invitations(&other).await.unwrap()[0].used_by, people[0].login);
    let id = catalog.invite(&other, &new("two", 5000)).await.unwrap();
    assert!(catalog.revoke_invitation(&other, id, 2000).await.unwrap());
    assert!(!catalog.revoke_invitation(&other, id, 2000).await.unwrap());
    assert_eq!(accept("two", &li).await, Accepted::Over);
    let rows = "SELECT COUNT(*) FROM audit WHERE action = 'change user' AND details LIKE '%invit%'";
    assert_eq!(number(catalog, rows.to_owned()).await, 4);
}
