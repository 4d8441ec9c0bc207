//! Command sets: a request that is understood is answered with a response that can be read.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use qianli_dimse::command::CommandSet;
use qianli_dimse::message::{Operation, Request, Response};
use qianli_dimse::{Status, StoreOutcome};

fuzz_target!(|data: &[u8]| {
    let Ok(set) = CommandSet::parse(Bytes::copy_from_slice(data)) else { return };
    // What is no response is an error, which is all that is asked of it.
    let _ = Response::parse(&set);
    let Ok(request) = Request::parse(&set) else { return };
    if request.operation == Operation::Cancel {
        return;
    }
    let comment = String::from_utf8_lossy(data);
    let outcome = StoreOutcome::with_comment(Status::CANNOT_UNDERSTAND, comment);
    let answer = CommandSet::parse(request.response(&outcome).into()).expect("our own response");
    let answer = Response::parse(&answer).expect("our own response");
    assert_eq!(answer.message_id, request.message_id);
    assert!(answer.comment.is_none_or(|comment| comment.len() <= 64));
});
