//! Requests with several responses, cancels, and operations in the other direction, byte by byte.

use dicom_ul::pdu::{AssociationRQ, PresentationContextProposed, RequestorRoles, UserVariableItem};

use crate::association::APPLICATION_CONTEXT;
use crate::command::{CommandSet, CommandWriter, element};
use crate::message::outgoing::{cancel_request, find_request};
use crate::message::{Response, SubOperations};
use crate::pdu::{Deframer, Frame, RELEASE_RP, RELEASE_RQ, associate};
use crate::status::Status;
use crate::testdata::C_ECHO_RQ;
use crate::testpeer::script::{COMMITMENT, FIND, GET, OBJECT};
use crate::testpeer::{CT, Entry, Manners, Peer, TestNode};

const VERIFICATION: u8 = 1;
const QUERY: u8 = 3;
const RETRIEVE: u8 = 5;
const OBJECTS: u8 = 7;
const COMMIT: u8 = 9;

/// An association for everything, in which the peer takes objects.
async fn associate(node: &TestNode) -> Peer {
    let contexts = [
        (VERIFICATION, crate::association::VERIFICATION, &["1.2.840.10008.1.2"][..]),
        (QUERY, FIND, &["1.2.840.10008.1.2"]),
        (RETRIEVE, GET, &["1.2.840.10008.1.2"]),
        (OBJECTS, CT, &["1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.1"]),
        (COMMIT, COMMITMENT, &["1.2.840.10008.1.2"]),
    ];
    let contexts = contexts.iter().map(|&(id, class, syntaxes)| PresentationContextProposed {
        id,
        abstract_syntax: class.into(),
        transfer_syntaxes: syntaxes.iter().map(|&syntax| syntax.to_owned()).collect(),
    });
    let request = AssociationRQ {
        protocol_version: 1,
        calling_ae_title: "PEER".into(),
        called_ae_title: "QIANLI".into(),
        application_context_name: APPLICATION_CONTEXT.into(),
        presentation_contexts: contexts.collect(),
        user_variables: vec![
            UserVariableItem::MaxLength(16_384),
            UserVariableItem::ScuScpRoleSelectionSubItem(
                CT.into(),
                RequestorRoles { scu: false, scp: true },
            ),
        ],
    };
    let mut peer = Peer::connect(node.address).await;
    peer.send(&associate::write(request).unwrap()).await;
    let accept = associate::read_accept(&peer.pdu().await).unwrap();
    let roles = UserVariableItem::ScuScpRoleSelectionSubItem(
        CT.into(),
        RequestorRoles { scu: false, scp: true },
    );
    assert!(accept.user_variables.contains(&roles), "{:?}", accept.user_variables);
    let syntax = &accept.presentation_contexts[3].transfer_syntax;
    assert_eq!(syntax.trim_end_matches('\0'), "1.2.840.10008.1.2.1", "any image has a place in it");
    peer
}

/// A message as it came: context, command set, data set.
async fn message(peer: &mut Peer) -> (u8, CommandSet, Vec<u8>) {
    let mut parts = [Vec::new(), Vec::new()];
    let mut set = None;
    loop {
        let pdu = peer.pdu().await;
        assert_eq!(pdu[0], 4, "no P-DATA-TF: {:02x?}", &pdu[..pdu.len().min(20)]);
        let mut buffer = bytes::BytesMut::from(&pdu[..]);
        let mut deframer = Deframer::new(16_384);
        while let Some(frame) = deframer.next(&mut buffer).unwrap() {
            let Frame::Fragment(fragment) = frame else { panic!("a control PDU") };
            parts[usize::from(!fragment.command)].extend_from_slice(&fragment.data);
            if fragment.last && fragment.command {
                let command = CommandSet::parse(std::mem::take(&mut parts[0]).into()).unwrap();
                if command.u16(element::DATA_SET_TYPE) == Some(0x0101) {
                    return (fragment.context, command, Vec::new());
                }
                set = Some(command);
            } else if fragment.last {
                return (fragment.context, set.take().unwrap(), std::mem::take(&mut parts[1]));
            }
        }
    }
}

async fn ask(peer: &mut Peer, context: u8, command: &[u8], data: &[u8]) {
    peer.message(context, true, command).await;
    peer.message(context, false, data).await;
}

fn request(class: &str, command: u16, id: u16) -> Vec<u8> {
    let writer = CommandWriter::new()
        .uid(element::AFFECTED_SOP_CLASS_UID, Some(class))
        .u16(element::COMMAND_FIELD, command)
        .u16(element::MESSAGE_ID, id)
        .u16(element::DATA_SET_TYPE, 1);
    match command {
        0x0130 => writer.u16(element::ACTION_TYPE, 1).finish(),
        _ => writer.finish(),
    }
}

/// Answers what the node asked of the peer.
async fn answer(peer: &mut Peer, context: u8, asked: &CommandSet, status: u16) {
    let command = asked.u16(element::COMMAND_FIELD).unwrap() | 0x8000;
    let bytes = CommandWriter::new()
        .u16(element::COMMAND_FIELD, command)
        .u16(element::MESSAGE_ID_RESPONDED_TO, asked.u16(element::MESSAGE_ID).unwrap())
        .u16(element::DATA_SET_TYPE, 0x0101)
        .u16(element::STATUS, status)
        .finish();
    peer.message(context, true, &bytes).await;
}

async fn released(mut peer: Peer) {
    peer.send(&RELEASE_RQ).await;
    assert_eq!(peer.pdu().await, RELEASE_RP);
}

#[tokio::test]
async fn matches_come_one_by_one_and_the_association_goes_on() {
    let node = TestNode::start(Manners::default()).await;
    let mut peer = associate(&node).await;
    for wanted in [0, 1, 700] {
        ask(&mut peer, QUERY, &find_request(21, FIND), format!("{wanted}").as_bytes()).await;
        for _ in 0..wanted {
            let (context, set, data) = message(&mut peer).await;
            let response = Response::parse(&set).unwrap();
            assert_eq!((context, response.message_id), (QUERY, 21));
            assert_eq!((response.status, data), (Status::PENDING, vec![7; 1000]));
        }
        let (_, set, data) = message(&mut peer).await;
        assert_eq!(Response::parse(&set).unwrap().status, Status::SUCCESS);
        assert!(data.is_empty());
    }
    released(peer).await;
}

#[tokio::test]
async fn a_query_ends_soon_after_it_is_cancelled() {
    let node = TestNode::start(Manners::default()).await;
    let mut peer = associate(&node).await;
    ask(&mut peer, QUERY, &find_request(3, FIND), b"60000").await;
    peer.message(QUERY, true, &cancel_request(3)).await;
    let mut matches = 0;
    let end = loop {
        let (_, set, _) = message(&mut peer).await;
        match Response::parse(&set).unwrap().status {
            Status::PENDING => matches += 1,
            end => break end,
        }
    };
    assert_eq!(end, Status::CANCEL);
    assert!(matches < 60_000, "{matches}");
    // A cancel that comes too late is for nothing.
    peer.message(QUERY, true, &cancel_request(3)).await;
    peer.message(VERIFICATION, true, C_ECHO_RQ).await;
    assert_eq!(peer.response().await.status, Status::SUCCESS);
    released(peer).await;
}

#[tokio::test]
async fn objects_are_sent_over_the_association_that_asks_for_them() {
    let node = TestNode::start(Manners::default()).await;
    let mut peer = associate(&node).await;
    ask(&mut peer, RETRIEVE, &request(GET, 0x0010, 8), b"3").await;
    for number in 1..=3_u16 {
        let (context, set, data) = message(&mut peer).await;
        assert_eq!(context, OBJECTS);
        assert_eq!(set.u16(element::COMMAND_FIELD), Some(0x0001));
        let instance = format!("1.2.{number}");
        assert_eq!(set.text(element::AFFECTED_SOP_INSTANCE_UID), Some(instance.as_str()));
        assert_eq!(data, vec![number as u8; OBJECT]);
        answer(&mut peer, OBJECTS, &set, if number == 2 { 0xA700 } else { 0 }).await;
        let (context, set, _) = message(&mut peer).await;
        let response = Response::parse(&set).unwrap();
        assert_eq!((context, response.message_id), (RETRIEVE, 8));
        let remaining = response.counts.and_then(|counts| counts.remaining);
        assert_eq!((response.status, remaining), (Status::PENDING, Some(3 - number)));
    }
    let (_, set, _) = message(&mut peer).await;
    let response = Response::parse(&set).unwrap();
    let counts = SubOperations { remaining: None, completed: 2, failed: 1, warning: 0 };
    assert_eq!((response.status, response.counts), (Status::SUCCESS, Some(counts)));
    released(peer).await;
}

#[tokio::test]
async fn a_retrieval_is_cancelled_between_two_objects() {
    let node = TestNode::start(Manners::default()).await;
    let mut peer = associate(&node).await;
    ask(&mut peer, RETRIEVE, &request(GET, 0x0010, 8), b"9").await;
    let (_, first, _) = message(&mut peer).await;
    peer.message(RETRIEVE, true, &cancel_request(8)).await;
    answer(&mut peer, OBJECTS, &first, 0).await;
    let (_, pending, _) = message(&mut peer).await;
    assert_eq!(Response::parse(&pending).unwrap().status, Status::PENDING);
    let (_, end, _) = message(&mut peer).await;
    let end = Response::parse(&end).unwrap();
    assert_eq!(end.status, Status::CANCEL);
    assert_eq!(end.counts.and_then(|counts| counts.remaining), Some(8));
    released(peer).await;
}

#[tokio::test]
async fn an_event_report_follows_the_answer_and_gives_way_to_a_request() {
    let node = TestNode::start(Manners::default()).await;
    let mut peer = associate(&node).await;
    ask(&mut peer, COMMIT, &request(COMMITMENT, 0x0130, 4), b"1").await;
    let (_, set, _) = message(&mut peer).await;
    assert_eq!(Response::parse(&set).unwrap().status, Status::SUCCESS);
    let (context, report, data) = message(&mut peer).await;
    assert_eq!((context, &data[..]), (COMMIT, &b"result"[..]));
    assert_eq!(report.u16(element::EVENT_TYPE), Some(1));
    answer(&mut peer, COMMIT, &report, 0).await;
    node.expect_last(Entry::Reported(Ok(Status::SUCCESS))).await;

    // Now the peer goes on before it answers, and answers later.
    ask(&mut peer, COMMIT, &request(COMMITMENT, 0x0130, 5), b"1").await;
    let (_, set, _) = message(&mut peer).await;
    assert_eq!(Response::parse(&set).unwrap().message_id, 5);
    let (_, report, _) = message(&mut peer).await;
    peer.message(VERIFICATION, true, C_ECHO_RQ).await;
    assert_eq!(peer.response().await.status, Status::SUCCESS);
    answer(&mut peer, COMMIT, &report, 0).await;
    peer.message(VERIFICATION, true, C_ECHO_RQ).await;
    assert_eq!(peer.response().await.status, Status::SUCCESS);
    released(peer).await;
}

#[tokio::test]
async fn a_second_request_beside_the_first_is_against_the_agreement() {
    let node = TestNode::start(Manners::default()).await;
    let mut peer = associate(&node).await;
    ask(&mut peer, RETRIEVE, &request(GET, 0x0010, 8), b"2").await;
    let _ = message(&mut peer).await;
    peer.message(VERIFICATION, true, C_ECHO_RQ).await;
    peer.aborted(0, 0).await;
    peer.closed().await;
}

#[tokio::test]
async fn every_request_is_answered_also_one_that_its_handler_forgets() {
    let node = TestNode::start(Manners::default()).await;
    let mut peer = associate(&node).await;
    for (context, class, command, data, status) in [
        (QUERY, FIND, 0x0020, &b"silent"[..], Status::PROCESSING_FAILURE),
        (QUERY, "1.2.3", 0x0020, b"1", Status::SOP_CLASS_NOT_SUPPORTED),
        (QUERY, FIND, 0x0021, b"1", Status::UNRECOGNISED_OPERATION),
        (COMMIT, COMMITMENT, 0x0140, b"1", Status::UNRECOGNISED_OPERATION),
        (VERIFICATION, FIND, 0x0020, b"1", Status::UNRECOGNISED_OPERATION),
    ] {
        ask(&mut peer, context, &request(class, command, 4), data).await;
        let (_, set, _) = message(&mut peer).await;
        let response = Response::parse(&set).unwrap();
        assert_eq!(response.command, command | 0x8000);
        assert_eq!(response.status, status, "{command:04X} on {context}");
    }
    let long = vec![b'1'; (1 << 20) + 1];
    ask(&mut peer, QUERY, &request(FIND, 0x0020, 4), &long).await;
    let (_, set, _) = message(&mut peer).await;
    assert_eq!(Response::parse(&set).unwrap().status, Status::RESOURCE_LIMITATION);
    released(peer).await;
}

/// Long requests that wait for their end hold a part of a common budget, and give it back.
#[tokio::test]
async fn many_long_requests_at_a_time_are_refused_and_leave_nothing() {
    let node = TestNode::start(Manners::default()).await;
    let long = vec![b' '; 3 << 20];
    let mut holding = Vec::new();
    for _ in 0..5 {
        let mut peer = associate(&node).await;
        peer.message(COMMIT, true, &request(COMMITMENT, 0x0130, 4)).await;
        for part in long.chunks(16_000) {
            peer.send(&crate::pdu::p_data_header(COMMIT, false, false, part.len())).await;
            peer.send(part).await;
        }
        holding.push(peer);
    }
    let mut last = associate(&node).await;
    ask(&mut last, COMMIT, &request(COMMITMENT, 0x0130, 4), &long).await;
    let (_, set, _) = message(&mut last).await;
    assert_eq!(Response::parse(&set).unwrap().status, Status::RESOURCE_LIMITATION);
    drop(holding);
    for attempt in 0.. {
        ask(&mut last, COMMIT, &request(COMMITMENT, 0x0130, 4), &long).await;
        let (_, set, _) = message(&mut last).await;
        if Response::parse(&set).unwrap().status == Status::SUCCESS {
            break;
        }
        assert!(attempt < 200, "the budget is not given back");
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
}
