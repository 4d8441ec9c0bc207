//! What one tenant granted to another, asked for over DIMSE: a workstation calls the AE title of the
//! owner, as a browser names the owner in the path.

use std::net::TcpListener;
use std::time::Duration;

use qianli::services::needs;
use qianli_dimse::Service;
use qianli_model::Permission;
use serde_json::{Value, json};

use super::peers::{NOT_AUTHORISED, ask, call, expect_rejected, run};
use crate::on_both_setups;
use crate::support::node::Node;
use crate::support::setup::Setup;
use crate::support::synth::{self, Instance, Place};
use crate::support::{clients, eventually};

on_both_setups! {
    /// Every DIMSE service and permission of a device of another tenant: without a grant, with one, with one
    /// that ended and with one that was revoked.
    services_of_another_tenant_ask_for_grants = matrix;
    /// What was granted is found, got and moved, and nothing else, by pynetdicom.
    what_was_granted_is_read = read;
}

const LIMIT: Duration = Duration::from_secs(30);

/// The default tenant answers to OWNER; every permission has a device in the centre, and one in the county.
fn node(setup: &Setup) -> Node {
    let node = Node::plan(setup).args(["--unknown-peers", "refuse"]).start();
    run(&node, "tenant", &["ae", "default", "OWNER"]);
    for tenant in ["centre", "county"] {
        run(&node, "tenant", &["add", tenant]);
        for permission in Permission::ALL {
            let (title, may) = (device(tenant, permission), permission.name());
            run(&node, "peer", &["add", &title, "--may", may, "--tenant", tenant]);
        }
    }
    eventually("the register is known", LIMIT, || call(&node, "OWNER", "COUNTYREAD").ok());
    node
}

fn device(tenant: &str, permission: Permission) -> String {
    let title = format!("{tenant}{}", permission.name()).to_uppercase();
    title.chars().take(16).collect()
}

fn stored(node: &Node, number: u32) -> Instance {
    let instance = synth::ct(&Place::new(), number, 16);
    node.web().stow_instance(&instance);
    instance
}

/// Grants a study to the centre, and gives the grant's number.
fn grant(node: &Node, instance: &Instance, download: bool) -> i64 {
    let wish = json!({
        "study": instance.place.study, "tenant": "centre", "days": 7, "download": download,
        "purpose": "a second opinion",
    });
    let answer = node.web().request("POST", "/api/grants").body(wish.to_string()).send();
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["id"].as_i64().expect("a number")
}

/// Which services every device of a tenant is served with, besides C-ECHO.
fn check(node: &Node, tenant: &str, when: &str, may_read: bool) {
    for permission in Permission::ALL {
        let title = device(tenant, permission);
        if permission != Permission::Read {
            // Whoever may not read at home has nothing to ask for elsewhere.
            expect_rejected(call(node, "OWNER", &title), 3);
            continue;
        }
        for service in Service::ALL {
            let mut peer = call(node, "OWNER", &title)
                .unwrap_or_else(|error| panic!("{title}, {when}: {error}"));
            let status = ask(&mut peer, service, &Place::new());
            let allowed = match needs(service) {
                None => true,
                Some(Permission::Read) => may_read,
                Some(_) => false,
            };
            assert_eq!(
                status != NOT_AUTHORISED,
                allowed,
                "{service:?} for {title}, {when}: {status:04X}"
            );
            peer.release().expect("release");
        }
    }
}

fn matrix(setup: &Setup) {
    let node = node(setup);
    let instance = stored(&node, 1);
    check(&node, "centre", "without a grant", false);
    let first = grant(&node, &instance, true);
    check(&node, "centre", "with a grant", true);
    check(&node, "county", "with a grant to somebody else", false);
    node.sql(&format!("UPDATE grants SET expires_ms = 1 WHERE id = {first}"));
    check(&node, "centre", "after its end", false);
    let second = grant(&node, &instance, true);
    check(&node, "centre", "with a new grant", true);
    let revoked = node.web().request("DELETE", &format!("/api/grants/{second}")).send();
    assert_eq!(revoked.status, 204, "{}", revoked.text());
    check(&node, "centre", "after it was revoked", false);
    let studies = node.web().json("/studies").len();
    assert_eq!(studies, 1, "nobody of another tenant stored anything here");
    eventually("what was refused is audited", LIMIT, || {
        let listed = run(&node, "audit", &["list", "--action", "access denied", "--json"]);
        let row = |part: &str| listed.lines().any(|line| line.contains(part));
        row("\"reason\":\"nothing granted\"").then_some(())
    });
}

fn read(setup: &Setup) {
    let node = node(setup);
    let port = TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("a port").port();
    run(&node, "peer", &["add", "SINK", &format!("127.0.0.1:{port}"), "--tenant", "centre"]);
    let [to_take, to_look_at, kept, ended, revoked] = [1, 2, 3, 4, 5].map(|at| stored(&node, at));
    grant(&node, &to_take, true);
    grant(&node, &to_look_at, false);
    let number = grant(&node, &ended, true);
    node.sql(&format!("UPDATE grants SET expires_ms = 1 WHERE id = {number}"));
    let number = grant(&node, &revoked, true);
    node.web().request("DELETE", &format!("/api/grants/{number}")).send();
    let all = [&to_take, &to_look_at, &kept, &ended, &revoked];
    let asked = |calling: &str| -> Option<Value> {
        let uids: Vec<String> = all
            .iter()
            .map(|one| format!("{}/{}/{}", one.place.study, one.place.series, one.uid))
            .collect();
        let mut arguments: Vec<String> = ["OWNER", calling, "SINK"].map(str::to_owned).into();
        arguments.push(port.to_string());
        arguments.extend(uids);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let ran = clients::python(&node, "granted.py", &arguments)?;
        let said = ran.ok();
        Some(serde_json::from_str(said.lines().last().unwrap_or_default()).expect("JSON"))
    };
    let Some(said) = asked("CENTREREAD") else { return };
    let mut found: Vec<&str> =
        said["studies"].as_array().expect("studies").iter().filter_map(Value::as_str).collect();
    let mut wanted = [to_take.place.study.as_str(), to_look_at.place.study.as_str()];
    found.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(found, wanted, "{said}");
    let of = |instance: &Instance| said["of"][&instance.place.study].clone();
    let none = json!({ "objects": 0, "status": "0000" });
    let one = json!({ "objects": 1, "status": "0000" });
    let twice = |value: &Value| json!([value, value]);
    assert_eq!(
        of(&to_take),
        json!({ "found": [1, 1, 1], "get": twice(&one), "move": twice(&one) })
    );
    let refused = json!({ "objects": 0, "status": "0124" });
    assert_eq!(
        of(&to_look_at),
        json!({ "found": [1, 1, 1], "get": twice(&refused), "move": twice(&refused) })
    );
    for hidden in [&kept, &ended, &revoked] {
        assert_eq!(
            of(hidden),
            json!({ "found": [0, 0, 0], "get": twice(&none), "move": twice(&none) })
        );
    }
    let other = asked("COUNTYREAD").expect("Python is there");
    assert_eq!((&other["status"], &other["studies"]), (&json!("0124"), &json!([])), "{other}");
    for hidden in all {
        assert_eq!(other["of"][&hidden.place.study]["found"], json!([0, 0, 0]), "{other}");
        assert_eq!(other["of"][&hidden.place.study]["get"][0]["objects"], 0, "{other}");
    }
    // The owner sees who looked, and from which tenant.
    eventually("the trail says who read", LIMIT, || {
        let listed = run(&node, "audit", &["list", "--json"]);
        listed
            .lines()
            .any(|row| row.contains("CENTREREAD") && row.contains("through"))
            .then_some(())
    });
}
