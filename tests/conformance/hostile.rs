//! Line 49: what attackers send. Each attack is refused in so many words or survived, memory stays
//! bounded, and the node goes on to serve.

use crate::support::data_set::{DataSet, header, part10};
use crate::support::node::{AE, Node};
use crate::support::peer::{EXPLICIT, Peer};
use crate::support::sample::{self, Baseline, MemoryWatch};
use crate::support::setup::Setup;
use crate::support::synth::{self, CT, Encapsulated, Instance, JPEG_2000, Place, RLE};
use crate::support::web::{Answer, content_type, part_head, tail};
use crate::support::{eventually, heavy, raw};
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

/// How much more than at rest the node may take during an attack.
const ALLOWANCE: u64 = 150 << 20;

const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
const JPEG_BASELINE: &str = "1.2.840.10008.1.2.4.50";

/// Runs an attack against a fresh node: it lives, its memory stayed bounded, nothing is left
/// behind, and it serves.
fn attack(what: &str, plan: &[&str], work: impl FnOnce(&Node)) {
    let _turn = heavy();
    let mut node = Node::plan(&Setup::Embedded).args(plan.iter().copied()).start();
    // What a first store and a first rendering load is no growth.
    let first = synth::ct(&Place::new(), 1, 64);
    node.web().stow_instance(&first);
    node.web().dicom(&format!("{}/rendered", first.path())).accept("image/jpeg").send_ok();
    let baseline = Baseline::of(&node);
    let watch = MemoryWatch::start(&node);
    let start = Instant::now();
    work(&node);
    let over = watch.finish().saturating_sub(baseline.resident);
    println!("{what}: {:.1} s, {} MiB over rest", start.elapsed().as_secs_f64(), over >> 20);
    assert!(over < ALLOWANCE, "{what}: {over} bytes more than at rest");
    baseline.is_restored(&mut node);
}

/// Refused by what was sent (4xx) or by what became of it (a failure in the answer), never 5xx
/// except "try again", and always with a reason.
#[track_caller]
fn refused(what: &str, answer: &Answer) {
    let status = answer.status;
    assert!((400..500).contains(&status) || status == 503, "{what}: {status} {}", answer.text());
    assert!(!answer.body.is_empty(), "{what}: refused without a reason");
}

fn c_store(node: &Node, class: &str, syntax: &str, uid: &str, data_set: &[u8]) -> Option<u16> {
    let offers = [(class, &[syntax][..])];
    let mut peer = Peer::associate(node.dimse(), AE, "ATTACKER", &offers).expect("associate");
    let context = peer.context(class, syntax).expect("an accepted context");
    peer.store(context, class, uid, data_set).ok().map(|response| response.status)
}

#[test]
fn gotcha_49_deep_nesting() {
    attack("deep nesting", &[], |node| {
        // 200,000 sequences inside each other, of undefined length, closed and not closed.
        for closed in [true, false] {
            let place = Place::new();
            let uid = synth::new_uid();
            let mut data_set = synth::elements(&place, CT, &uid).encode();
            const DEPTH: usize = 200_000;
            for _ in 0..DEPTH {
                header(&mut data_set, 0x0040_A730, b"SQ", 0);
                data_set.extend([0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF]);
            }
            if closed {
                for _ in 0..DEPTH {
                    data_set.extend([0xFE, 0xFF, 0x0D, 0xE0, 0, 0, 0, 0]);
                    data_set.extend([0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
                }
            }
            let answer = node.web().stow([part10(CT, &uid, EXPLICIT, &data_set).as_slice()]);
            refused("by STOW-RS", &answer);
            let status = c_store(node, CT, EXPLICIT, &uid, &data_set);
            assert!(status.is_some_and(|status| status >= 0xA000), "by C-STORE: {status:04X?}");
        }
        // The same idea in a query and in JSON.
        let path = vec!["0040A730"; 4_000].join(".");
        let status = node.web().dicom(&format!("/studies?{path}=x")).send().status;
        assert!(matches!(status, 200 | 400 | 414 | 431), "a sequence path: {status}");
        let json = "[{\"0040A730\":{\"vr\":\"SQ\",\"Value\":".repeat(100_000);
        let kind = content_type().replace("application/dicom", "application/dicom+json");
        let body = [part_head("application/dicom+json"), json.into_bytes(), tail()].concat();
        refused("nested JSON", &node.web().post("/studies", &kind, body).send());
    });
}

/// Zeros that deflate by a thousand to one.
fn zeros(mib: usize, mut into: impl Write) {
    let block = vec![0; 1 << 20];
    for _ in 0..mib {
        into.write_all(&block).expect("compress");
    }
}

#[test]
fn gotcha_49_bombs() {
    attack("deflate, gzip and zip bombs", &[], |node| {
        // A data set of 2 GiB in 2 MiB: a deflated transfer syntax.
        let place = Place::new();
        let uid = synth::new_uid();
        let elements = synth::image(synth::elements(&place, CT, &uid), 16, 16, Vec::new());
        let mut plain = elements.without(synth::PIXEL_DATA).encode();
        header(&mut plain, synth::PIXEL_DATA, b"OW", 2048 << 20);
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&plain).expect("compress");
        zeros(2048, &mut encoder);
        let bomb = encoder.finish().expect("compress");
        println!("{} bytes of deflate for 2 GiB", bomb.len());
        let instance = Instance { data_set: bomb, ..synth::ct(&place, 1, 1) };
        let answer = node.web().stow([part10(CT, &uid, DEFLATED, &instance.data_set).as_slice()]);
        println!("deflate by STOW-RS: {}", answer.status);
        assert!(answer.status < 500 || answer.status == 503, "{}", answer.text());
        let path = format!("/studies/{}/series/{}/instances/{uid}", place.study, place.series);
        for tail in ["/metadata", "/frames/1", "/rendered", "/thumbnail", "/bulkdata/7FE00010", ""]
        {
            let mut body = node.web().dicom(&format!("{path}{tail}")).stream();
            let mut buffer = vec![0; 1 << 16];
            // Read as a client would; what comes may be long, what the node holds may not.
            while body.read(&mut buffer).is_ok_and(|count| count > 0) {}
        }

        // A compressed body: what it inflates to is nobody's business before it is refused.
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        zeros(256, &mut encoder);
        let body = encoder.finish().expect("compress");
        let request = node.web().post("/studies", &content_type(), body);
        refused("a gzip body", &request.header("Content-Encoding", "gzip").send());

        // An archive whose one member inflates to 2 GiB.
        let archive = zip_bomb(2048);
        let answer = node.web().post("/studies", "application/zip", archive.clone()).send();
        refused("a zip body", &answer);
        let file = node.scratch().join("bomb.zip");
        fs::write(&file, archive).expect("write the archive");
        let output = node.run("import", &[&file.to_string_lossy()]);
        assert!(output.status.code().is_some_and(|code| code != 101), "import died");
    });
}

/// A zip file of one deflated member, by hand (APPNOTE 4.3): no library is to help either side.
fn zip_bomb(mib: usize) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    zeros(mib, &mut encoder);
    let data = encoder.finish().expect("compress");
    let name = b"image.dcm";
    let sizes = [data.len() as u32, (mib as u64 * (1 << 20)).min(u64::from(u32::MAX)) as u32];
    let mut common = vec![20, 0, 0, 0, 8, 0, 0, 0, 0x21, 0x58, 0, 0, 0, 0];
    common.extend(sizes.map(u32::to_le_bytes).concat());
    common.extend((name.len() as u16).to_le_bytes());
    common.extend([0, 0]);
    let mut out = b"PK\x03\x04".to_vec();
    out.extend(&common);
    out.extend(name);
    out.extend(&data);
    let directory = out.len() as u32;
    out.extend(b"PK\x01\x02\x14\0");
    out.extend(&common);
    out.extend([0; 14]);
    out.extend(name);
    let length = out.len() as u32 - directory;
    out.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    out.extend(length.to_le_bytes());
    out.extend(directory.to_le_bytes());
    out.extend([0, 0]);
    out
}

#[test]
fn gotcha_49_lengths_that_lie() {
    attack("lengths that lie", &[], |node| {
        let kind = format!("Content-Type: {}", content_type());
        for length in
            ["1000000000000000", "18446744073709551615", "99999999999999999999", "-1", "1, 2"]
        {
            let length = format!("Content-Length: {length}");
            let mut request = raw::head(node, "POST /dicom-web/studies", &[&kind, &length]);
            request.extend(part_head("application/dicom"));
            request.extend([0; 1000]);
            let mut stream = raw::connect(node);
            let _ = stream.write_all(&request);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            let status = raw::status(&answer);
            assert!(status == 0 || (400..500).contains(&status), "{length}: {status}");
        }
        // Two lengths, or a length beside chunks, are how requests are smuggled past a proxy.
        for headers in [
            ["Content-Length: 5", "Content-Length: 50"],
            ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ] {
            let mut request =
                raw::head(node, "POST /dicom-web/studies", &[&kind, headers[0], headers[1]]);
            request.extend(b"0\r\n\r\nGET /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\n\r\n");
            let answer = String::from_utf8_lossy(&raw::exchange(node, &request)).into_owned();
            assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{headers:?}: {answer}");
            assert!(!answer.contains("200 OK"), "{headers:?}: {answer}");
        }
        // An element, an item and a fragment that claim four gigabytes in a file of a hundred bytes.
        for (tag, vr) in [(synth::PIXEL_DATA, b"OW"), (0x0040_A730, b"SQ"), (0x0009_1000, b"UN")] {
            let uid = synth::new_uid();
            let mut data_set = synth::elements(&Place::new(), CT, &uid).encode();
            data_set.extend(((tag >> 16) as u16).to_le_bytes());
            data_set.extend((tag as u16).to_le_bytes());
            data_set.extend(vr);
            data_set.extend([0, 0, 0xFE, 0xFF, 0xFF, 0xFF]);
            let answer = node.web().stow([part10(CT, &uid, EXPLICIT, &data_set).as_slice()]);
            refused("a length beyond the end", &answer);
        }
    });
}

/// The first bytes of codestreams of 65,535 x 65,535 pixels.
fn giant_codestreams() -> [(&'static str, Vec<u8>); 3] {
    let mut jpeg = vec![0xFF, 0xD8, 0xFF, 0xC0, 0, 17, 8, 0xFF, 0xFF, 0xFF, 0xFF, 3];
    jpeg.extend([
        1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0, 0xFF, 0xDA, 0, 12, 3, 1, 0, 2, 0, 3, 0, 0, 63, 0,
    ]);
    jpeg.extend([0xFF, 0xD9]);
    let mut j2k = vec![0xFF, 0x4F, 0xFF, 0x51, 0, 47, 0, 0];
    for number in [u32::MAX, u32::MAX, 0, 0, u32::MAX, u32::MAX, 0, 0] {
        j2k.extend(number.to_be_bytes());
    }
    j2k.extend([0, 3, 7, 1, 1, 7, 1, 1, 7, 1, 1, 0xFF, 0xD9]);
    // RLE: fifteen segments that all start at the end of the world.
    let mut rle = vec![15, 0, 0, 0];
    rle.extend([0xFF; 60]);
    [(JPEG_BASELINE, jpeg), (JPEG_2000, j2k), (RLE, rle)]
}

#[test]
fn gotcha_49_dimensions_and_palettes() {
    attack("dimension and palette overflow", &[], |node| {
        let web = node.web();
        let ask = |instance: &Instance| {
            for (tail, accept) in [
                ("/rendered", "image/jpeg"),
                ("/thumbnail", "image/jpeg"),
                ("/frames/1", "application/octet-stream"),
                ("/frames/1", "multipart/related; type=\"application/octet-stream\""),
                ("/frames/1/rendered?viewport=65535,65535", "image/png"),
                ("/frames/4294967295", "*/*"),
                ("/metadata", "*/*"),
                ("", "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"),
            ] {
                let path = format!("{}{tail}", instance.path());
                if let Ok(answer) = web.dicom(&path).accept(accept).try_send() {
                    let status = answer.status;
                    assert!(status < 500 || status == 503, "{tail}: {status} {}", answer.text());
                }
            }
        };
        // Native pixels: the header promises 65,535 x 65,535 x 4 bytes x 2 G frames, 64 bytes follow.
        let shapes: [(u16, u16, u16, u16, &str); 4] = [
            (65_535, 65_535, 16, 1, "2147483647"),
            (65_535, 65_535, 32, 3, "1"),
            (65_535, 1, 65_528, 65_535, "1"),
            (0, 0, 0, 0, "-1"),
        ];
        for (rows, columns, bits, samples, frames) in shapes {
            let place = Place::new();
            let uid = synth::new_uid();
            let elements = synth::elements(&place, CT, &uid);
            let elements = synth::image(elements, rows, columns, vec![1; 64])
                .us(0x0028_0002, samples)
                .us(0x0028_0100, bits)
                .us(0x0028_0101, bits)
                .us(0x0028_0102, bits.wrapping_sub(1))
                .text(0x0028_0008, "IS", frames);
            let instance = Instance::new(&place, CT, &uid, &elements);
            let answer = web.stow([instance.part10().as_slice()]);
            assert!(answer.status < 500, "{}", answer.text());
            ask(&instance);
        }
        // Palettes of 65,536 entries in two bytes, and none at all.
        for (descriptor, data) in [
            ([0_u16, 0, 16], vec![0; 2]),
            ([65_535, 65_535, 8], Vec::new()),
            ([1, 0, 255], vec![0; 8]),
        ] {
            let place = Place::new();
            let uid = synth::new_uid();
            let descriptor = descriptor.map(u16::to_le_bytes).concat();
            let mut elements = synth::image(synth::elements(&place, CT, &uid), 8, 4, vec![255; 64])
                .text(0x0028_0004, "CS", "PALETTE COLOR");
            for channel in 0..3 {
                elements = elements.bytes(0x0028_1101 + channel, "US", descriptor.clone()).bytes(
                    0x0028_1201 + channel,
                    "OW",
                    data.clone(),
                );
            }
            let instance = Instance::new(&place, CT, &uid, &elements);
            assert!(web.stow([instance.part10().as_slice()]).status < 500);
            ask(&instance);
        }
        // Codestreams that promise more than their header does.
        for (syntax, stream) in giant_codestreams() {
            let pixels = Encapsulated {
                syntax,
                frames: 1,
                fragments: vec![stream],
                ..Encapsulated::default()
            };
            let (instance, file) = pixels.file();
            assert!(web.stow([file.as_slice()]).status < 500);
            ask(&instance);
        }
    });
}

#[test]
fn gotcha_49_header_injection_and_traversal() {
    attack("header injection and path traversal", &[], |node| {
        let web = node.web();
        let evil = "x\"\r\nSet-Cookie: evil=1\r\n\r\n<script>../../";
        let place = Place::new();
        let uid = synth::new_uid();
        // What becomes a file name or a header somewhere: names, descriptions, MIME types.
        let elements = synth::elements(&place, CT, &uid)
            .text(0x0010_0010, "PN", evil)
            .text(0x0010_0020, "LO", evil)
            .text(0x0008_1030, "LO", evil)
            .text(0x0042_0010, "ST", evil)
            .text(0x0042_0012, "LO", "text/html\r\nSet-Cookie: evil=1");
        let instance = Instance::new(&place, CT, &uid, &synth::image(elements, 4, 4, vec![0; 32]));
        let answer = web.stow([instance.part10().as_slice()]);
        assert!(answer.status < 500, "{}", answer.text());
        let no_cookie = |what: &str, head: &[u8]| {
            let head = String::from_utf8_lossy(head).to_lowercase();
            let head = head.split("\r\n\r\n").next().unwrap_or_default().to_owned();
            assert!(!head.contains("\nset-cookie"), "{what}: {head}");
        };
        let study = format!("/dicom-web/studies/{}", place.study);
        for path in [
            study.clone(),
            format!("{study}/metadata"),
            format!("{study}?accept=application/zip"),
            format!("{study}?accept=x%0d%0aSet-Cookie:%20evil=1"),
            format!("/dicom-web{}/rendered", instance.path()),
            format!("/dicom-web{}/bulkdata/%0d%0aSet-Cookie:evil", instance.path()),
            "/dicom-web/studies?PatientName=%0d%0aSet-Cookie:%20evil=1".to_owned(),
            "/%0d%0aSet-Cookie:%20evil=1".to_owned(),
        ] {
            let request = raw::head(node, &format!("GET {path}"), &["X-Forwarded-Host: a\tb"]);
            no_cookie(&path, &raw::exchange(node, &request));
        }
        let parts = web.dicom(study.trim_start_matches("/dicom-web")).send_ok().parts();
        assert!(!parts[0].content_type.to_lowercase().contains("cookie"));

        // Paths as a client library would never send them.
        for path in [
            "/dicom-web/studies/../../../../etc/passwd",
            "/dicom-web/studies/%2e%2e%2f%2e%2e%2f%2e%2e%2fetc%2fpasswd",
            "/dicom-web/studies/..%5c..%5cetc%5cpasswd/metadata",
            "/../../../../etc/passwd",
            "/ohif/../../../../etc/passwd",
            "/ohif/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
            "/ohif/..%2f..%2f..%2f..%2fetc%2fpasswd",
            "/static/..%2f..%2fetc/passwd",
            "/dicom-web/studies/1.2/series/1.2/instances/1.2/bulkdata/../../../../../../etc/passwd",
        ] {
            let answer = raw::exchange(node, &raw::head(node, &format!("GET {path}"), &[]));
            assert!(!String::from_utf8_lossy(&answer).contains("root:"), "{path}");
            assert!(raw::status(&answer) < 500, "{path}");
        }

        // UIDs that are paths: refused, and no file appears outside the node's folders.
        for tag in [0x0020_000D, 0x0020_000E, 0x0008_0018, 0x0008_0016] {
            for uid in ["../../../../escaped", "/escaped", "1.2/../escaped", "..", "1.2\0escaped"] {
                let elements = synth::elements(&Place::new(), CT, "1.2.3.4").text(tag, "UI", uid);
                let elements = synth::image(elements, 2, 2, vec![0; 8]);
                let data_set = elements.encode();
                let file = part10(CT, "1.2.3.4", EXPLICIT, &data_set);
                refused(&format!("{tag:08X} = {uid:?}"), &web.stow([file.as_slice()]));
                let status = c_store(node, CT, EXPLICIT, "1.2.3.4", &data_set);
                assert!(status.is_none_or(|status| status != 0), "{tag:08X} = {uid:?}");
            }
        }
        let escaped = sample::files(node.scratch())
            .into_iter()
            .any(|path| path.to_string_lossy().contains("escaped"));
        assert!(!escaped, "a file was written where a UID said");
    });
}

/// Two hundred clients that never finish a request, and as many that say nothing at all.
#[test]
fn gotcha_49_slow_senders_and_half_open_sockets() {
    let plan = ["--artim-timeout", "2s", "--idle-timeout", "3s"];
    attack("slow senders and half-open sockets", &plan, |node| {
        let mut open: Vec<TcpStream> = Vec::new();
        for number in 0..400 {
            let mut stream = raw::connect(node);
            match number % 4 {
                0 => {}
                1 => drop(stream.write_all(b"GET /dicom-web/studies HTTP/1.1\r\nHost: loc")),
                2 => {
                    let head = raw::head(
                        node,
                        "POST /dicom-web/studies",
                        &[
                            &format!("Content-Type: {}", content_type()),
                            "Content-Length: 500000000",
                        ],
                    );
                    let _ = stream.write_all(&head);
                    let _ = stream.write_all(&part_head("application/dicom"));
                    let _ = stream.write_all(&[0; 200]);
                }
                _ => drop(stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")),
            }
            open.push(stream);
        }
        let offers = [(CT, &[EXPLICIT][..])];
        let mut associations = Vec::new();
        for number in 0..100 {
            if number % 2 == 0 {
                // Connected, and silent.
                open.push(TcpStream::connect(node.dimse()).expect("connect"));
            } else if let Ok(mut peer) = Peer::associate(node.dimse(), AE, "SLOW", &offers) {
                // In the middle of a store, and silent.
                let context = peer.context(CT, EXPLICIT).expect("an accepted context");
                let _ = peer.begin_store(context, CT, &synth::new_uid());
                let _ = peer.send(context, false, false, &[8, 0, 5, 0]);
                associations.push(peer);
            }
        }
        // Meanwhile others are served without delay.
        let mut slowest = Duration::ZERO;
        for number in 0..20 {
            let start = Instant::now();
            let instance = synth::ct(&Place::new(), number, 64);
            node.web().stow_instance(&instance);
            assert!(node.web().file(&instance).ends_with(&instance.data_set));
            slowest = slowest.max(start.elapsed());
        }
        println!("slowest store and retrieve beside them: {slowest:?}");
        assert!(slowest < Duration::from_secs(5), "{slowest:?}");
        // The associations are ended by the node, not by us.
        eventually("the silent associations are aborted", Duration::from_secs(30), || {
            let active = sample::metric(node, "qianli_dimse_associations_active");
            (active == 0.0).then_some(())
        });
        drop(associations);
        drop(open);
        thread::sleep(Duration::from_millis(200));
    });
}

/// Readers that take a byte now and then hold no more than their share.
#[test]
fn gotcha_49_slow_readers() {
    attack("slow readers", &[], |node| {
        let place = Place::new();
        let large = synth::ct(&place, 1, 32_000);
        node.web().stow_instance(&large);
        let path = format!("GET /dicom-web{}", large.path());
        let readers: Vec<TcpStream> = (0..100)
            .map(|_| {
                let mut stream = raw::connect(node);
                let head =
                    raw::head(node, &path, &["Accept: application/dicom; transfer-syntax=*"]);
                stream.write_all(&head).expect("ask");
                let _ = stream.read(&mut [0; 16]);
                stream
            })
            .collect();
        thread::sleep(Duration::from_secs(1));
        assert!(node.web().file(&large).ends_with(&large.data_set), "others are served meanwhile");
        drop(readers);
    });
}

/// A data set of a million elements, and one of a thousand private blocks: bounded like any other.
#[test]
fn gotcha_49_a_million_elements() {
    attack("a million elements", &[], |node| {
        let place = Place::new();
        let uid = synth::new_uid();
        let mut data_set = synth::elements(&place, CT, &uid).encode();
        let item: Vec<u8> = [
            &[0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF][..],
            &DataSet::default().text(0x0008_0100, "SH", "A").encode(),
            &[0xFE, 0xFF, 0x0D, 0xE0, 0, 0, 0, 0],
        ]
        .concat();
        header(&mut data_set, 0x0040_A730, b"SQ", 0);
        for _ in 0..1_000_000 {
            data_set.extend(&item);
        }
        data_set.extend([0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
        let answer = node.web().stow([part10(CT, &uid, EXPLICIT, &data_set).as_slice()]);
        println!("{} MB in a million items: {}", data_set.len() / 1_000_000, answer.status);
        assert!(answer.status < 500 || answer.status == 503, "{}", answer.text());
    });
}
