//! Second factors and invitations, as people and administrators meet them.

use axum::http::{Method, header};
use qianli_model::{Role, TenantId};
use totp_rs::{Builder, Secret};

use super::access::{PASSWORD, form, get, log_in, person, start};
use super::node::{Answer, Node};
use crate::access::now_ms;

/// The text of the element with an id.
fn element(page: &Answer, id: &str) -> String {
    let text = page.text();
    let found = text.split(&format!("id=\"{id}\">")).nth(1).and_then(|rest| rest.split('<').next());
    found.unwrap_or_else(|| panic!("no {id} in {text}")).to_owned()
}

/// The code of a phone, `steps` later than now.
fn code(secret: &str, steps: i64) -> String {
    let secret = Secret::try_from_base32(secret.replace(' ', "")).expect("base32");
    let totp = Builder::new().with_secret(secret).build().expect("a secret");
    let time = u64::try_from(now_ms() / 1000 + 30 * steps).expect("a time");
    totp.generate(time).to_string()
}

/// Sets a second factor up; the secret and the recovery codes.
async fn enrol(node: &Node, cookie: &str) -> (String, Vec<String>) {
    let body = format!("current={PASSWORD}");
    let page = form(node, "/account/factor", cookie, &body).await;
    assert_eq!(page.status, 200, "{}", page.text());
    assert!(page.text().contains("<svg class=\"qr\""), "a picture for the phone");
    let secret = element(&page, "secret");
    let wrong = form(node, "/account/factor/confirm", cookie, "code=000000").await;
    assert_eq!(wrong.status, 400);
    assert_eq!(element(&wrong, "secret"), secret, "a slip does not begin anew");
    let body = format!("code={}", code(&secret, -1));
    let page = form(node, "/account/factor/confirm", cookie, &body).await;
    assert_eq!(page.status, 200, "{}", page.text());
    let codes: Vec<String> = page
        .text()
        .split("<li><code>")
        .skip(1)
        .filter_map(|rest| rest.split('<').next().map(str::to_owned))
        .collect();
    assert_eq!(codes.len(), 10);
    (secret, codes)
}

/// Enters the password; the cookie of the login that waits for a code.
async fn password(node: &Node, login: &str) -> String {
    let body = format!("login={login}&password={PASSWORD}&next=%2Fstudies");
    let answer = form(node, "/login", "", &body).await;
    assert_eq!((answer.status, answer.header("location")), (303, "/login/code"));
    let cookie = answer.header("set-cookie").to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.starts_with("qianli-code="), "{cookie}");
    cookie.split(';').next().expect("a cookie").to_owned()
}

async fn enter(node: &Node, waiting: &str, code: &str) -> Answer {
    form(node, "/login/code", waiting, &format!("code={code}")).await
}

fn session(answer: &Answer) -> String {
    let cookies = answer.headers.get_all("set-cookie");
    let cookies = cookies.iter().filter_map(|cookie| cookie.to_str().ok());
    let found =
        cookies.filter_map(|one| one.split(';').next()).find(|one| one.starts_with("qianli="));
    found.unwrap_or_else(|| panic!("no session: {} {}", answer.status, answer.text())).to_owned()
}

#[tokio::test]
async fn a_code_is_asked_for_after_the_password_and_works_once() {
    let node = start().await;
    person(&node, TenantId::DEFAULT, "wang", &[Role::Reader]).await;
    let cookie = log_in(&node, "wang", PASSWORD).await.ok().expect("a session");
    let refused = form(&node, "/account/factor", &cookie, "current=wrong").await;
    assert_eq!(refused.status, 400, "not without the password");
    let (secret, recovery) = enrol(&node, &cookie).await;

    let waiting = password(&node, "wang").await;
    let page = get(&node, "/studies", header::COOKIE, &waiting).await;
    assert_eq!(page.header("location"), "/login?next=%2Fstudies", "a password alone opens nothing");
    let used = enter(&node, &waiting, &code(&secret, -1)).await;
    assert_eq!(used.status, 401, "the code of the set-up is used");
    let now = code(&secret, 0);
    let inside = enter(&node, &waiting, &now).await;
    assert_eq!((inside.status, inside.header("location")), (303, "/studies"));
    let cookie = session(&inside);
    assert_eq!(get(&node, "/studies", header::COOKIE, &cookie).await.status, 200);
    let again = enter(&node, &waiting, &code(&secret, 1)).await;
    assert_eq!(again.header("location"), "/login", "a login ends once");
    let waiting = password(&node, "wang").await;
    assert_eq!(enter(&node, &waiting, &now).await.status, 401, "a code is not played again");

    // The day on which the phone is lost.
    let lost = recovery[0].to_uppercase();
    let inside = enter(&node, &waiting, &lost).await;
    assert_eq!(inside.status, 303);
    let cookie = session(&inside);
    let waiting = password(&node, "wang").await;
    assert_eq!(enter(&node, &waiting, &lost).await.status, 401, "once");
    let page = get(&node, "/account", header::COOKIE, &cookie).await.text();
    assert!(page.contains("Recovery codes left: 9") || page.contains("剩余恢复码： 9"), "{page}");

    // A new password ends what waits for a code.
    let waiting = password(&node, "wang").await;
    let body = format!("current={PASSWORD}&new=ten-wide-owls-4&again=ten-wide-owls-4");
    assert_eq!(form(&node, "/account/password", &cookie, &body).await.status, 303);
    assert_eq!(enter(&node, &waiting, &code(&secret, 1)).await.header("location"), "/login");
}

#[tokio::test]
async fn wrong_codes_lock_an_account_as_wrong_passwords_do() {
    let node = start().await;
    person(&node, TenantId::DEFAULT, "wang", &[Role::Reader]).await;
    let cookie = log_in(&node, "wang", PASSWORD).await.ok().expect("a session");
    let (secret, _) = enrol(&node, &cookie).await;
    let waiting = password(&node, "wang").await;
    for _ in 0..4 {
        assert_eq!(enter(&node, &waiting, "123456").await.status, 401);
    }
    assert_eq!(enter(&node, &waiting, &code(&secret, 0)).await.status, 429, "locked");
    let body = format!("login=wang&password={PASSWORD}");
    let answer = form(&node, "/login", "", &body).await;
    assert_eq!(answer.status, 429, "the password does not make it a fresh start");
}

#[tokio::test]
async fn a_hospital_may_ask_for_second_factors_and_take_lost_ones_away() {
    let node = start().await;
    person(&node, TenantId::DEFAULT, "admin", &[Role::Administrator]).await;
    person(&node, TenantId::DEFAULT, "wang", &[Role::Reader]).await;
    let admin = log_in(&node, "admin", PASSWORD).await.ok().expect("a session");
    let wang = log_in(&node, "wang", PASSWORD).await.ok().expect("a session");
    assert_eq!(get(&node, "/studies", header::COOKIE, &wang).await.status, 200);
    assert_eq!(form(&node, "/people/factors", &admin, "required=true").await.status, 303);
    let page = get(&node, "/studies", header::COOKIE, &wang).await;
    assert_eq!(page.header("location"), "/account");
    assert_eq!(get(&node, "/dicom-web/studies", header::COOKIE, &wang).await.status, 403);
    let page = get(&node, "/people", header::COOKIE, &admin).await;
    assert_eq!(page.header("location"), "/account", "nobody is spared");
    enrol(&node, &wang).await;
    assert_eq!(get(&node, "/studies", header::COOKIE, &wang).await.status, 200);

    let (secret, _) = enrol(&node, &admin).await;
    let people = get(&node, "/people", header::COOKIE, &admin).await;
    assert!(people.text().contains("/people/factor\""), "{}", people.text());
    assert_eq!(form(&node, "/people/factor", &admin, "login=wang").await.status, 303);
    let wang = log_in(&node, "wang", PASSWORD).await.ok().expect("no code is asked for");
    let page = get(&node, "/studies", header::COOKIE, &wang).await;
    assert_eq!(page.header("location"), "/account", "but a new factor");
    assert_eq!(form(&node, "/people/factor", &admin, "login=admin").await.status, 403, "own");
    assert_eq!(form(&node, "/people/factor", &admin, "login=nobody").await.status, 404);
    assert_eq!(form(&node, "/people/factors", &admin, "required=false").await.status, 303);
    assert_eq!(get(&node, "/studies", header::COOKIE, &wang).await.status, 200);
    let waiting = password(&node, "admin").await;
    assert_eq!(enter(&node, &waiting, &code(&secret, 0)).await.status, 303);
    let gone = form(&node, "/account/factor/remove", &admin, &format!("current={PASSWORD}")).await;
    assert_eq!(gone.status, 303);
    assert!(log_in(&node, "admin", PASSWORD).await.is_ok());
}

/// The code in the link that an administrator was shown.
async fn invite(node: &Node, admin: &str, body: &str) -> String {
    let page = form(node, "/people/invite", admin, body).await;
    assert_eq!(page.status, 200, "{}", page.text());
    let link = element(&page, "secret");
    assert!(link.starts_with("http://localhost"), "{link}");
    link.split("code=").nth(1).expect("a code").to_owned()
}

#[tokio::test]
async fn whoever_is_invited_makes_an_account_once() {
    let node = start().await;
    person(&node, TenantId::DEFAULT, "admin", &[Role::Administrator]).await;
    let admin = log_in(&node, "admin", PASSWORD).await.ok().expect("a session");
    for bad in ["role=reader&days=5", "days=7", "role=emperor&days=7", "role=reader"] {
        assert_eq!(form(&node, "/people/invite", &admin, bad).await.status, 400, "{bad}");
    }
    let code = invite(&node, &admin, "note=Dr.+Li&role=reader&days=7").await;
    let open = async |code: &str| {
        let path = format!("/invitation?code={code}");
        node.request(Method::GET, &path, &[], Vec::new()).await
    };
    assert_eq!(open(&code).await.status, 200);
    assert_eq!(open("anything").await.status, 404);
    assert_eq!(open("").await.status, 404);
    let accept = async |code: &str, rest: &str| {
        form(&node, "/invitation", "", &format!("code={code}&{rest}")).await.status
    };
    let own = "new=ten-wide-owls-4&again=ten-wide-owls-4";
    for (bad, why) in [
        (format!("login=li&{}", own.replace("owls-4&", "owls-5&")), "not the same"),
        ("login=li&new=short&again=short".into(), "short"),
        ("login=li&new=password1234&again=password1234".into(), "breached"),
        (format!("login=l%20i&{own}"), "no login"),
        (format!("login=ADMIN&{own}"), "taken"),
    ] {
        assert_eq!(accept(&code, &bad).await, 400, "{why}");
    }
    let right = format!("login=Li&name=%E6%9D%8E&role=administrator&{own}");
    assert_eq!(accept(&code, &right).await, 303);
    assert_eq!(accept(&code, &format!("login=li2&{own}")).await, 404, "once");
    let li = log_in(&node, "li", "ten-wide-owls-4").await.ok().expect("a session");
    assert_eq!(get(&node, "/studies", header::COOKIE, &li).await.status, 200);
    assert_eq!(get(&node, "/people", header::COOKIE, &li).await.status, 403, "the roles given");

    let code = invite(&node, &admin, "role=reader&days=1").await;
    let list = get(&node, "/people", header::COOKIE, &admin).await.text();
    assert!(list.contains("Dr. Li") && !list.contains(&code), "a link is shown once");
    let id =
        list.split("name=\"invitation\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
    let body = format!("invitation={}", id.expect("an open one"));
    assert_eq!(form(&node, "/people/invite/revoke", &admin, &body).await.status, 303);
    assert_eq!(open(&code).await.status, 404, "taken back");

    // The link of an administrator who was switched off opens nothing.
    let second = person(&node, TenantId::DEFAULT, "chief", &[Role::Administrator]).await;
    let chief = log_in(&node, "chief", PASSWORD).await.ok().expect("a session");
    let code = invite(&node, &chief, "role=administrator&days=30").await;
    assert_eq!(open(&code).await.status, 200);
    let scope = qianli_model::Scope::local(TenantId::DEFAULT);
    node.catalog.set_disabled(&scope, second, true).await.expect("a catalog");
    assert_eq!(open(&code).await.status, 404);
    assert_eq!(accept(&code, &format!("login=li3&{own}")).await, 404);
}
