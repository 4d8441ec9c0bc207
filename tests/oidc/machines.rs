//! Programs with access tokens of the provider.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::Hospital;
use crate::on_both_setups;
use crate::support::node::Node;
use crate::support::setup::Setup;
use crate::support::web::client;

on_both_setups! {
    /// Right tokens do what their scopes say, and wrong ones nothing.
    programs_come_with_tokens_of_the_hospital = programs;
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs()
}

fn status(node: &Node, token: &str, path: &str) -> u16 {
    node.web().get(path).header("Authorization", &format!("Bearer {token}")).send().status
}

fn programs(setup: &Setup) {
    let Some(hospital) = Hospital::start() else { return };
    let node = hospital.node(setup, "");
    let studies = "/dicom-web/studies";
    let given = |scope: &str, resource: &str| {
        let form = format!("grant_type=client_credentials&scope={scope}&resource={resource}");
        let answer = client()
            .post(format!("{}/token", hospital.url()))
            .basic_auth("station", Some("station-secret-of-the-tests"))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .expect("the provider");
        let answer: Value = serde_json::from_slice(&answer.bytes().expect("text")).expect("JSON");
        answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    };
    let ours = "https%3A%2F%2Fimages.example";
    let reader = given("images.read", ours);
    assert_eq!(status(&node, &reader, studies), 200);
    assert_eq!(status(&node, &reader, "/dicom-web/deletions"), 403);
    assert_eq!(status(&node, &reader, "/people"), 403, "only people administer");
    assert_eq!(status(&node, &given("images.store", ours), studies), 403);
    assert_eq!(status(&node, &given("images.all", ours), studies), 403, "a scope without a rule");
    let elsewhere = given("images.read", "https%3A%2F%2Fother.example");
    assert_eq!(status(&node, &elsewhere, studies), 401, "made for another resource");
    assert_eq!(status(&node, &reader, "/tenants/default/dicom-web/studies"), 200);
    assert_eq!(status(&node, &reader, "/tenants/other/dicom-web/studies"), 404);
    let basic = client().get(format!("{}{studies}", node.http())).basic_auth("x", Some(&reader));
    assert_eq!(basic.send().expect("an answer").status(), 200, "for clients that know Basic only");

    let sign = |how: &str, change: &dyn Fn(&mut Value)| {
        let mut claims = json!({
            "iss": hospital.url(), "sub": "station-7", "aud": "https://images.example",
            "iat": now(), "exp": now() + 300, "scope": "openid images.read",
        });
        change(&mut claims);
        let answer = hospital.control("sign", &json!({"claims": claims, "how": how}));
        answer["token"].as_str().expect("a token").to_owned()
    };
    let as_it_is = |_: &mut Value| {};
    for how in ["right", "es256", "ps384"] {
        assert_eq!(status(&node, &sign(how, &as_it_is), studies), 200, "{how}");
    }
    for how in ["none", "hs256", "stranger", "unknown-kid", "own-key", "crit"] {
        assert_eq!(status(&node, &sign(how, &as_it_is), studies), 401, "{how}");
    }
    let set =
        |name: &'static str, value: Value| move |claims: &mut Value| claims[name] = value.clone();
    for (what, change) in [
        ("expired", set("exp", (now() - 60).into())),
        ("never ends", set("exp", Value::Null)),
        ("ends in a year", set("exp", (now() + 365 * 86400).into())),
        ("an end that is no time", set("exp", "tomorrow".into())),
        ("not yet", set("nbf", (now() + 3600).into())),
        ("another issuer", set("iss", "https://id.example".into())),
        ("several issuers", set("iss", json!([hospital.url()]))),
        ("no issuer", set("iss", Value::Null)),
        ("another audience", set("aud", "https://images.example.evil".into())),
        ("no audience", set("aud", Value::Null)),
        ("an ID token", set("aud", "qianli".into())),
        ("nobody", set("sub", "".into())),
    ] {
        assert_eq!(status(&node, &sign("right", &change), studies), 401, "{what}");
    }
    let several = set("aud", json!(["https://other.example", "https://images.example"]));
    assert_eq!(status(&node, &sign("right", &several), studies), 200);
    let nothing = set("scope", "openid".into());
    assert_eq!(status(&node, &sign("right", &nothing), studies), 403);

    // A signature of other claims, a token that was cut, and none at all.
    let (good, bad) = (sign("right", &as_it_is), sign("right", &set("sub", "chief".into())));
    let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (good_parts, bad_parts) = (parts(&good), parts(&bad));
    let mixed = format!("{}.{}.{}", good_parts[0], bad_parts[1], good_parts[2]);
    for token in [mixed, format!("{}.{}.", good_parts[0], good_parts[1]), "ey.x.y".into()] {
        assert_eq!(status(&node, &token, studies), 401);
    }
    assert_eq!(status(&node, &"e".repeat(20_000), studies), 401);

    // A tenant that is made later opens by its rule, and opaque tokens go on as before.
    let other = set("scope", "images.other".into());
    assert_eq!(status(&node, &sign("right", &other), studies), 404, "there is no such tenant");
    crate::access::command(&node, "tenant", "add", &["other"]);
    assert_eq!(status(&node, &sign("right", &other), studies), 200);
    assert_eq!(status(&node, &sign("right", &other), "/tenants/other/dicom-web/studies"), 200);
    assert_eq!(status(&node, &sign("right", &other), "/tenants/default/dicom-web/studies"), 404);
    let opaque = crate::access::command(&node, "token", "add", &["t", "--may", "read"]);
    assert_eq!(status(&node, opaque.trim(), studies), 200);
}
