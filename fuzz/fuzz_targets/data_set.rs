//! Data sets in every transfer syntax, with file meta information: what is read becomes JSON that can
//! be read, and what is written of that can be read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qianli_model::dataset::{Limits, SliceSource};
use qianli_model::{InstanceHeader, TransferSyntax, file_meta, json, query, xml};

fn limits() -> Limits {
    Limits { max_inflated: 4 << 20, max_json: 4 << 20, ..Limits::default() }
}

fn read(data: &[u8], syntax: TransferSyntax) {
    let Ok(document) = json::document(&mut SliceSource::new(data), syntax, &limits()) else {
        return;
    };
    let text = std::str::from_utf8(&document.json).expect("JSON is UTF-8");
    serde_json::from_str::<serde_json::Value>(&text.replace('\u{1}', "")).expect("JSON");
    let mut out = Vec::new();
    xml::from_json(&document.json, "http://h/", &mut out).expect("XML of our JSON");
    let _ = query::stored::person_name(&document.json, qianli_model::tag::PATIENT_NAME);
    for value in &document.bulk {
        assert!(value.range.length > 0, "{value:?}");
    }
    if let Ok(header) = InstanceHeader::read(&mut SliceSource::new(data), syntax, &limits()) {
        assert_eq!(header.json, document.json, "both ways through a data set are one");
    }
}

fuzz_target!(|data: &[u8]| {
    if let Ok(meta) = file_meta::from_bytes(data)
        && let Some(syntax) = meta.transfer_syntax
        && let Some(rest) = usize::try_from(meta.data_set_offset).ok().and_then(|at| data.get(at..))
    {
        read(rest, syntax);
    }
    let Some((choice, data)) = data.split_first() else { return };
    let all: Vec<TransferSyntax> = TransferSyntax::all().collect();
    if let Some(syntax) = all.get(usize::from(*choice) % all.len()) {
        read(data, *syntax);
    }
});
