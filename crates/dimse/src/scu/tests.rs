//! The requestor against our own acceptor and against a scripted peer.

use std::time::Duration;

use bytes::Bytes;
use qianli_model::{SopClassUid, SopInstanceUid, TransferSyntax};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpListener;

use super::*;
use crate::association::RejectionReason;
use crate::command::{CommandWriter, element};
use crate::pdu::{RELEASE_RP, RELEASE_RQ, encode_message};
use crate::scp::READ_BUFFER;
use crate::services::MoveOriginator;
use crate::status::Status;
use crate::testpeer::{CT, Entry, Manners, Peer, TestNode, ae, checksum, implementation};

pub(super) fn config() -> ScuConfig {
    ScuConfig::new(ae("QIANLI"), ae("REMOTE"), implementation())
}

fn contexts() -> Vec<ProposedContext> {
    let ct = |syntax| ProposedContext::new(CT, [syntax]);
    vec![
        ProposedContext::verification(),
        ct(TransferSyntax::EXPLICIT_LITTLE),
        ct(TransferSyntax::IMPLICIT_LITTLE),
    ]
}

fn ct() -> SopClassUid {
    SopClassUid::parse(CT).unwrap()
}

fn instance() -> SopInstanceUid {
    SopInstanceUid::parse("1.2.3.4").unwrap()
}

/// Bytes that follow from their position.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

#[tokio::test]
async fn a_large_object_goes_round_in_bounded_pieces() {
    let node = TestNode::start(Manners::default()).await;
    let mut association = Association::connect(node.address, &config(), &contexts()).await.unwrap();
    assert_eq!(association.echo().await.unwrap().status, Status::SUCCESS);
    let context = association.context(CT, TransferSyntax::IMPLICIT_LITTLE).unwrap().id;
    let data = pattern(50_000_000);
    let origin = MoveOriginator { ae_title: ae("MOVER"), message_id: Some(3) };
    let answer =
        association.store(context, &ct(), &instance(), Some(&origin), &data[..]).await.unwrap();
    assert_eq!(answer, Answer { status: Status::SUCCESS, comment: None });
    let diary = node.diary();
    let Some(Entry::Finished { bytes, largest_chunk, checksum: sum }) = diary.last() else {
        panic!("not finished: {diary:?}")
    };
    assert_eq!((*bytes, *sum), (data.len(), checksum(0, &data)));
    assert!(*largest_chunk <= READ_BUFFER, "a chunk of {largest_chunk} bytes");
    association.release().await.unwrap();
}

#[tokio::test]
async fn a_failure_status_is_an_answer_and_the_association_goes_on() {
    let node = TestNode::start(Manners { fail_after: Some(10), ..Manners::default() }).await;
    let mut association = Association::connect(node.address, &config(), &contexts()).await.unwrap();
    let context = association.contexts()[1].id;
    let data = pattern(1_000_000);
    let answer = association.store(context, &ct(), &instance(), None, &data[..]).await.unwrap();
    assert_eq!(answer.status, Status::OUT_OF_RESOURCES);
    assert_eq!(answer.comment.as_deref(), Some("disk full"));
    assert_eq!(association.echo().await.unwrap().status, Status::SUCCESS);
    association.release().await.unwrap();
}

#[tokio::test]
async fn a_rejection_says_why() {
    let reject = Some(RejectionReason::CalledAeTitleNotRecognised);
    let node = TestNode::start(Manners { reject, ..Manners::default() }).await;
    let error = Association::connect(node.address, &config(), &contexts()).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "the peer refused the association (permanently): called AE title not recognised"
    );
}

#[tokio::test]
async fn without_a_common_context_there_is_no_association_and_no_hang() {
    let node = TestNode::start(Manners::default()).await;
    let unknown = [ProposedContext::new("1.2.3", [TransferSyntax::IMPLICIT_LITTLE])];
    let result = Association::connect(node.address, &config(), &unknown).await;
    assert!(matches!(result, Err(ScuError::NoContextAccepted)));
    let many = vec![ProposedContext::verification(); 129];
    let result = Association::connect(node.address, &config(), &many).await;
    assert!(matches!(result, Err(ScuError::TooManyContexts(129))));
}

/// Fails after some bytes, as a blob store may.
struct Broken(usize);

impl AsyncRead for Broken {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        if self.0 == 0 {
            return std::task::Poll::Ready(Err(std::io::Error::other("blob is gone")));
        }
        let take = self.0.min(buffer.remaining());
        buffer.put_slice(&vec![0; take]);
        self.0 -= take;
        std::task::Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_data_set_that_cannot_be_read_is_never_half_stored() {
    let node = TestNode::start(Manners::default()).await;
    let mut association = Association::connect(node.address, &config(), &contexts()).await.unwrap();
    let context = association.contexts()[1].id;
    let result = association.store(context, &ct(), &instance(), None, Broken(500_000)).await;
    assert!(matches!(result, Err(ScuError::Source(_))));
    assert!(matches!(association.echo().await, Err(ScuError::Over)));
    association.abort().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let diary = node.diary();
    assert!(matches!(diary.last(), Some(Entry::Dropped { .. })), "{diary:?}");
}

/// A peer that accepts all three contexts, takes PDUs of `limit` bytes, and is then scripted.
async fn scripted(limit: u32) -> (Association, Peer) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accept = async {
        let mut peer = Peer::over(listener.accept().await.unwrap().0);
        let request = associate::read_request(&peer.pdu().await).unwrap();
        let request = crate::AssociationRequest::from_pdu(request, address).unwrap();
        let agreement = crate::association::negotiate(
            &request,
            |_| Some(crate::services::Service::Storage),
            limit,
            &implementation(),
        );
        peer.send(&associate::write(agreement.answer).unwrap()).await;
        peer
    };
    let mut config = config();
    config.response_timeout = Duration::from_millis(300);
    let proposed = contexts();
    let (association, peer) =
        tokio::join!(Association::connect(address, &config, &proposed), accept);
    (association.unwrap(), peer)
}

#[tokio::test]
async fn the_peers_limit_cuts_the_fragments_and_none_is_empty() {
    for length in [1, 121, 122, 123, 244, 1000] {
        let (mut association, mut peer) = scripted(128).await;
        let data = pattern(length);
        let sender = async {
            let answer = association.store(3, &ct(), &instance(), None, &data[..]).await.unwrap();
            assert_eq!(answer.status, Status::SUCCESS);
        };
        let receiver = async {
            let (mut received, mut done) = (Vec::new(), false);
            while !done {
                let pdu = peer.pdu().await;
                assert!(pdu.len() <= 6 + 128, "a PDU of {} bytes", pdu.len());
                assert!(pdu.len() > 12, "an empty fragment");
                if pdu[11] & 1 == 0 {
                    received.extend_from_slice(&pdu[12..]);
                    done = pdu[11] & 2 != 0;
                }
            }
            assert_eq!(received, data);
            peer.message(3, true, &response(field::C_STORE_RSP, 1, Status::SUCCESS, false)).await;
        };
        tokio::join!(sender, receiver);
    }
}

/// A response without comment.
fn response(command: u16, message_id: u16, status: Status, has_data_set: bool) -> Vec<u8> {
    CommandWriter::new()
        .u16(element::COMMAND_FIELD, command)
        .u16(element::MESSAGE_ID_RESPONDED_TO, message_id)
        .u16(element::DATA_SET_TYPE, if has_data_set { 1 } else { 0x0101 })
        .u16(element::STATUS, status.code())
        .finish()
}

#[tokio::test]
async fn matches_come_one_by_one_until_the_end() {
    let (mut association, mut peer) = scripted(16_384).await;
    let peer_side = async {
        let command = peer.pdu().await;
        assert_eq!(command[11], 3, "a whole command");
        assert_eq!(&peer.pdu().await[12..], b"identifier");
        for text in [&b"first"[..], b"second"] {
            let pending = response(field::C_FIND_RSP, 1, Status::PENDING, true);
            peer.message(3, true, &pending).await;
            let mut identifier = Vec::new();
            encode_message(&mut identifier, 3, false, text, 6 + 2);
            peer.send(&identifier).await;
        }
        let cancel = peer.pdu().await;
        assert_eq!(cancel[12..], cancel_bytes(1)[..]);
        peer.message(3, true, &response(field::C_FIND_RSP, 1, Status::CANCEL, false)).await;
        assert_eq!(peer.pdu().await, RELEASE_RQ);
        peer.send(&RELEASE_RP).await;
    };
    let our_side = async {
        let mut find = association.find(3, b"identifier").await.unwrap();
        assert_eq!(find.next().await.unwrap(), FindStep::Match(Bytes::from_static(b"first")));
        assert_eq!(find.next().await.unwrap(), FindStep::Match(Bytes::from_static(b"second")));
        find.cancel().await.unwrap();
        let done = Answer { status: Status::CANCEL, comment: None };
        assert_eq!(find.next().await.unwrap(), FindStep::Done(done));
        assert!(find.next().await.is_err());
        association.release().await.unwrap();
    };
    tokio::join!(peer_side, our_side);
}

fn cancel_bytes(message_id: u16) -> Vec<u8> {
    crate::message::outgoing::cancel_request(message_id)
}

#[tokio::test]
async fn an_abandoned_operation_is_never_followed_by_another() {
    let (mut association, mut peer) = scripted(16_384).await;
    let _ = association.find(3, b"identifier").await.unwrap();
    assert!(matches!(association.echo().await, Err(ScuError::Over)));
    assert!(matches!(association.release().await, Err(ScuError::Over)));
    peer.pdu().await;
    peer.pdu().await;
    peer.aborted(0, 0).await;
}

#[tokio::test]
async fn silence_an_abort_and_nonsense_each_have_their_error() {
    let (mut association, mut peer) = scripted(16_384).await;
    let result = association.echo().await;
    assert!(matches!(result, Err(ScuError::Timeout(_))), "{result:?}");
    peer.pdu().await;
    peer.aborted(0, 0).await;

    let (mut association, mut peer) = scripted(16_384).await;
    peer.send(&[7, 0, 0, 0, 0, 4, 0, 0, 2, 1]).await;
    let error = association.echo().await.unwrap_err();
    assert!(error.to_string().contains("unrecognised PDU"), "{error}");

    let (mut association, mut peer) = scripted(16_384).await;
    peer.message(1, true, &response(field::C_ECHO_RSP, 77, Status::SUCCESS, false)).await;
    let result = association.echo().await;
    assert!(matches!(result, Err(ScuError::Protocol(_))), "{result:?}");
    peer.pdu().await;
    peer.aborted(0, 0).await;

    let (mut association, peer) = scripted(16_384).await;
    drop(peer);
    let result = association.echo().await;
    assert!(matches!(result, Err(ScuError::Closed)), "{result:?}");
}

#[tokio::test]
async fn a_release_from_both_ends_ends() {
    let (association, mut peer) = scripted(16_384).await;
    let peer_side = async {
        peer.send(&RELEASE_RQ).await;
        assert_eq!(peer.pdu().await, RELEASE_RQ);
        assert_eq!(peer.pdu().await, RELEASE_RP);
        peer.send(&RELEASE_RP).await;
    };
    let (released, ()) = tokio::join!(association.release(), peer_side);
    released.unwrap();
}

#[tokio::test]
async fn a_data_set_is_read_no_faster_than_the_peer_takes_it() {
    let (mut association, _peer) = scripted(16_384).await;
    let mut endless = tokio::io::repeat(0).take(1 << 40);
    let result = association.store(3, &ct(), &instance(), None, &mut endless).await;
    assert!(matches!(result, Err(ScuError::Timeout(_))), "{result:?}");
    let read = (1_u64 << 40) - endless.limit();
    assert!(read < 64 << 20, "read {read} bytes ahead of a peer that takes none");
}
