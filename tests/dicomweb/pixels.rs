//! Frames and rendered images (PS3.18 sections 10.4.1.1.6 and 10.4.1.1.3).

use crate::on_both_setups;
use crate::support::corpus::Corpus;
use crate::support::node::Node;
use crate::support::setup::Setup;
use crate::support::synth::{self, Instance, MULTI_FRAME_WORD, Place};
use crate::support::web::{Web, value};

on_both_setups! {
    /// Single frames, lists of frames, frames that are not there, in each form of Accept.
    frames_are_the_bytes_that_were_sent = frames;
    /// Encapsulated frames of the corpus come in their own syntax, whatever their offset tables say.
    encapsulated_frames_name_their_syntax = encapsulated;
}

const SIZE: usize = 16 * 16 * 2;

fn multi_frame(count: usize) -> (Instance, Vec<u8>) {
    let place = Place::new();
    let uid = synth::new_uid();
    let pixels = synth::noise(11, SIZE * count);
    let elements = synth::elements(&place, MULTI_FRAME_WORD, &uid)
        .text(0x0028_0008, "IS", &count.to_string())
        .text(0x0028_1050, "DS", "32768")
        .text(0x0028_1051, "DS", "65536");
    let elements = synth::image(elements, 16, 16, pixels.clone());
    (Instance::new(&place, MULTI_FRAME_WORD, &uid, &elements), pixels)
}

fn frames(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    let (instance, pixels) = multi_frame(9);
    web.stow_instance(&instance);
    let frame = |number: usize| &pixels[(number - 1) * SIZE..number * SIZE];
    let path = |list: &str| format!("{}/frames/{list}", instance.path());
    for accept in [
        "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*",
        "multipart/related; type=application/octet-stream; transfer-syntax=*",
        "multipart/related; type=\"application/octet-stream\"; transfer-syntax=\"*\"",
        "multipart/related; type=application/octet-stream",
        "multipart/related;type=application/octet-stream;transfer-syntax=1.2.840.10008.1.2.1",
        "*/*",
    ] {
        let answer = web.dicom(&path("5")).accept(accept).send_ok();
        let parts = answer.parts();
        assert_eq!(parts.len(), 1, "{accept}");
        assert!(parts[0].body == frame(5), "{accept}");
        let content_type = &parts[0].content_type;
        assert!(content_type.contains("application/octet-stream"), "{accept}: {content_type}");
    }
    for (list, numbers) in [("1,3", vec![1, 3]), ("9,1", vec![9, 1]), ("2,2", vec![2, 2])] {
        let parts = web.dicom(&path(list)).accept("multipart/related").send_ok().parts();
        assert_eq!(parts.len(), numbers.len(), "{list}");
        for (part, number) in parts.iter().zip(numbers) {
            assert!(part.body == frame(number), "{list}: frame {number}");
        }
    }
    for list in ["0", "10", "1,10", "4294967297"] {
        assert_eq!(web.dicom(&path(list)).send().status, 404, "frame {list}");
    }
    for list in ["x", "1,", "-1", "1;2"] {
        let status = web.dicom(&path(list)).send().status;
        assert!(status == 400 || status == 404, "frame {list}: {status}");
    }
    rendered(&web, &instance);
}

/// Rendered images open and have the right size; windows are applied.
fn rendered(web: &Web, instance: &Instance) {
    let cases: [(&str, &str, &[u8]); 4] = [
        ("/frames/3/rendered", "image/jpeg", &[0xFF, 0xD8]),
        ("/frames/3/rendered", "image/png", b"\x89PNG"),
        ("/rendered", "image/jpeg", &[0xFF, 0xD8]),
        ("/frames/3/rendered?accept=image/png", "application/x-other", b"\x89PNG"),
    ];
    for (tail, accept, magic) in cases {
        let answer = web.dicom(&format!("{}{tail}", instance.path())).accept(accept).send();
        assert_eq!(answer.status, 200, "{tail} {accept}: {}", answer.text());
        assert!(answer.header("Content-Type").starts_with("image/"), "{tail} {accept}");
        assert!(answer.body.starts_with(magic), "{tail} {accept}");
    }
    let window = |window: &str| {
        let path = format!("{}/frames/1/rendered?window={window}", instance.path());
        web.dicom(&path).accept("image/png").send_ok().body
    };
    assert_ne!(window("100,50,linear"), window("40000,30000,linear"), "the window has no effect");
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
        let accept = "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*";
        for number in 1..=count {
            let frame = web.get(&format!("{path}/frames/{number}")).accept(accept).send();
            assert_eq!(frame.status, 200, "{file} frame {number}: {}", frame.text());
            let parts = frame.parts();
            let part = &parts[0];
            assert!(
                part.content_type.contains(&entry.transfer_syntax),
                "{file}: {}",
                part.content_type
            );
            let start = &part.body[..part.body.len().min(4)];
            assert!(part.body.starts_with(magic), "{file} frame {number}: {start:02X?}");
        }
        let beyond = web.get(&format!("{path}/frames/{}", count + 1)).accept(accept).send();
        assert_eq!(beyond.status, 404, "{file}");
    }
}
