//! The acceptor against a peer that is scripted byte by byte.

use std::time::Duration;

use qianli_model::PerAddress;

use crate::association::RejectionReason;
use crate::command::{CommandWriter, element};
use crate::pdu::{RELEASE_RP, RELEASE_RQ, p_data_header};
use crate::status::Status;
use crate::testdata::{ASSOCIATE_AC, ASSOCIATE_RQ_THREE, C_ECHO_RQ, C_STORE_RQ};
use crate::testpeer::{CT, Entry, Manners, Peer, TestNode, ae, checksum};

const SHORT: Duration = Duration::from_millis(200);

/// A C-STORE-RQ with what the caller makes of it.
fn store_command(class: Option<&str>, instance: Option<&str>) -> Vec<u8> {
    CommandWriter::new()
        .uid(element::AFFECTED_SOP_CLASS_UID, class)
        .u16(element::COMMAND_FIELD, 0x0001)
        .u16(element::MESSAGE_ID, 7)
        .u16(element::DATA_SET_TYPE, 1)
        .uid(element::AFFECTED_SOP_INSTANCE_UID, instance)
        .finish()
}

fn finished(data: &[u8], largest_chunk: usize) -> Entry {
    Entry::Finished { bytes: data.len(), largest_chunk, checksum: checksum(0, data) }
}

/// A peer in the middle of an object of which 1,000 bytes are there.
async fn mid_object(node: &TestNode) -> Peer {
    let mut peer = Peer::associate(node.address).await;
    peer.message(3, true, C_STORE_RQ).await;
    peer.send(&p_data_header(3, false, false, 1000)).await;
    peer.send(&[0; 1000]).await;
    peer
}

#[tokio::test]
async fn a_slow_peer_is_understood_byte_by_byte() {
    let node = TestNode::start(Manners::default()).await;
    let mut peer = Peer::connect(node.address).await;
    for byte in ASSOCIATE_RQ_THREE {
        peer.send(&[*byte]).await;
    }
    assert_eq!(peer.pdu().await[0], 0x02);
    let mut echo = Vec::new();
    crate::pdu::encode_message(&mut echo, 1, true, C_ECHO_RQ, 40);
    for byte in echo {
        peer.send(&[byte]).await;
    }
    assert_eq!(peer.response().await.status, Status::SUCCESS);
    peer.send(&RELEASE_RQ).await;
    assert_eq!(peer.pdu().await, RELEASE_RP);
}

#[tokio::test]
async fn command_and_data_may_share_a_pdu_and_be_cut_anywhere() {
    let node = TestNode::start(Manners::default()).await;
    let mut peer = Peer::associate(node.address).await;
    let (head, tail) = C_STORE_RQ.split_at(30);
    let mut body = Vec::new();
    for (control, part) in [(1, head), (3, tail), (0, &b"abc"[..]), (0, b""), (2, b"de")] {
        body.extend_from_slice(&u32::try_from(part.len() + 2).unwrap().to_be_bytes());
        body.extend_from_slice(&[3, control]);
        body.extend_from_slice(part);
    }
    let mut pdu = vec![0x04, 0];
    pdu.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
    pdu.extend_from_slice(&body);
    peer.send(&pdu).await;
    let response = peer.response().await;
    assert_eq!((response.status, response.message_id), (Status::SUCCESS, 7));
    assert_eq!(node.diary(), [Entry::Began("1.2.3.4".into()), finished(b"abcde", 3)]);
}

#[tokio::test]
async fn an_empty_data_set_is_still_an_object() {
    let node = TestNode::start(Manners::default()).await;
    let mut peer = Peer::associate(node.address).await;
    peer.message(3, true, C_STORE_RQ).await;
    peer.message(3, false, b"").await;
    assert_eq!(peer.response().await.status, Status::SUCCESS);
    assert_eq!(node.diary().last(), Some(&finished(b"", 0)));
}

#[tokio::test]
async fn a_pause_between_objects_costs_nothing_but_the_buffer() {
    let node = TestNode::start(Manners::default()).await;
    let mut peer = Peer::associate(node.address).await;
    for byte in [1, 2] {
        let data = vec![byte; 100_000];
        peer.message(3, true, C_STORE_RQ).await;
        peer.message(3, false, &data).await;
        assert_eq!(peer.response().await.status, Status::SUCCESS);
        let Some(Entry::Finished { bytes, checksum: sum, .. }) = node.diary().pop() else {
            panic!("not finished")
        };
        assert_eq!((bytes, sum), (data.len(), checksum(0, &data)));
        // Longer than the receive buffer is kept in a test.
        tokio::time::sleep(SHORT / 4).await;
    }
    peer.echo_works().await;
}

#[tokio::test]
async fn before_an_association_everything_else_is_aborted() {
    let node = TestNode::start(Manners::default()).await;
    let cases: [&[u8]; 9] = [
        ASSOCIATE_AC,
        // A-ASSOCIATE-RJ.
        &[0x03, 0, 0, 0, 0, 4, 0, 1, 1, 1],
        &RELEASE_RP,
        // P-DATA-TF.
        &[0x04, 0, 0, 0, 0, 6, 0, 0, 0, 2, 1, 3],
        &RELEASE_RQ,
        // PDU type 9.
        &[0x09, 0, 0, 0, 0, 0],
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        // An A-ASSOCIATE-RQ of 2 GiB.
        &[0x01, 0, 0x7f, 0xff, 0xff, 0xff],
        // An A-ASSOCIATE-RQ without its fixed fields.
        &[0x01, 0, 0, 0, 0, 2, 0, 1],
    ];
    for bytes in cases {
        let mut peer = Peer::connect(node.address).await;
        peer.send(bytes).await;
        // AA-1: the source is the service-user.
        peer.aborted(0, 0).await;
    }
    // AA-2: an A-ABORT is not answered.
    let mut peer = Peer::connect(node.address).await;
    peer.send(&crate::pdu::Abort::BY_USER.encode()).await;
    peer.closed().await;
}

#[tokio::test]
async fn inside_an_association_violations_are_aborted_with_their_reason() {
    let node = TestNode::start(Manners::default()).await;
    let echo_on = |context| [&p_data_header(context, true, true, 2)[..], &[0, 0]].concat();
    let cases: [(Vec<u8>, u8, u8); 11] = [
        // PDU type 9.
        (vec![0x09, 0, 0, 0, 0, 0], 2, 1),
        // A second A-ASSOCIATE-RQ.
        (ASSOCIATE_RQ_THREE.to_vec(), 2, 2),
        (ASSOCIATE_AC.to_vec(), 2, 2),
        (vec![0x03, 0, 0, 0, 0, 4, 0, 1, 1, 1], 2, 2),
        (RELEASE_RP.to_vec(), 2, 2),
        // 1 MiB where 128 KiB were announced.
        (vec![0x04, 0, 0, 0x10, 0, 0], 2, 6),
        // A value of 100 bytes in a PDU of 6.
        (vec![0x04, 0, 0, 0, 0, 6, 0, 0, 0, 100, 1, 3], 2, 6),
        // A context that was refused, one that was never proposed.
        (echo_on(5), 2, 6),
        (echo_on(99), 2, 6),
        // A data set without a command.
        ([&p_data_header(3, false, true, 1)[..], &[0]].concat(), 2, 6),
        // A command set that is none.
        ([&p_data_header(1, true, true, 3)[..], &[0, 0, 0]].concat(), 0, 0),
    ];
    for (bytes, source, reason) in cases {
        let mut peer = Peer::associate(node.address).await;
        peer.send(&bytes).await;
        peer.aborted(source, reason).await;
    }
}

#[tokio::test]
async fn an_association_that_dies_drops_its_sink() {
    let node = TestNode::start(Manners::default()).await;
    let dropped = Entry::Dropped { bytes: 1000 };

    drop(mid_object(&node).await);
    node.expect_last(dropped.clone()).await;

    let mut peer = mid_object(&node).await;
    peer.send(&crate::pdu::Abort::BY_USER.encode()).await;
    node.expect_last(dropped.clone()).await;
    peer.closed().await;

    let mut peer = mid_object(&node).await;
    peer.send(&RELEASE_RQ).await;
    assert_eq!(peer.pdu().await, RELEASE_RP);
    node.expect_last(dropped.clone()).await;

    // A new command in the middle of the data set.
    let mut peer = mid_object(&node).await;
    peer.message(3, true, C_STORE_RQ).await;
    peer.aborted(2, 6).await;
    node.expect_last(dropped).await;
    assert!(node.diary().iter().all(|entry| !matches!(entry, Entry::Finished { .. })));
}

#[tokio::test]
async fn silence_is_aborted_wherever_it_falls() {
    let node = TestNode::start_with(Manners::default(), |config| {
        config.idle_timeout = SHORT;
        config.artim_timeout = SHORT;
    })
    .await;
    // In the middle of an object.
    let mut peer = mid_object(&node).await;
    peer.aborted(2, 0).await;
    node.expect_last(Entry::Dropped { bytes: 1000 }).await;
    // And then ARTIM closes.
    peer.closed().await;
    // In the middle of a PDU header.
    let mut peer = Peer::associate(node.address).await;
    peer.send(&[0x04, 0, 0]).await;
    peer.aborted(2, 0).await;
    // Before an association: nothing to abort, the connection is closed.
    Peer::connect(node.address).await.closed().await;
    // ARTIM counts for the whole request, not for each byte of it.
    let mut peer = Peer::connect(node.address).await;
    let started = std::time::Instant::now();
    for byte in &ASSOCIATE_RQ_THREE[..10] {
        peer.send(&[*byte]).await;
        tokio::time::sleep(SHORT / 20).await;
    }
    peer.closed().await;
    assert!(started.elapsed() < SHORT * 4);
}

#[tokio::test]
async fn the_limit_is_kept_and_a_free_place_is_given_away() {
    const LIMIT: usize = 200;
    let node = TestNode::start_with(Manners::default(), |config| {
        config.max_associations = LIMIT;
        config.max_associations_per_address = PerAddress { remote: 1, loopback: LIMIT };
    })
    .await;
    let mut idle = Vec::new();
    for _ in 0..LIMIT {
        idle.push(Peer::associate(node.address).await);
    }
    let mut refused = Peer::connect(node.address).await;
    refused.send(ASSOCIATE_RQ_THREE).await;
    // Transient, provider (presentation), local limit exceeded.
    assert_eq!(refused.pdu().await, [3, 0, 0, 0, 0, 4, 0, 2, 3, 2]);
    // The idle ones still work.
    idle[LIMIT / 2].echo_works().await;
    // The place is free when the peer reads the answer to its release, not when it closes.
    idle[0].send(&RELEASE_RQ).await;
    assert_eq!(idle[0].pdu().await, RELEASE_RP);
    let mut next = Peer::connect(node.address).await;
    for _ in 0..100 {
        next = Peer::connect(node.address).await;
        next.send(ASSOCIATE_RQ_THREE).await;
        if next.pdu().await[0] == 0x02 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    next.echo_works().await;
}

#[tokio::test]
async fn who_is_not_wanted_is_told_why() {
    let rejected = async |node: &TestNode| {
        let mut peer = Peer::connect(node.address).await;
        peer.send(ASSOCIATE_RQ_THREE).await;
        peer.pdu().await[6..].to_vec()
    };
    let other = TestNode::start_with(Manners::default(), |config| {
        config.ae_title = Some(ae("OTHER"));
    })
    .await;
    assert_eq!(rejected(&other).await, [0, 1, 1, 7]);
    for (reason, codes) in [
        (RejectionReason::CallingAeTitleNotRecognised, [0, 1, 1, 3]),
        (RejectionReason::TemporaryCongestion, [0, 2, 3, 1]),
    ] {
        let manners = Manners { reject: Some(reason), ..Manners::default() };
        assert_eq!(rejected(&TestNode::start(manners).await).await, codes);
    }
}

#[tokio::test]
async fn a_refused_object_is_drained_and_the_association_goes_on() {
    let refusing = Manners { refuse_store: Some(Status::NOT_AUTHORISED), ..Manners::default() };
    let failing = Manners { fail_after: Some(5000), ..Manners::default() };
    for (manners, status, comment) in [
        (refusing, Status::NOT_AUTHORISED, "refused"),
        (failing, Status::OUT_OF_RESOURCES, "disk full"),
    ] {
        let node = TestNode::start(manners).await;
        let mut peer = Peer::associate(node.address).await;
        peer.message(3, true, C_STORE_RQ).await;
        peer.message(3, false, &vec![1; 300_000]).await;
        let response = peer.response().await;
        assert_eq!((response.status, response.comment.as_deref()), (status, Some(comment)));
        assert!(!node.diary().iter().any(|entry| matches!(entry, Entry::Finished { .. })));
        peer.echo_works().await;
    }
}

#[tokio::test]
async fn a_command_that_does_not_fit_is_answered_with_its_status() {
    let node = TestNode::start(Manners::default()).await;
    let mut peer = Peer::associate(node.address).await;
    let cases = [
        (Some("1.2.840.10008.5.1.4.1.1.4"), Some("1.2.3"), Status::SOP_CLASS_NOT_SUPPORTED),
        (None, Some("1.2.3"), Status::MISTYPED_ARGUMENT),
        (Some(CT), None, Status::MISTYPED_ARGUMENT),
        (Some(CT), Some("../../etc/passwd"), Status::INVALID_SOP_INSTANCE),
    ];
    for (class, instance, status) in cases {
        peer.message(3, true, &store_command(class, instance)).await;
        peer.message(3, false, b"data").await;
        assert_eq!(peer.response().await.status, status, "{class:?} {instance:?}");
    }
    // N-ACTION-RQ with a data set.
    let action = CommandWriter::new()
        .u16(element::COMMAND_FIELD, 0x0130)
        .u16(element::MESSAGE_ID, 9)
        .u16(element::DATA_SET_TYPE, 1)
        .finish();
    peer.message(3, true, &action).await;
    peer.message(3, false, b"data").await;
    let response = peer.response().await;
    assert_eq!((response.command, response.status), (0x8130, Status::UNRECOGNISED_OPERATION));
    // C-CANCEL-RQ is not answered.
    peer.message(3, true, &crate::message::outgoing::cancel_request(9)).await;
    peer.echo_works().await;
    assert_eq!(node.diary(), []);
}

#[tokio::test]
async fn shutdown_finishes_what_is_under_way_and_aborts_the_rest() {
    let manners = Manners { slow_finish: SHORT, ..Manners::default() };
    let node = TestNode::start(manners).await;
    let mut idle = Peer::associate(node.address).await;
    let mut busy = mid_object(&node).await;
    node.expect_last(Entry::Began("1.2.3.4".into())).await;
    node.shutdown.cancel();
    idle.aborted(2, 0).await;
    busy.message(3, false, b"end").await;
    assert_eq!(busy.response().await.status, Status::SUCCESS);
    busy.aborted(2, 0).await;
    tokio::time::timeout(Duration::from_secs(10), node.running).await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(node.address).await.is_err(), "still listening");
}

#[tokio::test]
async fn a_stuck_association_is_cut_after_the_drain_timeout() {
    let node =
        TestNode::start_with(Manners::default(), |config| config.drain_timeout = SHORT).await;
    let mut stuck = mid_object(&node).await;
    node.expect_last(Entry::Began("1.2.3.4".into())).await;
    node.shutdown.cancel();
    stuck.closed().await;
    node.expect_last(Entry::Dropped { bytes: 1000 }).await;
    tokio::time::timeout(Duration::from_secs(10), node.running).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_panic_costs_one_association_only() {
    let node =
        TestNode::start_with(Manners { panic_on_finish: true, ..Manners::default() }, |config| {
            config.max_associations = 1;
        })
        .await;
    let mut peer = Peer::associate(node.address).await;
    peer.message(3, true, C_STORE_RQ).await;
    peer.message(3, false, b"data").await;
    peer.closed().await;
    node.expect_last(Entry::Dropped { bytes: 4 }).await;
    // The only place was given back.
    Peer::associate(node.address).await.echo_works().await;
}
