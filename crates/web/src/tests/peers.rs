//! The page of DICOM peers: what an administrator does there, and for whom.

use axum::http::header;
use qianli_catalog::peers::{Refusals, RefusedPeer};
use qianli_model::peer::{Calling, Known};
use qianli_model::{AeTitle, Permission, Role, Scope, TenantId};

use super::access::{PASSWORD, form, get, log_in, person, start};
use super::node::Node;

fn title(text: &str) -> AeTitle {
    AeTitle::parse(text).expect("a title")
}

fn refusal(tenant: TenantId, called: &str) -> Refusals {
    let peer = RefusedPeer {
        tenant: tenant.0,
        calling: "CT<1>".into(),
        called: called.into(),
        address: "10.1.2.3".into(),
        certificate: String::new(),
        reason: "unknown".into(),
    };
    Refusals { peer, times: 3, first_ms: 1000, last_ms: 2000 }
}

/// The tenant in which the register lets a peer store.
async fn tenant_of(node: &Node, called: &str, address: &str) -> Option<TenantId> {
    let register = node.catalog.peer_register(0).await.expect("a catalog").expect("a register");
    let (calling, called) = (title("CT<1>"), title(called));
    let address = address.parse().expect("an address");
    let who = Calling { calling: &calling, called: &called, address, certificate: None };
    match register.find(&who) {
        Known::Rule(rule) if !rule.disabled && rule.permissions.allow(Permission::Store) => {
            Some(rule.tenant)
        }
        _ => None,
    }
}

#[tokio::test]
async fn who_was_refused_is_shown_and_admitted_by_one_button() {
    let node = start().await;
    person(&node, TenantId::DEFAULT, "chief", &[Role::Administrator]).await;
    let chief = log_in(&node, "chief", PASSWORD).await.ok().expect("a session");
    node.catalog.note_peers(&[refusal(TenantId::DEFAULT, "QIANLI")], 0, &[]).await.expect("notes");
    let page = get(&node, "/peers?lang=zh-CN", header::COOKIE, &chief).await.text();
    assert!(page.contains("最近被拒绝的连接") && page.contains("10.1.2.3"), "{page}");
    assert!(!page.contains("CT<1>"), "a peer writes no markup");
    let admit = "calling=CT%3C1%3E&called=&network=10.1.2.3&permission=store";
    assert_eq!(form(&node, "/peers", &chief, admit).await.status, 303);
    assert_eq!(tenant_of(&node, "QIANLI", "10.1.2.3").await, Some(TenantId::DEFAULT));
    assert_eq!(tenant_of(&node, "QIANLI", "10.1.2.4").await, None);
    let page = get(&node, "/peers", header::COOKIE, &chief).await.text();
    assert!(!page.contains("Refused lately"), "settled");
    assert_eq!(form(&node, "/peers", &chief, admit).await.status, 400, "it is there already");
    let number =
        page.split("name=\"peer\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
    let number = number.expect("a row");
    let off = format!("peer={number}&disabled=true");
    assert_eq!(form(&node, "/peers/disabled", &chief, &off).await.status, 303);
    assert_eq!(tenant_of(&node, "QIANLI", "10.1.2.3").await, None);
    let row = format!("peer={number}");
    assert_eq!(form(&node, "/peers/remove", &chief, &row).await.status, 303);
    assert_eq!(form(&node, "/peers/remove", &chief, &row).await.status, 404);
    for wrong in [
        "calling=&permission=store",
        "calling=CT1",
        "calling=CT1&permission=administer",
        "calling=CT1&permission=store&network=10.1.2",
        "calling=SEVENTEEN-LETTERS&permission=store",
        "calling=CT1&permission=store&called=B%5CC",
    ] {
        assert_eq!(form(&node, "/peers", &chief, wrong).await.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn administrators_draw_no_images_of_other_hospitals() {
    let node = start().await;
    let made = node.catalog.add_tenant("county", "", 0).await.expect("a catalog");
    let county = made.expect("a tenant").id;
    let claimed = node.catalog.claim_title(&Scope::local(county), &title("COUNTY"), 1).await;
    assert!(claimed.expect("a catalog"));
    person(&node, TenantId::DEFAULT, "chief", &[Role::Administrator]).await;
    person(&node, county, "theirs", &[Role::Administrator]).await;
    let chief = log_in(&node, "chief", PASSWORD).await.ok().expect("a session");
    let theirs = log_in(&node, "theirs", PASSWORD).await.ok().expect("a session");
    node.catalog.note_peers(&[refusal(county, "COUNTY")], 0, &[]).await.expect("notes");
    let page = get(&node, "/peers", header::COOKIE, &chief).await.text();
    assert!(!page.contains("10.1.2.3") && !page.contains("COUNTY"), "another hospital's");
    let page = get(&node, "/peers", header::COOKIE, &theirs).await.text();
    assert!(page.contains("10.1.2.3") && page.contains("<code>COUNTY</code>"));
    for wide in [
        "calling=*&permission=store",
        "calling=*&called=QIANLI&permission=store",
        "calling=CT%3C1%3E&network=10.1.2.3&permission=store",
    ] {
        assert_eq!(form(&node, "/peers", &theirs, wide).await.status, 400, "{wide}");
    }
    let own = "calling=CT%3C1%3E&called=COUNTY&network=10.1.2.3&permission=store&label=CT";
    assert_eq!(form(&node, "/peers", &theirs, own).await.status, 303);
    assert_eq!(tenant_of(&node, "COUNTY", "10.1.2.3").await, Some(county));
    assert_eq!(tenant_of(&node, "QIANLI", "10.1.2.3").await, None);
    let page = get(&node, "/peers", header::COOKIE, &theirs).await.text();
    let number =
        page.split("name=\"peer\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
    let row = format!("peer={}", number.expect("a row"));
    assert_eq!(form(&node, "/peers/remove", &chief, &row).await.status, 404, "not the chief's");
    assert_eq!(tenant_of(&node, "COUNTY", "10.1.2.3").await, Some(county));
}
