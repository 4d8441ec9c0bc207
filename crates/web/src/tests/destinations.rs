//! Destinations by page and by program: added, asked, changed and removed, without their secrets ever
//! coming out.

use std::time::Duration;

use axum::http::{Method, header};
use qianli_model::destination::{Destination, Identity, Trouble};
use qianli_model::{AeTitle, Role, Scope, TenantId};

use super::access::{PASSWORD, form, get, log_in, logins, person};
use super::node::{Answer, Node};
use crate::{Echo, WebConfig};

/// A node whose destinations answer when their title begins with `UP`, and an administrator.
async fn start() -> (Node, String) {
    let echo = Echo::new(async |to: Destination| match to.title.as_str().starts_with("UP") {
        true => Ok(Duration::from_millis(7)),
        false => Err((Trouble::NothingListens, "connection refused".to_owned())),
    });
    let config = WebConfig { logins: Some(logins()), echo: Some(echo), ..WebConfig::default() };
    let node = Node::start_with(config).await;
    person(&node, TenantId::DEFAULT, "chief", &[Role::Administrator]).await;
    let chief = log_in(&node, "chief", PASSWORD).await.ok().expect("a session");
    (node, chief)
}

async fn ask(node: &Node, who: &str, method: Method, path: &str, body: &str) -> Answer {
    let headers = [
        (header::COOKIE, who),
        (header::CONTENT_TYPE, "application/json"),
        (header::ORIGIN, "http://localhost"),
    ];
    node.request(method, path, &headers, body.as_bytes().to_vec()).await
}

async fn destination(node: &Node, title: &str) -> Option<Destination> {
    let title = AeTitle::parse(title).expect("a title");
    node.catalog.destination(&Scope::local(TenantId::DEFAULT), &title).await.expect("a catalog")
}

#[tokio::test]
async fn an_administrator_keeps_destinations_on_the_page() {
    let (node, chief) = start().await;
    let new = "title=UP+1&address=10.0.0.5%3A104&tls=true";
    assert_eq!(form(&node, "/peers/destinations", &chief, new).await.status, 303);
    assert_eq!(form(&node, "/peers/destinations", &chief, new).await.status, 400, "it is there");
    let down = "title=DOWN&address=pacs.example%3A11112";
    assert_eq!(form(&node, "/peers/destinations", &chief, down).await.status, 303);
    let page = get(&node, "/peers?lang=zh-CN", header::COOKIE, &chief).await.text();
    for words in ["目的地", "10.0.0.5:104", "pacs.example:11112", "测试连接"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let told = form(&node, "/peers/destinations/echo", &chief, "title=UP+1").await;
    assert_eq!(told.status, 200);
    assert!(told.text().contains("answers (7 ms)"), "{}", told.text());
    let told = form(&node, "/peers/destinations/echo", &chief, "title=DOWN").await.text();
    let advice = Trouble::NothingListens.advice(qianli_model::incident::Tongue::English);
    assert!(told.contains(advice) && told.contains("connection refused"), "{told}");
    let told = form(&node, "/peers/destinations/echo?lang=zh-CN", &chief, "title=DOWN").await;
    assert!(told.text().contains("该端口没有服务"), "{}", told.text());

    let path = "/peers/destinations/UP%201";
    let page = get(&node, path, header::COOKIE, &chief).await;
    assert_eq!(page.status, 200);
    let change = "address=10.0.0.6%3A104&associations=4&bandwidth=1000000&user=ward\
        &password=hidden-secret&syntaxes=1.2.840.10008.1.2.1+1.2.840.10008.1.2&only=true";
    assert_eq!(form(&node, path, &chief, change).await.status, 303);
    let to = destination(&node, "UP 1").await.expect("a destination");
    assert_eq!(
        (to.address.as_str(), to.associations, to.bandwidth),
        ("10.0.0.6:104", 4, 1_000_000)
    );
    assert_eq!((to.tls.is_some(), to.syntaxes.len(), to.only_these), (false, 2, true));
    let page = get(&node, path, header::COOKIE, &chief).await.text();
    assert!(page.contains("ward") && !page.contains("hidden-secret"), "{page}");
    let same = "address=10.0.0.6%3A104&associations=4&user=ward&password=";
    assert_eq!(form(&node, path, &chief, same).await.status, 303);
    let to = destination(&node, "UP 1").await.expect("a destination");
    let kept = Identity::Password("ward".into(), "hidden-secret".into());
    assert_eq!((to.identity, to.only_these), (Some(kept), false));
    for wrong in [
        "address=10.0.0.6",
        "address=10.0.0.6%3A104&associations=0",
        "address=10.0.0.6%3A104&associations=33",
        "address=10.0.0.6%3A104&associations=2&syntaxes=1.2.3",
        "address=10.0.0.6%3A104&associations=2&bandwidth=x",
        "address=127.0.0.1%3A104&associations=2",
    ] {
        assert_eq!(form(&node, path, &chief, wrong).await.status, 400, "{wrong}");
    }
    assert_eq!(form(&node, "/peers/destinations/remove", &chief, "title=UP+1").await.status, 303);
    assert_eq!(form(&node, "/peers/destinations/remove", &chief, "title=UP+1").await.status, 404);
    let headers = [
        (header::CONTENT_TYPE, "application/x-www-form-urlencoded"),
        (header::COOKIE, chief.as_str()),
        (header::ORIGIN, "https://evil.example"),
    ];
    for path in ["/peers/destinations", "/peers/destinations/echo", "/peers/destinations/DOWN"] {
        let answer = node.request(Method::POST, path, &headers, b"title=DOWN".to_vec()).await;
        assert_eq!(answer.status, 403, "{path}");
    }
}

#[tokio::test]
async fn programs_keep_destinations_and_ask_them() {
    let (node, chief) = start().await;
    let all = "/api/peers/destinations";
    let new = r#"{"title": "UP", "address": "pacs.example:104", "tls": true, "tls_name": "pacs",
        "syntaxes": ["1.2.840.10008.1.2.1"], "identity": {"jwt": "hidden-token"}}"#;
    let made = ask(&node, &chief, Method::POST, all, new).await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(ask(&node, &chief, Method::POST, all, new).await.status, 409);
    let listed = ask(&node, &chief, Method::GET, all, "").await;
    assert!(!listed.text().contains("hidden-token"), "{}", listed.text());
    let one = &listed.json()[0];
    assert_eq!((&one["identity"], &one["associations"]), (&"jwt".into(), &2.into()));
    let path = "/api/peers/destinations/UP";
    let changed = ask(&node, &chief, Method::PATCH, path, r#"{"associations": 3}"#).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let to = destination(&node, "UP").await.expect("a destination");
    assert_eq!(to.identity, Some(Identity::Jwt("hidden-token".into())), "not named, not changed");
    assert_eq!((to.associations, to.syntaxes.len()), (3, 1));
    let none = ask(&node, &chief, Method::PATCH, path, r#"{"identity": null}"#).await;
    assert_eq!((none.status, &none.json()["identity"]), (200, &().into()));
    for wrong in [
        "",
        r#"{"address": "nowhere"}"#,
        r#"{"address": "localhost:104"}"#,
        r#"{"associations": 0}"#,
        r#"{"syntaxes": ["1.2.3"]}"#,
        r#"{"identity": {"password": "x"}}"#,
        r#"{"tls": false, "tls_name": "x"}"#,
        r#"{"tls_ca": "/etc/passwd"}"#,
    ] {
        assert_eq!(ask(&node, &chief, Method::PATCH, path, wrong).await.status, 400, "{wrong}");
    }
    let echo = "/api/peers/destinations/UP/echo";
    let told = ask(&node, &chief, Method::POST, echo, "").await.json();
    assert_eq!((&told["answers"], &told["ms"]), (&true.into(), &7.into()));
    let down = r#"{"title": "DOWN", "address": "10.0.0.9:104"}"#;
    assert_eq!(ask(&node, &chief, Method::POST, all, down).await.status, 201);
    let echo = "/api/peers/destinations/DOWN/echo";
    let told = ask(&node, &chief, Method::POST, echo, "").await.json();
    assert_eq!((&told["answers"], &told["cause"]), (&false.into(), &"nothing listens".into()));
    let nobody = "/api/peers/destinations/NOBODY/echo";
    assert_eq!(ask(&node, &chief, Method::POST, nobody, "").await.status, 404);

    // Another hospital's administrator has destinations of their own.
    let made = node.catalog.add_tenant("county", "", 0).await.expect("a catalog");
    person(&node, made.expect("a tenant").id, "theirs", &[Role::Administrator]).await;
    let theirs = log_in(&node, "theirs", PASSWORD).await.ok().expect("a session");
    assert_eq!(ask(&node, &theirs, Method::GET, all, "").await.text(), "[]");
    for (method, path) in [(Method::GET, path), (Method::DELETE, path), (Method::POST, echo)] {
        assert_eq!(ask(&node, &theirs, method, path, "").await.status, 404, "{path}");
    }
    assert_eq!(ask(&node, &chief, Method::DELETE, path, "").await.status, 204);
    assert_eq!(ask(&node, &chief, Method::DELETE, path, "").await.status, 404);
}

#[tokio::test]
async fn a_destination_that_a_route_needs_stays() {
    let (node, chief) = start().await;
    let down = "title=DOWN&address=pacs.example%3A11112";
    assert_eq!(form(&node, "/peers/destinations", &chief, down).await.status, 303);
    assert_eq!(form(&node, "/routes", &chief, "to=dicom%3ADOWN").await.status, 303);
    let page = form(&node, "/peers/destinations/remove", &chief, "title=DOWN").await;
    assert_eq!(page.status, 400);
    assert!(page.text().contains("remove the route first"), "{}", page.text());
    let path = "/api/peers/destinations/DOWN";
    assert_eq!(ask(&node, &chief, Method::DELETE, path, "").await.status, 409);
    assert!(destination(&node, "DOWN").await.is_some());
}
