//! People: the whole way over HTTP on both setups, and once in Chromium.

use std::time::Duration;

use serde_json::json;

use super::{Browser, Hospital};
use crate::on_both_setups;
use crate::portal::import_samples;
use crate::support::setup::Setup;
use crate::support::{artifacts, clients, eventually};

/// Longer than a node remembers a session and a provider is not asked.
const SOON: Duration = Duration::from_secs(20);

on_both_setups! {
    /// The provider says who somebody is and what, at the login and while the session lasts.
    the_provider_gives_roles_and_takes_them_away = roles;
}

fn roles(setup: &Setup) {
    let Some(hospital) = Hospital::start() else { return };
    let node = hospital.node(setup, "");
    hospital.person("s-1", &["radiology"]);
    let mut browser = Browser::default();
    let back = browser.log_in(&node, &hospital, "s-1");
    assert_eq!((back.status, back.header("location")), (303, "/account"), "{}", back.text());
    let held = browser.cookies_of(node.http());
    assert_eq!(held.keys().collect::<Vec<_>>(), ["qianli"], "the cookie of the login is gone");
    let page = browser.get(&format!("{}/account", node.http())).text();
    assert!(page.contains("王小东") && page.contains("wang@county"), "{page}");
    assert!(!page.contains("name=\"current\""), "there is no password to change");
    assert_eq!(browser.status(&node, "/studies"), 200);
    assert_eq!(browser.status(&node, "/people"), 403);

    // The same person from elsewhere is the same account; another person of the same name is not.
    let mut phone = Browser::default();
    assert_eq!(phone.log_in(&node, &hospital, "s-1").status, 303);
    assert!(phone.get(&format!("{}/account", node.http())).text().contains("wang@county "));
    hospital.person("s-2", &["chiefs"]);
    let mut other = Browser::default();
    assert_eq!(other.log_in(&node, &hospital, "s-2").status, 303);
    let people = other.get(&format!("{}/people", node.http()));
    assert!(people.text().contains("wang.2@county"), "{}", people.text());
    let reset = other.post(&format!("{}/people/password", node.http()), "login=wang%40county");
    assert_eq!(reset.status, 403, "a password would be a way past the provider");

    // What the hospital changes is so here after the next question, without a new login.
    hospital.person("s-1", &["radiology", "audit"]);
    eventually("a new role counts", SOON, || {
        (browser.status(&node, "/api/audit") == 200).then_some(())
    });
    hospital.person("s-1", &["audit"]);
    eventually("a role that was taken is gone", SOON, || {
        (browser.status(&node, "/dicom-web/studies") == 403).then_some(())
    });
    hospital.person("s-1", &["visitors"]);
    eventually("without a role the session ends", SOON, || {
        (browser.status(&node, "/dicom-web/studies") == 401).then_some(())
    });
    let back = browser.log_in(&node, &hospital, "s-1");
    assert_eq!(back.status, 403);
    assert!(back.text().contains("role"), "{}", back.text());
    assert_eq!(browser.status(&node, "/dicom-web/studies"), 401);

    // A provider that takes its token back ends the session.
    hospital.person("s-1", &["radiology"]);
    assert_eq!(browser.log_in(&node, &hospital, "s-1").status, 303);
    hospital.control("forget", &json!({"what": "RefreshToken"}));
    eventually("the session ends with its token", SOON, || {
        (browser.status(&node, "/dicom-web/studies") == 401).then_some(())
    });

    // Somebody who was never given anything leaves no account behind.
    hospital.person("s-3", &[]);
    assert_eq!(Browser::default().log_in(&node, &hospital, "s-3").status, 403);
    assert_eq!(other.log_in(&node, &hospital, "s-2").status, 303);
    let people = other.get(&format!("{}/people", node.http())).text();
    assert!(!people.contains("wang.3@county"), "{people}");
}

/// A provider that does not answer lets nobody in, and throws nobody out at once.
#[test]
fn a_provider_that_is_away_throws_nobody_out() {
    let Some(hospital) = Hospital::start() else { return };
    let node = hospital.node(&Setup::Embedded, "");
    hospital.person("s-1", &["radiology"]);
    let mut browser = Browser::default();
    assert_eq!(browser.log_in(&node, &hospital, "s-1").status, 303);
    let mut late = Browser::default();
    let back = late.log_in_there(&node, &hospital, "login=s-1");
    drop(hospital);
    assert_eq!(late.get(&back).status, 503, "nobody says who it is");
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_secs(8) {
        assert_eq!(browser.status(&node, "/dicom-web/studies"), 200);
        std::thread::sleep(Duration::from_millis(200));
    }
    let left = browser.post(&format!("{}/logout", node.http()), "");
    assert!(left.status < 400, "{}", left.text());
    assert_eq!(browser.status(&node, "/dicom-web/studies"), 401);
}

/// A person at a browser: the button in both languages, the provider, a study, the logout here and
/// there; and the page without passwords.
#[test]
fn a_person_logs_in_at_the_hospital_in_chromium() {
    let Some(hospital) = Hospital::start() else { return };
    let node = hospital.node(&Setup::Embedded, "password_login = false\n");
    import_samples(&node);
    hospital.person("s-1", &["radiology"]);
    if let Some(ran) = clients::browser(&node, "oidc.js", &[hospital.url()]) {
        println!("{}", ran.ok());
        for picture in ["oidc-login-zh-CN.png", "oidc-login-en.png"] {
            assert!(artifacts().join(picture).is_file(), "{picture} was not written");
        }
    }
    let refused = node.web().get("/login").send_ok().text();
    assert!(!refused.contains("name=\"password\""), "{refused}");
    let kind = "application/x-www-form-urlencoded";
    let form = crate::support::web::client().post(format!("{}/login", node.http()));
    let answer = form.header("Content-Type", kind).body("login=admin&password=x").send();
    assert_eq!(answer.expect("an answer").status(), 403);
}
