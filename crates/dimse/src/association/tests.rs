//! Negotiation, from the bytes of a request to the bytes of the answer.

use dicom_ul::pdu::{PresentationContextResultReason as Reason, UserIdentity, UserIdentityType};

use super::*;
use crate::pdu::associate::{read_accept, read_request, write};
use crate::testdata;

const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
const IMPLICIT: &str = "1.2.840.10008.1.2";
const EXPLICIT: &str = "1.2.840.10008.1.2.1";
const RLE: &str = "1.2.840.10008.1.2.5";
const PRIVATE_SYNTAX: &str = "1.2.840.113619.5.2";

fn peer() -> SocketAddr {
    "192.0.2.7:50000".parse().unwrap()
}

fn implementation() -> Implementation {
    Implementation { class_uid: "1.2.3".into(), version_name: "TEST".into() }
}

fn request_pdu(contexts: &[(u8, &str, &[&str])]) -> AssociationRQ {
    AssociationRQ {
        protocol_version: 1,
        calling_ae_title: "CT1".into(),
        called_ae_title: "QIANLI".into(),
        application_context_name: APPLICATION_CONTEXT.into(),
        presentation_contexts: contexts
            .iter()
            .map(|&(id, abstract_syntax, transfer_syntaxes)| PresentationContextProposed {
                id,
                abstract_syntax: abstract_syntax.into(),
                transfer_syntaxes: transfer_syntaxes.iter().map(|&s| s.to_owned()).collect(),
            })
            .collect(),
        user_variables: vec![UserVariableItem::MaxLength(16_384)],
    }
}

fn agree(pdu: AssociationRQ) -> Agreement {
    let request = AssociationRequest::from_pdu(pdu, peer()).unwrap();
    let service = |uid: &str| match uid {
        CT => Some(Service::Storage),
        VERIFICATION => Some(Service::Verification),
        _ => None,
    };
    negotiate(&request, service, 131_072, &implementation())
}

fn rejection(change: impl FnOnce(&mut AssociationRQ)) -> (u8, u8, u8) {
    let mut pdu = request_pdu(&[(1, CT, &[IMPLICIT])]);
    change(&mut pdu);
    match AssociationRequest::from_pdu(pdu, peer()) {
        Err(Refused::Reject(rejection)) => {
            let codes = rejection.codes();
            (codes.result, codes.source, codes.reason)
        }
        other => panic!("not rejected: {other:?}"),
    }
}

#[test]
fn a_recorded_request_is_answered_byte_for_byte() {
    let request =
        AssociationRequest::from_pdu(read_request(testdata::ASSOCIATE_RQ).unwrap(), peer())
            .unwrap();
    assert_eq!(request.calling.as_str(), "ECHOSCU");
    assert_eq!(request.called.as_str(), "ANY-SCP");
    assert_eq!(request.max_pdu, Some(16_384));
    assert_eq!(request.implementation_class_uid.as_deref(), Some("1.2.276.0.7230010.3.0.3.6.7"));
    assert_eq!(request.implementation_version.as_deref(), Some("OFFIS_DCMTK_367"));
    let agreement = negotiate(&request, |_| Some(Service::Storage), 131_072, &implementation());
    assert_eq!(write(agreement.answer).unwrap(), testdata::ASSOCIATE_AC);
}

#[test]
fn each_context_is_answered_for_itself_in_the_proposers_order() {
    let agreement = agree(request_pdu(&[
        (1, CT, &[RLE, EXPLICIT, IMPLICIT]),
        (3, CT, &[PRIVATE_SYNTAX, IMPLICIT]),
        (5, CT, &[PRIVATE_SYNTAX]),
        (7, "1.2.840.10008.5.1.4.1.1.999", &[IMPLICIT]),
        (9, CT, &[]),
        (255, VERIFICATION, &["1.2.840.10008.1.2\0"]),
    ]));
    let accepted: Vec<_> =
        agreement.contexts.iter().map(|c| (c.id, c.transfer_syntax.uid())).collect();
    assert_eq!(accepted, [(1, RLE), (3, IMPLICIT), (255, IMPLICIT)]);
    let reasons: Vec<_> =
        agreement.answer.presentation_contexts.iter().map(|c| c.reason.clone()).collect();
    assert_eq!(
        reasons,
        [
            Reason::Acceptance,
            Reason::Acceptance,
            Reason::TransferSyntaxesNotSupported,
            Reason::AbstractSyntaxNotSupported,
            Reason::TransferSyntaxesNotSupported,
            Reason::Acceptance,
        ]
    );
    assert_eq!(agreement.refused.len(), 3);
}

#[test]
fn a_full_house_of_contexts_survives_the_wire() {
    let proposals: Vec<(u8, &str, &[&str])> =
        (0..128).map(|n| (n * 2 + 1, CT, &[EXPLICIT, IMPLICIT][..])).collect();
    let bytes = write(request_pdu(&proposals)).unwrap();
    let agreement = agree(read_request(&bytes).unwrap());
    assert_eq!(agreement.contexts.len(), 128);
    let answer = write(agreement.answer.clone()).unwrap();
    assert_eq!(read_accept(&answer).unwrap(), agreement.answer);
}

#[test]
fn roles_are_answered_for_accepted_classes_only() {
    let mut pdu = request_pdu(&[(1, CT, &[IMPLICIT])]);
    let both = RequestorRoles { scu: true, scp: true };
    pdu.user_variables.push(UserVariableItem::ScuScpRoleSelectionSubItem(CT.into(), both));
    pdu.user_variables.push(UserVariableItem::ScuScpRoleSelectionSubItem("1.2.9".into(), both));
    let roles: Vec<_> = agree(pdu)
        .answer
        .user_variables
        .into_iter()
        .filter(|item| matches!(item, UserVariableItem::ScuScpRoleSelectionSubItem(..)))
        .collect();
    assert_eq!(roles, [UserVariableItem::ScuScpRoleSelectionSubItem(CT.into(), both)]);
}

#[test]
fn nobody_is_called_back_but_for_objects() {
    let mut pdu = request_pdu(&[(1, VERIFICATION, &[IMPLICIT])]);
    let both = RequestorRoles { scu: true, scp: true };
    let roles = |roles| UserVariableItem::ScuScpRoleSelectionSubItem(VERIFICATION.into(), roles);
    pdu.user_variables.push(roles(both));
    let agreement = agree(pdu);
    assert!(!agreement.contexts[0].requestor_is_scp);
    let scu_only = roles(RequestorRoles { scu: true, scp: false });
    assert!(agreement.answer.user_variables.contains(&scu_only));
}

#[test]
fn whoever_takes_objects_gets_a_syntax_that_any_of_them_has_a_place_in() {
    let jpeg = "1.2.840.10008.1.2.4.50";
    let roles = RequestorRoles { scu: false, scp: true };
    let agreed = |syntaxes: &[&str], takes: bool| {
        let mut pdu = request_pdu(&[(1, CT, syntaxes)]);
        if takes {
            let item = UserVariableItem::ScuScpRoleSelectionSubItem(CT.into(), roles);
            pdu.user_variables.push(item);
        }
        agree(pdu).contexts[0].transfer_syntax.uid()
    };
    assert_eq!(agreed(&[jpeg, EXPLICIT, IMPLICIT], true), EXPLICIT);
    assert_eq!(agreed(&[jpeg], true), jpeg, "what there is");
    assert_eq!(agreed(&[jpeg, EXPLICIT], false), jpeg, "a sender knows best");
}

#[test]
fn optional_negotiation_is_read_and_answered_with_what_we_support() {
    const FIND: &str = "1.2.840.10008.5.1.4.1.2.2.1";
    let mut pdu =
        request_pdu(&[(1, CT, &[IMPLICIT]), (3, FIND, &[IMPLICIT]), (5, FIND, &[EXPLICIT])]);
    let common = [&[0, 5][..], b"1.2.3", &[0, 17], b"1.2.840.10008.4.2", &[0, 0]].concat();
    let identity = UserIdentity::new(
        true,
        UserIdentityType::UsernamePassword,
        b"user".to_vec(),
        b"word".to_vec(),
    );
    let extended = UserVariableItem::SopClassExtendedNegotiationSubItem;
    pdu.user_variables.extend([
        // Asynchronous operations window, 8 and any number.
        UserVariableItem::Unknown(0x53, vec![0, 8, 0, 0]),
        UserVariableItem::Unknown(0x57, common),
        UserVariableItem::Unknown(0x57, vec![0, 9, 1]),
        UserVariableItem::Unknown(0x5A, vec![1]),
        extended(CT.into(), vec![2, 0, 0, 0, 1, 0]),
        extended(FIND.into(), vec![1, 1, 1, 1]),
        extended("1.2.3".into(), vec![1]),
        UserVariableItem::UserIdentityItem(identity),
    ]);
    let bytes = write(pdu).unwrap();
    let request = AssociationRequest::from_pdu(read_request(&bytes).unwrap(), peer()).unwrap();
    let shown = request.identity.as_ref().unwrap();
    assert_eq!((shown.kind, &shown.secondary[..]), (IdentityKind::Password, &b"word"[..]));
    assert!(!format!("{request:?}").contains("119, 111, 114, 100"), "the password is printed");
    assert_eq!(request.window, Some((8, 0)));
    assert_eq!(request.common.len(), 1, "what cannot be read is as if it were not there");
    assert_eq!(request.common[0].service_class, CommonExtended::STORAGE);
    let service = |uid: &str| match uid {
        CT => Some(Service::Storage),
        FIND => Some(Service::Query),
        _ => None,
    };
    let mut agreement = negotiate(&request, service, 131_072, &implementation());
    agreement.confirm_identity();
    let all = Extended { relational: true, datetime: true, fuzzy: true };
    let agreed: Vec<_> = agreement.contexts.iter().map(|context| context.extended).collect();
    assert_eq!(agreed, [Extended::default(), all, all]);
    let bytes = write(agreement.answer).unwrap();
    let answer = read_accept(&bytes).unwrap().user_variables;
    for item in [
        UserVariableItem::Unknown(0x53, vec![0, 1, 0, 1]),
        extended(CT.into(), vec![2, 0, 3, 0, 0, 0]),
        extended(FIND.into(), vec![1, 1, 1, 0]),
        UserVariableItem::Unknown(0x59, vec![0, 0]),
    ] {
        assert!(answer.contains(&item), "{item:?}: {answer:?}");
    }
    assert_eq!(answer.len(), 3 + 4, "nothing else was asked for");
}

#[test]
fn what_no_policy_could_accept_is_rejected_with_its_own_reason() {
    assert_eq!(rejection(|pdu| pdu.protocol_version = 2), (1, 2, 2));
    assert_eq!(rejection(|pdu| pdu.application_context_name = "1.2.3".into()), (1, 1, 2));
    assert_eq!(rejection(|pdu| pdu.called_ae_title = "  ".into()), (1, 1, 7));
    assert_eq!(rejection(|pdu| pdu.calling_ae_title = "A\\B".into()), (1, 1, 3));
    assert_eq!(
        rejection(|pdu| pdu.user_variables = vec![UserVariableItem::MaxLength(12)]),
        (1, 1, 1)
    );
}

#[test]
fn contexts_that_cannot_be_answered_abort() {
    for contexts in [
        &[(2, CT, &[IMPLICIT][..])][..],
        &[(0, CT, &[IMPLICIT])],
        &[(1, CT, &[IMPLICIT]), (1, CT, &[EXPLICIT])],
    ] {
        let result = AssociationRequest::from_pdu(request_pdu(contexts), peer());
        assert!(matches!(result, Err(Refused::Abort(_))), "{contexts:?}");
    }
}

#[test]
fn the_peers_limit_is_kept() {
    let limit = |items: Vec<UserVariableItem>| {
        let mut pdu = request_pdu(&[(1, CT, &[IMPLICIT])]);
        pdu.user_variables = items;
        agree(pdu).send_limit
    };
    assert_eq!(limit(vec![UserVariableItem::MaxLength(4096)]), 4096);
    assert_eq!(limit(vec![UserVariableItem::MaxLength(0)]), 131_072, "0 is no limit");
    assert_eq!(limit(vec![]), UNSTATED_MAX_PDU);
    assert_eq!(limit(vec![UserVariableItem::MaxLength(u32::MAX)]), 1 << 20);
}
