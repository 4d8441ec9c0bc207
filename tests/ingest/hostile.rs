//! Bytes that no decent sender sends, by every route: a clear refusal, no crash, nothing left.

use crate::on_both_setups;
use crate::support::corpus::{Corpus, Entry};
use crate::support::data_set::split_part10;
use crate::support::keep;
use crate::support::node::{AE, Node};
use crate::support::peer::{EXPLICIT, Peer};
use crate::support::sample::Baseline;
use crate::support::setup::Setup;
use crate::support::synth::{self, CT, Place};
use crate::support::web::{content_type, part_head, tail, value};
use std::fmt::Write;

on_both_setups! {
    /// Every broken or hostile file of the corpus, over DIMSE, STOW-RS and import.
    broken_files_are_refused_and_leave_nothing = broken_files;
    /// Requests that are broken themselves: PDUs, HTTP bodies, paths.
    broken_requests_are_refused_and_leave_nothing = broken_requests;
}

/// Files that a lenient reader may keep although the manifest calls them invalid: the data set can
/// be walked from end to end and identifies itself.
const MAY_BE_KEPT: [&str; 2] = ["bad_vr.dcm", "ts_mismatch_impl_claims_expl.dcm"];

fn broken_files(setup: &Setup) {
    let Some(corpus) = Corpus::open() else { return };
    let entries = corpus.of(&["invalid", "hostile", "junk"]);
    let mut node = Node::start(setup);
    let mut table = String::from("file\tvalidity\troute\toutcome\treason\n");
    let mut wrong = Vec::new();
    let baseline = Baseline::of(&node);
    let mut note = |entry: &Entry, route: &str, outcome: &str, kept: bool, reason: &str| {
        let Entry { file, validity, .. } = entry;
        let _ = writeln!(table, "{file}\t{validity}\t{route}\t{outcome}\t{reason}");
        let may_be_kept =
            validity == "hostile" || MAY_BE_KEPT.iter().any(|name| file.ends_with(name));
        if kept && !may_be_kept {
            wrong.push(format!("{file} was kept by {route}"));
        }
        if !kept && reason.trim().is_empty() {
            wrong.push(format!("{file} was refused by {route} ({outcome}) without a reason"));
        }
    };
    // Twice, so that what grows with every refusal shows.
    for _ in 0..2 {
        for entry in &entries {
            let (status, comment) = c_store(&node, entry);
            note(entry, "C-STORE", &format!("0x{status:04X}"), kept(status), &comment);
            let answer = node.web().stow([entry.bytes().as_slice()]);
            let reason = match answer.status {
                200 | 202 => String::new(),
                // FailedSOPSequence, or OtherFailuresSequence for what has no UID to be named by.
                409 => ["00081198", "0008119A"]
                    .map(|tag| value(&answer.json()[tag]["Value"][0], "00081197"))
                    .concat(),
                _ => answer.text(),
            };
            let kept = matches!(answer.status, 200 | 202);
            note(entry, "STOW-RS", &answer.status.to_string(), kept, &reason);
            assert!(answer.status < 500, "{}: {} {}", entry.file, answer.status, answer.text());
        }
    }
    for entry in &entries {
        let path = entry.path.to_string_lossy();
        let count = || node.web().json("/instances?limit=1000").len();
        let before = count();
        let output = node.run("import", &[&path]);
        let words = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        let code = output.status.code();
        let reason = words.split_whitespace().collect::<Vec<_>>().join(" ");
        note(entry, "import", &format!("{code:?}"), count() > before, &reason);
        assert!(code.is_some(), "import of {} died of a signal: {words}", entry.file);
        assert_ne!(code, Some(101), "import of {} panicked: {words}", entry.file);
    }
    keep(&format!("corpus-refusals-{}.tsv", setup.name()), &table);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    baseline.is_restored(&mut node);
}

fn broken_requests(setup: &Setup) {
    let mut node = Node::start(setup);
    let baseline = Baseline::of(&node);
    let place = Place::new();
    let instance = synth::ct(&place, 1, 64);

    // A PDU that claims 4 GiB, one of an unknown type, one cut short, HTTP where DIMSE is spoken.
    let raw: [&[u8]; 4] = [
        &[1, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 1],
        &[0x42, 0, 0, 0, 0, 4, 1, 2, 3, 4],
        &[1, 0, 0, 0],
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ];
    for bytes in raw {
        if let Ok(mut stream) = std::net::TcpStream::connect(node.dimse()) {
            use std::io::Write;
            let _ = stream.write_all(bytes);
        }
    }
    let associate = || {
        let peer = Peer::associate(node.dimse(), AE, "HOSTILE", &[(CT, &[EXPLICIT])]);
        let peer = peer.expect("associate");
        let context = peer.context(CT, EXPLICIT).expect("an accepted context");
        (peer, context)
    };
    for variant in 0..6 {
        let (mut peer, context) = associate();
        let half = &instance.data_set[..instance.data_set.len() / 2];
        let _ = match variant {
            // A data set cut by an abort, by a closed socket, and by a new command.
            0 | 1 => peer
                .begin_store(context, CT, &instance.uid)
                .and_then(|()| peer.send(context, false, false, half)),
            2 => peer
                .begin_store(context, CT, &instance.uid)
                .and_then(|()| peer.send(context, false, false, half))
                .and_then(|()| peer.begin_store(context, CT, &instance.uid)),
            // A data set without a command, a context that was never negotiated, a PDV whose length
            // exceeds its PDU.
            3 => peer.send(context, false, true, half),
            4 => peer.begin_store(99, CT, &instance.uid),
            _ => peer.send_raw(&[4, 0, 0, 0, 0, 8, 0, 0, 0xFF, 0xFF, context, 3, 0, 0]),
        };
        if variant == 0 {
            peer.abort();
        }
    }

    let web = node.web();
    let file = instance.part10();
    let cut = [part_head("application/dicom"), file[..file.len() / 2].to_vec()].concat();
    let no_part = tail();
    let nonsense = b"--nothing of the kind".to_vec();
    for (content_type, body, expected) in [
        (content_type(), cut, &[400, 409][..]),
        (content_type(), no_part, &[400]),
        (content_type(), nonsense, &[400]),
        ("multipart/related".to_owned(), file.clone(), &[400, 415]),
        ("text/html".to_owned(), b"<html></html>".to_vec(), &[415]),
    ] {
        let answer = web.post("/studies", &content_type, body).send();
        let status = answer.status;
        assert!(expected.contains(&status), "{content_type}: {status} {}", answer.text());
    }
    for path in ["/studies/../../etc/passwd", "/studies/%2e%2e%2f%2e%2e", "/studies/1.2.x/metadata"]
    {
        let status = web.dicom(path).send().status;
        assert!(status == 400 || status == 404, "{path}: {status}");
    }
    assert!(web.json("/studies").is_empty(), "something of a broken request was kept");
    baseline.is_restored(&mut node);
}

fn kept(status: u16) -> bool {
    status == 0 || status & 0xF000 == 0xB000
}

/// C-STORE of the bytes as they are; of the whole file when it has no data set of its own.
fn c_store(node: &Node, entry: &Entry) -> (u16, String) {
    let file = entry.bytes();
    let (syntax, data_set) = match split_part10(&file) {
        Some((syntax, data_set)) => (syntax, data_set),
        None => (EXPLICIT.to_owned(), file.as_slice()),
    };
    let or = |text: &str, other: &str| {
        let legal = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        if legal { text.to_owned() } else { other.to_owned() }
    };
    let class = or(&entry.class, CT);
    let uid = or(&entry.instance, "1.2.3.4.5");
    let offers = [(class.as_str(), &[syntax.as_str()][..])];
    let mut peer = Peer::associate(node.dimse(), AE, "HOSTILE", &offers).expect("associate");
    let Some(context) = peer.context(&class, &syntax) else {
        return (0x0122, "the presentation context was not accepted".into());
    };
    let response = peer.store(context, &class, &uid, data_set);
    let response = response.unwrap_or_else(|error| panic!("{}: {error}", entry.file));
    peer.release().expect("the association is still good after a refusal");
    (response.status, response.comment)
}
