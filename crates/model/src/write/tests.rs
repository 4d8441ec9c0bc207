//! Data sets byte by byte, and back again through the reader.

use serde_json::{Map, Value, json};

use super::{Bulk, Part, Piece, Strictness, WriteError, Written, write};
use crate::TransferSyntax;
use crate::dataset::{Limits, SliceSource};
use crate::json::document;

fn object(json: Value) -> Map<String, Value> {
    match json {
        Value::Object(map) => map,
        _ => panic!("not an object"),
    }
}

fn try_write(json: Value, strictness: Strictness) -> Result<Written, WriteError> {
    let bulk = |uri: &str| match uri {
        "odd" => Some(Bulk::Plain(Part { name: 7, length: 3 })),
        "frames" => {
            let part = |name, length| Part { name, length };
            Some(Bulk::Frames(vec![part(0, 3), part(1, 4)]))
        }
        "huge" => {
            let part = |name| Part { name, length: 0x9000_0000 };
            Some(Bulk::Frames(vec![part(0), part(1), part(2)]))
        }
        "film" => Some(Bulk::Stream(Part { name: 9, length: 10 })),
        _ => None,
    };
    write(&object(json), &bulk, &Limits::default(), strictness)
}

/// The bytes after (0008,0005), with X for each byte of a bulk value.
fn bytes(json: Value) -> Vec<u8> {
    let written = try_write(json, Strictness::Strict).expect("a data set");
    let mut all = Vec::new();
    for piece in written.pieces {
        match piece {
            Piece::Bytes(bytes) => all.extend(bytes),
            Piece::Part(part) => all.extend(vec![b'X'; usize::try_from(part.length).unwrap()]),
        }
    }
    let charset = b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 192";
    assert!(all.starts_with(charset), "{all:x?}");
    all.split_off(charset.len())
}

fn fails(json: Value) -> String {
    try_write(json, Strictness::Strict).expect_err("an error").to_string()
}

#[test]
fn every_kind_of_value() {
    for (json, expected) in [
        (json!({"vr": "SH", "Value": ["A", null, "B"]}), b"SH\x04\x00A\\\\B".as_slice()),
        (json!({"vr": "LO", "Value": ["王"]}), b"LO\x04\x00\xe7\x8e\x8b "),
        (json!({"vr": "LO"}), b"LO\x00\x00"),
        (json!({"vr": "LO", "Value": []}), b"LO\x00\x00"),
        (json!({"vr": "UI", "Value": ["1.2"]}), b"UI\x04\x001.2\0"),
        (json!({"vr": "DS", "Value": [1.5, "2.50", 3]}), b"DS\x0a\x001.5\\2.50\\3"),
        (json!({"vr": "DS", "Value": [0.1234567890123456]}), b"DS\x10\x000.12345678901235"),
        (json!({"vr": "IS", "Value": [7.0, "-8"]}), b"IS\x04\x007\\-8"),
        (json!({"vr": "US", "Value": [1, "65535"]}), b"US\x04\x00\x01\x00\xff\xff"),
        (json!({"vr": "SS", "Value": [-2]}), b"SS\x02\x00\xfe\xff"),
        (json!({"vr": "UL", "Value": [4294967295u32]}), b"UL\x04\x00\xff\xff\xff\xff"),
        (json!({"vr": "SL", "Value": [-1]}), b"SL\x04\x00\xff\xff\xff\xff"),
        (
            json!({"vr": "UV", "Value": ["18446744073709551615"]}),
            b"UV\0\0\x08\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff",
        ),
        (
            json!({"vr": "SV", "Value": [-1]}),
            b"SV\0\0\x08\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff",
        ),
        (json!({"vr": "FL", "Value": [1.5]}), b"FL\x04\x00\x00\x00\xc0\x3f"),
        (json!({"vr": "FD", "Value": ["-inf"]}), b"FD\x08\x00\x00\x00\x00\x00\x00\x00\xf0\xff"),
        (
            json!({"vr": "AT", "Value": ["00280010", "7fe00010"]}),
            b"AT\x08\x00\x28\0\x10\0\xe0\x7f\x10\0",
        ),
        (json!({"vr": "OB", "InlineBinary": "AQID"}), b"OB\0\0\x04\x00\x00\x00\x01\x02\x03\x00"),
        (json!({"vr": "OW", "InlineBinary": "AQI="}), b"OW\0\0\x02\x00\x00\x00\x01\x02"),
        (json!({"vr": "UN"}), b"UN\0\0\x00\x00\x00\x00"),
        (json!({"vr": "UT", "Value": ["a\nb\\c"]}), b"UT\0\0\x06\x00\x00\x00a\nb\\c "),
        (json!({"vr": "UN", "BulkDataURI": "odd"}), b"UN\0\0\x04\x00\x00\x00XXX\0"),
    ] {
        let expected = [b"\x09\x00\x01\x10".as_slice(), expected].concat();
        assert_eq!(bytes(json!({"00091001": json})), expected, "{json}");
    }
}

#[test]
fn names_have_their_groups() {
    for (name, expected) in [
        (json!({"Alphabetic": "Wang^Wu", "Ideographic": "王^五"}), "Wang^Wu=王^五"),
        (json!({"Ideographic": "王^五"}), "=王^五"),
        (json!({"Alphabetic": "A", "Phonetic": "P"}), "A==P"),
        (json!("Doe^Jane"), "Doe^Jane"),
        (json!(null), ""),
    ] {
        let written = bytes(json!({"00100010": {"vr": "PN", "Value": [name]}}));
        let text = String::from_utf8(written[8..].to_vec()).unwrap();
        assert_eq!(text.trim_end(), expected);
        assert!(text.len().is_multiple_of(2));
    }
}

#[test]
fn sequences_private_blocks_and_the_order_of_tags() {
    let written = bytes(json!({
        "00400275": {"vr": "SQ", "Value": [
            {"00080005": {"vr": "CS", "Value": ["GB18030"]}, "00400009": {"vr": "SH", "Value": ["S1"]}},
            {},
            {"00400008": {"vr": "SQ"}},
        ]},
        "00020010": {"vr": "UI", "Value": ["1.2"]},
        "00080000": {"vr": "UL", "Value": [5]},
        "00091002": {"vr": "SH", "Value": ["xy"]},
        "00090010": {"vr": "LO", "Value": ["ACME"]},
        "00080005": {"vr": "CS", "Value": ["ISO_IR 100"]},
    }));
    let item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff".as_slice();
    let (item_end, end) =
        (b"\xfe\xff\x0d\xe0\0\0\0\0".as_slice(), b"\xfe\xff\xdd\xe0\0\0\0\0".as_slice());
    let expected = [
        b"\x09\x00\x10\x00LO\x04\x00ACME".as_slice(),
        b"\x09\x00\x02\x10SH\x02\x00xy",
        b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff",
        item,
        b"\x40\x00\x09\x00SH\x02\x00S1",
        item_end,
        item,
        item_end,
        item,
        b"\x40\x00\x08\x00SQ\0\0\xff\xff\xff\xff",
        end,
        item_end,
        end,
    ]
    .concat();
    assert_eq!(written, expected);
}

#[test]
fn frames_become_fragments_behind_an_offset_table() {
    let pixels = |uri: &str| bytes(json!({"7FE00010": {"vr": "OW", "BulkDataURI": uri}}));
    let expected = [
        b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff".as_slice(),
        b"\xfe\xff\x00\xe0\x08\0\0\0\0\0\0\0\x0c\0\0\0",
        b"\xfe\xff\x00\xe0\x04\0\0\0XXX\0",
        b"\xfe\xff\x00\xe0\x04\0\0\0XXXX",
        b"\xfe\xff\xdd\xe0\0\0\0\0",
    ]
    .concat();
    assert_eq!(pixels("frames"), expected);
    let expected = [
        b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff".as_slice(),
        b"\xfe\xff\x00\xe0\0\0\0\0",
        b"\xfe\xff\x00\xe0\x0a\0\0\0XXXXXXXXXX",
        b"\xfe\xff\xdd\xe0\0\0\0\0",
    ]
    .concat();
    assert_eq!(pixels("film"), expected);
}

#[test]
fn offsets_beyond_32_bits_get_the_extended_table() {
    let json = json!({"7FE00010": {"vr": "OB", "BulkDataURI": "huge"}});
    let written = try_write(json, Strictness::Strict).expect("a data set");
    let Some(Piece::Bytes(head)) = written.pieces.first() else { panic!("bytes") };
    let table = &head[18..];
    assert!(table.starts_with(b"\xe0\x7f\x01\x00OV\0\0\x18\0\0\0"), "{table:x?}");
    assert_eq!(table[12..36], [0u64, 0x9000_0008, 0x1_2000_0010].map(u64::to_le_bytes).concat());
    assert!(table[36..].starts_with(b"\xe0\x7f\x02\x00OV\0\0\x18\0\0\0"));
    assert!(
        table[72..].starts_with(b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\0\0\0\0")
    );
}

#[test]
fn what_is_wrong_is_named_by_its_path() {
    let inside = json!({"00081140": {"vr": "SQ", "Value": [{}, {"00280010": {"vr": "US", "Value": [70000]}}]}});
    assert_eq!(fails(inside), "00081140/1/00280010: a number does not fit into a US");
    for (json, part) in [
        (json!({"PatientName": {"vr": "PN"}}), "PatientName: not a tag"),
        (json!({"FFFEE000": {"vr": "OB"}}), "cannot stand"),
        (
            json!({"0008103e": {"vr": "LO"}, "0008103E": {"vr": "LO"}}),
            "0008103E: the attribute stands here twice",
        ),
        (json!({"00280010": {"vr": "XX"}}), "vr is not"),
        (json!({"00280010": 5}), "an attribute is an object"),
        (json!({"00280010": {"vr": "US", "Value": 5}}), "Value is an array"),
        (json!({"00280010": {"vr": "US", "Value": [1.5]}}), "a US is an integer"),
        (json!({"00280010": {"vr": "US", "InlineBinary": "AQID"}}), "not a multiple of 2"),
        (json!({"00280010": {"vr": "US", "Value": [1], "InlineBinary": "AQI="}}), "exclude"),
        (json!({"00080050": {"vr": "SH", "Value": ["a\u{1b}b"]}}), "control characters"),
        (json!({"00080050": {"vr": "SH", "Value": [5]}}), "is a string"),
        (json!({"00080050": {"vr": "SH", "Value": ["x".repeat(70_000)]}}), "longer than a SH"),
        (json!({"00102180": {"vr": "UT", "Value": ["a", "b"]}}), "has one value"),
        (json!({"00091001": {"vr": "OB", "InlineBinary": "A"}}), "not base64"),
        (json!({"00091001": {"vr": "OB", "InlineBinary": "A=QA"}}), "not base64"),
        (json!({"00091001": {"vr": "OB", "Value": [1]}}), "a OB has no Value"),
        (json!({"00091001": {"vr": "OB", "BulkDataURI": "absent"}}), "was not sent"),
        (json!({"00091001": {"vr": "OW", "BulkDataURI": "odd"}}), "not a multiple of 2"),
        (json!({"00091001": {"vr": "OB", "BulkDataURI": "frames"}}), "only pixel data"),
        (json!({"00400275": {"vr": "SQ", "Value": [5]}}), "00400275/0: an item is an object"),
        (json!({"00400275": {"vr": "SQ", "BulkDataURI": "odd"}}), "a sequence has no BulkDataURI"),
    ] {
        let message = fails(json);
        assert!(message.contains(part), "{message} / {part}");
    }
}

#[test]
fn nesting_and_number_of_elements_are_bounded() {
    let mut deep = json!({});
    for _ in 0..60 {
        deep = json!({"00400275": {"vr": "SQ", "Value": [deep]}});
    }
    assert!(fails(deep).contains("nested deeper"));
    let limits = Limits { max_elements: 2, ..Limits::default() };
    let many = object(json!({"00080050": {"vr": "SH"}, "00080060": {"vr": "CS"}}));
    let error = write(&many, &|_| None, &limits, Strictness::Lenient).expect_err("too many");
    assert!(error.reason.contains("more data elements"));
}

#[test]
fn lenient_writing_leaves_out_what_is_optional() {
    let json = json!({
        "00080060": {"vr": "CS", "Value": ["CT"]},
        "00180050": {"vr": "DS", "Value": [{}]},
        "00400275": {"vr": "SQ", "Value": [{"00280010": {"vr": "US", "Value": ["x"]}}]},
    });
    let written = try_write(json, Strictness::Lenient).expect("a data set");
    let messages: Vec<_> = written.discarded.iter().map(|w| w.message.as_str()).collect();
    assert_eq!(
        messages,
        ["00180050: a value of a DS is a string", "00400275/0/00280010: a US is an integer"]
    );
    for essential in ["00080018", "00280010", "00100020"] {
        let json = json!({essential: {"vr": "US", "Value": ["x"]}});
        assert!(try_write(json, Strictness::Lenient).is_err(), "{essential}");
    }
}

/// What our reader makes of it is what was written.
#[test]
fn writing_and_reading_meet() {
    let json = json!({
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00080018": {"vr": "UI", "Value": ["1.2.3"]},
        "00080060": {"vr": "CS", "Value": ["CT"]},
        "00081140": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2.4"]}}, {}]},
        "00091001": {"vr": "UN", "InlineBinary": "AQIDBA=="},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}]},
        "00181063": {"vr": "DS", "Value": [33.333333, -1e-10]},
        "00200013": {"vr": "IS", "Value": [12]},
        "00280009": {"vr": "AT", "Value": ["00181063", "00181065"]},
        "00720082": {"vr": "SV", "Value": [-5]},
        "00720083": {"vr": "UV", "Value": ["18446744073709551615"]},
        "00720074": {"vr": "FD", "Value": [1.25, "NaN"]},
        "00720066": {"vr": "LO", "Value": ["a", null, "c"]},
    });
    let written = try_write(json.clone(), Strictness::Strict).expect("a data set");
    let [Piece::Bytes(bytes)] = written.pieces.as_slice() else { panic!("one piece") };
    let mut source = SliceSource::new(bytes);
    let read = document(&mut source, TransferSyntax::EXPLICIT_LITTLE, &Limits::default());
    let read: Value = serde_json::from_slice(&read.expect("a document").json).expect("JSON");
    assert_eq!(read, json);
}
