//! Multipart bodies: what arrives in pieces has the parts of what arrives at once.
#![no_main]
#![allow(dead_code, reason = "the reader is compiled alone, without those who use it")]

#[path = "../../crates/web/src/dicomweb/multipart.rs"]
mod multipart;

use bytes::Bytes;
use futures_util::{FutureExt, stream};
use libfuzzer_sys::fuzz_target;
use multipart::MultipartReader;

/// The parts that end, and whether all did.
async fn parts(data: &[u8], step: usize) -> (Vec<(Option<String>, Vec<u8>)>, bool) {
    let pieces: Vec<_> = data.chunks(step).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    let mut reader = MultipartReader::new(stream::iter(pieces), "ab").expect("a boundary");
    let mut parts = Vec::new();
    loop {
        let headers = match reader.next_part().await {
            Ok(Some(headers)) => headers,
            Ok(None) => return (parts, true),
            Err(_) => return (parts, false),
        };
        let mut content = Vec::new();
        loop {
            match reader.chunk().await {
                Ok(Some(chunk)) => content.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(_) => return (parts, false),
            }
        }
        parts.push((headers.content_type, content));
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((step, data)) = data.split_first() else { return };
    let pieces = parts(data, usize::from(*step) + 1).now_or_never().expect("nothing to wait for");
    let whole = parts(data, data.len().max(1)).now_or_never().expect("nothing to wait for");
    assert_eq!(pieces, whole);
});
