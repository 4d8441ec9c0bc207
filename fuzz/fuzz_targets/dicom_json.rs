//! DICOM JSON and the Native DICOM Model as clients send them: what is written of them can be read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qianli_model::dataset::{Limits, SliceSource};
use qianli_model::write::{Piece, Strictness, write};
use qianli_model::{TransferSyntax, json, xml};

fn check(text: &[u8]) {
    let Ok(object) = serde_json::from_slice(text) else { return };
    let limits = Limits::default();
    for strictness in [Strictness::Strict, Strictness::Lenient] {
        let Ok(written) = write(&object, &|_| None, &limits, strictness) else { continue };
        let mut bytes = Vec::new();
        for piece in written.pieces {
            match piece {
                Piece::Bytes(more) => bytes.extend(more),
                Piece::Part(part) => panic!("nobody gave us {part:?}"),
            }
        }
        let mut source = SliceSource::new(&bytes);
        json::document(&mut source, TransferSyntax::EXPLICIT_LITTLE, &limits)
            .expect("what we write can be read");
    }
}

fuzz_target!(|data: &[u8]| {
    check(data);
    if let Ok(json) = xml::to_json(data, &Limits::default()) {
        check(&json);
    }
});
