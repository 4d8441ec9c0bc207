//! Who is let in: every route for every role, made from the tables that the routers are made from.

use std::time::Duration;

use axum::http::{HeaderName, Method, header};
use qianli_catalog::access::{NewPerson, NewToken};
use qianli_model::{Permission, Permissions, Role, Scope, TenantId};

use super::data::Instance;
use super::node::{Answer, Node};
use crate::access::{Logins, Needs, now_ms, secret};
use crate::dicomweb::routes;
use crate::{WebConfig, portal};

pub(super) const PASSWORD: &str = "tin-mole-vast-9";

pub(super) fn logins() -> Logins {
    Logins { lifetime: Duration::from_secs(3600), idle: Duration::from_secs(600), https: false }
}

pub(super) async fn start() -> Node {
    let config = WebConfig { logins: Some(logins()), allow_delete: true, ..WebConfig::default() };
    Node::start_with(config).await
}

pub(super) fn of(tenant: TenantId) -> Scope {
    Scope::local(tenant)
}

pub(super) async fn person(node: &Node, tenant: TenantId, login: &str, roles: &[Role]) -> i64 {
    let new = NewPerson {
        login: login.into(),
        name: String::new(),
        password: secret::hash(PASSWORD).expect("a hash"),
        must_change: false,
        roles: roles.to_vec(),
        at_ms: now_ms(),
    };
    node.catalog.add_person(&of(tenant), &new).await.expect("a catalog").expect("a free login")
}

pub(super) async fn token(node: &Node, tenant: TenantId, may: Permissions, days: i64) -> String {
    let token = secret::token();
    let new = NewToken {
        secret: secret::digest(&token),
        name: "test".into(),
        permissions: may,
        created_by: "test".into(),
        at_ms: now_ms(),
        expires_ms: now_ms() + days * 24 * 3600 * 1000,
    };
    node.catalog.add_token(&of(tenant), &new).await.expect("a catalog");
    token
}

pub(super) async fn form(node: &Node, path: &str, cookie: &str, body: &str) -> Answer {
    let headers = [
        (header::CONTENT_TYPE, "application/x-www-form-urlencoded"),
        (header::COOKIE, cookie),
        (header::ORIGIN, "http://localhost"),
    ];
    node.request(Method::POST, path, &headers, body.into()).await
}

/// Logs in, and returns the cookie.
pub(super) async fn log_in(node: &Node, login: &str, password: &str) -> Result<String, Answer> {
    let body = format!("login={login}&password={password}");
    let answer = form(node, "/login", "", &body).await;
    match answer.status {
        303 => Ok(answer.header("set-cookie").split(';').next().expect("a cookie").to_owned()),
        _ => Err(answer),
    }
}

pub(super) async fn get(node: &Node, path: &str, name: HeaderName, value: &str) -> Answer {
    node.request(Method::GET, path, &[(name, value)], Vec::new()).await
}

/// A path of the table, with something in place of its variables.
fn filled(path: &str) -> String {
    let segment = |part: &str| match part {
        "{study}" => "1.2.826.9".into(),
        "{series}" => "1.2.826.9.1".into(),
        "{instance}" => "1.2.826.9.1.1".into(),
        "{frames}" | "{id}" => "1".into(),
        "{workitem}" => "1.2.3".into(),
        "{aetitle}" => "READER".into(),
        other => other.trim_matches(['{', '}', '*']).to_owned(),
    };
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

/// Method, path, and what it needs, of everything that can be asked.
fn everything() -> Vec<(Method, String, Needs, bool)> {
    let method = |name: &str| Method::from_bytes(name.as_bytes()).expect("a method");
    let mut all: Vec<_> = routes::all()
        .map(|route| {
            let path = format!("/dicom-web{}", filled(route.path));
            (method(route.verb.name()), path, route.needs, false)
        })
        .collect();
    all.extend(portal::PAGES.iter().flat_map(|page| {
        let is_page = !page.path.starts_with("/api/");
        [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE]
            .map(|method| (method, filled(page.path), page.needs, is_page))
    }));
    let read = Needs::Permission(Permission::Read);
    all.push((Method::GET, "/dicom-web/?requestType=WADO&studyUID=1.2".into(), read, false));
    all
}

#[tokio::test]
async fn every_route_asks_for_what_it_needs() {
    let node = start().await;
    let mut callers: Vec<(String, Permissions, HeaderName, String)> = Vec::new();
    for role in Role::ALL {
        let name = role.name();
        person(&node, TenantId::DEFAULT, name, &[role]).await;
        let cookie = log_in(&node, name, PASSWORD).await.ok().expect("a session");
        // A patient reads, although there is nothing to read before something is shared.
        let may = match role {
            Role::Patient => Permissions::of(&[Permission::Read]),
            _ => role.permissions(),
        };
        callers.push((name.into(), may, header::COOKIE, cookie));
    }
    for permission in Permission::ALL {
        let may = Permissions::of(&[permission]);
        let bearer = format!("Bearer {}", token(&node, TenantId::DEFAULT, may, 1).await);
        callers.push((format!("token {permission}"), may, header::AUTHORIZATION, bearer));
    }
    let mut seen = 0;
    for (method, path, needs, is_page) in everything() {
        // These end the session that the test goes on with.
        if path == "/logout" {
            continue;
        }
        let nobody = node.request(method.clone(), &path, &[], Vec::new()).await;
        let open = needs == Needs::Nothing;
        if nobody.status == 405 {
            continue;
        }
        // A link that is not open is no matter of logins.
        if needs == Needs::Visit {
            assert_eq!(nobody.header("location"), "/l/ended", "{method} {path}");
            for (who, _, name, value) in &callers {
                let headers = [(name.clone(), value.as_str())];
                let answer = node.request(method.clone(), &path, &headers, Vec::new()).await;
                assert_eq!(answer.header("location"), "/l/ended", "{method} {path} for {who}");
            }
            continue;
        }
        let turned_away = match is_page {
            true => nobody.header("location").starts_with("/login?next="),
            false => nobody.status == 401 && nobody.header("www-authenticate").contains("Bearer"),
        };
        assert_eq!(turned_away, !open, "{method} {path} for nobody: {}", nobody.status);
        for (who, may, name, value) in &callers {
            let headers = [(name.clone(), value.as_str())];
            let answer = node.request(method.clone(), &path, &headers, Vec::new()).await;
            let allowed = match needs {
                // Tokens manage no accounts, whatever they may do.
                Needs::Permission(Permission::Administer) if name == header::AUTHORIZATION => false,
                Needs::Permission(permission) => may.allow(permission),
                _ => true,
            };
            let refused =
                answer.status == 403 || (path == "/" && answer.header("location") == "/account");
            assert_eq!(refused, !allowed, "{method} {path} for {who}: {}", answer.status);
            assert_ne!(answer.status, 401, "{method} {path} for {who}");
            seen += 1;
        }
    }
    assert!(seen > 900, "{seen}");
}

#[tokio::test]
async fn tenants_see_nothing_of_each_other() {
    let node = start().await;
    let made = node.catalog.add_tenant("other", "", 0).await.expect("a catalog");
    let other = made.expect("a tenant").id;
    let mine = token(&node, TenantId::DEFAULT, Permissions::ALL, 1).await;
    let theirs = token(&node, other, Permissions::ALL, 1).await;
    let as_who = |token: &str| format!("Bearer {token}");
    let instance = Instance::new(1, 1, 1);
    let kind = "multipart/related; type=\"application/dicom\"; boundary=XX";
    let body = |instance: &Instance| {
        let head = b"\r\n--XX\r\nContent-Type: application/dicom\r\n\r\n".to_vec();
        [head, instance.file(), b"\r\n--XX--\r\n".to_vec()].concat()
    };
    let put = async |path: &str, token: &str, instance: &Instance| {
        let bearer = as_who(token);
        let headers = [(header::CONTENT_TYPE, kind), (header::AUTHORIZATION, bearer.as_str())];
        node.request(Method::POST, path, &headers, body(instance)).await
    };
    assert_eq!(put("/dicom-web/studies", &mine, &instance).await.status, 200);
    let ask = async |path: &str, token: &str| {
        get(&node, path, header::AUTHORIZATION, &as_who(token)).await
    };
    assert_eq!(ask(&instance.path(), &mine).await.status, 200);
    let nothing = ask(&instance.path(), &theirs).await;
    let unknown = ask(&instance.path().replace("1.2.826.1", "1.2.826.7"), &theirs).await;
    assert_eq!((nothing.status, nothing.body), (404, unknown.body), "as if it were not there");
    assert_eq!(ask("/dicom-web/studies", &theirs).await.json().as_array().map(Vec::len), Some(0));

    // The same study in both, with other content.
    let mut twin = instance.clone();
    twin.patient_name = "Other^Person";
    assert_eq!(put("/dicom-web/studies", &theirs, &twin).await.status, 200);
    let name = async |path: &str, token: &str| {
        ask(path, token).await.json()[0]["00100010"]["Value"][0]["Alphabetic"].to_string()
    };
    assert_eq!(name("/dicom-web/studies", &mine).await, "\"Wang^Wu\"");
    assert_eq!(name("/dicom-web/studies", &theirs).await, "\"Other^Person\"");
    let etag = async |token: &str| {
        ask(&format!("{}/metadata", instance.path()), token).await.header("etag").to_owned()
    };
    assert_ne!(etag(&mine).await, etag(&theirs).await);

    // By the name of the tenant: one's own only.
    let path = "/tenants/other/dicom-web/studies";
    let answer = ask(path, &theirs).await;
    let url = answer.json()[0]["00081190"]["Value"][0].to_string();
    assert!(url.contains("/tenants/other/dicom-web/studies/1.2.826.1"), "{url}");
    let (strange, none) =
        (ask(path, &mine).await, ask("/tenants/none/dicom-web/studies", &mine).await);
    assert_eq!((strange.status, strange.body), (404, none.body));

    let bearer = as_who(&theirs);
    let headers = [(header::AUTHORIZATION, bearer.as_str())];
    let study = "/dicom-web/studies/1.2.826.1";
    let gone = node.request(Method::DELETE, study, &headers, Vec::new()).await;
    assert!(gone.status < 300, "{}", gone.text());
    assert_eq!(ask(&instance.path(), &mine).await.status, 200, "the other's was deleted alone");
    assert_eq!(ask("/dicom-web/deletions", &mine).await.json().as_array().map(Vec::len), Some(0));
}

#[tokio::test]
async fn sessions_begin_with_the_right_password_and_end_with_the_logout() {
    let node = start().await;
    let id = person(&node, TenantId::DEFAULT, "wang", &[Role::Reader]).await;
    let wrong = log_in(&node, "wang", "tin-mole-vast-8").await.expect_err("a wrong password");
    let unknown = log_in(&node, "nobody", PASSWORD).await.expect_err("nobody");
    assert_eq!((wrong.status, unknown.status), (401, 401));
    let text = wrong.text();
    assert_eq!(text.replace("value=\"wang\"", ""), unknown.text().replace("value=\"nobody\"", ""));
    assert!(!text.contains("tin-mole"), "a password is never sent back");

    let cookie = log_in(&node, "WANG", PASSWORD).await.ok().expect("a session");
    let page = get(&node, "/studies", header::COOKIE, &cookie).await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("/account"), "the page says who is logged in");
    let sessions = node.catalog.sessions(id, now_ms()).await.expect("a catalog");
    assert!(!cookie.contains(&sessions[0].secret), "what the catalog holds opens nothing");

    let out = form(&node, "/logout", &cookie, "").await;
    assert_eq!((out.status, out.header("location")), (303, "/login"));
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    let page = get(&node, "/studies", header::COOKIE, &cookie).await;
    assert_eq!(page.header("location"), "/login?next=%2Fstudies");

    let cookie = log_in(&node, "wang", PASSWORD).await.ok().expect("a session");
    node.catalog.set_disabled(&of(TenantId::DEFAULT), id, true).await.expect("a catalog");
    assert_eq!(log_in(&node, "wang", PASSWORD).await.expect_err("switched off").status, 401);
    let page = get(&node, "/studies", header::COOKIE, &cookie).await;
    assert_eq!(page.status, 303);
}

#[tokio::test]
async fn other_sites_cannot_log_anybody_in_or_out() {
    let node = start().await;
    person(&node, TenantId::DEFAULT, "wang", &[Role::Administrator]).await;
    let cookie = log_in(&node, "wang", PASSWORD).await.ok().expect("a session");
    for path in ["/login", "/logout", "/account/password", "/people", "/tokens", "/people/roles"] {
        let headers = [
            (header::CONTENT_TYPE, "application/x-www-form-urlencoded"),
            (header::COOKIE, cookie.as_str()),
            (header::ORIGIN, "https://evil.example"),
        ];
        let body = b"login=x&password=y&role=administrator&name=n&permission=read&days=7".to_vec();
        let answer = node.request(Method::POST, path, &headers, body).await;
        assert_eq!(answer.status, 403, "{path}");
    }
}

#[tokio::test]
async fn guesses_lock_the_account_and_a_right_password_does_not_open_it_then() {
    let node = start().await;
    person(&node, TenantId::DEFAULT, "wang", &[Role::Reader]).await;
    for _ in 0..5 {
        assert_eq!(log_in(&node, "wang", "wrong").await.expect_err("wrong").status, 401);
    }
    assert_eq!(log_in(&node, "wang", PASSWORD).await.expect_err("locked").status, 429);
}

#[tokio::test]
async fn a_password_of_somebody_else_opens_only_the_way_to_ones_own() {
    let node = start().await;
    person(&node, TenantId::DEFAULT, "admin", &[Role::Administrator]).await;
    let admin = log_in(&node, "admin", PASSWORD).await.ok().expect("a session");
    let made =
        form(&node, "/people", &admin, "login=li&name=%E6%9D%8E&role=reader&role=auditor").await;
    assert_eq!(made.status, 200);
    let text = made.text();
    let given = text.split("id=\"secret\">").nth(1).and_then(|rest| rest.split('<').next());
    let given = given.expect("a password");
    let li = log_in(&node, "li", given).await.ok().expect("a session");
    let page = get(&node, "/studies", header::COOKIE, &li).await;
    assert_eq!(page.header("location"), "/account");
    assert_eq!(get(&node, "/dicom-web/studies", header::COOKIE, &li).await.status, 403);
    for (body, status) in [
        (format!("current={given}&new=short&again=short"), 400),
        (format!("current={given}&new=ten-wide-owls-4&again=ten-wide-owls-5"), 400),
        ("current=wrong&new=ten-wide-owls-4&again=ten-wide-owls-4".into(), 400),
        (format!("current={given}&new=ten-wide-owls-4&again=ten-wide-owls-4"), 303),
    ] {
        assert_eq!(form(&node, "/account/password", &li, &body).await.status, status, "{body}");
    }
    assert_eq!(get(&node, "/account", header::COOKIE, &li).await.status, 303, "all sessions ended");
    let li = log_in(&node, "li", "ten-wide-owls-4").await.ok().expect("a session");
    assert_eq!(get(&node, "/studies", header::COOKIE, &li).await.status, 200);

    // Roles are those of the moment, and nobody takes the last key away from themselves.
    assert_eq!(form(&node, "/people/roles", &admin, "login=li&role=auditor").await.status, 303);
    assert_eq!(get(&node, "/studies", header::COOKIE, &li).await.status, 403);
    assert_eq!(form(&node, "/people/roles", &admin, "login=admin&role=reader").await.status, 400);
    assert_eq!(
        form(&node, "/people/disabled", &admin, "login=admin&disabled=true").await.status,
        403
    );
}

#[tokio::test]
async fn administrators_touch_no_account_that_opens_another_tenant() {
    let node = start().await;
    let made = node.catalog.add_tenant("other", "", 0).await.expect("a catalog");
    let other = made.expect("a tenant").id;
    person(&node, TenantId::DEFAULT, "admin", &[Role::Administrator]).await;
    person(&node, other, "both", &[Role::Administrator]).await;
    person(&node, other, "theirs", &[Role::Reader]).await;
    let added = node.catalog.set_roles(&of(TenantId::DEFAULT), "both", &[Role::Reader]).await;
    assert!(added.expect("a catalog"));
    let admin = log_in(&node, "admin", PASSWORD).await.ok().expect("a session");
    for path in ["/people/password", "/people/disabled"] {
        for (login, status) in [("both", 403), ("theirs", 404), ("nobody", 404)] {
            let body = format!("login={login}&disabled=true");
            assert_eq!(form(&node, path, &admin, &body).await.status, status, "{path} {login}");
        }
    }
    assert_eq!(form(&node, "/people/roles", &admin, "login=theirs&role=reader").await.status, 404);
    let page = get(&node, "/people", header::COOKIE, &admin).await.text();
    assert!(page.contains("both") && !page.contains("theirs"));
    assert!(log_in(&node, "both", PASSWORD).await.is_ok(), "nothing happened to it");
}

#[tokio::test]
async fn tokens_work_until_they_are_revoked_and_give_no_more_than_they_may() {
    let node = start().await;
    person(&node, TenantId::DEFAULT, "admin", &[Role::Administrator]).await;
    let admin = log_in(&node, "admin", PASSWORD).await.ok().expect("a session");
    let made = form(&node, "/tokens", &admin, "name=station&permission=read&days=30").await.text();
    let token = made.split("id=\"secret\" class=\"breakable\">").nth(1).expect("a token");
    let token = token.split('<').next().expect("its end").to_owned();
    let studies = "/dicom-web/studies";
    let bearer = format!("Bearer {token}");
    assert_eq!(get(&node, studies, header::AUTHORIZATION, &bearer).await.status, 200);
    let basic = {
        use base64::Engine;
        let engine = base64::engine::general_purpose::STANDARD;
        format!("Basic {}", engine.encode(format!("anybody:{token}")))
    };
    assert_eq!(get(&node, studies, header::AUTHORIZATION, &basic).await.status, 200);
    assert_eq!(get(&node, "/people", header::AUTHORIZATION, &bearer).await.status, 403);
    for wrong in ["Bearer qianli_wrong", "Bearer ", "Digest x", "Basic ***", "token"] {
        let answer = get(&node, studies, header::AUTHORIZATION, wrong).await;
        assert_eq!(answer.status, 401, "{wrong}");
    }
    let listed = get(&node, "/tokens", header::COOKIE, &admin).await.text();
    assert!(listed.contains("station") && !listed.contains(&token), "shown once");
    let number = listed.split("name=\"token\" value=\"").nth(1).and_then(|r| r.split('"').next());
    let body = format!("token={}", number.expect("a number"));
    assert_eq!(form(&node, "/tokens/revoke", &admin, &body).await.status, 303);
    assert_eq!(get(&node, studies, header::AUTHORIZATION, &bearer).await.status, 401);
    let ended = self::token(&node, TenantId::DEFAULT, Permissions::ALL, 0).await;
    let ended = format!("Bearer {ended}");
    assert_eq!(get(&node, studies, header::AUTHORIZATION, &ended).await.status, 401);
}
