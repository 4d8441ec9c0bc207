//! The state machine of PS3.8 table 9-10 as a table: every state that an acceptor is seen in, every event
//! that can come from the other end, and what has to come of it, over byte streams cut at every place.
//!
//! An acceptor that answers at once is never seen in Sta3 and Sta8, and one that never asks for a release
//! never gets to Sta7 and Sta9 to Sta12; Sta4 and Sta5 are the requestor's.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::limits::Limits;
use super::session::{self, Caller};
use super::{Node, ScpConfig};
use crate::association::RejectionReason;
use crate::pdu::{RELEASE_RP, RELEASE_RQ, encode_message};
use crate::testdata::{self, ASSOCIATE_AC, ASSOCIATE_RQ_THREE, C_ECHO_RQ};
use crate::testpeer::{Manners, PATIENCE, implementation, services};

/// ARTIM and the idle timer: long beside what a loaded machine takes for a few hundred bytes in memory.
const WAIT: Duration = Duration::from_millis(1500);

/// Where the association stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Sta2: connected, no request yet.
    Connected,
    /// Sta6: established.
    Established,
    /// Sta13 after A-ASSOCIATE-RJ.
    Rejected,
    /// Sta13 after A-RELEASE-RP.
    Released,
    /// Sta13 after our A-ABORT.
    Aborted,
}

/// What comes from the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    AssociateAc,
    AssociateRj,
    AssociateRq,
    PData,
    ReleaseRq,
    ReleaseRp,
    Abort,
    Unknown,
    Malformed,
    Closed,
    /// The other end does nothing until ARTIM or the idle timer expires.
    Silence,
}

/// What has to come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// AE-6: the answer to a request.
    Accept,
    /// DT-2: the answer to a message.
    Answer,
    /// AR-2, AR-4.
    Release,
    /// AA-1, AA-8: this source and reason, then nothing until the other end closes.
    Abort(u8, u8),
    /// AA-2, AA-3, AA-4, AA-5, AR-5: the connection is closed without a word.
    Close,
    /// AA-6: nothing, until the other end closes or ARTIM expires. Where the table says AA-7 (abort
    /// again) we say nothing either: whoever was told once that this is over gets no second word.
    Nothing,
}

const EVENTS: [Event; 11] = [
    Event::AssociateAc,
    Event::AssociateRj,
    Event::AssociateRq,
    Event::PData,
    Event::ReleaseRq,
    Event::ReleaseRp,
    Event::Abort,
    Event::Unknown,
    Event::Malformed,
    Event::Closed,
    Event::Silence,
];

/// PS3.8 table 9-10, in the order of [`EVENTS`].
const TABLE: [(State, [Then; 11]); 5] = {
    use Then::{Abort, Accept, Answer, Close, Nothing, Release};
    const USER: Then = Abort(0, 0);
    const UNEXPECTED: Then = Abort(2, 2);
    const OVER: [Then; 11] = [
        Nothing, Nothing, Nothing, Nothing, Nothing, Nothing, Nothing, Nothing, Nothing, Close,
        Close,
    ];
    [
        (State::Connected, [USER, USER, Accept, USER, USER, USER, Close, USER, USER, Close, Close]),
        (
            State::Established,
            [
                UNEXPECTED,
                UNEXPECTED,
                UNEXPECTED,
                Answer,
                Release,
                UNEXPECTED,
                Close,
                Abort(2, 1),
                Abort(2, 6),
                Close,
                Abort(2, 0),
            ],
        ),
        (State::Rejected, OVER),
        (State::Released, OVER),
        (State::Aborted, OVER),
    ]
};

fn p_data() -> Vec<u8> {
    let mut out = Vec::new();
    encode_message(&mut out, 1, true, C_ECHO_RQ, 16_384);
    out
}

fn bytes(event: Event) -> Vec<u8> {
    match event {
        Event::AssociateAc => ASSOCIATE_AC.to_vec(),
        Event::AssociateRj => vec![3, 0, 0, 0, 0, 4, 0, 1, 1, 1],
        Event::AssociateRq => ASSOCIATE_RQ_THREE.to_vec(),
        Event::PData => p_data(),
        Event::ReleaseRq => RELEASE_RQ.to_vec(),
        Event::ReleaseRp => RELEASE_RP.to_vec(),
        Event::Abort => vec![7, 0, 0, 0, 0, 4, 0, 0, 0, 0],
        Event::Unknown => vec![8, 0, 0, 0, 0, 4, 0, 0, 0, 0],
        // A value longer than its PDU.
        Event::Malformed => vec![4, 0, 0, 0, 0, 6, 0, 0, 0, 200, 1, 3],
        Event::Closed | Event::Silence => Vec::new(),
    }
}

/// The acceptor with one place, and the other end of its stream.
struct Bench {
    node: Arc<Node>,
}

impl Bench {
    fn new(manners: Manners) -> Self {
        let mut config = ScpConfig::new(implementation());
        config.artim_timeout = WAIT;
        config.idle_timeout = WAIT;
        let limits = Arc::new(Limits::new(1, config.max_associations_per_address));
        Self { node: Arc::new(Node { config, services: services(manners), limits }) }
    }

    /// A connection through which no more than `width` bytes go at a time.
    fn connect(&self, width: usize) -> (End, JoinHandle<()>) {
        let (ours, theirs) = duplex(width);
        let peer = "192.0.2.9:50000".parse().unwrap();
        let pending = self.node.limits.connect(std::net::SocketAddr::ip(&peer)).unwrap();
        let node = Arc::clone(&self.node);
        let serving = tokio::spawn(async move {
            let caller = Caller { peer, certificate: None };
            let shutdown = CancellationToken::new();
            session::serve(&node, theirs, caller, 1, pending, shutdown).await;
        });
        (End { stream: ours, inbox: Vec::new() }, serving)
    }

    /// Everything was given back: a next peer gets the only place.
    async fn is_free(&self) {
        assert_eq!(self.node.limits.active(), 0);
        let (mut end, serving) = self.connect(4096);
        end.send(ASSOCIATE_RQ_THREE).await;
        assert_eq!(end.pdu().await[0], 2, "no place");
        end.send(&bytes(Event::Abort)).await;
        serving.await.unwrap();
    }
}

struct End {
    stream: DuplexStream,
    /// What came while something was sent.
    inbox: Vec<u8>,
}

impl End {
    /// Sends as a network does: whoever answers before it has read everything is not stuck.
    async fn send(&mut self, bytes: &[u8]) {
        let (mut reading, mut writing) = tokio::io::split(&mut self.stream);
        let mut piece = [0; 64];
        let mut write = std::pin::pin!(writing.write_all(bytes));
        let sent = async {
            loop {
                tokio::select! {
                    // Whoever was aborted may be gone before it has read everything.
                    _ = &mut write => return,
                    read = reading.read(&mut piece) => match read {
                        Ok(count @ 1..) => self.inbox.extend_from_slice(&piece[..count]),
                        _ => {
                            let _ = (&mut write).await;
                            return;
                        }
                    },
                }
            }
        };
        tokio::time::timeout(PATIENCE, sent).await.expect("nobody reads");
    }

    /// Waits until so many bytes came, or the end.
    async fn until(&mut self, count: usize) {
        let read = async {
            while self.inbox.len() < count {
                if self.stream.read_buf(&mut self.inbox).await.unwrap() == 0 {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("nothing came, and it stays open");
    }

    async fn pdu(&mut self) -> Vec<u8> {
        self.until(6).await;
        let length = self.inbox.get(2..6).expect("no PDU came");
        let length = 6 + u32::from_be_bytes(length.try_into().unwrap()) as usize;
        self.until(length).await;
        self.inbox.drain(..length).collect()
    }

    async fn rest(&mut self) -> Vec<u8> {
        self.until(usize::MAX).await;
        std::mem::take(&mut self.inbox)
    }

    async fn bring_to(&mut self, state: State) {
        if state == State::Connected {
            return;
        }
        self.send(ASSOCIATE_RQ_THREE).await;
        let answer = self.pdu().await;
        if state == State::Rejected {
            assert_eq!(answer[0], 3);
            return;
        }
        assert_eq!(answer[0], 2);
        match state {
            State::Released => {
                self.send(&RELEASE_RQ).await;
                assert_eq!(self.pdu().await, RELEASE_RP);
            }
            State::Aborted => {
                self.send(&bytes(Event::Unknown)).await;
                assert_eq!(self.pdu().await[0], 7);
            }
            _ => {}
        }
    }
}

async fn check(state: State, event: Event, then: Then, width: usize) {
    let case = format!("{state:?} {event:?} in pieces of {width}");
    let reject = (state == State::Rejected).then_some(RejectionReason::CallingAeTitleNotRecognised);
    let bench = Bench::new(Manners { reject, ..Manners::default() });
    let (mut end, serving) = bench.connect(width);
    end.bring_to(state).await;
    match event {
        Event::Closed => end.stream.shutdown().await.unwrap(),
        other => end.send(&bytes(other)).await,
    }
    match then {
        Then::Accept => assert_eq!(end.pdu().await[0], 2, "{case}"),
        Then::Answer => {
            let pdu = end.pdu().await;
            assert_eq!((pdu[0], pdu[11]), (4, 3), "{case}");
        }
        Then::Release => assert_eq!(end.pdu().await, RELEASE_RP, "{case}"),
        Then::Abort(source, reason) => {
            let abort = [7, 0, 0, 0, 0, 4, 0, 0, source, reason];
            assert_eq!(end.rest().await, abort, "{case}");
        }
        Then::Close | Then::Nothing => assert!(end.rest().await.is_empty(), "{case}"),
    }
    drop(end);
    tokio::time::timeout(PATIENCE, serving).await.expect("the task ends").unwrap();
    if reject.is_none() {
        bench.is_free().await;
    }
}

#[tokio::test]
async fn every_event_in_every_state_has_its_action() {
    let mut cases = tokio::task::JoinSet::new();
    for (state, row) in TABLE {
        for (event, then) in EVENTS.into_iter().zip(row) {
            for width in [1, 7, 4096] {
                cases.spawn(check(state, event, then, width));
            }
        }
    }
    let mut ran = 0;
    while let Some(case) = cases.join_next().await {
        case.unwrap();
        ran += 1;
    }
    assert_eq!(ran, 5 * 11 * 3);
}

/// A whole conversation: request, C-ECHO, C-STORE in three fragments, release.
#[tokio::test]
async fn a_conversation_does_not_depend_on_where_its_bytes_are_cut() {
    let mut sent = ASSOCIATE_RQ_THREE.to_vec();
    sent.extend(p_data());
    encode_message(&mut sent, 3, true, testdata::C_STORE_RQ, 64);
    encode_message(&mut sent, 3, false, &[7; 150], 64);
    sent.extend(RELEASE_RQ);
    let mut expected: Option<Vec<u8>> = None;
    for cut in 1..sent.len() {
        let bench = Bench::new(Manners::default());
        let (end, serving) = bench.connect(1 << 16);
        let (mut reading, mut writing) = tokio::io::split(end.stream);
        let (first, second) = sent.split_at(cut);
        writing.write_all(first).await.unwrap();
        // The acceptor reads what is there before the rest comes.
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        writing.write_all(second).await.unwrap();
        writing.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let read = reading.read_to_end(&mut answer);
        tokio::time::timeout(PATIENCE, read).await.expect("it ends").unwrap();
        serving.await.unwrap();
        assert!(answer.ends_with(&RELEASE_RP), "cut at {cut}: {answer:02x?}");
        match &expected {
            None => expected = Some(answer),
            Some(expected) => assert_eq!(answer, *expected, "cut at {cut}"),
        }
    }
}
