//! Invariant 4: memory is bounded whatever clients do at once. Slow readers of huge frames, huge
//! pictures side by side, uploads that never end, headers that are as large as they may be.

use crate::support::data_set::{DataSet, header, part10};
use crate::support::heavy;
use crate::support::node::Node;
use crate::support::peer::EXPLICIT;
use crate::support::raw;
use crate::support::sample::{self, MemoryWatch};
use crate::support::setup::Setup;
use crate::support::synth::{self, Instance, MULTI_FRAME_BYTE, Place, RLE};
use crate::support::web::{content_type, part_head};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

/// Memory over rest that some work takes.
fn over_rest(node: &Node, what: &str, work: impl FnOnce()) -> u64 {
    let rest = sample::resident(node);
    let watch = MemoryWatch::start(node);
    let start = Instant::now();
    work();
    let over = watch.finish().saturating_sub(rest) / MIB;
    println!("{what}: {:.1} s, {over} MiB over rest", start.elapsed().as_secs_f64());
    over
}

/// A stored image of one frame of `side` x `side` pixels of 8 bits.
fn stored_square(node: &Node, side: u16) -> (Instance, Vec<u8>) {
    let (place, uid) = (Place::new(), synth::new_uid());
    let pixels: Vec<u8> =
        (0..u32::from(side) * u32::from(side)).map(|at| (at % 251) as u8).collect();
    let elements =
        synth::image(synth::elements(&place, MULTI_FRAME_BYTE, &uid), side, side, pixels.clone());
    let elements = elements.us(0x0028_0100, 8).us(0x0028_0101, 8).us(0x0028_0102, 7).text(
        0x0028_0008,
        "IS",
        "1",
    );
    let instance = Instance::new(&place, MULTI_FRAME_BYTE, &uid, &elements);
    node.web().stow_instance(&instance);
    (instance, pixels)
}

/// Clients that ask for something and then read nothing.
fn ask(node: &Node, clients: usize, path: &str, accept: &str) -> Vec<TcpStream> {
    let line = format!("GET /dicom-web{path}");
    let head = raw::head(node, &line, &[&format!("Accept: {accept}")]);
    let open = |_| {
        let mut stream = raw::connect(node);
        stream.write_all(&head).expect("ask");
        stream
    };
    (0..clients).map(open).collect()
}

#[test]
fn frames_are_not_held_for_slow_readers() {
    let _turn = heavy();
    let node = Node::plan(&Setup::Embedded).args(["--pixel-memory", "160MiB"]).start();
    let (instance, pixels) = stored_square(&node, 6_000);
    let path = format!("{}/frames/1", instance.path());
    let stored = "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*";
    let over = over_rest(&node, "60 slow readers of 36 MB", || {
        let mut readers = ask(&node, 60, &path, stored);
        thread::sleep(Duration::from_secs(2));
        // One of them wakes up, and gets all of it.
        let mut answer = Vec::new();
        readers[30].read_to_end(&mut answer).expect("the answer");

        // Behind the head of the answer and the head of its part.
        let windows = answer.windows(4).take(4_096).enumerate();
        let blank = windows.filter(|(_, bytes)| *bytes == b"\r\n\r\n").nth(1);
        let start = blank.expect("the part's content").0 + 4;
        assert!(answer.get(start..start + pixels.len()) == Some(&pixels[..]), "the frame differs");
    });
    assert!(over < 120, "stored frames: {over} MiB");

    // As RLE each takes 36 MB or so while it waits to be read, and more while it is made.
    let over = over_rest(&node, "8 slow readers of a transcoded frame", || {
        let rle = format!("multipart/related; type=\"image/dicom-rle\"; transfer-syntax={RLE}");
        let readers = ask(&node, 8, &path, &rle);
        thread::sleep(Duration::from_secs(5));
        drop(readers);
        // What they held is there for others at once.
        let answer = node.web().dicom(&path).accept(&rle).send();
        assert_eq!(answer.status, 200, "{}", answer.text());
    });
    assert!(over < 260, "transcoded frames: {over} MiB");
}

#[test]
fn pictures_wait_for_their_turn_and_the_largest_are_refused() {
    let _turn = heavy();
    let node = Node::plan(&Setup::Embedded).args(["--pixel-memory", "100MiB"]).start();
    let (instance, _) = stored_square(&node, 6_000);
    let path = instance.path();
    let over = over_rest(&node, "8 pictures of 36 MB", || {
        thread::scope(|scope| {
            for number in 0..8 {
                let (web, path) = (node.web(), &path);
                scope.spawn(move || {
                    let side = 200 + number;
                    let path = format!("{path}/rendered?viewport={side},{side}");
                    let answer = web.dicom(&path).accept("image/jpeg").send();
                    assert_eq!(answer.status, 200, "{}", answer.text());
                });
            }
        });
    });
    assert!(over < 200, "{over} MiB");

    let (larger, pixels) = stored_square(&node, 9_000);
    let answer = node.web().dicom(&format!("{}/rendered", larger.path())).send();
    assert_eq!(answer.status, 413, "{}", answer.text());
    assert!(answer.text().contains("pixel_memory"), "{}", answer.text());
    // As it is stored it can be had.
    let accept = "application/octet-stream; transfer-syntax=*";
    let answer = node.web().dicom(&format!("{}/frames/1", larger.path())).accept(accept).send_ok();
    assert!(answer.body == pixels);
}

#[test]
fn uploads_that_do_not_end_share_the_spool_memory() {
    let _turn = heavy();
    let node = Node::start(&Setup::Embedded);
    let place = Place::new();
    let instance = synth::ct(&place, 1, 8_000);
    let mut body = part_head("application/dicom");
    body.extend(instance.part10());
    let length = format!("Content-Length: {}", body.len() + 100);
    let kind = format!("Content-Type: {}", content_type());
    let half = body.get(..1_000_000).expect("two megabytes");
    let over = over_rest(&node, "300 half uploads", || {
        let mut open = Vec::new();
        for _ in 0..300 {
            let mut stream = raw::connect(&node);
            let head = raw::head(&node, "POST /dicom-web/studies", &[&kind, &length]);
            stream.write_all(&head).expect("a request");
            stream.write_all(half).expect("half a body");
            open.push(stream);
        }
        thread::sleep(Duration::from_secs(1));
        node.web().stow_instance(&synth::ct(&place, 2, 64));
    });
    assert!(over < 170, "{over} MiB");
}

#[test]
fn the_largest_headers_are_read_one_at_a_time() {
    let _turn = heavy();
    let node = Node::start(&Setup::Embedded);
    let many_fragments = || {
        let (place, uid) = (Place::new(), synth::new_uid());
        let elements =
            synth::image(synth::elements(&place, MULTI_FRAME_BYTE, &uid), 16, 16, Vec::new());
        let mut data_set = elements.without(synth::PIXEL_DATA).encode();
        header(&mut data_set, synth::PIXEL_DATA, b"OB", u32::MAX);
        for _ in 0..600_000 {
            data_set.extend([0xFE, 0xFF, 0x00, 0xE0, 2, 0, 0, 0, 1, 2]);
        }
        data_set.extend([0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
        part10(MULTI_FRAME_BYTE, &uid, RLE, &data_set)
    };
    let long_text = || {
        let (place, uid) = (Place::new(), synth::new_uid());
        let elements: DataSet = synth::elements(&place, MULTI_FRAME_BYTE, &uid);
        let elements = elements.bytes(0x0040_A160, "UT", vec![b'x'; 12_000_000]);
        part10(MULTI_FRAME_BYTE, &uid, EXPLICIT, &elements.encode())
    };
    let over = over_rest(&node, "12 of the largest headers", || {
        thread::scope(|scope| {
            for number in 0..12 {
                let web = node.web();
                let file = if number % 2 == 0 { many_fragments() } else { long_text() };
                scope.spawn(move || {
                    let answer = web.stow([file.as_slice()]);
                    assert!(matches!(answer.status, 200 | 202), "{}", answer.text());
                });
            }
            // Others do not wait for them.
            thread::sleep(Duration::from_millis(500));
            let start = Instant::now();
            node.web().stow_instance(&synth::ct(&Place::new(), 1, 64));
            let waited = start.elapsed();
            assert!(waited < Duration::from_secs(5), "a small one waited {waited:?}");
        });
    });
    assert!(over < 400, "{over} MiB");
}

#[test]
fn warnings_do_not_grow_with_the_request() {
    let node = Node::start(&Setup::Embedded);
    let unknown: Vec<String> = (0..3_000).map(|number| format!("nothing{number}=1")).collect();
    let answer = node.web().dicom(&format!("/studies?{}", unknown.join("&"))).send_ok();
    let warnings: Vec<_> = answer.headers.get_all("Warning").iter().collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let text = answer.header("Warning");
    assert!(text.contains("nothing0") && text.contains("and 2996 more"), "{text}");
}
