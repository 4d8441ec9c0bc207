//! Lines 1 to 13: Accept, Content-Type, framing, caching, limits and origins.

use crate::on_both_setups;
use crate::support::node::Node;
use crate::support::peer::EXPLICIT;
use crate::support::sample::{self, MemoryWatch};
use crate::support::setup::Setup;
use crate::support::synth::{self, BigObject, Instance, Place};
use crate::support::web::{Answer, Web, content_type, parameter, part_head, tail};
use crate::support::{data_set, heavy, raw};
use std::fs;
use std::io::{Cursor, Read};
use std::time::{Duration, Instant};

on_both_setups! {
    /// Entity tags on metadata, objects and pixels; 304; JSON is compressed.
    gotcha_11_entity_tags_and_compression = tags;
}

/// A node with one series of `count` instances.
fn series(count: u32) -> (Node, Vec<Instance>) {
    let node = Node::start(&Setup::Embedded);
    let place = Place::new();
    let instances: Vec<_> = (1..=count).map(|number| synth::ct(&place, number, 32)).collect();
    let files: Vec<_> = instances.iter().map(Instance::part10).collect();
    let answer = node.web().stow(files.iter().map(Vec::as_slice));
    assert_eq!(answer.status, 200, "{}", answer.text());
    (node, instances)
}

fn series_path(instance: &Instance) -> String {
    format!("/studies/{}/series/{}", instance.place.study, instance.place.series)
}

/// The forms that OHIF, cornerstone and dicomweb-client send for pixels.
pub(super) const FRAME_FORMS: [&str; 6] = [
    "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*",
    "multipart/related; type=application/octet-stream; transfer-syntax=*",
    "multipart/related; type=\"application/octet-stream\"; transfer-syntax=\"*\"",
    "multipart/related;type=application/octet-stream;transfer-syntax=1.2.840.10008.1.2.1",
    "Multipart/Related; Type=\"Application/Octet-Stream\"",
    "multipart/related; type=\"image/jls\"; transfer-syntax=1.2.840.10008.1.2.4.80, \
     multipart/related; type=\"application/octet-stream\"; transfer-syntax=*",
];

#[test]
fn gotcha_01_frame_accept_forms() {
    let (node, instances) = series(1);
    let web = node.web();
    let path = format!("{}/frames/1", instances[0].path());
    let pixels = &instances[0].data_set[instances[0].data_set.len() - 32 * 256..];
    for accept in FRAME_FORMS {
        let parts = web.dicom(&path).accept(accept).send_ok().parts();
        assert_eq!(parts.len(), 1, "{accept}");
        assert!(parts[0].body == pixels, "{accept}");
        assert!(parts[0].content_type.starts_with("application/octet-stream"), "{accept}");
    }
}

#[test]
fn gotcha_02_metadata_with_a_multipart_accept_too() {
    let (node, instances) = series(2);
    for path in [
        format!("/studies/{}/metadata", instances[0].place.study),
        format!("{}/metadata", series_path(&instances[0])),
        format!("{}/metadata", instances[0].path()),
    ] {
        for accept in [
            "application/dicom+json, multipart/related; type=\"application/octet-stream\"; \
             transfer-syntax=*; transfer-syntax=*",
            "multipart/related; type=application/octet-stream; transfer-syntax=*, \
             application/dicom+json",
            "application/dicom+json; transfer-syntax=*",
            "application/json, text/plain, */*",
        ] {
            let answer = node.web().dicom(&path).accept(accept).send_ok();
            assert!(answer.header("Content-Type").contains("json"), "{path} {accept}");
            assert!(!answer.json_array().is_empty(), "{path} {accept}");
        }
    }
}

/// Every resource has a default, which `*/*` and no Accept at all give alike.
#[test]
fn gotcha_03_anything_or_nothing_gives_the_default() {
    let (node, instances) = series(2);
    let (study, series) = (&instances[0].place.study, series_path(&instances[0]));
    let instance = instances[0].path();
    let json = "application/dicom+json";
    for (path, expected) in [
        ("/studies".to_owned(), json),
        (format!("/studies/{study}/series"), json),
        (format!("/studies/{study}/instances"), json),
        (format!("{series}/instances"), json),
        (format!("/studies/{study}/metadata"), json),
        (format!("{series}/metadata"), json),
        (format!("{instance}/metadata"), json),
        (format!("/studies/{study}"), "multipart/related; type=\"application/dicom\""),
        (series.clone(), "multipart/related; type=\"application/dicom\""),
        (instance.clone(), "multipart/related; type=\"application/dicom\""),
        (format!("{instance}/frames/1"), "multipart/related; type=\"application/octet-stream\""),
        (format!("{instance}/rendered"), "image/jpeg"),
        (format!("{instance}/frames/1/rendered"), "image/jpeg"),
        (format!("{instance}/thumbnail"), "image/jpeg"),
        (format!("{series}/thumbnail"), "image/jpeg"),
        (format!("/studies/{study}/thumbnail"), "image/jpeg"),
    ] {
        let anything = node.web().dicom(&path).accept("*/*").send_ok();
        let kind = anything.header("Content-Type");
        assert!(kind.starts_with(expected), "{path} with */*: {kind}");
        // reqwest always sends an Accept, so this request is made by hand.
        let request = raw::head(&node, &format!("GET /dicom-web{path}"), &[]);
        let nothing = raw::exchange(&node, &request);
        assert_eq!(raw::status(&nothing), 200, "{path} without Accept");
        let head = String::from_utf8_lossy(&nothing[..nothing.len().min(2000)]).to_lowercase();
        assert!(head.contains(&format!("content-type: {expected}")), "{path}: {head}");
    }
}

#[test]
fn gotcha_04_accept_in_the_query_wins() {
    let (node, instances) = series(1);
    let web = node.web();
    let instance = instances[0].path();
    let dicom = "multipart%2Frelated%3Btype%3D%22application%2Fdicom%22";
    for (path, header, expected) in [
        (format!("{instance}/rendered?accept=image/jpeg"), "application/dicom+json", "image/jpeg"),
        (format!("{instance}/rendered?accept=image/png"), "image/jpeg", "image/png"),
        (format!("{instance}/rendered?accept=image%2Fpng"), "image/jpeg", "image/png"),
        (format!("{instance}/thumbnail?accept=image/png"), "image/jpeg", "image/png"),
        (format!("{instance}/metadata?accept=application/json"), "image/png", "application/json"),
        (
            format!("{instance}/metadata?accept=application/dicom%2Bjson"),
            "image/png",
            "application/dicom+json",
        ),
        (format!("{instance}?accept=application/dicom"), "image/png", "application/dicom"),
        (format!("{instance}?accept={dicom}"), "image/png", "multipart/related"),
    ] {
        let answer = web.dicom(&path).accept(header).send_ok();
        let kind = answer.header("Content-Type");
        assert!(kind.starts_with(expected), "{path} with Accept {header}: {kind}");
    }
    let refused = format!("{instance}/rendered?accept=application/x-unheard-of");
    assert_eq!(web.dicom(&refused).accept("image/jpeg").send().status, 406);
}

#[test]
fn gotcha_05_boundaries() {
    let (node, instances) = series(3);
    let web = node.web();
    let series = series_path(&instances[0]);
    let mut seen = Vec::new();
    for path in [series.clone(), series, format!("{}/frames/1", instances[0].path())] {
        let answer = web.dicom(&path).accept("multipart/related").send_ok();
        let boundary = parameter(answer.header("Content-Type"), "boundary").expect("a boundary");
        for part in answer.parts() {
            assert!(!contains(&part.body, boundary.as_bytes()), "the boundary is in a payload");
            assert!(!part.content_type.is_empty());
        }
        assert!(!seen.contains(&boundary), "{boundary} came twice");
        seen.push(boundary);
    }

    // On the way in: quoted, unquoted, with all characters of RFC 2046, after a preamble, and with
    // a payload that holds something like it.
    let place = Place::new();
    for (number, boundary) in
        ["plain", "\"quoted\"", "\"with space '()+_,-./:=?\"", "\"----=_Part_1\""]
            .iter()
            .enumerate()
    {
        let bare = boundary.trim_matches('"');
        let uid = format!("{}.{number}", place.series);
        let elements = synth::elements(&place, synth::CT, &uid);
        let mut pixels = format!("\r\n--{bar}x\r\n--{bar}", bar = &bare[..bare.len() - 1]);
        pixels.extend(std::iter::repeat_n('.', 512 - pixels.len()));
        let elements = synth::image(elements, 16, 16, pixels.into_bytes());
        let instance = Instance::new(&place, synth::CT, &uid, &elements);
        let mut body = b"a preamble to be ignored".to_vec();
        body.extend(
            format!("\r\n--{bare}\r\ncontent-type: application/dicom\r\n\r\n").into_bytes(),
        );
        body.extend(instance.part10());
        body.extend(format!("\r\n--{bare}--\r\nan epilogue").into_bytes());
        let kind = format!("multipart/related; boundary={boundary}; type=application/dicom");
        let answer = web.post("/studies", &kind, body).send();
        assert_eq!(answer.status, 200, "{boundary}: {}", answer.text());
        assert!(web.file(&instance).ends_with(&instance.data_set), "{boundary}");
    }
}

#[test]
fn gotcha_06_parts_name_their_transfer_syntax() {
    let (node, instances) = series(2);
    let web = node.web();
    let syntax = |answer: &Answer| {
        let kind = answer.parts()[0].content_type.clone();
        parameter(&kind, "transfer-syntax").unwrap_or_default()
    };
    for accept in ["multipart/related; type=application/octet-stream; transfer-syntax=*", "*/*"] {
        let path = format!("{}/frames/1", instances[0].path());
        assert_eq!(syntax(&web.dicom(&path).accept(accept).send_ok()), EXPLICIT, "{accept}");
    }
    let accept = "multipart/related; type=\"application/dicom\"; transfer-syntax=*";
    let answer = web.dicom(&series_path(&instances[0])).accept(accept).send_ok();
    assert_eq!(syntax(&answer), EXPLICIT);
    let accept = "application/octet-stream; transfer-syntax=*";
    let path = format!("{}/frames/1", instances[0].path());
    let single = web.dicom(&path).accept(accept).send_ok();
    let kind = single.header("Content-Type");
    assert_eq!(parameter(kind, "transfer-syntax").as_deref(), Some(EXPLICIT), "{kind}");
}

/// What is gone from the store is an error or a broken connection, never a short 200.
#[test]
fn gotcha_06_an_upstream_error_is_no_200() {
    let node = Node::start(&Setup::Embedded);
    let place = Place::new();
    let instance = synth::ct(&place, 1, 512);
    node.web().stow_instance(&instance);
    for file in sample::files(&node.data()) {
        if file.extension().is_some_and(|extension| extension == "dcm") {
            fs::remove_file(file).expect("remove the object");
        }
    }
    let web = node.web();
    for (path, accept) in [
        (instance.path(), "application/dicom"),
        (instance.path(), "multipart/related; type=\"application/dicom\""),
        (format!("{}/frames/1", instance.path()), "multipart/related"),
        (format!("{}/frames/1", instance.path()), "application/octet-stream"),
        (format!("{}/rendered", instance.path()), "image/jpeg"),
        (format!("{}/thumbnail", instance.path()), "image/jpeg"),
        (format!("{}/bulkdata/7FE00010", instance.path()), "application/octet-stream"),
    ] {
        match web.dicom(&path).accept(accept).try_send() {
            Ok(answer) => assert!(answer.status >= 400, "{path} {accept}: {}", answer.status),
            // Headers were under way already: the body broke off, which no client takes for whole.
            Err(error) => assert!(error.is_body() || error.is_decode(), "{path}: {error}"),
        }
    }
}

#[test]
fn gotcha_07_transfer_syntax_in_a_stored_part() {
    let node = Node::start(&Setup::Embedded);
    let place = Place::new();
    for (number, kind) in [
        "application/dicom; transfer-syntax=1.2.840.10008.1.2.1",
        "application/dicom;transfer-syntax=\"1.2.840.10008.1.2.1\"",
        "application/dicom; transfer-syntax=*",
    ]
    .iter()
    .enumerate()
    {
        let instance = synth::ct(&place, number as u32, 16);
        let body = [part_head(kind), instance.part10(), tail()].concat();
        let answer = node.web().post("/studies", &content_type(), body).send();
        assert_eq!(answer.status, 200, "{kind}: {}", answer.text());
        assert!(node.web().file(&instance).ends_with(&instance.data_set), "{kind}");
    }
}

#[test]
fn gotcha_08_one_instance_as_a_single_part() {
    let (node, instances) = series(1);
    for accept in [
        "application/dicom",
        "application/dicom; transfer-syntax=*",
        "text/html, application/dicom;q=0.9",
    ] {
        let answer = node.web().dicom(&instances[0].path()).accept(accept).send_ok();
        assert!(answer.header("Content-Type").starts_with("application/dicom"), "{accept}");
        assert_eq!(&answer.body[128..132], b"DICM", "{accept}");
        assert!(answer.body.ends_with(&instances[0].data_set), "{accept}");
        let length = answer.header("Content-Length").parse().ok();
        assert_eq!(length, Some(answer.body.len()), "{accept}");
    }
}

#[test]
fn gotcha_09_no_match_is_an_empty_array() {
    let (node, instances) = series(1);
    let (study, nobody) = (&instances[0].place.study, synth::new_uid());
    for path in [
        "/studies?PatientID=NOBODY".to_owned(),
        "/series?Modality=XX".to_owned(),
        "/instances?InstanceNumber=999".to_owned(),
        format!("/studies/{study}/series?Modality=XX"),
        format!("/studies/{study}/instances?InstanceNumber=999"),
        format!("/studies/{nobody}/series"),
        format!("{}/instances?InstanceNumber=999", series_path(&instances[0])),
    ] {
        let answer = node.web().dicom(&path).accept("application/dicom+json").send();
        assert_eq!((answer.status, answer.text().trim()), (200, "[]"), "{path}");
    }
}

#[test]
fn gotcha_10_trailing_slash_and_oversize() {
    let (node, instances) = series(2);
    let web = node.web();
    let (study, instance) = (&instances[0].place.study, instances[0].path());
    for path in [
        "/studies".to_owned(),
        format!("/studies/{study}"),
        format!("/studies/{study}/series"),
        format!("/studies/{study}/metadata"),
        instance.clone(),
        format!("{instance}/metadata"),
        format!("{instance}/frames/1"),
        format!("{instance}/rendered"),
    ] {
        let without = web.dicom(&path).accept("*/*").send_ok();
        let with = web.dicom(&format!("{path}/")).accept("*/*").send();
        assert_eq!(with.status, 200, "{path}/: {}", with.text());
        assert_eq!(with.body.len(), without.body.len(), "{path}/");
    }

    let node = Node::plan(&Setup::Embedded).args(["--max-object", "1MiB"]).start();
    let large = synth::ct(&Place::new(), 1, 8192);
    let answer = node.web().stow([large.part10().as_slice()]);
    // One instance is too large: the request is refused, or that instance with a reason.
    assert!(matches!(answer.status, 413 | 409), "{}: {}", answer.status, answer.text());
    assert_eq!(node.web().dicom(&large.path()).send().status, 404, "it was kept");
    let small = synth::ct(&Place::new(), 1, 64);
    node.web().stow_instance(&small);
}

/// 128 MiB in and out of a node that may not grow by half of that.
#[test]
fn gotcha_10_no_body_is_held_whole() {
    let _turn = heavy();
    let node = Node::start(&Setup::Embedded);
    let object = BigObject::new(256);
    let idle = sample::resident(&node);
    let watch = MemoryWatch::start(&node);
    let class = synth::MULTI_FRAME_WORD;
    let meta = data_set::part10(class, &object.head.uid, EXPLICIT, &[]);
    let length = meta.len() as u64 + object.length();
    let answer = node.web().stow_stream(Cursor::new(meta).chain(object.clone()), length);
    assert_eq!(answer.status, 200, "{}", answer.text());
    for accept in [
        "application/dicom; transfer-syntax=*",
        "multipart/related; type=\"application/dicom\"; transfer-syntax=*",
        "multipart/related; type=\"application/dicom\"",
    ] {
        let mut body = node.web().dicom(&object.head.path()).accept(accept).stream();
        assert_eq!(body.status(), 200, "{accept}");
        let mut whole = 0;
        let mut buffer = vec![0; 1 << 16];
        loop {
            match body.read(&mut buffer).expect("the body") {
                0 => break,
                count => whole += count as u64,
            }
        }
        assert!(whole >= object.length(), "{accept}: {whole}");
    }
    let over = watch.finish().saturating_sub(idle);
    assert!(over < 64 << 20, "{over} bytes over idle for 128 MiB");
}

fn tags(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    let place = Place::new();
    let instance = synth::ct(&place, 1, 64);
    web.stow_instance(&instance);
    let metadata = format!("{}/metadata", series_path(&instance));
    for (path, accept) in [
        (instance.path(), "application/dicom"),
        (metadata.clone(), "application/dicom+json"),
        (instance.path(), "multipart/related; type=\"application/dicom\""),
        (format!("{}/frames/1", instance.path()), "multipart/related"),
        (format!("{}/rendered", instance.path()), "image/jpeg"),
        (format!("{}/thumbnail", instance.path()), "image/jpeg"),
        (format!("{}/bulkdata/7FE00010", instance.path()), "application/octet-stream"),
    ] {
        let answer = web.dicom(&path).accept(accept).send_ok();
        let tag = answer.header("ETag").to_owned();
        assert!(tag.trim_start_matches("W/").starts_with('"'), "{path} {accept}: {tag:?}");
        assert!(!answer.header("Cache-Control").is_empty(), "{path}: Cache-Control");
        let again = web.dicom(&path).accept(accept).header("If-None-Match", &tag).send();
        assert_eq!((again.status, again.body.len()), (304, 0), "{path} {accept}");
        let other = web.dicom(&path).accept(accept).header("If-None-Match", "\"other\"").send();
        assert_eq!(other.status, 200, "{path}");
    }
    // The metadata of a series changes when an instance arrives, and its tag with it.
    let before = web.dicom(&metadata).send_ok().header("ETag").to_owned();
    web.stow_instance(&synth::ct(&place, 2, 64));
    let answer = web.dicom(&metadata).header("If-None-Match", &before).send();
    assert_eq!((answer.status, answer.json_array().len()), (200, 2));

    for path in [metadata, format!("{}/instances", series_path(&instance))] {
        let compressed = web.dicom(&path).header("Accept-Encoding", "gzip").send_ok();
        assert_eq!(compressed.header("Content-Encoding"), "gzip", "{path}");
        assert!(compressed.body.starts_with(&[0x1F, 0x8B]), "{path}");
    }
}

/// Some clients give a whole exchange 15 seconds: two hundred instances in and out are well within.
#[test]
fn gotcha_12_answers_come_promptly() {
    let _turn = heavy();
    let node = Node::start(&Setup::Embedded);
    let place = Place::new();
    let instances: Vec<_> = (1..=200).map(|number| synth::ct(&place, number, 256)).collect();
    let files: Vec<_> = instances.iter().map(Instance::part10).collect();
    let timed = |what: &str, work: &dyn Fn(&Web)| {
        let start = Instant::now();
        work(&node.web());
        println!("{what}: {:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(15), "{what}: {:?}", start.elapsed());
    };
    timed("STOW-RS of 200 instances", &|web| {
        assert_eq!(web.stow(files.iter().map(Vec::as_slice)).status, 200);
    });
    timed("the series again", &|web| {
        let answer = web.dicom(&series_path(&instances[0])).accept("multipart/related").send_ok();
        assert_eq!(answer.parts().len(), 200);
    });
    timed("its metadata", &|web| {
        assert_eq!(web.json(&format!("{}/metadata", series_path(&instances[0]))).len(), 200);
    });
}

#[test]
fn gotcha_13_no_preflight_for_our_viewer() {
    let (node, instances) = series(1);
    let web = node.web();
    let settings = web.get("/app-config.js").send_ok().text();
    let plain: String = settings.split_whitespace().collect();
    assert!(plain.contains("omitQuotationForMultipartRequest:true"), "{settings}");
    let root =
        "varroot=place.origin+(tenant?'/tenants/'+encodeURIComponent(tenant):'')+'/dicom-web';";
    assert!(plain.contains(root), "the viewer's data come from its origin");
    assert!(!settings.contains("http://") && !settings.contains("https://"), "{settings}");

    let path = format!("{}/frames/1", instances[0].path());
    let origin = "https://viewer.example";
    let foreign = web.dicom(&path).header("Origin", origin).send_ok();
    assert_eq!(foreign.header("Access-Control-Allow-Origin"), "", "CORS is off by default");

    // Where an operator allows another origin, its preflights are answered, and by the right one.
    let node = Node::plan(&Setup::Embedded).args(["--cors-origins", origin]).start();
    let preflight = |from: &str| {
        let headers = [
            &format!("Origin: {from}"),
            "Access-Control-Request-Method: GET",
            "Access-Control-Request-Headers: accept",
        ];
        let request = raw::head(&node, &format!("OPTIONS /dicom-web{path}"), &headers);
        String::from_utf8_lossy(&raw::exchange(&node, &request)).to_lowercase()
    };
    let allowed = preflight(origin);
    assert!(allowed.starts_with("http/1.1 20"), "{allowed}");
    assert!(allowed.contains(&format!("access-control-allow-origin: {origin}")), "{allowed}");
    assert!(allowed.contains("access-control-allow-headers:") && allowed.contains("accept"));
    assert!(!preflight("https://elsewhere.example").contains("access-control-allow-origin:"));
}

fn contains(bytes: &[u8], pattern: &[u8]) -> bool {
    bytes.windows(pattern.len()).any(|window| window == pattern)
}
