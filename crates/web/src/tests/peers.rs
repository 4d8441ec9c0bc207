//! The page of DICOM peers: what an administrator does there, and for whom.

use axum::http::{Method, header};
use qianli_catalog::AuditFilter;
use qianli_catalog::peers::{NewPeer, Noted, PeerAdded};
use qianli_model::incident::{Cause, Incident};
use qianli_model::peer::{Calling, Coercions, Known, TitlePattern};
use qianli_model::{AeTitle, Permission, Permissions, Role, Scope, TenantId};

use super::access::{PASSWORD, form, get, log_in, person, start};
use super::node::Node;

fn title(text: &str) -> AeTitle {
    AeTitle::parse(text).expect("a title")
}

fn noted(tenant: TenantId, cause: Cause, called: &str) -> Noted {
    let incident = Incident {
        calling: "CT<1>".into(),
        called: called.into(),
        ..Incident::new(cause, [10, 1, 2, 3].into())
    };
    Noted { tenant, incident, times: 3, first_ms: 1000, last_ms: 2000 }
}

fn refusal(tenant: TenantId, called: &str) -> Noted {
    noted(tenant, Cause::Unknown, called)
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
async fn what_went_wrong_is_told_in_both_languages_with_what_mends_it() {
    let node = start().await;
    person(&node, TenantId::DEFAULT, "chief", &[Role::Administrator]).await;
    let chief = log_in(&node, "chief", PASSWORD).await.ok().expect("a session");
    let mut context = noted(TenantId::DEFAULT, Cause::AbstractSyntax, "QIANLI");
    context.incident =
        context.incident.about("1.2.840.10008.5.1.1.9").proposing(["1.2.840.10008.1.2"]);
    context.incident.version = "OLD_US_3".into();
    let admitted = noted(TenantId::DEFAULT, Cause::Admitted, "QIANLI");
    node.catalog.note_peers(&[context, admitted], 0, &[]).await.expect("notes");
    let page = get(&node, "/peers", header::COOKIE, &chief).await.text();
    for words in ["Basic Grayscale Print", "sop_classes = ", "OLD_US_3", "Implicit VR"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert!(!page.contains("was let in"), "the list is of troubles");
    for name in ["CT%3C1%3E", "10.1.2.3"] {
        let path = format!("/peers/of/{name}?lang=zh-CN");
        let page = get(&node, &path, header::COOKIE, &chief).await.text();
        assert!(page.contains("已允许连接") && page.contains("私有存储类"), "{page}");
    }
    let page = get(&node, "/peers/of/CT2", header::COOKIE, &chief).await.text();
    assert!(page.contains("Nothing went wrong"), "{page}");
}

#[tokio::test]
async fn scripts_keep_the_register_and_read_what_went_wrong() {
    let node = start().await;
    person(&node, TenantId::DEFAULT, "chief", &[Role::Administrator]).await;
    let chief = log_in(&node, "chief", PASSWORD).await.ok().expect("a session");
    let ask = async |method: Method, path: &str, body: &str| {
        let json = "application/json";
        let headers = [
            (header::COOKIE, chief.as_str()),
            (header::CONTENT_TYPE, json),
            (header::ORIGIN, "http://localhost"),
        ];
        node.request(method, path, &headers, body.as_bytes().to_vec()).await
    };
    let new =
        r#"{"calling": "CT1", "network": "10.1.2.3", "permissions": ["store"], "label": "CT"}"#;
    let made = ask(Method::POST, "/api/peers", new).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let path = format!("/api/peers/{}", made.json()["id"]);
    assert_eq!(ask(Method::POST, "/api/peers", new).await.status, 409);
    for wrong in [
        "",
        r#"{"calling": "CT1"}"#,
        r#"{"calling": "", "permissions": ["store"]}"#,
        r#"{"calling": "CT1", "permissions": ["administer"]}"#,
        r#"{"calling": "CT1", "permissions": []}"#,
        r#"{"calling": "CT1", "permissions": ["store"], "network": "10.1"}"#,
        r#"{"calling": "CT1", "permissions": ["store"], "colour": "red"}"#,
    ] {
        assert_eq!(ask(Method::POST, "/api/peers", wrong).await.status, 400, "{wrong}");
    }
    assert_eq!(ask(Method::PATCH, &path, r#"{"disabled": true}"#).await.status, 200);
    let rows = ask(Method::GET, "/api/peers", "").await.json();
    assert_eq!((&rows[0]["calling"], &rows[0]["disabled"]), (&"CT1".into(), &true.into()));
    let wider = r#"{"permissions": ["store", "read"], "network": null, "disabled": false}"#;
    let changed = ask(Method::PATCH, &path, wider).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let changed = changed.json();
    assert_eq!(changed["permissions"], serde_json::json!(["read", "store"]));
    assert_eq!((&changed["network"], &changed["label"]), (&().into(), &"CT".into()));
    let known = serde_json::json!({"charset": "gb18030", "issuer": "A", "without": ["-"]});
    let body = serde_json::json!({ "coercions": known }).to_string();
    assert_eq!(ask(Method::PATCH, &path, &body).await.json()["coercions"], known);
    let other = ask(Method::POST, "/api/peers", new).await;
    assert_eq!(other.status, 201, "the first row is for any address now");
    let narrower = r#"{"network": "10.1.2.3"}"#;
    let taken = ask(Method::PATCH, &path, narrower).await;
    assert_eq!((taken.status, &taken.json()["id"]), (409, &other.json()["id"]));
    for wrong in [
        "",
        r#"{"permissions": []}"#,
        r#"{"permissions": ["administer"]}"#,
        r#"{"network": "10.1"}"#,
        r#"{"calling": "CT2"}"#,
        r#"{"coercions": {"charset": "utf-16"}}"#,
        r#"{"coercions": {"without": "*"}}"#,
    ] {
        assert_eq!(ask(Method::PATCH, &path, wrong).await.status, 400, "{wrong}");
    }
    assert_eq!(ask(Method::PATCH, "/api/peers/987654", "{}").await.status, 404);
    let everybody = r#"{"calling": "*", "permissions": ["store"]}"#;
    let id = ask(Method::POST, "/api/peers", everybody).await.json()["id"].clone();
    let rows = ask(Method::GET, "/api/peers", "").await.json();
    let row = rows.as_array().and_then(|rows| rows.iter().find(|row| row["id"] == id));
    assert_eq!(row.expect("a row")["warnings"][0]["warning"], "draws strangers");
    assert_eq!(ask(Method::DELETE, &path, "").await.status, 204);
    assert_eq!(ask(Method::DELETE, &path, "").await.status, 404);
    node.catalog.note_peers(&[refusal(TenantId::DEFAULT, "QIANLI")], 0, &[]).await.expect("notes");
    for path in ["/api/peers/incidents", "/api/peers/incidents?peer=10.1.2.3"] {
        let found = ask(Method::GET, path, "").await.json();
        assert_eq!((&found[0]["cause"], &found[0]["times"]), (&"unknown".into(), &3.into()));
    }
    assert_eq!(ask(Method::GET, "/api/peers/incidents?peer=CT2", "").await.text(), "[]");
}

#[tokio::test]
async fn what_a_device_may_do_is_changed_on_its_page() {
    let node = start().await;
    person(&node, TenantId::DEFAULT, "chief", &[Role::Administrator]).await;
    let chief = log_in(&node, "chief", PASSWORD).await.ok().expect("a session");
    let made = node.catalog.add_tenant("county", "", 0).await.expect("a catalog");
    let county = Scope::local(made.expect("a tenant").id);
    assert!(node.catalog.claim_title(&county, &title("COUNTY"), 1).await.expect("a catalog"));
    assert_eq!(form(&node, "/peers", &chief, "calling=CT1&permission=store").await.status, 303);
    let page = get(&node, "/peers", header::COOKIE, &chief).await.text();
    let path = page.split("href=\"").find(|rest| rest.starts_with("/peers/row/"));
    let path = path.and_then(|rest| rest.split('"').next()).expect("a row").to_owned();
    let page = get(&node, &format!("{path}?lang=zh-CN"), header::COOKIE, &chief).await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("停用：") && page.text().contains("CT1"), "{}", page.text());
    let wish = "label=CT+room&called=COUNTY&network=10.0.0.0/8&permission=store&permission=worklist\
        &charset=gbk&issuer=County+1&without=ACME+1.0,-";
    assert_eq!(form(&node, &path, &chief, wish).await.status, 303);
    let page = get(&node, "/peers", header::COOKIE, &chief).await.text();
    for words in [
        "County 1",
        "ACME 1.0, -",
        "gbk",
        "CT room",
        "Worklist",
        "10.0.0.0/8",
        "This row never counts",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    for wrong in ["label=CT", "permission=administer", "permission=store&network=10.1"] {
        assert_eq!(form(&node, &path, &chief, wrong).await.status, 400, "{wrong}");
    }
    let scope = Scope::local(TenantId::DEFAULT);
    let trail = node.catalog.audit(&scope, &AuditFilter::default(), 50).await.expect("a trail");
    let said: Vec<_> = trail.iter().map(|row| row.entry.details.as_str()).collect();
    let change = said.iter().find(|text| text.contains("\"change\"")).expect("an audit row");
    assert!(change.contains("store,worklist") && change.contains("10.0.0.0/8"), "{change}");

    // An administrator of another hospital neither sees nor changes it.
    person(&node, county.tenant(), "theirs", &[Role::Administrator]).await;
    let theirs = log_in(&node, "theirs", PASSWORD).await.ok().expect("a session");
    assert_eq!(get(&node, &path, header::COOKIE, &theirs).await.status, 404);
    assert_eq!(form(&node, &path, &theirs, "permission=store").await.status, 404);
}

#[tokio::test]
async fn an_operators_row_is_not_widened_by_the_hospital() {
    let node = start().await;
    let made = node.catalog.add_tenant("county", "", 0).await.expect("a catalog");
    let county = made.expect("a tenant").id;
    let new = NewPeer {
        label: String::new(),
        calling: TitlePattern::parse("CT1").expect("a title"),
        called: None,
        network: Some("10.1.2.3".parse().expect("an address")),
        certificate: None,
        permissions: Permissions::of(&[Permission::Store]),
        coercions: Coercions::default(),
        at_ms: 1,
    };
    let added = node.catalog.add_peer(&Scope::local(county), &new).await.expect("a catalog");
    let PeerAdded::Made(id) = added else { panic!("{added:?}") };
    person(&node, county, "theirs", &[Role::Administrator]).await;
    let theirs = log_in(&node, "theirs", PASSWORD).await.ok().expect("a session");
    let path = format!("/peers/row/{id}");
    let wider = "permission=store&network=10.0.0.0/8";
    assert_eq!(form(&node, &path, &theirs, wider).await.status, 400, "images of others");
    let same = "permission=store&permission=worklist&network=10.1.2.3";
    assert_eq!(form(&node, &path, &theirs, same).await.status, 303);
    let rows = node.catalog.peers(&Scope::local(county)).await.expect("a catalog");
    assert_eq!(rows[0].rule.permissions.names(), "store,worklist");
    assert_eq!(rows[0].rule.network.map(|one| one.to_string()).as_deref(), Some("10.1.2.3"));
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
