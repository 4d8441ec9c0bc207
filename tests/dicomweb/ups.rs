//! UPS-RS against the running binary: the life of a workitem, and its reports over WebSockets.

use crate::access::command;
use crate::on_both_setups;
use crate::support::node::Node;
use crate::support::setup::Setup;
use crate::support::web::{Answer, Web, client, value};
use crate::support::{clients, eventually};
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream;
use std::sync::Barrier;
use std::time::{Duration, Instant};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

const JSON: &str = "application/dicom+json";
const WORKLIST: &str = "1.2.840.10008.5.1.4.34.5";

on_both_setups! {
    /// A performer works, a subscriber hears of each step.
    a_subscriber_hears_of_each_step = steps;
    /// Reports wait for a receiver that is away, through the death of the node.
    reports_wait_for_who_is_away = away;
    /// Of many who claim one workitem at once, exactly one gets it.
    one_of_many_claims_wins = claims;
    /// Data sets of pydicom go in and come out as they were, as JSON and as XML.
    workitems_of_pydicom_come_back = pydicom;
}

/// A receiver's end of the notification connection.
#[derive(Debug)]
pub struct Receiver(WebSocket<TcpStream>);

impl Receiver {
    /// Connects to a node that asks nobody who they are.
    pub fn open(node: &Node, title: &str) -> Self {
        Self::try_open(node, title, None).expect("a WebSocket")
    }

    fn try_open(node: &Node, title: &str, origin: Option<&str>) -> Result<Self, u16> {
        let header: Vec<_> = origin.into_iter().map(|origin| ("Origin", origin)).collect();
        Self::open_with(node, title, &header)
    }

    /// Connects with these headers.
    ///
    /// # Errors
    ///
    /// The status with which the node refuses.
    pub fn open_with(
        node: &Node,
        title: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, u16> {
        let address = node.http().trim_start_matches("http://");
        let url = format!("ws://{address}/dicom-web/subscribers/{title}");
        let mut request = url.into_client_request().expect("a request");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a header"));
        }
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a time limit");
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut shaking = tungstenite::client(request, stream);
        loop {
            shaking = match shaking {
                Ok((socket, _)) => return Ok(Self(socket)),
                Err(tungstenite::HandshakeError::Interrupted(middle)) => {
                    assert!(Instant::now() < deadline, "no answer to the handshake");
                    middle.handshake()
                }
                Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
                    return Err(answer.status().as_u16());
                }
                Err(error) => panic!("{error}"),
            };
        }
    }

    /// The code with which the server closed it, or `None` when it stayed open for so long.
    fn closed_within(&mut self, patience: Duration) -> Option<u16> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Ok(Message::Close(frame)) = self.0.read() {
                return Some(frame.map_or(0, |frame| frame.code.into()));
            }
        }
        None
    }

    /// The next report, or `None` when nothing came for so long. Reading answers pings.
    pub fn next(&mut self, patience: Duration) -> Option<Value> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            match self.0.read() {
                Ok(Message::Text(text)) => {
                    return Some(serde_json::from_str(&text).expect("JSON"));
                }
                Ok(_) => {}
                Err(tungstenite::Error::Io(error))
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) => {}
                Err(_) => return None,
            }
        }
        None
    }

    /// The next report, which must come: its number, kind, workitem and state.
    #[track_caller]
    fn hear(&mut self) -> (String, i64, String, String) {
        let report = self.next(Duration::from_secs(30)).expect("a report");
        assert_eq!(value(&report, "00000002"), "1.2.840.10008.5.1.4.34.6.4", "{report}");
        let kind = report["00001002"]["Value"][0].as_i64().expect("an Event Type ID");
        let number = value(&report, "00000110");
        (number, kind, value(&report, "00001000"), value(&report, "00741000"))
    }

    /// The next report must be this one.
    #[track_caller]
    pub fn hears(&mut self, number: u32, kind: i64, uid: &str, state: &str) {
        let expected = (number.to_string(), kind, uid.to_owned(), state.to_owned());
        assert_eq!(self.hear(), expected);
    }

    /// The code with which the server closes.
    fn closed(mut self) -> Option<u16> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            match self.0.read() {
                Ok(Message::Close(frame)) => return frame.map(|frame| frame.code.into()),
                Ok(_) => {}
                Err(tungstenite::Error::Io(error))
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) => {}
                Err(error) => panic!("no close frame: {error}"),
            }
        }
        None
    }

    /// Reads until nothing comes, so that the last ping is answered, and goes.
    fn leave(mut self) {
        assert_eq!(self.next(Duration::from_secs(2)), None);
        let _ = self.0.close(None);
        let _ = self.0.flush();
    }
}

fn fresh() -> Value {
    json!({
        "00741000": {"vr": "CS", "Value": ["SCHEDULED"]},
        "00741200": {"vr": "CS", "Value": ["HIGH"]},
        "00741202": {"vr": "LO", "Value": ["reading"]},
        "00741204": {"vr": "LO", "Value": ["Read a CT"]},
        "00404005": {"vr": "DT", "Value": ["20240305120000"]},
        "00404041": {"vr": "CS", "Value": ["READY"]},
    })
}

#[track_caller]
fn post(web: &Web, path: &str, body: &Value, status: u16) -> Answer {
    let answer = web.post(path, JSON, body.to_string()).send();
    assert_eq!(answer.status, status, "{path}: {}", answer.text());
    answer
}

fn create(web: &Web, uid: &str) {
    post(web, &format!("/workitems?{uid}"), &fresh(), 201);
}

fn change(node: &Node, uid: &str, state: &str, transaction: &str) -> u16 {
    let body = json!({
        "00741000": {"vr": "CS", "Value": [state]},
        "00081195": {"vr": "UI", "Value": [transaction]},
    });
    let url = format!("{}/dicom-web/workitems/{uid}/state", node.http());
    let request = client().put(url).header("Content-Type", JSON).body(body.to_string());
    request.send().expect("an answer").status().as_u16()
}

fn subscribe(web: &Web, what: &str, title: &str) {
    let path = format!("/workitems/{what}/subscribers/{title}");
    let answer = web.post(&path, JSON, "").send();
    assert_eq!(answer.status, 201, "{}", answer.text());
    let url = answer.header("Content-Location");
    let title = title.split('?').next().unwrap_or(title);
    assert!(url.starts_with("ws://") && url.ends_with(&format!("/subscribers/{title}")), "{url}");
}

fn steps(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    create(&web, "1.2.9.1");
    let mut reader = Receiver::open(&node, "READER");
    subscribe(&web, WORKLIST, "READER");
    reader.hears(1, 1, "1.2.9.1", "SCHEDULED");
    let started = Instant::now();
    assert_eq!(change(&node, "1.2.9.1", "IN PROGRESS", "1.5"), 200);
    reader.hears(2, 1, "1.2.9.1", "IN PROGRESS");
    println!("claimed and heard after {:?}", started.elapsed());
    let progress = json!({"00741002": {"vr": "SQ", "Value": [
        {"00741004": {"vr": "DS", "Value": [50]}}]}});
    post(&web, "/workitems/1.2.9.1?transaction-uid=1.5", &progress, 200);
    reader.hears(3, 3, "1.2.9.1", "");
    let reason = json!({"00741238": {"vr": "LT", "Value": ["not needed"]}});
    post(&web, "/workitems/1.2.9.1/cancelrequest?requester=RIS", &reason, 202);
    reader.hears(4, 2, "1.2.9.1", "");
    assert_eq!(change(&node, "1.2.9.1", "CANCELED", "1.5"), 200);
    reader.hears(5, 1, "1.2.9.1", "CANCELED");
    let station = json!({"vr": "SQ", "Value": [{
        "00080100": {"vr": "SH", "Value": ["AI"]},
        "00080102": {"vr": "SH", "Value": ["99Q"]},
        "00080104": {"vr": "LO", "Value": ["Segmentation"]},
    }]});
    let mut assigned = fresh();
    assigned["00404025"] = station;
    post(&web, "/workitems?1.2.9.2", &assigned, 201);
    reader.hears(6, 1, "1.2.9.2", "SCHEDULED");
    reader.hears(7, 5, "1.2.9.2", "");
    let found = web.json("/workitems?00404025.00080100=AI&ProcedureStepState=SCHEDULED");
    assert_eq!(found.iter().map(|row| value(row, "00080018")).collect::<Vec<_>>(), ["1.2.9.2"]);
    reader.leave();
}

fn away(setup: &Setup) {
    let mut node = Node::start(setup);
    let web = node.web();
    let mut reader = Receiver::open(&node, "READER");
    subscribe(&web, WORKLIST, "READER");
    create(&web, "1.2.9.1");
    reader.hears(1, 1, "1.2.9.1", "SCHEDULED");
    reader.leave();
    create(&web, "1.2.9.2");
    create(&web, "1.2.9.3");
    node.kill();
    node.restart();
    let web = node.web();
    let mut reader = Receiver::open(&node, "READER");
    reader.hears(1, 1, "1.2.9.2", "SCHEDULED");
    reader.hears(2, 1, "1.2.9.3", "SCHEDULED");
    // Gone before it could say that it has them: they come again, rather not at all.
    drop(reader);
    let mut reader = Receiver::open(&node, "READER");
    reader.hears(1, 1, "1.2.9.2", "SCHEDULED");
    reader.hears(2, 1, "1.2.9.3", "SCHEDULED");
    reader.leave();
    let mut again = Receiver::open(&node, "READER");
    create(&web, "1.2.9.4");
    again.hears(1, 1, "1.2.9.4", "SCHEDULED");
    again.leave();
}

fn claims(setup: &Setup) {
    let node = Node::start(setup);
    for item in 0..5 {
        let uid = format!("1.2.9.{item}");
        create(&node.web(), &uid);
        race(&[&node], &uid);
    }
}

/// Claims a workitem eight times at once, spread over the nodes.
fn race(nodes: &[&Node], uid: &str) {
    let start = Barrier::new(8);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let start = &start;
        let workers: Vec<_> = nodes
            .iter()
            .cycle()
            .take(8)
            .enumerate()
            .map(|(worker, node)| {
                scope.spawn(move || {
                    start.wait();
                    change(node, uid, "IN PROGRESS", &format!("1.5.{worker}"))
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("a status")).collect()
    });
    let won = statuses.iter().filter(|status| **status == 200).count();
    let lost = statuses.iter().filter(|status| **status == 409).count();
    assert_eq!((won, lost), (1, 7), "{statuses:?}");
}

/// What is changed at one node is heard at another, and both give out each workitem once.
#[test]
fn two_nodes_are_one_worklist() {
    let Some(Setup::Cloud(cloud)) = Setup::cloud() else { return };
    let database = cloud.postgres.create();
    let store = cloud.s3.fresh_store();
    let plan = || {
        let plan = Node::plan(&Setup::Embedded).database(&database.url).store(&store);
        cloud.s3.environment().into_iter().fold(plan, |plan, (name, value)| plan.env(&name, value))
    };
    let (first, second) = (plan().start(), plan().start());
    let mut reader = Receiver::open(&second, "READER");
    subscribe(&second.web(), WORKLIST, "READER");
    create(&first.web(), "1.2.9.1");
    let started = Instant::now();
    reader.hears(1, 1, "1.2.9.1", "SCHEDULED");
    println!("created at one node, heard at the other after {:?}", started.elapsed());
    race(&[&first, &second], "1.2.9.1");
    reader.hears(2, 1, "1.2.9.1", "IN PROGRESS");
    reader.leave();
    let mut reader = Receiver::open(&first, "READER");
    create(&second.web(), "1.2.9.2");
    reader.hears(1, 1, "1.2.9.2", "SCHEDULED");
    reader.leave();
    drop((first, second));
}

/// Finished workitems leave after their time; those that a deletion lock holds stay.
#[test]
fn finished_workitems_are_removed_after_their_time() {
    let mut node = Node::plan(&Setup::Embedded).args(["--workitem-retention", "1s"]).start();
    let web = node.web();
    for uid in ["1.2.9.1", "1.2.9.2", "1.2.9.3"] {
        create(&web, uid);
    }
    subscribe(&web, "1.2.9.2", "KEEPER?deletionlock=true");
    for uid in ["1.2.9.1", "1.2.9.2"] {
        post(&web, &format!("/workitems/{uid}/cancelrequest"), &json!({}), 202);
    }
    std::thread::sleep(Duration::from_millis(1_100));
    // It is done when a node starts, and every hour.
    node.kill();
    node.restart();
    let web = node.web();
    let status = |uid: &str| web.dicom(&format!("/workitems/{uid}")).send().status;
    eventually("the workitem is removed", Duration::from_secs(30), || {
        (status("1.2.9.1") == 410).then_some(())
    });
    assert_eq!((status("1.2.9.2"), status("1.2.9.3"), status("1.2.9.4")), (200, 200, 404));
    assert_eq!(web.json("/workitems").len(), 2);
    post(&web, "/workitems?1.2.9.1", &fresh(), 409);
    post(&web, "/workitems/1.2.9.1", &json!({}), 410);
}

/// Who does what a receiver does not is told what was wrong (RFC 6455 section 7.4.1).
#[test]
fn receivers_are_told_why_they_are_let_go() {
    let node = Node::start(&Setup::Embedded);
    let mut data = Receiver::open(&node, "A");
    data.0.send(Message::Binary(b"x".to_vec().into())).expect("sent");
    assert_eq!(data.closed(), Some(1003), "data that nobody takes");
    let mut long = Receiver::open(&node, "A");
    long.0.send(Message::Text("x".repeat(5_000).into())).expect("sent");
    assert_eq!(long.closed(), Some(1009), "too long");
    for (bytes, code) in [
        // An opcode that means nothing; text that is not UTF-8. Masked, without content or with 0xFF.
        (&[0x83, 0x80, 0, 0, 0, 0][..], 1002),
        (&[0x81, 0x81, 0, 0, 0, 0, 0xFF], 1007),
    ] {
        let mut wrong = Receiver::open(&node, "A");
        wrong.0.get_mut().write_all(bytes).expect("sent");
        assert_eq!(wrong.closed(), Some(code), "{bytes:?}");
    }
}

/// Pages of other sites get no connection, and neither noise nor size disturbs the node.
#[test]
fn hostile_receivers_are_let_go() {
    let node = Node::start(&Setup::Embedded);
    let web = node.web();
    create(&web, "1.2.9.1");
    subscribe(&web, "1.2.9.1", "A");
    let foreign = Receiver::try_open(&node, "A", Some("https://evil.example"));
    assert_eq!(foreign.err(), Some(403));
    let own = Receiver::try_open(&node, "A", Some(node.http()));
    own.expect("our own pages connect").hears(1, 1, "1.2.9.1", "SCHEDULED");
    assert_eq!(Receiver::try_open(&node, "SEVENTEEN-LETTERS", None).err(), Some(400));

    let mut noisy = Receiver::open(&node, "A");
    noisy.0.send(Message::Text("hello".into())).expect("sent");
    for payload in [&[0xFF; 8][..], &[0x7F; 8], b"x", b""] {
        noisy.0.send(Message::Pong(payload.to_vec().into())).expect("sent");
    }
    noisy.hears(1, 1, "1.2.9.1", "SCHEDULED");
    drop(noisy);
    // What was not received was not confirmed by the noise.
    Receiver::open(&node, "A").hears(1, 1, "1.2.9.1", "SCHEDULED");

    let mut large = Receiver::open(&node, "A");
    let _ = large.0.send(Message::Binary(vec![0; 4 << 20].into()));
    large.next(Duration::from_secs(5));
    assert_eq!(large.next(Duration::from_secs(5)), None, "the connection is closed");
    assert_eq!(change(&node, "1.2.9.1", "IN PROGRESS", "1.5"), 200, "the node lives");
    let mut patient = Receiver::open(&node, "A");
    patient.hears(1, 1, "1.2.9.1", "SCHEDULED");
    patient.hears(2, 1, "1.2.9.1", "IN PROGRESS");
}

fn pydicom(setup: &Setup) {
    let node = Node::start(setup);
    if let Some(ran) = clients::python(&node, "workitems.py", &[]) {
        println!("{}", ran.ok());
    }
}

/// A connection that is open when its token is revoked is closed soon after.
#[test]
fn receivers_leave_when_their_login_ends() {
    let node = Node::plan(&Setup::Embedded).arg("--no-auth=false").start();
    let token = command(&node, "token", "add", &["receiver", "--may", "worklist"]);
    let bearer = format!("Bearer {}", token.trim());
    assert_eq!(Receiver::open_with(&node, "A", &[]).err(), Some(401));
    let mut receiver =
        Receiver::open_with(&node, "A", &[("Authorization", &bearer)]).expect("a WebSocket");
    // Longer than it takes to look again.
    assert_eq!(receiver.closed_within(Duration::from_secs(6)), None, "a valid token stays");
    command(&node, "token", "revoke", &["1"]);
    let code = receiver.closed_within(Duration::from_secs(20)).expect("an end");
    assert_eq!(code, 1008);
    assert_eq!(Receiver::open_with(&node, "A", &[("Authorization", &bearer)]).err(), Some(401));
}
