//! C-MOVE, C-GET and normalised operations against a scripted peer, byte by byte.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use dicom_ul::pdu::{AssociationRQ, UserVariableItem};
use qianli_model::{SopClassUid, SopInstanceUid, TransferSyntax};
use tokio::net::TcpListener;

use super::tests::config;
use super::*;
use crate::command::{CommandSet, CommandWriter, element};
use crate::message::outgoing::store_request;
use crate::pdu::encode_message;
use crate::services::{ObjectSink, StoreOutcome};
use crate::status::Status;
use crate::testpeer::{CT, Peer, ae, implementation};

const STUDY_ROOT_GET: &str = "1.2.840.10008.5.1.4.1.2.2.3";
const COMMITMENT: &str = "1.2.840.10008.1.20.1";

/// An association over these contexts, all accepted, and the peer with what it was asked for.
async fn over(
    config: ScuConfig,
    contexts: &[ProposedContext],
    answers: Vec<UserVariableItem>,
) -> (Association, Peer, AssociationRQ) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accept = async {
        let mut peer = Peer::over(listener.accept().await.unwrap().0);
        let asked = associate::read_request(&peer.pdu().await).unwrap();
        let request = crate::AssociationRequest::from_pdu(asked.clone(), address).unwrap();
        let agreement = crate::association::negotiate(
            &request,
            |_| Some(crate::services::Service::Storage),
            16_384,
            &implementation(),
        );
        let mut answer = agreement.answer;
        let ours = |item: &UserVariableItem| {
            !matches!(
                item,
                UserVariableItem::ScuScpRoleSelectionSubItem(..)
                    | UserVariableItem::SopClassExtendedNegotiationSubItem(..)
            )
        };
        answer.user_variables.retain(ours);
        answer.user_variables.extend(answers);
        peer.send(&associate::write(answer).unwrap()).await;
        (peer, asked)
    };
    let (association, (peer, asked)) =
        tokio::join!(Association::connect(address, &config, contexts), accept);
    (association.unwrap(), peer, asked)
}

fn counted(command: u16, status: u16, counts: [u16; 4], has_data_set: bool) -> Vec<u8> {
    let mut writer = CommandWriter::new()
        .u16(element::COMMAND_FIELD, command)
        .u16(element::MESSAGE_ID_RESPONDED_TO, 1)
        .u16(element::DATA_SET_TYPE, if has_data_set { 1 } else { 0x0101 })
        .u16(element::STATUS, status);
    for (element, count) in element::SUB_OPERATIONS.into_iter().zip(counts) {
        writer = writer.u16(element, count);
    }
    writer.finish()
}

#[tokio::test]
async fn a_move_tells_how_far_it_is_and_what_failed() {
    let syntax = [TransferSyntax::IMPLICIT_LITTLE];
    let contexts = [ProposedContext::new("1.2.840.10008.5.1.4.1.2.2.2", syntax)];
    let (mut association, mut peer, _) = over(config(), &contexts, Vec::new()).await;
    let peer_side = async {
        let command = peer.pdu().await;
        let set = CommandSet::parse(Bytes::copy_from_slice(&command[12..])).unwrap();
        assert_eq!(set.text(element::MOVE_DESTINATION), Some("WORKSTATION"));
        assert_eq!(&peer.pdu().await[12..], b"identifier");
        peer.message(1, true, &counted(0x8021, 0xFF00, [3, 1, 0, 0], false)).await;
        peer.message(1, true, &counted(0x8021, 0xB000, [0, 3, 1, 0], true)).await;
        peer.message(1, false, b"failed list").await;
    };
    let our_side = async {
        let to = ae("WORKSTATION");
        let mut moving =
            association.move_to(1, b"identifier", &to, Priority::Medium).await.unwrap();
        let pending = SubOperations { remaining: Some(3), completed: 1, failed: 0, warning: 0 };
        assert_eq!(moving.next().await.unwrap(), RetrieveStep::Pending(pending));
        let RetrieveStep::Done(done) = moving.next().await.unwrap() else { panic!("not done") };
        assert_eq!(done.answer.status, Status::new(0xB000));
        assert_eq!((done.counts.completed, done.counts.failed), (3, 1));
        assert_eq!(done.identifier.as_deref(), Some(&b"failed list"[..]));
        assert!(moving.next().await.is_err());
        assert!(association.is_ready());
    };
    tokio::join!(peer_side, our_side);
}

/// Keeps what came, and refuses one instance.
struct Keeper(Arc<Mutex<Vec<(String, usize)>>>);

struct Kept(Arc<Mutex<Vec<(String, usize)>>>, String, usize);

#[async_trait]
impl Receiver for Keeper {
    async fn begin(&mut self, object: &Arriving) -> Result<Box<dyn ObjectSink>, StoreOutcome> {
        if object.sop_instance.as_str() == "1.2.2" {
            return Err(StoreOutcome::new(Status::OUT_OF_RESOURCES));
        }
        Ok(Box::new(Kept(Arc::clone(&self.0), object.sop_instance.to_string(), 0)))
    }
}

#[async_trait]
impl ObjectSink for Kept {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StoreOutcome> {
        self.2 += chunk.len();
        Ok(())
    }

    async fn finish(self: Box<Self>) -> StoreOutcome {
        self.0.lock().unwrap().push((self.1.clone(), self.2));
        StoreOutcome::success()
    }
}

#[tokio::test]
async fn a_get_brings_objects_on_the_same_association() {
    let syntax = [TransferSyntax::IMPLICIT_LITTLE];
    let contexts = [
        ProposedContext::new(STUDY_ROOT_GET, syntax),
        ProposedContext::new(CT, syntax).as_role(Role::Performer),
    ];
    let roles = dicom_ul::pdu::RequestorRoles { scu: false, scp: true };
    let answer = UserVariableItem::ScuScpRoleSelectionSubItem(CT.into(), roles);
    let (mut association, mut peer, asked) = over(config(), &contexts, vec![answer.clone()]).await;
    assert!(asked.user_variables.contains(&answer), "{:?}", asked.user_variables);
    assert!(association.may_send(CT) && !association.may_send(STUDY_ROOT_GET));
    let class = SopClassUid::parse(CT).unwrap();
    let peer_side = async {
        peer.pdu().await;
        peer.pdu().await;
        for (number, uid) in [(1_u16, "1.2.1"), (2, "1.2.2")] {
            let instance = SopInstanceUid::parse(uid).unwrap();
            let command = store_request(number, &class, &instance, Priority::Medium, None);
            peer.message(3, true, &command).await;
            let mut data = Vec::new();
            encode_message(&mut data, 3, false, &vec![7; 100_000], 16_384);
            peer.send(&data).await;
            let answer = peer.response().await;
            assert_eq!((answer.command, answer.message_id), (0x8001, number));
            let expected = if number == 1 { Status::SUCCESS } else { Status::OUT_OF_RESOURCES };
            assert_eq!(answer.status, expected);
        }
        peer.message(1, true, &counted(0x8010, 0xB000, [0, 1, 1, 0], false)).await;
    };
    let diary = Arc::new(Mutex::new(Vec::new()));
    let our_side = async {
        let mut keeper = Keeper(Arc::clone(&diary));
        let mut getting = association.get(1, b"identifier", Priority::Medium).await.unwrap();
        let mut steps = Vec::new();
        loop {
            match getting.next_into(&mut keeper).await.unwrap() {
                RetrieveStep::Done(done) => break assert_eq!(done.counts.failed, 1),
                RetrieveStep::Received(uid, status) => steps.push((uid.to_string(), status)),
                RetrieveStep::Pending(_) => {}
            }
        }
        let refused = ("1.2.2".to_owned(), Status::OUT_OF_RESOURCES);
        assert_eq!(steps, [("1.2.1".to_owned(), Status::SUCCESS), refused]);
    };
    tokio::join!(peer_side, our_side);
    assert_eq!(*diary.lock().unwrap(), [("1.2.1".to_owned(), 100_000)]);
}

#[tokio::test]
async fn an_event_report_that_overtakes_the_answer_is_kept() {
    let contexts = [ProposedContext::new(COMMITMENT, [TransferSyntax::IMPLICIT_LITTLE])];
    let (mut association, mut peer, _) = over(config(), &contexts, Vec::new()).await;
    let peer_side = async {
        let command = peer.pdu().await;
        let set = CommandSet::parse(Bytes::copy_from_slice(&command[12..])).unwrap();
        assert_eq!(set.u16(element::ACTION_TYPE), Some(1));
        assert_eq!(set.text(element::REQUESTED_SOP_INSTANCE_UID), Some("1.2.840.10008.1.20.1.1"));
        assert_eq!(&peer.pdu().await[12..], b"transaction");
        for (message_id, report) in [(40_u16, &b"report 1"[..]), (41, b"report 2")] {
            let request = crate::message::outgoing::normalised_request(
                message_id,
                &Normalised::EventReport(1),
                COMMITMENT,
                Some("1.2.840.10008.1.20.1.1"),
                true,
            );
            peer.message(1, true, &request).await;
            peer.message(1, false, report).await;
            let acknowledged = peer.response().await;
            assert_eq!((acknowledged.command, acknowledged.message_id), (0x8100, message_id));
            if message_id == 40 {
                let answer = counted(0x8130, 0, [0; 4], false);
                peer.message(1, true, &answer).await;
            }
        }
    };
    let our_side = async {
        let instance = Some("1.2.840.10008.1.20.1.1");
        let action = Normalised::Action(1);
        let reply =
            association.invoke(1, &action, None, instance, Some(b"transaction")).await.unwrap();
        assert_eq!(reply.answer.status, Status::SUCCESS);
        for expected in [&b"report 1"[..], b"report 2"] {
            let report = association.event_report().await.unwrap();
            assert_eq!((report.event_type, report.data.as_deref()), (Some(1), Some(expected)));
        }
    };
    tokio::join!(peer_side, our_side);
}

#[tokio::test]
async fn identities_and_extended_negotiation_travel() {
    let contexts = [
        ProposedContext::new("1.2.3", [TransferSyntax::IMPLICIT_LITTLE]).with_extended([1, 1]),
        ProposedContext::new("1.2.3", [TransferSyntax::EXPLICIT_LITTLE]).with_extended([1, 1]),
    ];
    let answer = UserVariableItem::SopClassExtendedNegotiationSubItem("1.2.3".into(), vec![1]);
    let identity = Some(Identity::Password("ward".into(), "secret".into()));
    assert!(!format!("{identity:?}").contains("secret"));
    let config = ScuConfig { identity, ..config() };
    let (association, _peer, asked) = over(config, &contexts, vec![answer]).await;
    assert_eq!(association.extended("1.2.3"), Some(&[1][..]));
    assert_eq!(association.extended("1.2.4"), None);
    let count = |wanted: fn(&UserVariableItem) -> bool| {
        asked.user_variables.iter().filter(|item| wanted(item)).count()
    };
    let is_extended = |item: &UserVariableItem| matches!(item, UserVariableItem::SopClassExtendedNegotiationSubItem(uid, data) if uid == "1.2.3" && *data == [1, 1]);
    assert_eq!(count(is_extended), 1, "{:?}", asked.user_variables);
    let is_identity = |item: &UserVariableItem| matches!(item, UserVariableItem::UserIdentityItem(one) if one.primary_field() == b"ward" && one.secondary_field() == b"secret");
    assert_eq!(count(is_identity), 1, "{:?}", asked.user_variables);
}

#[tokio::test]
async fn a_cancelled_move_ends_with_its_counts() {
    let contexts = [ProposedContext::new("1.2.3", [TransferSyntax::IMPLICIT_LITTLE])];
    let (mut association, mut peer, _) = over(config(), &contexts, Vec::new()).await;
    let peer_side = async {
        peer.pdu().await;
        peer.pdu().await;
        let cancel = peer.pdu().await;
        assert_eq!(cancel[12..], crate::message::outgoing::cancel_request(1)[..]);
        peer.message(1, true, &counted(0x8021, 0xFE00, [5, 2, 0, 0], false)).await;
    };
    let our_side = async {
        let to = ae("WORKSTATION");
        let mut moving = association.move_to(1, b"id", &to, Priority::Low).await.unwrap();
        moving.cancel().await.unwrap();
        let RetrieveStep::Done(done) = moving.next().await.unwrap() else { panic!("not done") };
        assert_eq!(done.answer.status, Status::CANCEL);
        assert_eq!((done.counts.remaining, done.counts.completed), (Some(5), 2));
    };
    tokio::join!(peer_side, our_side);
}
