//! Why was I refused: every way to be refused, to fail and to break off, each with its cause, the peer's
//! words and what mends it; and user identities, which decide what an association may do.

use crate::on_both_setups;
use crate::support::node::{AE, Node};
use crate::support::peer::{EXPLICIT, IMPLICIT, Peer, VERIFICATION, associate_request};
use crate::support::setup::Setup;
use crate::support::synth::{self, CT, Place};
use crate::support::{clients, eventually};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

on_both_setups! {
    /// Refused associations, contexts and requests, and broken ends, as `qianli doctor ae` tells them.
    every_trouble_has_its_cause_and_its_remedy = troubles;
    /// Logins, tokens and nobody: pynetdicom shows them, and stores or does not.
    identities_decide_what_an_association_may_do = identities;
}

const LIMIT: Duration = Duration::from_secs(30);

/// Basic Grayscale Print Management.
const PRINT: &str = "1.2.840.10008.5.1.1.9";

/// What `qianli doctor ae` says of a peer, and whether it would be let in.
fn doctor(node: &Node, name: &str) -> (Value, bool) {
    let output = node.operator("doctor", &["ae", name, "--json"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let words = String::from_utf8_lossy(&output.stderr);
    let told = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{words}"));
    (told, output.status.success())
}

/// Waits until a cause is told of a peer, and gives the incident.
fn told(node: &Node, name: &str, cause: &str) -> Value {
    eventually(&format!("{cause} of {name} is told"), LIMIT, || {
        let (all, _) = doctor(node, name);
        let incidents = all["incidents"].as_array()?;
        incidents.iter().find(|one| one["cause"] == cause).cloned()
    })
}

/// Sends bytes and waits for the end.
fn throw(node: &Node, bytes: &[u8]) {
    let mut stream = TcpStream::connect(node.dimse()).expect("connect");
    stream.set_read_timeout(Some(LIMIT)).expect("set a timeout");
    stream.write_all(bytes).expect("write");
    let mut kind = [0];
    let _ = stream.read(&mut kind);
}

fn troubles(setup: &Setup) {
    let limits = ["--artim-timeout", "2s", "--max-associations", "6"];
    let node = Node::plan(setup).args(limits).start();
    let call = |calling: &str| {
        let offers: [(&str, &[&str]); 4] = [
            (VERIFICATION, &[IMPLICIT]),
            (CT, &[EXPLICIT]),
            (PRINT, &[IMPLICIT]),
            (CT, &["1.2.3.4.5"]),
        ];
        Peer::associate(node.dimse(), AE, calling, &offers)
    };

    // Contexts, with what was proposed by whom; and what was agreed on.
    call("OLD_US").expect("associate").release().expect("release");
    let class = told(&node, "OLD_US", "abstract syntax");
    assert_eq!((&class["subject"], &class["proposed"][0]), (&PRINT.into(), &IMPLICIT.into()));
    assert_eq!(class["implementation_version"], "SCRIPTED_PEER");
    assert!(class["advice"].as_str().is_some_and(|text| text.contains("sop_classes")));
    let syntax = told(&node, "OLD_US", "transfer syntax");
    assert_eq!((&syntax["subject"], &syntax["proposed"][0]), (&CT.into(), &"1.2.3.4.5".into()));
    let admitted = told(&node, "OLD_US", "admitted");
    let pair = format!("{CT}={EXPLICIT}");
    assert!(admitted["proposed"].as_array().is_some_and(|all| all.contains(&pair.into())));

    // Requests: an object of another class, by its status.
    let mut peer = call("OLD_CT").expect("associate");
    let context = peer.context(CT, EXPLICIT).expect("a context");
    let image = synth::ct(&Place::new(), 1, 16);
    let answer = peer.store(context, "1.2.840.10008.5.1.4.1.1.4", &image.uid, &image.data_set);
    assert_ne!(answer.expect("an answer").status, 0);
    let failed = told(&node, "OLD_CT", "wrong class");
    assert_eq!((&failed["kind"], &failed["status"]), (&"operation".into(), &"0122".into()));
    // Ends: aborted, broken protocol, just gone.
    peer.abort();
    told(&node, "OLD_CT", "aborted by peer");
    let mut peer = call("OLD_MR").expect("associate");
    peer.send_raw(&[9, 0, 0, 0, 0, 0]).expect("send");
    told(&node, "OLD_MR", "protocol error");
    drop(call("OLD_XA").expect("associate"));
    told(&node, "OLD_XA", "connection lost");

    // Associations.
    throw(&node, &associate_request("NOBODY", "OLD_CR", &[(CT, &[EXPLICIT])]));
    assert_eq!(told(&node, "OLD_CR", "called title")["called"], "NOBODY");
    throw(&node, &associate_request(AE, "OLD\\DX", &[(CT, &[EXPLICIT])]));
    told(&node, "OLD\\DX", "invalid title");
    throw(&node, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    told(&node, "127.0.0.1", "malformed request");
    throw(&node, b"\x01\x00\x00\x00\x10\x00");
    told(&node, "127.0.0.1", "no request");
    let open: Vec<_> = (0..6).map(|_| call("MANY").expect("within the limit")).collect();
    assert!(call("MANY").is_err());
    told(&node, "MANY", "too many associations");
    drop(open);

    // The register, and what would happen now.
    let (now, admitted) = doctor(&node, "OLD_NM");
    assert!(admitted && now["now"].is_null() && now["incidents"] == Value::Array(Vec::new()));
    let added = node.operator("peer", &["add", "OLD_NM", "--from", "192.0.2.1"]);
    assert!(added.status.success());
    eventually("it is refused", LIMIT, || call("OLD_NM").err());
    told(&node, "OLD_NM", "registered elsewhere");
    let (now, admitted) = doctor(&node, "OLD_NM");
    assert!(!admitted && now["now"]["cause"] == "registered elsewhere", "{now}");
    let said = node.operator("doctor", &["ae", "OLD_NM"]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("would be refused") && said.contains("what to do"), "{said}");
    assert_eq!(
        node.operator("peer", &["add", "OLD_NM", "--from", "127.0.0.1"]).status.code(),
        Some(0)
    );
    eventually("it is let in", LIMIT, || call("OLD_NM").ok());
    assert!(doctor(&node, "OLD_NM").1);

    // Equal incidents are one, with a count, and no patient is in any.
    for _ in 0..20 {
        call("OLD_US").expect("associate").release().expect("release");
    }
    node.signal_stop();
    let mut node = node;
    node.wait(LIMIT);
    let (all, _) = doctor(&node, "OLD_US");
    let of_class: Vec<&Value> = all["incidents"]
        .as_array()
        .expect("incidents")
        .iter()
        .filter(|one| one["cause"] == "abstract syntax")
        .collect();
    assert!(of_class.len() == 1 && of_class[0]["times"] == 21, "{of_class:?}");
    for name in ["OLD_CT", "127.0.0.1"] {
        let (all, _) = doctor(&node, name);
        assert!(!all.to_string().contains(&image.uid), "an instance is named: {all}");
    }
}

/// Rows of the trail in which somebody stores.
fn stored_by(rows: &str, who: &str) -> usize {
    rows.lines().filter(|row| row.contains(who) && row.contains("store")).count()
}

fn identities(setup: &Setup) {
    let node = Node::plan(setup).args(["--no-auth=false"]).start();
    let operator = |command: &str, arguments: &[&str]| {
        let output = node.operator(command, arguments);
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command} {arguments:?}: {words}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let storing = operator("token", &["add", "station", "--may", "store"]);
    let reading = operator("token", &["add", "viewer", "--may", "read"]);
    let made = operator("user", &["add", "wang", "--role", "technician"]);
    let line = made.lines().find_map(|line| line.trim().strip_prefix("password"));
    let password = line.expect("a password").trim().to_owned();
    let show = |kind: &str, first: &str, second: &str| {
        let ran = clients::python(&node, "identity.py", &[kind, first, second])?;
        Some(ran.ok().lines().last().unwrap_or_default().to_owned())
    };
    // Without Python there is nobody who shows an identity.
    let Some(nobody) = show("0", "", "") else { return };
    assert_eq!(nobody, "stored 0000 unanswered");
    assert_eq!(
        show("1", "wang", "").as_deref(),
        Some("stored 0000 unanswered"),
        "a name is nothing"
    );
    let token = |token: &str| show("2", "anybody", token.trim()).unwrap_or_default();
    assert_eq!(token(&storing), "stored 0000 answered");
    assert_eq!(token(&reading), "stored 0124 answered", "what the token may, and no more");
    assert_eq!(token("qianli_wrong"), "rejected 1 1 1");
    assert_eq!(show("5", storing.trim(), "").as_deref(), Some("stored 0000 answered"));
    assert_eq!(show("5", "eyJ.eyJ.x", "").as_deref(), Some("rejected 1 1 1"));
    assert_eq!(show("3", "ticket", "").as_deref(), Some("rejected 1 1 1"), "Kerberos");
    assert_eq!(show("2", "wang", "wrong").as_deref(), Some("rejected 1 1 1"));
    // The first password is for the pages, where it has to be changed.
    assert_eq!(show("2", "wang", &password).as_deref(), Some("rejected 1 1 1"));
    eventually("the reason is told", LIMIT, || {
        let why = told(&node, "PYNETDICOM", "identity");
        why["detail"].as_str()?.contains("changed at the pages").then_some(())
    });
    node.sql("UPDATE users SET must_change = FALSE WHERE login = 'wang'");
    assert_eq!(show("2", "wang", &password).as_deref(), Some("stored 0000 answered"));
    eventually("the trail names the person", LIMIT, || {
        let rows = operator("audit", &["list", "--json"]);
        rows.lines().any(|row| row.contains("wang") && row.contains("store")).then_some(())
    });
    // What ends while an association goes on ends there as well, within seconds.
    let number = |name: &str| {
        let listed = operator("token", &["list"]);
        let line = listed.lines().find(|line| line.contains(name)).expect("the token");
        line.split_whitespace().next().expect("a number").to_owned()
    };
    let station = number("station");
    let storing = storing.trim().to_owned();
    let cases: [(&str, &str, &[&str]); 2] = [
        (&storing, "station", &["token", "revoke", &station]),
        (&password, "wang", &["user", "disable", "wang"]),
    ];
    for (secret, who, end) in cases {
        let before = stored_by(&operator("audit", &["list", "--json"]), who);
        let said = std::thread::scope(|scope| {
            let goes_on = scope.spawn(|| {
                clients::python(&node, "identity.py", &["2", who, secret, "until"])
                    .map(|ran| ran.ok())
            });
            eventually("it has stored", LIMIT, || {
                let rows = operator("audit", &["list", "--json"]);
                (stored_by(&rows, who) > before).then_some(())
            });
            operator(end[0], &end[1..]);
            goes_on.join().expect("the client ends")
        });
        assert!(said.unwrap_or_default().trim_end().ends_with("then 0124"), "{who} went on");
    }
    assert_eq!(show("2", "wang", &password).as_deref(), Some("rejected 1 1 1"));

    let node = Node::plan(setup).args(["--no-auth=false", "--dimse-identity", "require"]).start();
    let show = |kind: &str, first: &str, second: &str| {
        clients::python(&node, "identity.py", &[kind, first, second]).map(|ran| ran.ok())
    };
    for (kind, name) in [("0", ""), ("1", "wang")] {
        let said = show(kind, name, "").unwrap_or_default();
        assert!(said.contains("rejected 1 1 1"), "{said}");
    }
    told(&node, "PYNETDICOM", "no identity");
    let output = node.operator("token", &["add", "station", "--may", "store"]);
    let token = String::from_utf8(output.stdout).expect("UTF-8");
    let said = show("2", "", token.trim()).unwrap_or_default();
    assert!(said.contains("stored 0000 answered"), "{said}");
}
