//! Reading tasks over HTTP: who sees them, who gets them, and what an open page hears.

use axum::http::{Method, header};
use qianli_catalog::access::Tenant;
use qianli_model::{Permission, Permissions, Role, Scope, TenantId};
use serde_json::{Value, json};

use super::access::{PASSWORD, form, get, log_in, of, person, start, token};
use super::data::Instance;
use super::node::{Answer, Node};
use crate::access::now_ms;

const STUDY: &str = "1.2.826.1";

/// A hospital with a study that a centre reads by rule, two readers there, and a stranger.
struct Place {
    node: Node,
    task: i64,
    /// Cookies.
    li: String,
    wang: String,
    theirs: String,
    stranger: String,
    physician: String,
}

async fn tenant(node: &Node, name: &str) -> Tenant {
    node.catalog.add_tenant(name, "", 0).await.expect("a catalog").expect("a tenant")
}

async fn ask(node: &Node, cookie: &str, path: &str, body: &Value) -> Answer {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::COOKIE, cookie),
        (header::ORIGIN, "http://localhost"),
    ];
    node.request(Method::POST, path, &headers, body.to_string().into_bytes()).await
}

async fn look(node: &Node, cookie: &str, path: &str) -> Answer {
    get(node, path, header::COOKIE, cookie).await
}

async fn store(node: &Node, instance: &Instance) {
    let may = Permissions::of(&[Permission::Store]);
    let bearer = format!("Bearer {}", token(node, TenantId::DEFAULT, may, 1).await);
    let kind = "multipart/related; type=\"application/dicom\"; boundary=XX";
    let head = b"\r\n--XX\r\nContent-Type: application/dicom\r\n\r\n".to_vec();
    let body = [head, instance.file(), b"\r\n--XX--\r\n".to_vec()].concat();
    let headers = [(header::CONTENT_TYPE, kind), (header::AUTHORIZATION, bearer.as_str())];
    let answer = node.request(Method::POST, "/dicom-web/studies", &headers, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

async fn place() -> Place {
    let node = start().await;
    let (centre, other) = (tenant(&node, "centre").await, tenant(&node, "other").await);
    for (tenant, login, role) in [
        (TenantId::DEFAULT, "dora", Role::Dispatcher),
        (TenantId::DEFAULT, "house", Role::Physician),
        (centre.id, "li", Role::Reader),
        (centre.id, "wang", Role::Reader),
        (centre.id, "theirs", Role::Dispatcher),
        (other.id, "strange", Role::Administrator),
    ] {
        person(&node, tenant, login, &[role]).await;
    }
    let enter = async |login| log_in(&node, login, PASSWORD).await.ok().expect("a session");
    let dora = enter("dora").await;
    let rule = json!({"label": "CT", "modality": "CT", "to": "centre", "priority": "high",
        "dueMinutes": 60, "subspecialty": "neuro"});
    let made = ask(&node, &dora, "/api/reading/rules", &rule).await;
    assert_eq!(made.status, 201, "{}", made.text());
    store(&node, &Instance::new(1, 1, 1)).await;
    let arrived = Scope::system(TenantId::DEFAULT, "a test");
    let random = || uuid::Uuid::new_v4().as_u128();
    let followed = node.catalog.follow_reading(&arrived, STUDY, false, &random, now_ms()).await;
    assert!(followed.expect("a catalog").made);
    let li = enter("li").await;
    let listed = look(&node, &li, "/api/reading").await.json();
    let task = listed[0]["id"].as_i64().expect("a task");
    let (wang, theirs) = (enter("wang").await, enter("theirs").await);
    let (stranger, physician) = (enter("strange").await, enter("house").await);
    Place { li, wang, theirs, stranger, physician, node, task }
}

#[tokio::test]
async fn a_centre_reads_and_a_stranger_sees_nothing() {
    let Place { node, task, li, stranger, .. } = place().await;
    let listed = look(&node, &li, "/api/reading").await.json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    assert_eq!(listed[0]["hospital"], "default");
    assert_eq!((&listed[0]["arriving"], &listed[0]["priority"]), (&json!(true), &json!("high")));
    assert_eq!(listed[0]["about"]["modalities"], json!(["CT"]));
    let page = look(&node, &li, "/reading?lang=en").await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-security-policy").contains("connect-src 'self'"));
    let text = page.text();
    for part in ["Wang", "Arriving", "neuro", "tenant=default"] {
        assert!(text.contains(part), "{part}");
    }
    let page = look(&node, &li, &format!("/reading/tasks/{task}?lang=zh-CN")).await;
    assert!(page.text().contains("认领"), "{}", page.status);
    // The images open where the hospital keeps them.
    let images = format!("/tenants/default/dicom-web/studies/{STUDY}/metadata");
    assert_eq!(look(&node, &li, &images).await.status, 200);

    assert_eq!(look(&node, &stranger, "/api/reading?state=all").await.json(), json!([]));
    assert_eq!(look(&node, &stranger, &images).await.status, 404);
    for path in [format!("/api/reading/{task}"), format!("/reading/tasks/{task}")] {
        assert_eq!(look(&node, &stranger, &path).await.status, 404, "{path}");
    }
    let claim =
        ask(&node, &stranger, &format!("/api/reading/{task}"), &json!({"do": "claim"})).await;
    assert_eq!(claim.status, 404);
    let form_claim = form(&node, &format!("/reading/tasks/{task}"), &stranger, "do=claim").await;
    assert_eq!(form_claim.status, 404);
    assert!(!look(&node, &stranger, "/api/reading/events?after=0").await.text().contains("data:"));
}

#[tokio::test]
async fn two_claim_at_once_and_one_is_told_of_the_other() {
    let Place { node, task, li, wang, theirs, .. } = place().await;
    let path = format!("/api/reading/{task}");
    let claim = json!({"do": "claim"});
    let (one, other) =
        tokio::join!(ask(&node, &li, &path, &claim), ask(&node, &wang, &path, &claim));
    let (won, lost) = if one.status == 200 { (one, other) } else { (other, one) };
    assert_eq!((won.status, lost.status), (200, 409), "{}", lost.text());
    let winner = won.json()["reader"].as_str().expect("a reader").to_owned();
    assert!(lost.text().contains(&winner), "{} has it: {}", winner, lost.text());
    let (mine, others) = if winner == "li" { (&li, &wang) } else { (&wang, &li) };
    let page = form(&node, &format!("/reading/tasks/{task}"), others, "do=finish").await;
    assert_eq!(page.status, 409);
    assert!(page.text().contains(&winner), "the page says who, too");
    let load = look(&node, &theirs, "/api/reading/workload").await.json();
    assert_eq!((&load["claimed"], &load["readers"][0]["reader"]), (&json!(1), &json!(winner)));

    // A dispatcher gives it to somebody else; a reader may not; nobody hands it to a stranger.
    let next = if winner == "li" { "wang" } else { "li" };
    let to = json!({"do": "assign", "to": next});
    assert_eq!(ask(&node, mine, &path, &to).await.status, 403);
    assert_eq!(
        ask(&node, &theirs, &path, &json!({"do": "assign", "to": "strange"})).await.status,
        400
    );
    assert_eq!(ask(&node, &theirs, &path, &to).await.json()["reader"], next);
    let finished = form(&node, &format!("/reading/tasks/{task}"), others, "do=finish").await;
    assert_eq!(finished.status, 303);
    assert_eq!(look(&node, &li, "/api/reading").await.json(), json!([]));
    let told = look(&node, &li, &path).await.json();
    assert_eq!(told["state"], "done");
    let words: Vec<&str> = told["history"]
        .as_array()
        .expect("steps")
        .iter()
        .filter_map(|one| one["did"].as_str())
        .collect();
    assert_eq!(words, ["make", "claim", "assign", "finish"]);
    for body in [json!({"do": "fly"}), json!({"do": "prioritise", "to": "now"}), json!({"done": 1})]
    {
        assert_eq!(ask(&node, &li, &path, &body).await.status, 400, "{body}");
    }
}

#[tokio::test]
async fn an_open_page_hears_every_step_and_goes_on_where_it_was() {
    let Place { node, task, li, wang, .. } = place().await;
    ask(&node, &li, &format!("/api/reading/{task}"), &json!({"do": "claim"})).await;
    let heard = look(&node, &wang, "/reading/live?after=0").await;
    assert_eq!(heard.header("content-type"), "text/event-stream");
    let text = heard.text();
    let data: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).expect("JSON"))
        .collect();
    assert_eq!(data.len(), 2, "{text}");
    assert_eq!((&data[1]["did"], &data[1]["by"]), (&json!("claim"), &json!("li")));
    assert!(!text.contains("Wang^"), "no patient in it");
    let first = text.lines().find_map(|line| line.strip_prefix("id: ")).expect("a position");
    let headers = [
        (header::COOKIE, wang.as_str()),
        (header::HeaderName::from_static("last-event-id"), first),
    ];
    let rest =
        node.request(Method::GET, "/reading/live?after=0", &headers, Vec::new()).await.text();
    assert_eq!(rest.matches("data: ").count(), 1, "{rest}");
    assert!(rest.contains("claim"));
}

#[tokio::test]
async fn a_physician_asks_for_a_reading_and_people_keep_their_views() {
    let Place { node, physician, li, wang, theirs, .. } = place().await;
    store(&node, &Instance::new(2, 1, 1)).await;
    let page = look(&node, &physician, "/studies/1.2.826.2?lang=en").await.text();
    assert!(page.contains("/studies/1.2.826.2/reading"), "the page of a study offers it");
    let wish = "to=centre&priority=stat&question=bleeding%3F&days=30&priors=all&subspecialty=";
    let asked = form(&node, "/studies/1.2.826.2/reading", &physician, wish).await;
    assert_eq!((asked.status, asked.header("location")), (303, "/studies/1.2.826.2"));
    let listed = look(&node, &li, "/api/reading?priority=stat").await.json();
    assert_eq!(listed[0]["question"], "bleeding?");
    assert_eq!(look(&node, &li, "/api/reading?state=flying").await.status, 400);
    let nothing = ask(&node, &physician, "/api/reading/requests", &json!({"study": "1.2.9"})).await;
    assert_eq!(nothing.status, 404);

    let kept = form(&node, "/reading/views", &li, "name=Urgent&query=priority%3Dstat").await;
    assert_eq!((kept.status, kept.header("location")), (303, "/reading?priority=stat"));
    assert!(look(&node, &li, "/reading").await.text().contains(">Urgent<"));
    assert!(!look(&node, &wang, "/reading").await.text().contains(">Urgent<"));
    assert!(look(&node, &theirs, "/reading?lang=en").await.text().contains("/reading/rules"));
    assert_eq!(look(&node, &li, "/reading/rules").await.status, 403);
    let draft = "label=x&modality=MR&priority=low&dueMinutes=90&days=0&to=&asked=&priors=none";
    assert_eq!(form(&node, "/reading/rules", &theirs, draft).await.status, 303);
    let rules = look(&node, &theirs, "/api/reading/rules").await.json();
    assert_eq!((&rules[0]["modality"], &rules[0]["to"]), (&json!("mr"), &json!("centre")));
    let wrong = form(&node, "/reading/rules", &theirs, &draft.replace("90", "0")).await;
    assert_eq!(wrong.status, 400);
    let known = node.catalog.reading_rules(&of(TenantId::DEFAULT)).await.expect("a catalog");
    assert_eq!(known.len(), 1, "the centre's rule is not the hospital's");
}
