//! Accounts, sessions, tokens: who is let in, and who no longer is.

use qianli_model::{Permission, Permissions, Role, Scope, TenantId};

use super::fixture::{other_tenant, scope};
use crate::Catalog;
use crate::access::{Change, NewPerson, NewSession, NewToken};

super::on_both!(
    people_are_seen_by_their_tenants_alone,
    guesses_lock_an_account_however_many_come_at_once,
    sessions_end_by_time_silence_and_decision,
    roles_are_those_of_the_moment,
    tokens_end_by_time_and_decision,
    tenants_have_one_name_each,
    what_is_changed_is_audited,
    a_tenant_keeps_an_administrator,
    tokens_of_a_maker_end_together,
);

fn person(login: &str, roles: &[Role]) -> NewPerson {
    NewPerson {
        login: login.into(),
        name: "王小东".into(),
        password: "hash".into(),
        must_change: false,
        roles: roles.to_vec(),
        at_ms: 1000,
    }
}

fn session(person: i64, secret: &str) -> NewSession {
    NewSession {
        secret: secret.into(),
        person,
        login: "a".into(),
        tenant: TenantId::DEFAULT,
        at_ms: 1000,
        expires_ms: 100_000,
        peer: "127.0.0.1".into(),
        agent: "a browser".into(),
    }
}

async fn people_are_seen_by_their_tenants_alone(catalog: &Catalog) {
    let other = other_tenant(catalog).await;
    assert!(!catalog.has_people().await.unwrap());
    let new = person("Wang", &[Role::Reader, Role::Dispatcher]);
    let id = catalog.add_person(&scope(), &new).await.unwrap().unwrap();
    assert!(catalog.has_people().await.unwrap());
    assert_eq!(catalog.add_person(&other, &person("WANG", &[])).await.unwrap(), None, "taken");
    let found = catalog.person(&scope(), "wANG").await.unwrap().unwrap();
    assert_eq!((found.id, found.login.as_str(), found.name.as_str()), (id, "wang", "王小东"));
    assert_eq!(found.roles, [Role::Reader, Role::Dispatcher]);
    assert_eq!(catalog.person(&other, "wang").await.unwrap(), None);
    assert!(catalog.set_roles(&other, "wang", &[Role::Physician]).await.unwrap());
    assert_eq!(catalog.person(&other, "wang").await.unwrap().unwrap().roles, [Role::Physician]);
    assert_eq!(catalog.person(&scope(), "wang").await.unwrap().unwrap().roles, found.roles);
    assert_eq!(catalog.tenants_of(id).await.unwrap().len(), 2);
    assert!(catalog.set_roles(&scope(), "wang", &[]).await.unwrap());
    assert_eq!(catalog.people(&scope()).await.unwrap(), []);
    assert!(!catalog.set_roles(&scope(), "nobody", &[]).await.unwrap());
}

async fn guesses_lock_an_account_however_many_come_at_once(catalog: &Catalog) {
    let id = catalog.add_person(&scope(), &person("a", &[])).await.unwrap().unwrap();
    let attempts = (0..40).map(|_| catalog.attempt_login(id, 5000));
    let let_in: Vec<bool> = futures_util::future::try_join_all(attempts).await.unwrap();
    assert_eq!(let_in.iter().filter(|one| **one).count(), 5);
    let known = catalog.credentials("A").await.unwrap().unwrap();
    assert_eq!((known.failures, known.locked_until_ms), (5, 65_000));
    assert!(!catalog.attempt_login(id, 64_999).await.unwrap());
    assert!(catalog.attempt_login(id, 65_000).await.unwrap(), "one more after a minute");
    assert!(!catalog.attempt_login(id, 65_001).await.unwrap(), "and then a longer wait");
    assert!(!catalog.login_succeeded(id, "an older hash").await.unwrap());
    assert!(catalog.login_succeeded(id, "hash").await.unwrap());
    assert!(catalog.attempt_login(id, 65_002).await.unwrap());
    catalog.set_disabled(&scope(), id, true).await.unwrap();
    assert!(!catalog.login_succeeded(id, "hash").await.unwrap());
}

async fn sessions_end_by_time_silence_and_decision(catalog: &Catalog) {
    let new = person("a", &[Role::Reader]);
    let id = catalog.add_person(&scope(), &new).await.unwrap().unwrap();
    for secret in ["one", "two", "three"] {
        catalog.open_session(&session(id, secret)).await.unwrap();
    }
    let open = catalog.session("one", 2000, 1000).await.unwrap().unwrap();
    assert_eq!((open.person, open.login.as_str()), (id, "a"));
    assert_eq!((open.tenant.name.as_str(), open.roles), ("default", vec![Role::Reader]));
    assert_eq!(catalog.session("four", 2000, 0).await.unwrap(), None);
    assert_eq!(catalog.session("one", 100_000, 0).await.unwrap(), None, "at its end");
    assert_eq!(catalog.session("one", 2000, 1001).await.unwrap(), None, "too quiet");
    catalog.touch_session("one", 1500).await.unwrap();
    assert!(catalog.session("one", 2000, 1500).await.unwrap().is_some());
    assert_eq!(catalog.sessions(id, 2000).await.unwrap().len(), 3);
    assert!(!catalog.close_session(&scope(), id + 1, "one").await.unwrap(), "another's");
    assert!(catalog.close_session(&scope(), id, "one").await.unwrap());
    assert_eq!(catalog.session("one", 2000, 0).await.unwrap(), None);
    catalog.set_password(&scope(), id, "new hash", false, 3000).await.unwrap();
    assert_eq!(catalog.session("two", 2000, 0).await.unwrap(), None, "a new password ends all");
    catalog.open_session(&session(id, "five")).await.unwrap();
    catalog.set_disabled(&scope(), id, true).await.unwrap();
    catalog.set_disabled(&scope(), id, false).await.unwrap();
    assert_eq!(catalog.session("five", 2000, 0).await.unwrap(), None);
}

async fn roles_are_those_of_the_moment(catalog: &Catalog) {
    let new = person("a", &[Role::Administrator]);
    let id = catalog.add_person(&scope(), &new).await.unwrap().unwrap();
    catalog.open_session(&session(id, "s")).await.unwrap();
    catalog.set_roles(&scope(), "a", &[Role::Auditor]).await.unwrap();
    let open = catalog.session("s", 2000, 0).await.unwrap().unwrap();
    assert_eq!(open.roles, [Role::Auditor]);
    super::fixture::execute(catalog, "UPDATE memberships SET role = 'emperor'").await;
    let open = catalog.session("s", 2000, 0).await.unwrap().unwrap();
    assert_eq!(open.roles, [], "an unknown role permits nothing");
}

async fn tokens_end_by_time_and_decision(catalog: &Catalog) {
    let other: Scope = other_tenant(catalog).await;
    let new = NewToken {
        secret: "digest".into(),
        name: "reading station".into(),
        permissions: Permissions::of(&[Permission::Read, Permission::Store]),
        created_by: "admin".into(),
        at_ms: 1000,
        expires_ms: 9000,
    };
    let id = catalog.add_token(&other, &new).await.unwrap();
    let found = catalog.token("digest", 8999).await.unwrap().unwrap();
    assert_eq!((found.id, found.tenant.id), (id, TenantId(2)));
    assert_eq!(found.permissions, new.permissions);
    assert_eq!(catalog.token("digest", 9000).await.unwrap(), None, "at its end");
    let admin = person("admin", &[Role::Administrator]);
    let admin = catalog.add_person(&other, &admin).await.unwrap().unwrap();
    for (disabled, valid) in [(true, false), (false, true)] {
        catalog.set_disabled(&other, admin, disabled).await.unwrap();
        let found = catalog.token("digest", 4000).await.unwrap();
        assert_eq!(found.is_some(), valid, "its maker was switched off: {disabled}");
    }
    catalog.touch_token(id, 4000).await.unwrap();
    assert_eq!(catalog.tokens(&other).await.unwrap()[0].used_ms, 4000);
    assert_eq!(catalog.tokens(&scope()).await.unwrap(), []);
    assert!(!catalog.revoke_token(&scope(), id, 5000).await.unwrap(), "another tenant's");
    assert!(catalog.revoke_token(&other, id, 5000).await.unwrap());
    assert!(!catalog.revoke_token(&other, id, 6000).await.unwrap());
    assert_eq!(catalog.token("digest", 5000).await.unwrap(), None);
    assert_eq!(catalog.tokens(&other).await.unwrap()[0].revoked_ms, 5000);
}

async fn what_is_changed_is_audited(catalog: &Catalog) {
    let new = person("a", &[Role::Reader]);
    let id = catalog.add_person(&scope(), &new).await.unwrap().unwrap();
    catalog.set_roles(&scope(), "a", &[Role::Auditor]).await.unwrap();
    catalog.set_password(&scope(), id, "another", true, 5).await.unwrap();
    catalog.open_session(&session(id, "s")).await.unwrap();
    catalog.close_session(&scope(), id, "s").await.unwrap();
    catalog.close_session(&scope(), id, "s").await.unwrap();
    catalog.set_disabled(&scope(), id, true).await.unwrap();
    let token = NewToken {
        secret: "digest".into(),
        name: "n".into(),
        permissions: Permissions::ALL,
        created_by: String::new(),
        at_ms: 1,
        expires_ms: 2,
    };
    let token = catalog.add_token(&scope(), &token).await.unwrap();
    catalog.revoke_token(&scope(), token, 2).await.unwrap();
    catalog.revoke_token(&scope(), token, 2).await.unwrap();
    let text =
        "SELECT COUNT(*) FROM audit WHERE outcome = 'success' AND details NOT LIKE '%digest%'
        AND details NOT LIKE '%another%' AND action = ";
    for (action, count) in
        [("change user", 3), ("change role", 1), ("login", 1), ("logout", 1), ("change token", 2)]
    {
        let found = super::fixture::number(catalog, format!("{text}'{action}'")).await;
        assert_eq!(found, count, "{action}");
    }
}

async fn tenants_have_one_name_each(catalog: &Catalog) {
    let made = catalog.add_tenant("county-1", "县医院", 7).await.unwrap().unwrap();
    assert_ne!(made.id, TenantId::DEFAULT);
    assert_eq!(catalog.add_tenant("county-1", "", 8).await.unwrap(), None);
    assert_eq!(catalog.tenant("county-1").await.unwrap(), Some(made));
    assert_eq!(catalog.tenant("county-2").await.unwrap(), None);
    assert_eq!(catalog.tenants().await.unwrap().len(), 2);
}

async fn a_tenant_keeps_an_administrator(catalog: &Catalog) {
    let other = other_tenant(catalog).await;
    let admin = [Role::Administrator];
    let first = catalog.add_person(&scope(), &person("a", &admin)).await.unwrap().unwrap();
    let second = catalog.add_person(&scope(), &person("b", &admin)).await.unwrap().unwrap();
    let roles = |login: &'static str, roles: &'static [Role]| {
        let scope = scope();
        async move { catalog.change_roles(&scope, login, roles).await.unwrap() }
    };
    assert_eq!(roles("nobody", &[]).await, Change::NoSuchPerson);
    // Of two who take it from each other at once, one succeeds.
    let (one, two) = tokio::join!(roles("a", &[Role::Reader]), roles("b", &[]));
    let mut both = [one, two];
    both.sort_by_key(|change| *change == Change::LastAdministrator);
    assert_eq!(both, [Change::Done, Change::LastAdministrator]);
    let (left, key, gone) = match one {
        Change::Done => ("b", second, first),
        _ => ("a", first, second),
    };
    assert_eq!(roles(left, &[Role::Auditor]).await, Change::LastAdministrator);
    assert_eq!(roles(left, &[Role::Administrator, Role::Auditor]).await, Change::Done);
    let switch =
        async |person, disabled| catalog.change_disabled(&scope(), person, disabled).await.unwrap();
    assert_eq!(switch(key, true).await, Change::LastAdministrator);
    assert_eq!(switch(gone, true).await, Change::Done, "no administrator");
    // Somebody who is switched off is no administrator who can log in.
    let third = catalog.add_person(&scope(), &person("c", &admin)).await.unwrap().unwrap();
    assert_eq!(switch(third, true).await, Change::Done);
    assert_eq!(roles(left, &[]).await, Change::LastAdministrator);
    assert_eq!(switch(third, false).await, Change::Done);
    assert_eq!(roles(left, &[]).await, Change::Done);
    assert!(catalog.set_roles(&scope(), "c", &[]).await.unwrap(), "the operator may");
    assert_eq!(catalog.change_roles(&other, "c", &[]).await.unwrap(), Change::Done);
}

async fn tokens_of_a_maker_end_together(catalog: &Catalog) {
    let token = |secret: &str, maker: &str| NewToken {
        secret: secret.into(),
        name: "n".into(),
        permissions: Permissions::ALL,
        created_by: maker.into(),
        at_ms: 1,
        expires_ms: 9000,
    };
    for (secret, maker) in [("one", "x y"), ("two", "x y"), ("three", "z")] {
        catalog.add_token(&scope(), &token(secret, maker)).await.unwrap();
    }
    assert_eq!(catalog.revoke_tokens_of(&scope(), "x y", 5).await.unwrap(), 2);
    assert_eq!(catalog.revoke_tokens_of(&scope(), "x y", 6).await.unwrap(), 0);
    assert!(catalog.token("one", 7).await.unwrap().is_none());
    assert!(catalog.token("three", 7).await.unwrap().is_some());
    let id = catalog.add_person(&scope(), &person("a", &[])).await.unwrap().unwrap();
    catalog.open_session(&session(id, "s")).await.unwrap();
    assert_eq!(catalog.end_sessions(&scope(), id).await.unwrap(), 1);
    assert_eq!(catalog.end_sessions(&scope(), id).await.unwrap(), 0);
    assert_eq!(catalog.session("s", 2000, 0).await.unwrap(), None);
}
