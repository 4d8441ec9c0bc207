//! Objects far larger than the memory a connection may use: stored, read whole and read by frame.

use crate::support::clients;
use crate::support::data_set::part10;
use crate::support::node::{AE, Node};
use crate::support::peer::{EXPLICIT, Peer};
use crate::support::sample::{self, MemoryWatch};
use crate::support::setup::Setup;
use crate::support::synth::{BigObject, FRAME, MULTI_FRAME_WORD};
use crate::support::{heavy, keep};
use std::io::{Cursor, Read};
use std::time::Instant;

/// How much more than idle a node may need, whatever the size of the object.
const ALLOWANCE: u64 = 150_000_000;

/// 1 GiB in 2,048 frames.
#[test]
fn one_gigabyte_on_the_embedded_setup() {
    if let Some(setup) = Setup::embedded() {
        stays_within_bounds(&setup, 2048);
    }
}

/// 200 MiB in 400 frames: enough for many parts of a multipart upload.
#[test]
fn two_hundred_megabytes_on_the_cloud_setup() {
    if let Some(setup) = Setup::cloud() {
        stays_within_bounds(&setup, 400);
    }
}

fn stays_within_bounds(setup: &Setup, frames: u32) {
    let _turn = heavy();
    let node = Node::start(setup);
    let idle = sample::resident(&node);
    let mut figures = format!("{}, {} MiB in {frames} frames\n", setup.name(), frames / 2);
    let mut measure = |what: &str, work: &mut dyn FnMut()| {
        let watch = MemoryWatch::start(&node);
        let start = Instant::now();
        work();
        let seconds = start.elapsed().as_secs_f64();
        let over = watch.finish().saturating_sub(idle);
        let line = format!("{what}: {seconds:.3} s, {:.1} MB over idle", over as f64 / 1e6);
        println!("{line}");
        figures += &format!("{line}\n");
        assert!(over < ALLOWANCE, "{line}");
    };

    let by_store = BigObject::new(frames);
    measure("C-STORE", &mut || store(&node, &by_store));
    let by_stow = BigObject::new(frames);
    measure("STOW-RS", &mut || stow(&node, &by_stow));
    for (route, object) in [("C-STORE", &by_store), ("STOW-RS", &by_stow)] {
        let middle = frames / 2 + 1;
        measure(&format!("frame {middle} (stored by {route})"), &mut || {
            check_frame(&node, object, middle);
        });
        measure(&format!("whole object (stored by {route})"), &mut || check_whole(&node, object));
    }
    if clients::has_dcmtk() {
        measure("C-GET", &mut || get(&node, &by_store));
    }
    keep(&format!("large-{}.txt", setup.name()), &figures);
}

/// DCMTK takes the object over the association that asks for it, and keeps nothing.
fn get(node: &Node, object: &BigObject) {
    let key = format!("SOPInstanceUID={}", object.head.uid);
    let options = ["-v", "-S", "--ignore", "-k", "QueryRetrieveLevel=IMAGE", "-k", &key];
    let words = clients::dcmtk(node, "getscu", &options, &[]).ok();
    assert!(words.contains("Number of Completed Suboperations : 1"), "{words}");
}

fn store(node: &Node, object: &BigObject) {
    let offers = [(MULTI_FRAME_WORD, &[EXPLICIT][..])];
    let mut peer = Peer::associate(node.dimse(), AE, "LARGE", &offers).expect("associate");
    let context = peer.context(MULTI_FRAME_WORD, EXPLICIT).expect("an accepted context");
    let (uid, length) = (object.head.uid.clone(), object.length());
    let answer = peer
        .store_stream(context, MULTI_FRAME_WORD, &uid, &mut object.clone(), length)
        .expect("store");
    assert_eq!(answer.status, 0, "{}", answer.comment);
    peer.release().expect("release");
}

fn stow(node: &Node, object: &BigObject) {
    let meta = part10(MULTI_FRAME_WORD, &object.head.uid, EXPLICIT, &[]);
    let length = meta.len() as u64 + object.length();
    let answer = node.web().stow_stream(Cursor::new(meta).chain(object.clone()), length);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn check_frame(node: &Node, object: &BigObject, number: u32) {
    let path = format!("{}/frames/{number}", object.head.path());
    let accept = "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*";
    let answer = node.web().dicom(&path).accept(accept).send_ok();
    // Compared without parsing half a megabyte byte by byte.
    let frame = object.frame(number);
    let start = answer.body.windows(4).position(|w| w == b"\r\n\r\n").map_or(0, |at| at + 4);
    assert!(answer.body.get(start..start + FRAME) == Some(frame), "frame {number} differs");
}

fn check_whole(node: &Node, object: &BigObject) {
    let accept = "application/dicom; transfer-syntax=*";
    let mut body = node.web().dicom(&object.head.path()).accept(accept).stream();
    assert_eq!(body.status(), 200);
    // The file meta information in front is the node's own; the data set follows it.
    let mut meta = [0; 144];
    body.read_exact(&mut meta).expect("the file meta information");
    assert_eq!(&meta[128..132], b"DICM");
    let rest = u32::from_le_bytes([meta[140], meta[141], meta[142], meta[143]]);
    body.read_exact(&mut vec![0; rest as usize]).expect("the rest of the meta information");
    let mut expected = object.clone();
    let (mut ours, mut theirs) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut left = object.length();
    while left > 0 {
        let count = left.min(1 << 20) as usize;
        expected.read_exact(&mut ours[..count]).expect("the generator");
        body.read_exact(&mut theirs[..count]).expect("the object");
        assert!(ours[..count] == theirs[..count], "differs within {left} bytes of the end");
        left -= count as u64;
    }
    assert_eq!(body.read(&mut [0; 1]).expect("the end"), 0, "more came than was sent");
}
