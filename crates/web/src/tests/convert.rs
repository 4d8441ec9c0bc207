//! Objects in other transfer syntaxes than the stored one, and as zip archives.

use std::io::{Cursor, Read};

use axum::http::{Method, header};
use qianli_model::dataset::{InflateSource, Limits, SliceSource, Source};
use qianli_model::{InstanceHeader, TransferSyntax, file_meta};
use serde_json::Value;

use super::data::{self, Instance, Pixels};
use super::node::Node;

const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
const JPEG: &str = "1.2.840.10008.1.2.4.50";
const MPEG: &str = "1.2.840.10008.1.2.4.102";

fn accept(syntaxes: &[&str]) -> String {
    let one = |syntax: &&str| {
        format!("multipart/related; type=\"application/dicom\"; transfer-syntax={syntax}")
    };
    syntaxes.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Transfer syntax by the file meta information, and the data set.
fn split(file: &[u8]) -> (&'static str, Vec<u8>) {
    let meta = file_meta::from_bytes(file).expect("a DICOM file");
    let syntax = meta.transfer_syntax.expect("a known syntax");
    (syntax.uid(), file[meta.data_set_offset as usize..].to_vec())
}

fn header(syntax: &str, data_set: &[u8]) -> InstanceHeader {
    let syntax = TransferSyntax::from_uid(syntax).expect("a known syntax");
    InstanceHeader::read(&mut SliceSource::new(data_set), syntax, &Limits::default())
        .expect("a readable header")
}

/// The data set that the instance would have in Explicit VR Little Endian.
fn explicit(instance: &Instance) -> Vec<u8> {
    split(&Instance { syntax: data::EXPLICIT, ..instance.clone() }.file()).1
}

fn with_words(syntax: &'static str, number: u32) -> Instance {
    let mut instance = Instance::new(1, 1, number);
    instance.syntax = syntax;
    instance.pixels = Pixels::Words(vec![[1, 2, 3, 0x1234], [5, 6, 7, 8]]);
    instance.private_bytes = 9;
    instance
}

#[tokio::test]
async fn without_a_syntax_everything_native_is_explicit_little_endian() {
    let node = Node::start().await;
    let all = [
        with_words(data::EXPLICIT, 1),
        with_words(data::IMPLICIT, 2),
        with_words(data::BIG_ENDIAN, 3),
    ];
    node.store(&all).await;
    for asked in ["multipart/related; type=\"application/dicom\"", "*/*", "", "multipart/*"] {
        let answer = node.get_as("/dicom-web/studies/1.2.826.1", asked).await;
        assert_eq!(answer.status, 200, "{asked}");
        let parts = answer.parts();
        assert_eq!(parts.len(), 3, "{asked}");
        for ((head, part), instance) in parts.iter().zip(&all) {
            assert!(head.contains("transfer-syntax=1.2.840.10008.1.2.1\r\n"), "{head}");
            let (syntax, data_set) = split(part);
            assert_eq!(syntax, data::EXPLICIT, "{}", instance.syntax);
            // In implicit VR the representation of a private value is lost.
            if instance.syntax == data::IMPLICIT {
                let frames = header(syntax, &data_set).frames;
                assert_eq!(frames, header(syntax, &explicit(instance)).frames);
            } else {
                assert_eq!(data_set, explicit(instance), "{}", instance.syntax);
            }
        }
    }
}

#[tokio::test]
async fn any_syntax_means_the_stored_bytes() {
    for syntax in [data::IMPLICIT, data::BIG_ENDIAN, data::EXPLICIT] {
        let node = Node::start().await;
        let instance = with_words(syntax, 1);
        node.store(std::slice::from_ref(&instance)).await;
        let listed = accept(&[MPEG, data::EXPLICIT, syntax]);
        for asked in [accept(&["*"]), accept(&["\"*\""]), listed, accept(&[syntax])] {
            let parts = node.get_as(&instance.path(), &asked).await.parts();
            assert_eq!(split(&parts[0].1), split(&instance.file()), "{asked}");
        }
    }
}

#[tokio::test]
async fn compressed_objects_are_decoded_by_default_and_others_compressed_on_request() {
    let node = Node::start().await;
    let mut stored = Instance::new(1, 1, 1);
    stored.syntax = data::RLE;
    let frames = vec![data::rle_frame([1, 2, 3, 4]), data::rle_frame([5, 6, 7, 8])];
    stored.pixels = Pixels::Fragments(frames);
    node.store(std::slice::from_ref(&stored)).await;

    let native = node.get_as(&stored.path(), "application/dicom").await;
    assert!(native.header("content-type").ends_with("transfer-syntax=1.2.840.10008.1.2.1"));
    let (syntax, data_set) = split(&native.body);
    assert_eq!(syntax, data::EXPLICIT);
    assert!(data_set.ends_with(&[b'O', b'B', 0, 0, 8, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]));
    let decoded = header(syntax, &data_set);
    assert_eq!(decoded.sop_instance_uid.as_str(), stored.uid, "lossless: the same instance");
    assert_eq!(decoded.frames.count(), 2);

    // And back: what was decoded is stored under another UID, and asked for compressed.
    let mut other = Instance::new(2, 1, 1);
    other.pixels = Pixels::Words(vec![[1, 2, 3, 4], [0xABCD, 6, 7, 8]]);
    node.store(std::slice::from_ref(&other)).await;
    let answer = node.get_as(&other.path(), &accept(&[MPEG, data::RLE])).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let (head, part) = answer.parts().remove(0);
    assert!(head.contains(&format!("transfer-syntax={}\r\n", data::RLE)), "{head}");
    let (syntax, data_set) = split(&part);
    assert_eq!(syntax, data::RLE);
    let encoded = header(syntax, &data_set);
    assert_eq!(encoded.frames.count(), 2);
    let ranges = encoded.frames.frame(2).expect("a second frame");
    let frame = &data_set[ranges[0].offset as usize..][..ranges[0].length as usize];
    let rle = TransferSyntax::from_uid(data::RLE).expect("a syntax");
    let json: Vec<u8> = encoded.json.iter().copied().filter(|byte| *byte != 1).collect();
    let pixels = qianli_imaging::decode(&json, rle, frame, 0).expect("an RLE frame");
    assert_eq!(pixels, [0xCD, 0xAB, 6, 0, 7, 0, 8, 0]);
}

#[tokio::test]
async fn deflated_on_request() {
    let node = Node::start().await;
    let instance = with_words(data::BIG_ENDIAN, 1);
    node.store(std::slice::from_ref(&instance)).await;
    let parts = node.get_as(&instance.path(), &accept(&[DEFLATED])).await.parts();
    let (syntax, deflated) = split(&parts[0].1);
    assert_eq!(syntax, DEFLATED);
    let expected = explicit(&instance);
    let mut source = InflateSource::new(deflated.as_slice(), 1 << 20);
    let mut inflated = vec![0; expected.len()];
    source.read_exact(&mut inflated).expect("as much as was deflated");
    assert_eq!((inflated, source.remaining()), (expected, Some(0)));
}

#[tokio::test]
async fn packed_bits_are_packed_again() {
    let node = Node::start().await;
    let mut instance = Instance::new(1, 1, 1);
    let packed = vec![0b1001_1101, 0b0000_0001];
    instance.pixels = Pixels::Bits { frames: 3, packed: packed.clone() };
    node.store(std::slice::from_ref(&instance)).await;
    let uncompressed = "1.2.840.10008.1.2.1.98";
    let parts = node.get_as(&instance.path(), &accept(&[uncompressed])).await.parts();
    let (syntax, data_set) = split(&parts[0].1);
    assert_eq!(syntax, uncompressed);
    assert_eq!(header(syntax, &data_set).frames.count(), 3);
    // Stored like this, it comes back as one value without gaps.
    let other = Node::start().await;
    assert_eq!(other.post("/dicom-web/studies", &[parts[0].1.clone()]).await.status, 200);
    let native = other.get_as(&instance.path(), "application/dicom").await;
    assert_eq!(split(&native.body), (data::EXPLICIT, explicit(&instance)));
}

#[tokio::test]
async fn what_cannot_be_decoded_comes_as_stored_unless_that_is_refused() {
    let node = Node::start().await;
    let mut instance = Instance::new(1, 1, 1);
    instance.syntax = data::J2K;
    instance.pixels = Pixels::Fragments(vec![vec![0xFF, 0x4F, 0xFF, 0x51]]);
    let mut video = Instance::new(1, 1, 2);
    video.syntax = MPEG;
    video.pixels = Pixels::Fragments(vec![vec![0, 0, 1, 0xB3]]);
    node.store(&[instance.clone(), video.clone()]).await;
    for stored in [&instance, &video] {
        let single = node.get_as(&stored.path(), "application/dicom").await;
        assert_eq!(split(&single.body), split(&stored.file()));
        let kind = format!("application/dicom; transfer-syntax={}", stored.syntax);
        assert_eq!(single.header("content-type"), kind);
        let refused = node.get_as(&stored.path(), &accept(&[data::EXPLICIT])).await;
        assert_eq!(refused.status, 406);
        assert!(refused.text().contains(stored.syntax), "{}", refused.text());
    }
    let refused = node.get_as(&video.path(), "text/html").await;
    assert_eq!(refused.status, 406);
    assert!(refused.text().contains("application/zip"), "{}", refused.text());
}

#[tokio::test]
async fn what_has_no_place_in_a_syntax_is_left_out_and_said_so() {
    let node = Node::start().await;
    let mut report = Instance::new(1, 2, 1);
    report.pixels = Pixels::None;
    let mut video = Instance::new(1, 3, 1);
    video.syntax = MPEG;
    video.pixels = Pixels::Fragments(vec![vec![0, 0, 1, 0xB3]]);
    node.store(&[Instance::new(1, 1, 1), video]).await;
    let study = "/dicom-web/studies/1.2.826.1";
    let partial = node.get_as(study, &accept(&[data::RLE])).await;
    assert_eq!(partial.status, 206);
    assert_eq!(partial.parts().len(), 1);
    assert!(partial.header("warning").starts_with("299 "), "{}", partial.header("warning"));
    let whole = node.get_as(study, &accept(&[data::RLE, MPEG])).await;
    assert_eq!((whole.status, whole.parts().len()), (200, 2));
    node.store(std::slice::from_ref(&report)).await;
    let native = node.get_as(&report.path(), &accept(&[data::IMPLICIT])).await;
    assert_eq!(split(&native.parts()[0].1).0, data::IMPLICIT);
    let refused = node.get_as(&report.path(), &accept(&[data::RLE])).await;
    assert_eq!(refused.status, 406);
}

#[tokio::test]
async fn representations_have_tags_of_their_own() {
    let node = Node::start().await;
    let instance = with_words(data::IMPLICIT, 1);
    node.store(std::slice::from_ref(&instance)).await;
    let mut tags = Vec::new();
    for asked in ["*/*", "application/dicom", &accept(&["*"]), &accept(&[data::RLE])] {
        let first = node.get_as(&instance.path(), asked).await;
        let tag = first.header("etag").to_owned();
        let held = [(header::ACCEPT, asked), (header::IF_NONE_MATCH, tag.as_str())];
        let again = node.request(Method::GET, &instance.path(), &held, Vec::new()).await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{asked}");
        assert!(!tags.contains(&tag), "{asked}");
        tags.push(tag);
    }
}

#[tokio::test]
async fn quality_and_the_query_decide() {
    let node = Node::start().await;
    let instance = with_words(data::EXPLICIT, 1);
    node.store(std::slice::from_ref(&instance)).await;
    let implicit = accept(&[data::IMPLICIT]);
    let rle = accept(&[data::RLE]);
    for (asked, expected) in [
        (format!("{implicit};q=0.5, {rle};q=0.8"), data::RLE),
        (format!("{implicit}, {rle}"), data::IMPLICIT),
        (format!("{rle}, {}", accept(&["*"])), data::EXPLICIT),
        (format!("{};q=0, {implicit};q=0.1", accept(&[data::EXPLICIT])), data::IMPLICIT),
    ] {
        let parts = node.get_as(&instance.path(), &asked).await.parts();
        assert_eq!(split(&parts[0].1).0, expected, "{asked}");
    }
    let query =
        format!("{}?accept=application%2Fdicom;transfer-syntax={}", instance.path(), data::RLE);
    let answer = node.get_as(&query, &implicit).await;
    assert_eq!(split(&answer.body).0, data::RLE);
}

fn unzip(bytes: Vec<u8>) -> Vec<(String, Vec<u8>)> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).expect("a zip archive");
    (0..archive.len())
        .map(|index| {
            let mut entry = archive.by_index(index).expect("an entry");
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("its content, with the right checksum");
            (entry.name().expect("a name").into_owned(), content)
        })
        .collect()
}

#[tokio::test]
async fn a_study_as_one_archive() {
    let node = Node::start().await;
    let mut compressed = Instance::new(1, 2, 1);
    compressed.syntax = data::RLE;
    compressed.pixels = Pixels::Fragments(vec![data::rle_frame([1, 2, 3, 4])]);
    let all = [with_words(data::IMPLICIT, 1), with_words(data::EXPLICIT, 2), compressed];
    node.store(&all).await;
    let study = "/dicom-web/studies/1.2.826.1";
    let stored = node.get_as(study, "application/zip; transfer-syntax=*").await;
    assert_eq!((stored.status, stored.header("content-type")), (200, "application/zip"));
    let disposition = stored.header("content-disposition").to_owned();
    assert_eq!(disposition, "attachment; filename=\"1.2.826.1.zip\"");
    let entries = unzip(stored.body);
    let names: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
    let expected = ["001/00001.dcm", "001/00002.dcm", "002/00001.dcm"];
    assert_eq!(names, expected.map(|name| format!("1.2.826.1/{name}")));
    for ((_, file), instance) in entries.iter().zip(&all) {
        assert_eq!(split(file), split(&instance.file()));
    }
    for (path, count) in [
        (format!("{study}?accept=application/zip"), 3),
        (format!("{study}/series/1.2.826.1.1?accept=application/zip"), 2),
        (format!("{}?accept=application/zip", all[2].path()), 1),
    ] {
        let entries = unzip(node.get(&path).await.body);
        assert_eq!(entries.len(), count, "{path}");
        for (_, file) in entries {
            assert_eq!(split(&file).0, data::EXPLICIT, "{path}");
        }
    }
}

#[tokio::test]
async fn a_lossy_copy_says_that_it_is_one() {
    let node = Node::start().await;
    let mut instance = Instance::new(1, 1, 1);
    instance.pixels = Pixels::OddBytes([10, 200, 30]);
    node.store(std::slice::from_ref(&instance)).await;
    let read = |file: &[u8]| {
        let meta = file_meta::from_bytes(file).expect("a DICOM file");
        let (syntax, data_set) = split(file);
        let header = header(syntax, &data_set);
        let uid = header.sop_instance_uid.to_string();
        assert_eq!(meta.media_storage_sop_instance.as_deref(), Some(uid.as_str()));
        let json: Vec<u8> = header.json.into_iter().filter(|byte| *byte != 1).collect();
        let json: Value = serde_json::from_slice(&json).expect("JSON");
        (syntax, uid, json)
    };
    let mut uids = Vec::new();
    for _ in 0..2 {
        let answer = node.get_as(&instance.path(), &accept(&[JPEG])).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let (syntax, uid, json) = read(&answer.parts()[0].1);
        assert_eq!(syntax, JPEG);
        assert_eq!(json["00282110"]["Value"][0], "01");
        assert!(json["00282112"]["Value"][0].as_f64().is_some_and(|ratio| ratio > 0.0), "{json}");
        assert_eq!(json["00282114"]["Value"][0], "ISO_10918_1");
        assert_eq!(json["00080008"]["Value"][0], "DERIVED");
        let source = &json["00082112"]["Value"][0];
        assert_eq!(source["00081155"]["Value"][0], instance.uid.as_str());
        assert_eq!(source["0040A170"]["Value"][0]["00080100"]["Value"][0], "121320");
        assert_eq!(json["00089215"]["Value"][0]["00080100"]["Value"][0], "113040");
        uids.push(uid);
    }
    assert!(uids[0].starts_with("2.25."), "{}", uids[0]);
    assert_eq!(uids[0], uids[1], "asking twice gives one instance");
    // Nobody gets it unasked.
    for asked in ["application/dicom", "application/dicom; transfer-syntax=*"] {
        let answer = node.get_as(&instance.path(), asked).await;
        let (_, uid, json) = read(&answer.body);
        assert_eq!((uid.as_str(), json.get("00282110")), (instance.uid.as_str(), None), "{asked}");
    }
    let frame = format!("{}/frames/1", instance.path());
    let lossless = node.get_as(&frame, "multipart/related; type=\"image/jpeg\"").await;
    let head = lossless.parts().remove(0).0;
    assert!(head.contains("transfer-syntax=1.2.840.10008.1.2.4.70\r\n"), "{head}");
    let lossy = format!("multipart/related; type=\"image/jpeg\"; transfer-syntax={JPEG}");
    let lossy = node.get_as(&frame, &lossy).await;
    assert!(lossy.parts()[0].1.starts_with(&[0xFF, 0xD8]));
}

#[tokio::test]
async fn many_frames_of_a_deflated_object_are_had_in_every_form() {
    const JPEG_LS: &str = "1.2.840.10008.1.2.4.80";
    let node = Node::start().await;
    let mut instance = Instance::new(1, 1, 1);
    instance.pixels = Pixels::Words((0..40).map(|n| [n, 2, 3, 0x1234]).collect());
    node.store(std::slice::from_ref(&instance)).await;
    let deflated = node.get_as(&instance.path(), &accept(&[DEFLATED])).await.parts().remove(0).1;
    assert_eq!(split(&deflated).0, DEFLATED);
    let stored = node.post("/dicom-web/studies", &[deflated]).await;
    assert!(matches!(stored.status, 200 | 202), "{}", stored.text());
    // The cache of where frames lie forgets what was replaced.
    let whole = node.get_as(&instance.path(), &accept(&[JPEG_LS])).await;
    assert_eq!(whole.status, 200, "{}", whole.text());
    let (syntax, data_set) = split(&whole.parts()[0].1);
    assert_eq!((syntax, header(syntax, &data_set).frames.count()), (JPEG_LS, 40));
    let list: Vec<String> = [40, 3, 4, 5, 1].map(|n: u32| n.to_string()).into();
    let frames = format!("{}/frames/{}", instance.path(), list.join(","));
    let parts = node.get_as(&frames, "multipart/related; type=application/octet-stream").await;
    for ((_, frame), number) in parts.parts().iter().zip([40u8, 3, 4, 5, 1]) {
        assert_eq!(frame.as_slice(), [number - 1, 0, 2, 0, 3, 0, 0x34, 0x12]);
    }
    let encoded = "multipart/related; type=\"image/jls\"";
    assert_eq!(node.get_as(&frames, encoded).await.parts().len(), 5);
    let gif = node.get_as(&format!("{}/rendered", instance.path()), "image/gif").await;
    let shown = gif.body.windows(3).filter(|bytes| bytes == b"\x21\xF9\x04").count();
    assert_eq!((gif.status, shown), (200, 40));
}
