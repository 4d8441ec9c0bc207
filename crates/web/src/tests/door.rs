//! What was once let in and no longer should be, what is refused without telling why, and what both
//! leave in the audit trail.

use axum::http::{Method, header};
use qianli_catalog::{AuditFilter, AuditRow};
use qianli_model::{Permissions, Role, TenantId};

use super::access::{PASSWORD, form, get, log_in, of, person, start, token};
use super::node::Node;

const STUDIES: &str = "/dicom-web/studies";

/// Rows of an action, once there are so many.
async fn rows(node: &Node, action: &str, wanted: usize) -> Vec<AuditRow> {
    for _ in 0..200 {
        let all = node.catalog.audit_of_all(&AuditFilter::default(), 1000).await.expect("rows");
        let found: Vec<_> = all.into_iter().filter(|row| row.entry.action == action).collect();
        if found.len() >= wanted {
            return found;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{wanted} rows of {action:?} did not appear within ten seconds")
}

#[tokio::test]
async fn a_token_does_no_more_than_its_maker_may_do_now() {
    let node = start().await;
    person(&node, TenantId::DEFAULT, "chief", &[Role::Administrator]).await;
    person(&node, TenantId::DEFAULT, "maker", &[Role::Administrator]).await;
    let chief = log_in(&node, "chief", PASSWORD).await.ok().expect("a session");
    let maker = log_in(&node, "maker", PASSWORD).await.ok().expect("a session");
    let body = "name=station&permission=read&permission=delete&days=30";
    let made = form(&node, "/tokens", &maker, body).await.text();
    let made = made.split("id=\"secret\" class=\"breakable\">").nth(1).expect("a token");
    let bearer = format!("Bearer {}", made.split('<').next().expect("its end"));
    let may = async |path: &str| get(&node, path, header::AUTHORIZATION, &bearer).await.status;
    assert_eq!((may(STUDIES).await, may("/dicom-web/deletions").await), (200, 200));
    for (roles, expected) in
        [("role=reader", (200, 403)), ("role=administrator", (200, 200)), ("", (403, 403))]
    {
        let body = format!("login=maker&{roles}");
        assert_eq!(form(&node, "/people/roles", &chief, &body).await.status, 303);
        assert_eq!((may(STUDIES).await, may("/dicom-web/deletions").await), expected, "{roles}");
    }
    // Those of the command line have no maker who could be demoted.
    let own = token(&node, TenantId::DEFAULT, Permissions::ALL, 1).await;
    let bearer = format!("Bearer {own}");
    assert_eq!(get(&node, STUDIES, header::AUTHORIZATION, &bearer).await.status, 200);
}

#[tokio::test]
async fn what_is_locked_does_not_say_whether_it_exists() {
    let node = start().await;
    person(&node, TenantId::DEFAULT, "wang", &[Role::Reader]).await;
    let mut answers = Vec::new();
    for login in ["wang", "nobody"] {
        for _ in 0..5 {
            let wrong = log_in(&node, login, "wrong").await.expect_err("wrong");
            assert_eq!(wrong.status, 401, "{login}");
        }
        let locked = log_in(&node, login, PASSWORD).await.expect_err("locked");
        assert_eq!(locked.status, 429, "{login}");
        answers.push(locked.text().replace(&format!("value=\"{login}\""), ""));
    }
    assert_eq!(answers[0], answers[1]);
}

#[tokio::test]
async fn strangers_leave_rows() {
    let node = start().await;
    let made = node.catalog.add_tenant("other", "", 0).await.expect("a catalog");
    let other = made.expect("a tenant").id;
    person(&node, other, "theirs", &[Role::Reader]).await;
    let reader = token(&node, TenantId::DEFAULT, Permissions::ALL, 1).await;
    for _ in 0..3 {
        assert_eq!(node.get("/dicom-web/studies/1.2.3/metadata").await.status, 401);
    }
    assert_eq!(node.get("/people").await.status, 303);
    let wrong = get(&node, STUDIES, header::AUTHORIZATION, "Bearer qianli_wrong").await;
    assert_eq!(wrong.status, 401);
    let path = "/tenants/other/dicom-web/studies";
    let elsewhere = get(&node, path, header::AUTHORIZATION, &format!("Bearer {reader}")).await;
    assert_eq!(elsewhere.status, 404);
    assert_eq!(log_in(&node, "theirs", "wrong").await.expect_err("wrong").status, 401);

    let denied = rows(&node, "access denied", 2).await;
    let of_kind = |kind: &str| {
        let mut found = denied.iter().filter(|row| row.entry.principal_kind == kind);
        found.next().unwrap_or_else(|| panic!("no row of {kind} in {denied:?}")).entry.clone()
    };
    let nobody = of_kind("nobody");
    assert_eq!((nobody.requests, nobody.outcome.as_str()), (3, "refused"));
    assert_eq!(
        (nobody.details.as_str(), nobody.study.as_str()),
        (r#"{"tried":"read metadata"}"#, "")
    );
    let strange = of_kind("token");
    assert_eq!((strange.tenant, strange.principal.as_str()), (TenantId::DEFAULT.0, "test"));
    assert!(strange.details.contains("another tenant"), "{}", strange.details);

    let failed = rows(&node, "login failed", 2).await;
    let of =
        |kind: &str| failed.iter().find(|row| row.entry.principal_kind == kind).expect("a row");
    assert!(of("nobody").entry.details.contains("wrong token"));
    let person = of("person");
    assert_eq!((person.entry.tenant, person.entry.principal.as_str()), (other.0, "theirs"));
}

#[tokio::test]
async fn a_login_that_is_taken_is_offered_to_those_who_administer_both() {
    let node = start().await;
    let made = node.catalog.add_tenant("other", "", 0).await.expect("a catalog");
    let other = made.expect("a tenant").id;
    person(&node, TenantId::DEFAULT, "chief", &[Role::Administrator]).await;
    person(&node, other, "theirs", &[Role::Reader]).await;
    let chief = log_in(&node, "chief", PASSWORD).await.ok().expect("a session");
    let body = "login=theirs&name=x&role=physician";
    for body in [body, "login=theirs&name=x&role=physician&join=yes"] {
        let refused = form(&node, "/people", &chief, body).await;
        assert_eq!(refused.status, 400);
        assert!(!refused.text().contains("name=\"join\""), "nothing is offered");
    }
    let members = async || node.catalog.people(&of(TenantId::DEFAULT)).await.expect("people").len();
    assert_eq!(members().await, 1, "and nothing is done");

    let both = node.catalog.set_roles(&of(other), "chief", &[Role::Administrator]).await;
    assert!(both.expect("a catalog"));
    let offered = form(&node, "/people", &chief, body).await;
    assert!(offered.status == 400 && offered.text().contains("name=\"join\""));
    assert_eq!(members().await, 1);
    assert_eq!(form(&node, "/people", &chief, &format!("{body}&join=yes")).await.status, 303);
    let now = node.catalog.person(&of(TenantId::DEFAULT), "theirs").await.expect("a catalog");
    assert_eq!(now.expect("a member").roles, [Role::Physician]);
    let again = form(&node, "/people", &chief, body).await;
    assert!(again.status == 400 && !again.text().contains("name=\"join\""));
}

#[tokio::test]
async fn methods_that_are_made_up_are_405_and_routes_keep_their_rules() {
    let node = start().await;
    let method = Method::from_bytes(b"LOOK").expect("a method");
    assert_eq!(node.request(method, "/healthz", &[], Vec::new()).await.status, 405);
    assert_eq!(node.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn auditors_search_the_trail_take_it_away_and_prove_it() {
    let node = start().await;
    person(&node, TenantId::DEFAULT, "eye", &[Role::Auditor]).await;
    let made = node.catalog.add_tenant("other", "", 0).await.expect("a catalog");
    person(&node, made.expect("a tenant").id, "theirs", &[Role::Reader]).await;
    let eye = log_in(&node, "eye", PASSWORD).await.ok().expect("a session");
    let reader = token(&node, TenantId::DEFAULT, Permissions::ALL, 1).await;
    for study in 0..60 {
        let path = format!("{STUDIES}/1.2.3.{study}/metadata");
        assert_eq!(
            get(&node, &path, header::AUTHORIZATION, &format!("Bearer {reader}")).await.status,
            404
        );
    }
    rows(&node, "read metadata", 60).await;
    let see = async |path: &str| {
        let answer = get(&node, path, header::COOKIE, &eye).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.text()
    };
    let page = see("/audit?action=read+metadata&lang=en").await;
    assert_eq!(page.matches("<details>").count(), 50);
    assert!(page.contains("not found") && !page.contains("rel=\"prev\""));
    let href = |page: &str, rel: &str| {
        let at = page.find(&format!("rel=\"{rel}\" href=\""))?;
        let rest = page.get(at..)?.split("href=\"").nth(1)?;
        Some(rest.split('"').next()?.replace("&#38;", "&").replace("&amp;", "&"))
    };
    let older = see(&href(&page, "next").expect("older rows")).await;
    assert_eq!(older.matches("<details>").count(), 10);
    assert!(href(&older, "next").is_none());
    let newer = see(&href(&older, "prev").expect("newer rows")).await;
    assert_eq!(newer.matches("<details>").count(), 50);

    let one = see("/audit?study=1.2.3.7").await;
    assert_eq!(one.matches("<details>").count(), 1);
    assert!(
        one.contains("1.2.3.7") && !one.contains("/studies/1.2.3.7"),
        "no way to what is not theirs"
    );
    assert_eq!(see("/audit?who=test").await.matches("<details>").count(), 50);
    assert_eq!(see("/audit?who=nobody-of-this-name").await.matches("<details>").count(), 0);
    assert!(see("/audit?from=yesterday").await.contains("<code>from</code>"));
    assert!(!see("/audit?action=change+user").await.contains("theirs"), "the other tenant's");

    let exported = see("/audit/export?format=csv&action=read+metadata").await;
    assert_eq!(exported.lines().count(), 61);
    assert!(exported.starts_with("\u{feff}time,tenant,") && exported.contains(",1.2.3.59,"));
    let wrong = get(&node, "/audit/export?format=dicom", header::COOKIE, &eye).await;
    assert_eq!(wrong.status, 400, "nothing here writes such messages");
    assert_eq!(get(&node, "/audit/export?to=x", header::COOKIE, &eye).await.status, 400);

    assert!(!see("/audit").await.contains("id=\"proven\""));
    assert_eq!(form(&node, "/audit/verify", &eye, "").await.header("location"), "/audit");
    assert!(see("/audit").await.contains("id=\"proven\""));
}
