//! Frames of an association: what arrives in pieces is read as what arrives at once, and association
//! requests are negotiated.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use qianli_dimse::{Implementation, Service};
use qianli_dimse::association::{AssociationRequest, negotiate};
use qianli_dimse::pdu::{Abort, Deframer, Frame, PduType, associate};

/// The control PDUs and the bytes of messages, in order.
fn read(data: &[u8], step: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut controls, mut messages) = (Vec::new(), Vec::new());
    let mut deframer = Deframer::new(16_384);
    let mut buffer = BytesMut::new();
    for piece in data.chunks(step) {
        buffer.extend_from_slice(piece);
        loop {
            match deframer.next(&mut buffer) {
                Ok(Some(Frame::Control(kind, bytes))) => {
                    control(kind, &bytes);
                    controls.extend_from_slice(&bytes);
                }
                Ok(Some(Frame::Fragment(fragment))) => messages.extend_from_slice(&fragment.data),
                Ok(None) => break,
                Err(_) => return (controls, messages),
            }
        }
    }
    (controls, messages)
}

/// Services by the length of a UID, so that every way through is found.
fn service(uid: &str) -> Option<Service> {
    match uid.len() % 4 {
        0 => Some(Service::Storage),
        1 => Some(Service::Query),
        2 => Some(Service::Move),
        _ => None,
    }
}

fn control(kind: PduType, bytes: &[u8]) {
    match kind {
        PduType::AssociateRq => {
            let Ok(request) = associate::read_request(bytes) else { return };
            let peer = ([127, 0, 0, 1], 104).into();
            let Ok(request) = AssociationRequest::from_pdu(request, peer) else { return };
            let us = Implementation { class_uid: "1.2.3".into(), version_name: "FUZZ".into() };
            let mut agreement = negotiate(&request, service, 16_384, &us);
            agreement.confirm_identity();
            associate::write(agreement.answer).expect("an answer can be written");
        }
        PduType::AssociateAc => drop(associate::read_accept(bytes)),
        PduType::Abort => drop(Abort::decode(bytes)),
        _ => {}
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((step, data)) = data.split_first() else { return };
    let pieces = read(data, usize::from(*step) + 1);
    let whole = read(data, data.len().max(1));
    assert_eq!(pieces, whole);
});
