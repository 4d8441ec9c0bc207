//! What must log nobody in: tokens that are wrong in each way there is, answers that come twice, late,
//! or in another browser, and floods.

use std::time::Duration;

use serde_json::json;

use super::{Browser, Hospital};
use crate::support::eventually;
use crate::support::setup::Setup;

/// Ways in which an ID token is wrong, as the provider of the tests knows them.
const WRONG: [&str; 20] = [
    "nonce",
    "no-nonce",
    "aud",
    "azp",
    "many",
    "iss",
    "issuers",
    "expired",
    "no-exp",
    "exp-text",
    "old",
    "future",
    "nbf",
    "none",
    "hs256",
    "stranger",
    "unknown-kid",
    "own-key",
    "crit",
    "sub",
];

#[test]
fn wrong_id_tokens_log_nobody_in() {
    let Some(hospital) = Hospital::start() else { return };
    let node = hospital.node(&Setup::Embedded, "");
    hospital.person("s-1", &["radiology"]);
    for how in WRONG {
        hospital.control("forge", &json!({"how": how}));
        let mut browser = Browser::default();
        let back = browser.log_in(&node, &hospital, "s-1");
        assert_eq!(back.status, 403, "{how}: {}", back.text());
        assert_eq!(back.header("set-cookie").matches("qianli=").count(), 0, "{how}");
        assert_eq!(browser.status(&node, "/dicom-web/studies"), 401, "{how}");
    }
    // The same with nothing wrong, by each kind of key that is believed.
    for how in ["", "right", "es256", "ps384"] {
        hospital.control("forge", &json!({"how": how}));
        let back = Browser::default().log_in(&node, &hospital, "s-1");
        assert_eq!(back.status, 303, "{how}: {}", back.text());
    }
}

#[test]
fn an_answer_of_the_provider_counts_once_and_in_its_browser_alone() {
    let Some(hospital) = Hospital::start() else { return };
    let node = hospital.node(&Setup::Embedded, "");
    hospital.person("s-1", &["radiology"]);
    let enter = "login=s-1";

    // Played again, with and without the cookie that it came with.
    let mut browser = Browser::default();
    let back = browser.log_in_there(&node, &hospital, enter);
    let before = Browser { cookies: browser.cookies.clone() };
    assert_eq!(browser.get(&back).status, 303);
    let mut again = before;
    assert_eq!(again.get(&back).status, 400, "a state counts once");
    assert_eq!(again.status(&node, "/dicom-web/studies"), 401);

    // The code of one login in another: state and browser are right, the provider refuses.
    let used = parameter(&back, "code");
    let mut second = Browser::default();
    let back = second.log_in_there(&node, &hospital, enter);
    let stolen = back.replace(&parameter(&back, "code"), &used);
    assert_eq!(second.get(&stolen).status, 403, "a code counts once");

    // A code that was caught on its way opens nothing in the browser of whoever caught it, and the
    // login that somebody else began is not ended in mine.
    let mut victim = Browser::default();
    let back = victim.log_in_there(&node, &hospital, enter);
    assert_eq!(Browser::default().get(&back).status, 400, "no cookie");
    let mut thief = Browser::default();
    let own = thief.log_in_there(&node, &hospital, enter);
    assert_eq!(thief.get(&back).status, 400, "another's state");
    let mixed = own.replace(&parameter(&own, "code"), &parameter(&back, "code"));
    assert!(thief.get(&mixed).status >= 400, "another's code: PKCE");
    assert_eq!(victim.get(&back).status, 303, "whose it is still gets in");

    // An answer that names another issuer (RFC 9207), or none, and one that says no.
    let mut browser = Browser::default();
    let back = browser.log_in_there(&node, &hospital, enter);
    let (without, _) = back.split_once("&iss=").expect("the provider names itself");
    assert_eq!(browser.get(&format!("{without}&iss=https%3A%2F%2Fid.example")).status, 403);
    let back = browser.log_in_there(&node, &hospital, enter);
    let (without, _) = back.split_once("&iss=").expect("the provider names itself");
    assert_eq!(browser.get(without).status, 403);
    let mut browser = Browser::default();
    let back = browser.log_in_there(&node, &hospital, "cancel=1");
    assert!(back.contains("error=access_denied"), "{back}");
    let answer = browser.get(&back);
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("cancelled") && answer.text().contains("/login/oidc/county"));

    // The way after it leads nowhere else.
    for next in ["https://evil.example", "//evil.example", "/\\evil.example"] {
        let next: String = next.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let mut browser = Browser::default();
        browser.log_in(&node, &hospital, "s-1");
        let begun = browser.get(&format!("{}/login/oidc/county?next={next}", node.http()));
        let there = browser.get(begun.header("location"));
        let back = browser.get(there.header("location"));
        assert_eq!((back.status, back.header("location")), (303, "/"), "{next}");
    }
    assert_eq!(browser.status(&node, "/login/oidc/nobody"), 404);
}

#[test]
fn keys_change_while_running_and_unknown_ones_are_not_asked_for_without_end() {
    let Some(hospital) = Hospital::start() else { return };
    let node = hospital.node(&Setup::Embedded, "");
    hospital.person("s-1", &["radiology"]);
    let fetched = || hospital.control("counts", &json!({}))["jwks"].as_u64().unwrap_or_default();
    assert_eq!(Browser::default().log_in(&node, &hospital, "s-1").status, 303);
    assert_eq!(fetched(), 1, "keys are kept");
    assert_eq!(Browser::default().log_in(&node, &hospital, "s-1").status, 303);
    assert_eq!(fetched(), 1);

    hospital.control("keys", &json!({}));
    assert_eq!(Browser::default().log_in(&node, &hospital, "s-1").status, 303, "new keys at once");
    assert_eq!(fetched(), 2);

    let claims = json!({"iss": hospital.url(), "sub": "x", "aud": "https://images.example",
        "exp": super::machines::now() + 60, "scope": "images.read"});
    // Each names another key.
    let flood = hospital.control("flood", &json!({"claims": claims, "count": 300}));
    let flood = flood["tokens"].as_array().expect("tokens");
    assert_eq!(flood.len(), 300);
    for token in flood {
        let bearer = format!("Bearer {}", token.as_str().expect("a token"));
        let answer = node.web().dicom("/studies").header("Authorization", &bearer).send();
        assert_eq!(answer.status, 401, "{}", answer.text());
    }
    assert!(fetched() <= 4, "{} requests to the provider", fetched());

    // And keys that change after a flood are known in a while.
    hospital.control("keys", &json!({}));
    eventually("new keys after a flood", Duration::from_secs(45), || {
        (Browser::default().log_in(&node, &hospital, "s-1").status == 303).then_some(())
    });
}

fn parameter(url: &str, name: &str) -> String {
    let found = url.split(['?', '&']).find_map(|pair| pair.strip_prefix(&format!("{name}=")));
    found.unwrap_or_else(|| panic!("no {name} in {url}")).to_owned()
}
