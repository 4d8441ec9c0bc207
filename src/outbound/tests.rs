//! The engine against listening nodes of our own that are short of room, hang up, or take their time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use qianli_dimse::association::{AssociationRequest, Rejection};
use qianli_dimse::exchange::{Exchange, OperationRequest};
use qianli_dimse::services::{ObjectSink, Service, Services, StoreOutcome, StoreRequest};
use qianli_dimse::{Scp, ScpConfig, Status};
use qianli_model::destination::Destination;
use qianli_model::peer::Admission;
use qianli_model::{AeTitle, Permissions, SopClassUid, SopInstanceUid, TenantId, TransferSyntax};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::*;

const CT: &str = "1.2.840.10008.5.1.4.1.1.2";

/// How a node treats its callers.
#[derive(Debug, Clone, Copy, Default)]
struct Manners {
    /// "Out of resources" for the first try of each object.
    full_at_first: bool,
    /// Cannot understand this one.
    refuses: Option<usize>,
    /// Associations that it takes at a time.
    associations: Option<usize>,
    /// Takes so long for each object.
    slow: Duration,
}

#[derive(Default)]
struct Diary {
    /// Which object came how often, and how many bytes it had.
    tries: HashMap<String, (u32, usize)>,
    /// Titles of originators.
    originators: Vec<Option<String>>,
    associations: Vec<u64>,
}

struct Node {
    manners: Manners,
    diary: Arc<Mutex<Diary>>,
}

struct Sink {
    uid: String,
    bytes: usize,
    status: Status,
    slow: Duration,
    diary: Arc<Mutex<Diary>>,
}

#[async_trait]
impl Services for Node {
    fn admit(&self, _: &AssociationRequest) -> Result<Admission, Rejection> {
        let permissions = Permissions::ALL;
        Ok(Admission {
            tenant: TenantId::DEFAULT,
            permissions,
            through: None,
            rule: None,
            version: 0,
        })
    }

    fn service(&self, uid: &str) -> Option<Service> {
        (uid == CT).then_some(Service::Storage)
    }

    async fn begin_store(
        &self,
        request: &StoreRequest,
    ) -> Result<Box<dyn ObjectSink>, StoreOutcome> {
        let uid = request.sop_instance_uid.to_string();
        let mut diary = self.diary.lock().unwrap();
        let tries = diary.tries.entry(uid.clone()).or_default();
        tries.0 += 1;
        let first = tries.0 == 1;
        let originator = request.move_originator.as_ref();
        diary.originators.push(originator.map(|one| one.ae_title.to_string()));
        if !diary.associations.contains(&request.association.id) {
            diary.associations.push(request.association.id);
        }
        let refused = self.manners.refuses.is_some_and(|at| uid == instance(at).as_str());
        let status = match (refused, self.manners.full_at_first && first) {
            (true, _) => Status::CANNOT_UNDERSTAND,
            (_, true) => Status::OUT_OF_RESOURCES,
            _ => Status::SUCCESS,
        };
        let diary = Arc::clone(&self.diary);
        Ok(Box::new(Sink { uid, bytes: 0, status, slow: self.manners.slow, diary }))
    }

    async fn perform(&self, _: OperationRequest, _: &mut Exchange) {}
}

#[async_trait]
impl ObjectSink for Sink {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StoreOutcome> {
        self.bytes += chunk.len();
        Ok(())
    }

    async fn finish(self: Box<Self>) -> StoreOutcome {
        tokio::time::sleep(self.slow).await;
        if let Some(tries) = self.diary.lock().unwrap().tries.get_mut(&self.uid) {
            tries.1 = self.bytes;
        }
        match self.status {
            Status::SUCCESS => StoreOutcome::success(),
            status => StoreOutcome::with_comment(status, "the test says so"),
        }
    }
}

struct TestNode {
    to: Destination,
    diary: Arc<Mutex<Diary>>,
    stop: CancellationToken,
}

async fn listen(manners: Manners) -> TestNode {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = Destination::new(title("SINK"), listener.local_addr().unwrap().to_string());
    let mut config = ScpConfig::new(implementation());
    config.drain_timeout = Duration::from_millis(10);
    config.max_associations = manners.associations.unwrap_or(config.max_associations);
    let (diary, stop) = (Arc::<Mutex<Diary>>::default(), CancellationToken::new());
    let services = Arc::new(Node { manners, diary: Arc::clone(&diary) });
    tokio::spawn(Scp::new(listener, config, services).run(stop.clone()));
    TestNode { to, diary, stop }
}

fn title(text: &str) -> AeTitle {
    AeTitle::parse(text).unwrap()
}

fn instance(at: usize) -> SopInstanceUid {
    SopInstanceUid::parse(&format!("1.2.{at}")).unwrap()
}

/// Objects of bytes that follow from their place.
struct Objects(Vec<Item>);

impl Objects {
    fn new(count: usize) -> Arc<Self> {
        let item = |at| Item {
            sop_class: SopClassUid::parse(CT).unwrap(),
            sop_instance: instance(at),
            syntax: TransferSyntax::EXPLICIT_LITTLE,
        };
        Arc::new(Self((0..count).map(item).collect()))
    }
}

fn size(at: usize) -> usize {
    200_000 + at * 7
}

#[async_trait]
impl Source for Objects {
    fn items(&self) -> &[Item] {
        &self.0
    }

    fn can_send(&self, from: TransferSyntax, to: TransferSyntax) -> bool {
        from == to
    }

    async fn open(&self, at: usize, _: TransferSyntax) -> Result<Body, OpenError> {
        let chunks = vec![Ok(Bytes::from(vec![1; size(at) - 5])), Ok(Bytes::from_static(b"12345"))];
        Ok(Body { content: stream::iter(chunks).boxed(), sop_instance: instance(at) })
    }
}

fn engine() -> Outbound {
    Outbound::new(Caller { aet: title("QIANLI"), max_pdu: 65_536, own: None, tls: None })
}

fn sending(to: &Destination) -> Sending {
    let mut sending = Sending::new(to.clone(), "test");
    sending.patience.pause = Duration::from_millis(10);
    sending
}

#[tokio::test]
async fn everything_arrives_whole_over_several_associations() {
    let node = listen(Manners { slow: Duration::from_millis(5), ..Manners::default() }).await;
    let to = Destination { associations: 3, ..node.to.clone() };
    let mut sending = sending(&to);
    sending.originator = Some(MoveOriginator { ae_title: title("MOVER"), message_id: Some(4) });
    let progress = sending.progress.subscribe();
    let engine = engine();
    let delivered = engine.deliver(Objects::new(30), sending).await;
    assert!(delivered.iter().all(|one| one.fate == Fate::Sent), "{delivered:?}");
    let told = *progress.borrow();
    let bytes: usize = (0..30).map(size).sum();
    assert_eq!((told.sent, told.remaining, told.bytes), (30, 0, bytes as u64));
    {
        let diary = node.diary.lock().unwrap();
        assert!((0..30).all(|at| diary.tries[instance(at).as_str()] == (1, size(at))));
        assert_eq!(diary.associations.len(), 3);
        assert!(diary.originators.iter().all(|one| one.as_deref() == Some("MOVER")));
    }
    // What is open already is used again.
    let again = engine.deliver(Objects::new(3), tests::sending(&to)).await;
    assert!(again.iter().all(|one| one.fate == Fate::Sent));
    assert_eq!(node.diary.lock().unwrap().associations.len(), 3);
    engine.close().await;
}

#[tokio::test]
async fn what_has_no_room_now_is_sent_again_and_what_is_refused_is_not() {
    let manners = Manners { full_at_first: true, refuses: Some(2), ..Manners::default() };
    let node = listen(manners).await;
    let delivered = engine().deliver(Objects::new(5), sending(&node.to)).await;
    for (at, one) in delivered.iter().enumerate() {
        match &one.fate {
            Fate::Failed(failure) if at == 2 => {
                assert_eq!(failure.status, Some(Status::CANNOT_UNDERSTAND));
                assert!(failure.words.contains("the test says so") && !failure.is_transient);
            }
            fate => assert_eq!(*fate, Fate::Sent, "{at}"),
        }
    }
    let diary = node.diary.lock().unwrap();
    assert_eq!(diary.tries[instance(0).as_str()].0, 2);
    assert_eq!(diary.tries[instance(2).as_str()].0, 1);
}

#[tokio::test]
async fn a_peer_that_takes_fewer_associations_still_gets_everything() {
    let node = listen(Manners { associations: Some(1), ..Manners::default() }).await;
    let to = Destination { associations: 4, ..node.to.clone() };
    let delivered = engine().deliver(Objects::new(12), sending(&to)).await;
    assert!(delivered.iter().all(|one| one.fate == Fate::Sent), "{delivered:?}");
}

#[tokio::test]
async fn a_node_that_comes_back_gets_what_it_lacks() {
    let first = listen(Manners { slow: Duration::from_millis(20), ..Manners::default() }).await;
    let mut sending = sending(&Destination { associations: 1, ..first.to.clone() });
    sending.patience = Patience { objects: 9, calls: 50, pause: Duration::from_millis(20) };
    let mut progress = sending.progress.subscribe();
    let engine = engine();
    let (sent, port) = (engine.deliver(Objects::new(10), sending), first.to.address.clone());
    let restart = async {
        progress.wait_for(|now| now.sent >= 3).await.unwrap();
        first.stop.cancel();
        // The port is free once the listener is gone.
        let listener = loop {
            match TcpListener::bind(&port).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        let diary = Arc::<Mutex<Diary>>::default();
        let node = Node { manners: Manners::default(), diary: Arc::clone(&diary) };
        let config = ScpConfig::new(implementation());
        tokio::spawn(Scp::new(listener, config, Arc::new(node)).run(CancellationToken::new()));
        diary
    };
    let (delivered, second) = tokio::join!(sent, restart);
    assert!(delivered.iter().all(|one| one.fate == Fate::Sent), "{delivered:?}");
    let again = second.lock().unwrap().tries.len();
    assert!((1..=7).contains(&again), "{again} were sent to the second node");
}

#[tokio::test]
async fn nobody_there_is_a_failure_for_now_and_a_refusal_is_final() {
    let nobody = Destination::new(title("NOBODY"), "127.0.0.1:1");
    let delivered = engine().deliver(Objects::new(2), sending(&nobody)).await;
    for one in delivered {
        let Fate::Failed(failure) = one.fate else { panic!("{one:?}") };
        assert!(failure.is_transient && failure.words.contains("NOBODY"), "{failure:?}");
    }
    let other =
        Item { sop_class: SopClassUid::parse("1.2.3").unwrap(), ..Objects::new(1).0[0].clone() };
    let node = listen(Manners::default()).await;
    let objects = Arc::new(Objects(vec![Objects::new(1).0[0].clone(), other]));
    let delivered = engine().deliver(objects, sending(&node.to)).await;
    assert_eq!(delivered[0].fate, Fate::Sent);
    let Fate::Failed(failure) = &delivered[1].fate else { panic!("{delivered:?}") };
    assert!(failure.words.contains("1.2.3") && !failure.is_transient, "{failure:?}");
}

#[tokio::test]
async fn a_cancelled_call_stops_inside_of_an_object() {
    let node = listen(Manners { slow: Duration::from_secs(60), ..Manners::default() }).await;
    let sending = sending(&node.to);
    let cancel = sending.cancel.clone();
    let engine = engine();
    let stop = async {
        while node.diary.lock().unwrap().tries.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cancel.cancel();
    };
    let sent = engine.deliver(Objects::new(4), sending);
    let both = tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(sent, stop) });
    let (delivered, ()) = both.await.expect("it stops");
    assert!(delivered.iter().all(|one| one.fate == Fate::Cancelled), "{delivered:?}");
}

#[tokio::test]
async fn whoever_is_urgent_goes_first() {
    let node = listen(Manners { slow: Duration::from_millis(20), ..Manners::default() }).await;
    let to = Destination { associations: 1, ..node.to.clone() };
    let engine = engine();
    let mut patient = sending(&to);
    patient.priority = Priority::Low;
    let mut progress = patient.progress.subscribe();
    let mut urgent = sending(&to);
    urgent.priority = Priority::High;
    let first = engine.deliver(Objects::new(30), patient);
    let other = async {
        progress.wait_for(|now| now.sent >= 2).await.unwrap();
        let delivered = engine.deliver(Objects::new(3), urgent).await;
        (delivered, progress.borrow().remaining)
    };
    let (patient, (urgent, left)) = tokio::join!(first, other);
    assert!(patient.iter().chain(&urgent).all(|one| one.fate == Fate::Sent));
    assert!(left > 15, "only {left} of the patient call were left");
    assert_eq!(node.diary.lock().unwrap().associations.len(), 1, "never two at a time");
}

#[tokio::test]
async fn nobody_waits_for_an_association_that_is_not_needed_any_more() {
    // Takes one association, and lets the others wait unanswered.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = listen(Manners::default()).await;
    let address = listener.local_addr().unwrap().to_string();
    let behind = node.to.address.clone();
    tokio::spawn(async move {
        let (mut ours, _) = listener.accept().await.unwrap();
        let mut theirs = tokio::net::TcpStream::connect(behind).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut ours, &mut theirs).await;
    });
    let to = Destination { address, associations: 3, ..node.to.clone() };
    let engine = engine();
    let sent = engine.deliver(Objects::new(8), sending(&to));
    // Calling is given up after ten seconds.
    let delivered = tokio::time::timeout(Duration::from_secs(8), sent).await.expect("in time");
    assert!(delivered.iter().all(|one| one.fate == Fate::Sent), "{delivered:?}");
}
