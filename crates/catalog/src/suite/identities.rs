//! People whom an identity provider knows.

use qianli_model::{Role, TenantId};

use super::fixture::{number, scope};
use crate::Catalog;
use crate::access::{
    Admission, Membership, NewIdentity, NewOidcFlow, NewOidcLink, NewPerson, NewSession,
};

super::on_both!(
    a_login_under_way_ends_once_and_in_its_browser,
    an_identity_is_one_account_with_the_roles_of_the_moment,
    sessions_of_a_provider_are_asked_about_once_at_a_time,
);

fn flow(state: &str, expires_ms: i64) -> NewOidcFlow {
    NewOidcFlow {
        state: state.into(),
        browser: "browser".into(),
        provider: "county".into(),
        next: "/studies".into(),
        at_ms: 1000,
        expires_ms,
    }
}

async fn a_login_under_way_ends_once_and_in_its_browser(catalog: &Catalog) {
    assert!(catalog.begin_oidc(&flow("one", 5000), 2).await.unwrap());
    assert!(catalog.begin_oidc(&flow("two", 900), 2).await.unwrap());
    // The second is over and swept, so that there is room.
    assert!(catalog.begin_oidc(&flow("three", 5000), 2).await.unwrap());
    assert!(!catalog.begin_oidc(&flow("four", 5000), 2).await.unwrap(), "too many");
    for (state, browser, provider, now) in [
        ("one", "another", "county", 2000),
        ("one", "browser", "city", 2000),
        ("one", "browser", "county", 5000),
        ("none", "browser", "county", 2000),
    ] {
        assert_eq!(catalog.take_oidc(state, browser, provider, now).await.unwrap(), None);
    }
    let taken = catalog.take_oidc("one", "browser", "county", 4999).await.unwrap();
    assert_eq!(taken.as_deref(), Some("/studies"));
    assert_eq!(catalog.take_oidc("one", "browser", "county", 4999).await.unwrap(), None, "once");
}

fn identity(subject: &str, memberships: &[(i64, &[Role])]) -> NewIdentity {
    let one = |(tenant, roles): &(i64, &[Role])| Membership {
        tenant: TenantId(*tenant),
        roles: roles.to_vec(),
    };
    NewIdentity {
        issuer: "https://id.example".into(),
        subject: subject.into(),
        login: "wang@county".into(),
        name: "Wang".into(),
        memberships: memberships.iter().map(one).collect(),
        may_add: true,
        peer: "192.0.2.1".into(),
        at_ms: 1000,
    }
}

async fn an_identity_is_one_account_with_the_roles_of_the_moment(catalog: &Catalog) {
    let other = catalog.add_tenant("other", "", 1).await.unwrap().unwrap().id;
    assert_eq!(catalog.admit_identity(&identity("s", &[])).await.unwrap(), Admission::Nowhere);
    assert!(!catalog.has_people().await.unwrap(), "who is nothing leaves no account");
    let mut new = identity("s", &[(1, &[Role::Reader]), (other.0, &[Role::Auditor])]);
    new.may_add = false;
    assert_eq!(catalog.admit_identity(&new).await.unwrap(), Admission::Nowhere);
    new.may_add = true;
    let (first, again) = tokio::join!(catalog.admit_identity(&new), catalog.admit_identity(&new));
    let (first, again) = (first.unwrap(), again.unwrap());
    assert_eq!(first, again, "two first logins at once are one account");
    let Admission::In(admitted) = first else { panic!("{first:?}") };
    assert_eq!((admitted.login.as_str(), admitted.tenant), ("wang@county", TenantId(1)));
    assert!(catalog.has_identity(admitted.person).await.unwrap());
    assert_eq!(catalog.roles(admitted.person, other).await.unwrap(), [Role::Auditor]);
    let rows = "SELECT COUNT(*) FROM audit WHERE action = ";
    assert_eq!(number(catalog, format!("{rows}'change user'")).await, 1);
    assert_eq!(number(catalog, format!("{rows}'change role'")).await, 2);

    // Neither an account of this server nor another person of that name is the same.
    let Admission::In(second) =
        catalog.admit_identity(&identity("t", &[(1, &[Role::Reader])])).await.unwrap()
    else {
        panic!("no account")
    };
    assert_eq!(second.login, "wang.2@county");
    assert_ne!(second.person, admitted.person);
    let mut elsewhere = identity("s", &[(1, &[Role::Reader])]);
    elsewhere.issuer = "https://id.other.example".into();
    let Admission::In(third) = catalog.admit_identity(&elsewhere).await.unwrap() else {
        panic!("no account")
    };
    assert_ne!(third.person, admitted.person, "a subject means something at its issuer only");

    // What the provider takes is gone, and what stays leaves no row.
    catalog.admit_identity(&identity("s", &[(1, &[Role::Reader])])).await.unwrap();
    assert_eq!(catalog.roles(admitted.person, other).await.unwrap(), []);
    assert_eq!(catalog.roles(admitted.person, TenantId(1)).await.unwrap(), [Role::Reader]);
    let count = number(catalog, format!("{rows}'change role'")).await;
    catalog.admit_identity(&identity("s", &[(1, &[Role::Reader])])).await.unwrap();
    assert_eq!(number(catalog, format!("{rows}'change role'")).await, count);
    assert_eq!(catalog.admit_identity(&identity("s", &[])).await.unwrap(), Admission::Nowhere);
    assert_eq!(catalog.roles(admitted.person, TenantId(1)).await.unwrap(), []);
    catalog.set_disabled(&scope(), admitted.person, true).await.unwrap();
    let off = catalog.admit_identity(&identity("s", &[(1, &[Role::Reader])])).await.unwrap();
    assert_eq!(off, Admission::Disabled);
    assert_eq!(catalog.roles(admitted.person, TenantId(1)).await.unwrap(), []);
}

async fn sessions_of_a_provider_are_asked_about_once_at_a_time(catalog: &Catalog) {
    let person = NewPerson {
        login: "a".into(),
        name: String::new(),
        password: String::new(),
        must_change: false,
        roles: vec![Role::Reader],
        at_ms: 1000,
    };
    let person = catalog.add_person(&scope(), &person).await.unwrap().unwrap();
    let session = NewSession {
        secret: "digest".into(),
        person,
        login: "a".into(),
        tenant: TenantId::DEFAULT,
        at_ms: 1000,
        expires_ms: 90_000,
        peer: String::new(),
        agent: String::new(),
    };
    let link = NewOidcLink { provider: "county".into(), sealed: "sealed".into(), refreshes: true };
    catalog.open_session_of(&session, Some(&link)).await.unwrap();
    let open = catalog.session("digest", 2000, 0).await.unwrap().unwrap().oidc.unwrap();
    assert_eq!((open.provider.as_str(), open.checked_ms, open.valid_ms), ("county", 1000, 1000));
    assert!(catalog.claim_oidc_check("digest", 1000, 2000).await.unwrap());
    assert!(!catalog.claim_oidc_check("digest", 1000, 2001).await.unwrap(), "somebody asks");
    catalog.keep_oidc("digest", "again", 2002).await.unwrap();
    assert_eq!(
        catalog.oidc_of("digest").await.unwrap(),
        Some(("county".to_owned(), "again".to_owned()))
    );
    let open = catalog.session("digest", 3000, 0).await.unwrap().unwrap().oidc.unwrap();
    assert_eq!((open.checked_ms, open.valid_ms), (2000, 2002));
    catalog.end_session(TenantId::DEFAULT, "digest", "refused").await.unwrap();
    catalog.end_session(TenantId::DEFAULT, "digest", "refused").await.unwrap();
    assert_eq!(catalog.session("digest", 3000, 0).await.unwrap(), None);
    assert_eq!(catalog.oidc_of("digest").await.unwrap(), None, "its tokens go with it");
    let rows = "SELECT COUNT(*) FROM audit WHERE action = 'logout'";
    assert_eq!(number(catalog, rows.to_owned()).await, 1);
}
