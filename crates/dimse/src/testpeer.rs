//! For tests: a peer that sends and expects exact bytes, and a node whose sinks keep a diary.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use qianli_model::peer::Admission;
use qianli_model::{AeTitle, Permissions, TenantId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::association::{AssociationRequest, Implementation, Rejection, RejectionReason};
use crate::exchange::{Exchange, InvocationError, OperationRequest};
use crate::message::Response;
use crate::pdu::{PDU_HEADER, encode_message};
use crate::scp::{Scp, ScpConfig};
use crate::services::{ObjectSink, Service, Services, StoreOutcome, StoreRequest};
use crate::status::Status;
use crate::{command::CommandSet, testdata};

pub mod script;

/// No test waits longer than this for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const CT: &str = "1.2.840.10008.5.1.4.1.1.2";

pub fn ae(title: &str) -> AeTitle {
    AeTitle::parse(title).unwrap()
}

pub fn implementation() -> Implementation {
    Implementation { class_uid: "1.2.3".into(), version_name: "TEST".into() }
}

/// A peer that may do everything.
pub fn admission() -> Admission {
    let (tenant, permissions) = (TenantId::DEFAULT, Permissions::ALL);
    Admission { tenant, permissions, through: None, rule: None, version: 0 }
}

/// What happened to the sinks of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    Began(String),
    Finished { bytes: usize, largest_chunk: usize, checksum: u64 },
    Dropped { bytes: usize },
    Reported(Result<Status, InvocationError>),
}

/// How the node treats what it gets.
#[derive(Debug, Clone, Default)]
pub struct Manners {
    pub reject: Option<RejectionReason>,
    pub refuse_store: Option<Status>,
    /// Fails a write once so many bytes are there.
    pub fail_after: Option<usize>,
    /// Waits so long before it says that the object is durable.
    pub slow_finish: Duration,
    pub panic_on_finish: bool,
}

pub type Diary = Arc<Mutex<Vec<Entry>>>;

struct Node {
    manners: Manners,
    diary: Diary,
}

#[async_trait]
impl Services for Node {
    fn admit(&self, _: &AssociationRequest) -> Result<Admission, Rejection> {
        match self.manners.reject {
            Some(reason) => Err(Rejection::new(reason, "the test says so")),
            None => Ok(admission()),
        }
    }

    fn service(&self, uid: &str) -> Option<Service> {
        match uid {
            CT => Some(Service::Storage),
            crate::association::VERIFICATION => Some(Service::Verification),
            script::FIND => Some(Service::Query),
            script::GET => Some(Service::Get),
            script::COMMITMENT => Some(Service::Commitment),
            _ => None,
        }
    }

    async fn begin_store(
        &self,
        request: &StoreRequest,
    ) -> Result<Box<dyn ObjectSink>, StoreOutcome> {
        if let Some(status) = self.manners.refuse_store {
            return Err(StoreOutcome::with_comment(status, "refused"));
        }
        let entry = Entry::Began(request.sop_instance_uid.to_string());
        self.diary.lock().unwrap().push(entry);
        Ok(Box::new(Sink {
            manners: self.manners.clone(),
            diary: Arc::clone(&self.diary),
            bytes: 0,
            largest_chunk: 0,
            checksum: 0,
            finished: false,
        }))
    }

    async fn perform(&self, request: OperationRequest, exchange: &mut Exchange) {
        script::perform(request, exchange, &self.diary).await;
    }
}

struct Sink {
    manners: Manners,
    diary: Diary,
    bytes: usize,
    largest_chunk: usize,
    checksum: u64,
    finished: bool,
}

#[async_trait]
impl ObjectSink for Sink {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StoreOutcome> {
        self.bytes += chunk.len();
        self.largest_chunk = self.largest_chunk.max(chunk.len());
        self.checksum = checksum(self.checksum, &chunk);
        match self.manners.fail_after {
            Some(limit) if self.bytes > limit => {
                Err(StoreOutcome::with_comment(Status::OUT_OF_RESOURCES, "disk full"))
            }
            _ => Ok(()),
        }
    }

    async fn finish(mut self: Box<Self>) -> StoreOutcome {
        tokio::time::sleep(self.manners.slow_finish).await;
        assert!(!self.manners.panic_on_finish, "the test says so");
        self.finished = true;
        self.diary.lock().unwrap().push(Entry::Finished {
            bytes: self.bytes,
            largest_chunk: self.largest_chunk,
            checksum: self.checksum,
        });
        StoreOutcome::success()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if !self.finished {
            self.diary.lock().unwrap().push(Entry::Dropped { bytes: self.bytes });
        }
    }
}

/// Depends on every byte and its place, not on how the bytes were cut.
pub fn checksum(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |sum, &byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
}

/// The services of a node that nobody looks into afterwards.
pub fn services(manners: Manners) -> Arc<dyn Services> {
    Arc::new(Node { manners, diary: Diary::default() })
}

/// A listening node.
pub struct TestNode {
    pub address: SocketAddr,
    pub shutdown: CancellationToken,
    pub running: JoinHandle<()>,
    diary: Diary,
}

impl TestNode {
    pub async fn start(manners: Manners) -> Self {
        Self::start_with(manners, |_| {}).await
    }

    pub async fn start_with(manners: Manners, change: impl FnOnce(&mut ScpConfig)) -> Self {
        let mut config = ScpConfig::new(implementation());
        config.artim_timeout = Duration::from_secs(5);
        config.idle_timeout = Duration::from_secs(5);
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let diary = Diary::default();
        let services = Arc::new(Node { manners, diary: Arc::clone(&diary) });
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(Scp::new(listener, config, services).run(shutdown.clone()));
        Self { address, shutdown, running, diary }
    }

    pub fn diary(&self) -> Vec<Entry> {
        self.diary.lock().unwrap().clone()
    }

    /// Waits until the diary's last entry is `entry`.
    pub async fn expect_last(&self, entry: Entry) {
        let wait = async {
            while self.diary().last() != Some(&entry) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            panic!("{entry:?} is not the last of {:?}", self.diary());
        }
    }
}

/// The other end, byte by byte.
pub struct Peer {
    stream: TcpStream,
}

impl Peer {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    /// Connects and is accepted with Verification as 1, CT as 3, and 5 refused.
    pub async fn associate(address: SocketAddr) -> Self {
        let mut peer = Self::connect(address).await;
        peer.send(testdata::ASSOCIATE_RQ_THREE).await;
        let accept = peer.pdu().await;
        assert_eq!(accept[0], 0x02, "not accepted: {accept:02x?}");
        peer
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Sends one message part as P-DATA-TF.
    pub async fn message(&mut self, context: u8, command: bool, part: &[u8]) {
        let mut out = Vec::new();
        encode_message(&mut out, context, command, part, 16_384);
        self.send(&out).await;
    }

    /// The next whole PDU.
    pub async fn pdu(&mut self) -> Vec<u8> {
        let read = async {
            let mut pdu = vec![0; PDU_HEADER];
            self.stream.read_exact(&mut pdu).await.unwrap();
            let length = u32::from_be_bytes(pdu[2..6].try_into().unwrap()) as usize;
            pdu.resize(PDU_HEADER + length, 0);
            self.stream.read_exact(&mut pdu[PDU_HEADER..]).await.unwrap();
            pdu
        };
        tokio::time::timeout(PATIENCE, read).await.expect("no PDU came")
    }

    /// The next message, which has to be a response in one PDU.
    pub async fn response(&mut self) -> Response {
        let pdu = self.pdu().await;
        assert_eq!((pdu[0], pdu[11]), (0x04, 0x03), "not a whole command: {pdu:02x?}");
        let set = CommandSet::parse(Bytes::copy_from_slice(&pdu[12..])).unwrap();
        Response::parse(&set).unwrap()
    }

    /// Expects this A-ABORT.
    pub async fn aborted(&mut self, source: u8, reason: u8) {
        assert_eq!(self.pdu().await, [7, 0, 0, 0, 0, 4, 0, 0, source, reason]);
    }

    /// Expects that nothing more comes.
    pub async fn closed(&mut self) {
        let mut rest = Vec::new();
        let read = self.stream.read_to_end(&mut rest);
        // A reset is a close too.
        let _ = tokio::time::timeout(PATIENCE, read).await.expect("the connection stays open");
        assert!(rest.is_empty(), "something more came: {rest:02x?}");
    }

    /// C-ECHO works: the association is in order.
    pub async fn echo_works(&mut self) {
        self.message(1, true, testdata::C_ECHO_RQ).await;
        assert_eq!(self.response().await.status, Status::SUCCESS);
    }
}
