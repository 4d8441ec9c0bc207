//! Lines 35 to 40: bulk data, unusual values, offset tables, frames, colours, rendering.

use super::http::FRAME_FORMS;
use crate::on_both_setups;
use crate::support::clients;
use crate::support::corpus::Corpus;
use crate::support::data_set::{DataSet, part10};
use crate::support::node::Node;
use crate::support::peer::EXPLICIT;
use crate::support::sample::{self, MemoryWatch};
use crate::support::setup::Setup;
use crate::support::synth::{
    self, BigObject, CT, Encapsulated, Instance, JPEG_2000, MULTI_FRAME_WORD, Place, RLE,
};
use crate::support::web::{Web, value};
use crate::support::{eventually, heavy};
use std::fs;
use std::io::{Cursor, Read};
use std::time::Duration;

on_both_setups! {
    /// Every BulkDataURI of the corpus gives the value in the file, in bounded memory.
    gotcha_35_every_bulk_data_uri = bulk_data;
    /// UN, empty items, 64 bit VRs and several tags in one value survive into metadata.
    gotcha_36_unusual_values = unusual_values;
    /// Each frame is found whatever the offset tables say or leave out.
    gotcha_37_offset_tables_of_every_kind = offset_tables;
    /// Encapsulated frames of the corpus come in their own syntax.
    gotcha_37_encapsulated_frames_of_the_corpus = encapsulated;
    /// Lists of frames, frames that are not there.
    gotcha_38_frame_lists = frame_lists;
}

const AS_STORED: &str = FRAME_FORMS[0];

fn bulk_data(setup: &Setup) {
    let Some(corpus) = Corpus::open() else { return };
    let node = Node::start(setup);
    let idle = sample::resident(&node);
    let watch = MemoryWatch::start(&node);
    let folder = corpus.folder.to_string_lossy();
    if let Some(ran) = clients::python(&node, "bulkdata.py", &[&folder]) {
        println!("{}", ran.ok());
    }
    let over = watch.finish().saturating_sub(idle);
    println!("{} MiB over idle", over >> 20);
    assert!(over < 150 << 20, "{over} bytes over idle");
}

/// Behind a proxy the URIs start with what the proxy is called.
#[test]
fn gotcha_35_bulk_data_behind_a_proxy() {
    let public = "https://pacs.example/imaging";
    let node = Node::plan(&Setup::Embedded).args(["--public-url", public]).start();
    let instance = synth::ct(&Place::new(), 1, 64);
    node.web().stow_instance(&instance);
    let metadata = node.web().json(&format!("{}/metadata", instance.path())).remove(0);
    let uri = metadata["7FE00010"]["BulkDataURI"].as_str().expect("a URI").to_owned();
    let path = uri.strip_prefix(public).unwrap_or_else(|| panic!("{uri}"));
    let answer = node.web().get(path).accept("application/octet-stream").send_ok();
    assert!(instance.data_set.ends_with(&answer.body) && answer.body.len() == 64 * 256);
}

fn unusual_values(setup: &Setup) {
    let node = Node::start(setup);
    let place = Place::new();
    let uid = synth::new_uid();
    let large = (1_u64 << 60) + 3;
    let elements = synth::elements(&place, CT, &uid)
        .bytes(0x0028_0009, "AT", [0x18_u16, 0x1063, 0x54, 0x10].map(u16::to_le_bytes).concat())
        .text(0x0099_0010, "LO", "QIANLI TEST")
        .bytes(0x0099_1001, "UN", vec![9, 8, 7, 6])
        .bytes(0x0099_1002, "UV", large.to_le_bytes().to_vec())
        .bytes(0x0099_1003, "SV", (-5_i64).to_le_bytes().to_vec())
        .bytes(0x0099_1004, "OV", large.to_le_bytes().to_vec())
        .bytes(0x0099_1005, "FD", [1.5_f64, -0.25].map(f64::to_le_bytes).concat())
        .bytes(0x0099_1006, "FL", f32::NAN.to_le_bytes().to_vec())
        .text(0x0099_1007, "UC", "unlimited characters")
        .text(0x0099_1008, "UR", "http://example.org/a?b=1")
        .text(0x0099_1009, "UT", "several\r\nlines")
        .sequence(0x0008_1140, &[])
        .sequence(0x0040_A730, &[DataSet::default(), DataSet::default()]);
    let instance = Instance::new(&place, CT, &uid, &synth::image(elements, 4, 4, vec![0; 32]));
    node.web().stow_instance(&instance);
    let row = node.web().json(&format!("{}/metadata", instance.path())).remove(0);
    for (tag, expected) in [
        ("00280009", r#"{"vr":"AT","Value":["00181063","00540010"]}"#),
        ("00991001", r#"{"vr":"UN","InlineBinary":"CQgHBg=="}"#),
        ("00991004", r#"{"vr":"OV","InlineBinary":"AwAAAAAAABA="}"#),
        ("00991005", r#"{"vr":"FD","Value":[1.5,-0.25]}"#),
        ("00991007", r#"{"vr":"UC","Value":["unlimited characters"]}"#),
        ("00991008", r#"{"vr":"UR","Value":["http://example.org/a?b=1"]}"#),
        ("00991009", r#"{"vr":"UT","Value":["several\r\nlines"]}"#),
    ] {
        let expected: serde_json::Value = serde_json::from_str(expected).expect("JSON");
        assert_eq!(row[tag], expected, "{tag}");
    }
    // 64 bit numbers are numbers or, since JSON readers round them, strings (PS3.18 F.2.3.1).
    for (tag, number) in [("00991002", large.to_string()), ("00991003", "-5".to_owned())] {
        assert_eq!(value(&row, tag), number, "{tag}");
    }
    assert_eq!(row["00081140"]["vr"], "SQ");
    let items = row["0040A730"]["Value"].as_array().expect("items");
    assert_eq!(items.len(), 2, "empty items are items");
    assert_eq!(row["00991006"]["vr"], "FL", "a value that is no number keeps its element");
    assert!(node.web().file(&instance).ends_with(&instance.data_set));
}

/// Stores encapsulated pixels and compares each frame, as stored, with the joined fragments it
/// must be. `None` for a frame that nobody can tell: it must be a clear error, not a guess.
#[track_caller]
fn check_frames(web: &Web, what: &str, pixels: &Encapsulated<'_>, expected: &[Option<Vec<u8>>]) {
    let (instance, file) = pixels.file();
    let answer = web.stow([file.as_slice()]);
    assert!(matches!(answer.status, 200 | 202), "{what}: {}", answer.text());
    for (index, expected) in expected.iter().enumerate() {
        let path = format!("{}/frames/{}", instance.path(), index + 1);
        let answer = web.dicom(&path).accept(AS_STORED).send();
        match expected {
            Some(bytes) => {
                assert_eq!(answer.status, 200, "{what}, frame {}: {}", index + 1, answer.text());
                let part = answer.parts().remove(0);
                assert!(part.body == *bytes, "{what}: frame {} differs", index + 1);
                assert!(part.content_type.contains(pixels.syntax), "{what}: {}", part.content_type);
            }
            None => {
                let status = answer.status;
                assert!((400..500).contains(&status), "{what}, frame {}: {status}", index + 1);
            }
        }
    }
    let beyond = format!("{}/frames/{}", instance.path(), expected.len() + 1);
    assert_eq!(web.dicom(&beyond).accept(AS_STORED).send().status, 404, "{what}");
    // Whatever the table says, the object itself is kept as it came.
    assert!(web.file(&instance).ends_with(&instance.data_set), "{what}");
}

fn offset_tables(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    let frames: Vec<Vec<u8>> = (1..=4).map(|seed| synth::rle_frame(seed).1).collect();
    let all = |frames: &[Vec<u8>]| frames.iter().cloned().map(Some).collect::<Vec<_>>();
    let whole = Encapsulated {
        syntax: RLE,
        frames: 4,
        fragments: frames.clone(),
        ..Encapsulated::default()
    };
    let starts = whole.starts();
    check_frames(&web, "an empty table", &whole, &all(&frames));
    let right = Encapsulated { table: starts.clone(), ..whole.clone() };
    check_frames(&web, "a right table", &right, &all(&frames));
    for (what, table) in [
        ("a table of offsets beyond the end", vec![0, 90_000, 180_000, 4_000_000_000]),
        ("a table of offsets between fragments", starts.iter().map(|at| at + 3).collect()),
        (
            "a table counted from the first byte of the value",
            starts.iter().map(|at| at + 8).collect(),
        ),
        ("a table in falling order", starts.iter().rev().copied().collect()),
        ("a table that is too short", starts[..2].to_vec()),
        ("a table that is too long", [&starts[..], &[7, 9]].concat()),
        ("a table of zeros", vec![0; 4]),
    ] {
        check_frames(&web, what, &Encapsulated { table, ..whole.clone() }, &all(&frames));
    }
    let lengths: Vec<u64> = frames.iter().map(|frame| frame.len() as u64).collect();
    let offsets: Vec<u64> = starts.iter().map(|at| u64::from(*at)).collect();
    let extended = Some((offsets.clone(), lengths.clone()));
    check_frames(
        &web,
        "an extended table",
        &Encapsulated { extended, ..whole.clone() },
        &all(&frames),
    );
    let wild = Some((vec![u64::MAX; 4], vec![u64::MAX; 4]));
    let wild = Encapsulated { extended: wild, ..whole.clone() };
    check_frames(&web, "a wild extended table", &wild, &all(&frames));

    // Codestreams in several fragments: JPEG 2000 starts with SOC and SIZ and ends with EOC.
    let stream = |seed: u64| {
        let middle: Vec<u8> = synth::noise(seed, 500).iter().map(|byte| byte & 0x7F).collect();
        [&[0xFF, 0x4F, 0xFF, 0x51][..], &middle, &[0xFF, 0xD9]].concat()
    };
    let streams: Vec<Vec<u8>> = (1..=3).map(stream).collect();
    let cut = |stream: &Vec<u8>| stream.chunks(170).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let fragments: Vec<Vec<u8>> = streams.iter().flat_map(cut).collect();
    let per_frame = cut(&streams[0]).len();
    let split = Encapsulated { syntax: JPEG_2000, frames: 3, fragments, ..Encapsulated::default() };
    let table = split.starts().into_iter().step_by(per_frame).collect();
    check_frames(
        &web,
        "many fragments per frame, a right table",
        &Encapsulated { table, ..split.clone() },
        &all(&streams),
    );
    check_frames(&web, "many fragments per frame, no table", &split, &all(&streams));
    let table = vec![0, 11, 13];
    let wrong = Encapsulated { table, ..split.clone() };
    check_frames(&web, "many fragments per frame, a wrong table", &wrong, &all(&streams));
    let one = Encapsulated {
        syntax: JPEG_2000,
        frames: 1,
        fragments: cut(&streams[0]),
        ..Encapsulated::default()
    };
    check_frames(&web, "one frame in many fragments", &one, &all(&streams[..1]));

    // Fewer and more frames than the header says.
    let lost = Encapsulated { fragments: frames[..3].to_vec(), ..whole.clone() };
    let there = [all(&frames[..3]), vec![None]].concat();
    check_frames(&web, "a frame is missing", &lost, &there);
    let more = Encapsulated { frames: 3, ..whole };
    // What is there beyond the claimed number is not thrown away.
    check_frames(&web, "a fragment too many", &more, &all(&frames));
}

fn encapsulated(setup: &Setup) {
    let Some(corpus) = Corpus::open() else { return };
    let node = Node::start(setup);
    let web = node.web();
    // (file, first bytes of each frame)
    let rle: &[u8] = &[2, 0, 0, 0];
    let cases: [(&str, &[u8]); 5] = [
        ("synthetic/ext_offset_table.dcm", rle),
        ("synthetic/frag4_bot.dcm", &[0xFF, 0x4F]),
        ("dicomparser/CT0012.fragmented_no_bot_jpeg_ls.80.dcm", &[0xFF, 0xD8]),
        ("cornerstone/CT1_J2KR", &[0xFF, 0x4F]),
        ("synthetic/ct-rle_000.dcm", rle),
    ];
    for (file, magic) in cases {
        let Some(entry) = corpus.entries.iter().find(|entry| entry.file == file) else {
            panic!("{file} is not in the corpus");
        };
        let answer = web.stow([entry.bytes().as_slice()]);
        assert_eq!(answer.status, 200, "{file}: {}", answer.text());
        let reference = answer.json()["00081199"]["Value"][0].clone();
        let url = value(&reference, "00081190");
        let path = url.strip_prefix(node.http()).expect("a URL of this node").to_owned();
        let metadata = web.get(&format!("{path}/metadata")).send_ok().json_array().remove(0);
        let count = value(&metadata, "00280008").parse().unwrap_or(1);
        for number in 1..=count {
            let frame = web.get(&format!("{path}/frames/{number}")).accept(AS_STORED).send();
            assert_eq!(frame.status, 200, "{file} frame {number}: {}", frame.text());
            let part = frame.parts().remove(0);
            let kind = &part.content_type;
            assert!(kind.contains(&entry.transfer_syntax), "{file}: {kind}");
            let start = &part.body[..part.body.len().min(4)];
            assert!(part.body.starts_with(magic), "{file} frame {number}: {start:02X?}");
        }
    }
}

const SIZE: usize = 16 * 16 * 2;

fn frame_lists(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    let place = Place::new();
    let uid = synth::new_uid();
    let pixels = synth::noise(11, SIZE * 9);
    let elements = synth::elements(&place, MULTI_FRAME_WORD, &uid).text(0x0028_0008, "IS", "9");
    let elements = synth::image(elements, 16, 16, pixels.clone());
    let instance = Instance::new(&place, MULTI_FRAME_WORD, &uid, &elements);
    web.stow_instance(&instance);
    let frame = |number: usize| &pixels[(number - 1) * SIZE..number * SIZE];
    let path = |list: &str| format!("{}/frames/{list}", instance.path());
    for accept in FRAME_FORMS.iter().chain(&["*/*"]) {
        let parts = web.dicom(&path("5")).accept(accept).send_ok().parts();
        assert!(parts.len() == 1 && parts[0].body == frame(5), "{accept}");
    }
    for (list, numbers) in [
        ("1,3", vec![1, 3]),
        ("1%2C3", vec![1, 3]),
        ("9,1", vec![9, 1]),
        ("2,2", vec![2, 2]),
        ("1,2,3,4,5,6,7,8,9", (1..=9).collect()),
    ] {
        let parts = web.dicom(&path(list)).accept("multipart/related").send_ok().parts();
        assert_eq!(parts.len(), numbers.len(), "{list}");
        for (part, number) in parts.iter().zip(numbers) {
            assert!(part.body == frame(number), "{list}: frame {number}");
        }
    }
    for list in ["0", "10", "1,10", "0,1", "4294967297", "18446744073709551617"] {
        assert_eq!(web.dicom(&path(list)).send().status, 404, "frame {list}");
    }
    for list in ["x", "1,", "-1", "1;2", ",", "1.0"] {
        let status = web.dicom(&path(list)).send().status;
        assert!(status == 400 || status == 404, "frame {list}: {status}");
    }
}

/// Big endian is swapped, and colours are what the header says of them after transcoding.
#[test]
fn gotcha_39_byte_order_and_photometric_interpretation() {
    let Some(corpus) = Corpus::open() else { return };
    let node = Node::start(&Setup::Embedded);
    if let Some(ran) = clients::python(&node, "photometric.py", &[&corpus.folder.to_string_lossy()])
    {
        println!("{}", ran.ok());
    }
}

/// Palettes, LUTs, windows, MONOCHROME1, one bit, PDF, SR, video: beside pydicom's own look-ups.
#[test]
fn gotcha_40_rendering() {
    let Some(corpus) = Corpus::open() else { return };
    let node = Node::start(&Setup::Embedded);
    if let Some(ran) = clients::python(&node, "rendered.py", &[&corpus.folder.to_string_lossy()]) {
        println!("{}", ran.ok());
    }
}

/// The kernel says how much the node read for one frame of a 64 MiB object.
#[test]
fn gotcha_38_a_frame_does_not_read_the_instance() {
    let _turn = heavy();
    let node = Node::start(&Setup::Embedded);
    let object = BigObject::new(128);
    let meta = part10(MULTI_FRAME_WORD, &object.head.uid, EXPLICIT, &[]);
    let length = meta.len() as u64 + object.length();
    let answer = node.web().stow_stream(Cursor::new(meta).chain(object.clone()), length);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let read = || {
        let text = fs::read_to_string(format!("/proc/{}/io", node.pid())).expect("the io counters");
        let line = text.lines().find_map(|line| line.strip_prefix("rchar: ").map(str::to_owned));
        line.and_then(|count| count.parse::<u64>().ok()).expect("rchar")
    };
    // Whatever the store does afterwards is over before the counting starts.
    let mut before = read();
    eventually("the node is at rest", Duration::from_secs(20), || {
        std::thread::sleep(Duration::from_millis(300));
        let now = read();
        let quiet = now - before < 1 << 16;
        before = now;
        quiet.then_some(())
    });
    for number in [1, 64, 128] {
        let path = format!("{}/frames/{number}", object.head.path());
        let answer = node.web().dicom(&path).accept("application/octet-stream").send_ok();
        assert!(answer.body == object.frame(number), "frame {number}");
    }
    let cost = read() - before;
    println!("{cost} bytes read for three frames of {} bytes", synth::FRAME);
    assert!(cost < 4 << 20, "{cost} bytes read for three frames of {} bytes", synth::FRAME);
}
