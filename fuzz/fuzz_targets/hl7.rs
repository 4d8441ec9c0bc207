//! HL7 over MLLP: frames are the same wherever the bytes part, and every message gets an answer that
//! is one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qianli_model::hl7::{Answer, Frame, Frames, acknowledge, enclose, read};

fn frames(data: &[u8], size: usize) -> Vec<Frame> {
    let mut frames = Frames::default();
    let mut found = Vec::new();
    for mut piece in data.chunks(size) {
        while !piece.is_empty() {
            let (taken, frame) = frames.take(piece);
            assert!(taken > 0, "nothing is taken for ever");
            piece = &piece[taken..];
            let ends = matches!(frame, Some(Frame::Broken(_)));
            found.extend(frame);
            if ends {
                return found;
            }
        }
    }
    found
}

fn message(bytes: &[u8]) {
    let latin = "latin1".parse().expect("an encoding");
    let answer = match read(bytes, latin) {
        Ok(message) => {
            acknowledge(Some(&message.envelope), &Answer::Accepted(""), "20260101000000", "1")
        }
        Err(refused) => {
            let (envelope, fault) = *refused;
            acknowledge(envelope.as_ref(), &Answer::Refused(&fault), "20260101000000", "1")
        }
    };
    // Our own answer is a message whose structure can be read: it is refused for its type alone.
    let (envelope, fault) = *read(&answer, latin).expect_err("an ACK is no order");
    assert!(envelope.is_some() && fault.place == "MSH-9", "{fault}");
    let framed = enclose(&answer);
    assert_eq!(frames(&framed, 7), [Frame::Message(answer)]);
}

fuzz_target!(|data: &[u8]| {
    let whole = frames(data, data.len().max(1));
    assert_eq!(whole, frames(data, 1));
    for frame in whole {
        if let Frame::Message(bytes) = frame {
            message(&bytes);
        }
    }
    message(data);
});
