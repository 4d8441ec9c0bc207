//! Bulk data in parts and all at once, and metadata as XML.

use axum::http::{Method, header};

use super::data::{self, Instance, Pixels};
use super::node::Node;

fn with_private(number: u32) -> Instance {
    let mut instance = Instance::new(1, 1, number);
    instance.private_bytes = 9_999;
    instance
}

fn private(instance: &Instance) -> Vec<u8> {
    (0..instance.private_bytes).map(|i| i as u8).chain([0]).collect()
}

#[tokio::test]
async fn ranges_of_a_value() {
    let node = Node::start().await;
    let instance = with_private(1);
    node.store(std::slice::from_ref(&instance)).await;
    let path = format!("{}/bulkdata/00091001", instance.path());
    let value = private(&instance);
    let whole = node.get(&path).await;
    assert_eq!((whole.status, whole.header("accept-ranges")), (200, "bytes"));
    for (range, expected) in [
        ("bytes=0-9", 0..10),
        ("bytes=5000-", 5000..10_000),
        ("bytes=-7", 9_993..10_000),
        ("bytes=9990-20000", 9_990..10_000),
    ] {
        let headers = [(header::RANGE, range)];
        let part = node.request(Method::GET, &path, &headers, Vec::new()).await;
        assert_eq!(part.status, 206, "{range}");
        assert_eq!(part.body, value[expected.clone()], "{range}");
        let shown = format!("bytes {}-{}/10000", expected.start, expected.end - 1);
        assert_eq!(part.header("content-range"), shown);
        assert_eq!(part.header("content-length"), expected.len().to_string());
    }
    let beyond = [(header::RANGE, "bytes=10000-")];
    let beyond = node.request(Method::GET, &path, &beyond, Vec::new()).await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, "bytes */10000"));
    let several = [(header::RANGE, "bytes=0-1,4-5")];
    let several = node.request(Method::GET, &path, &several, Vec::new()).await;
    assert_eq!((several.status, several.body.len()), (200, 10_000));
}

#[tokio::test]
async fn documents_go_out_as_what_they_are_if_that_is_harmless() {
    let node = Node::start().await;
    let mut pdf = Instance::new(1, 1, 1);
    pdf.pixels = Pixels::None;
    pdf.document = Some("application/pdf");
    let mut page = Instance::new(1, 1, 2);
    page.pixels = Pixels::None;
    page.document = Some("text/html");
    node.store(&[pdf.clone(), page.clone()]).await;
    let path = |instance: &Instance| format!("{}/bulkdata/00420011", instance.path());
    let answer = node.get_as(&path(&pdf), "application/pdf").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/pdf"));
    assert!(answer.body.starts_with(b"%PDF"));
    let answer = node.get_as(&path(&pdf), "*/*").await;
    assert_eq!(answer.header("content-type"), "application/octet-stream");
    let multipart = "multipart/related; type=\"application/pdf\"";
    let parts = node.get_as(&path(&pdf), multipart).await.parts();
    assert!(parts[0].0.contains("Content-Type: application/pdf\r\n"), "{}", parts[0].0);
    assert_eq!(node.get_as(&path(&page), "text/html").await.status, 406);
}

#[tokio::test]
async fn all_bulk_data_of_a_level() {
    let node = Node::start().await;
    let mut big = with_private(2);
    big.syntax = data::BIG_ENDIAN;
    let mut compressed = Instance::new(1, 2, 1);
    compressed.syntax = data::RLE;
    let frames = vec![data::rle_frame([1, 2, 3, 4]), data::rle_frame([5, 6, 7, 8])];
    compressed.pixels = Pixels::Fragments(frames.clone());
    let mut empty = Instance::new(1, 3, 1);
    empty.pixels = Pixels::None;
    node.store(&[with_private(1), big.clone(), compressed.clone(), empty.clone()]).await;

    let words = vec![1, 0, 2, 0, 3, 0, 0x34, 0x12];
    let study = "/dicom-web/studies/1.2.826.1";
    let all = node.get(&format!("{study}/bulkdata")).await;
    assert_eq!(all.status, 200, "{}", all.text());
    let parts = all.parts();
    let contents: Vec<Vec<u8>> = parts.iter().map(|(_, content)| content.clone()).collect();
    let expected = [
        private(&big),
        words.clone(),
        private(&big),
        words.clone(),
        vec![1, 2, 3, 4],
        vec![5, 6, 7, 8],
    ];
    assert_eq!(contents, expected);
    for (head, content) in &parts {
        let at = head.lines().find_map(|line| line.strip_prefix("Content-Location: "));
        let at = at.and_then(|at| at.strip_prefix("http://localhost")).expect("a location");
        let single = node.get_as(at, "application/octet-stream").await;
        assert_eq!(&single.body, content, "{at}");
    }
    let stored = "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*";
    let series = format!("{study}/series/1.2.826.1.2");
    let parts = node.get_as(&format!("{series}/bulkdata"), stored).await.parts();
    assert_eq!((&parts[0].1, &parts[1].1), (&frames[0], &frames[1]));
    assert!(parts[0].0.contains(&format!("transfer-syntax={}", data::RLE)), "{}", parts[0].0);
    let pixels = node.get(&format!("{}/pixeldata", big.path())).await.parts();
    assert_eq!(pixels.into_iter().map(|(_, content)| content).collect::<Vec<_>>(), [words]);
    assert_eq!(node.get(&format!("{}/bulkdata", empty.path())).await.status, 404);
    assert_eq!(node.get_as(&format!("{study}/bulkdata"), "image/png").await.status, 406);
}

/// The type of a multipart body is that of its first part, and the same bytes have the same label
/// wherever they are asked for.
#[tokio::test]
async fn compressed_frames_are_labelled_alike_everywhere() {
    let node = Node::start().await;
    let mut compressed = with_private(1);
    compressed.syntax = data::RLE;
    compressed.pixels = Pixels::Fragments(vec![data::rle_frame([1, 2, 3, 4])]);
    node.store(&[compressed.clone(), Instance::new(1, 2, 1)]).await;
    let at = compressed.path();
    let labels = |answer: &super::node::Answer| {
        let whole = answer.header("content-type").split('"').nth(1).unwrap_or_default().to_owned();
        let of_part = |(head, _): &(String, Vec<u8>)| {
            let line = head.lines().find_map(|line| line.strip_prefix("Content-Type: "));
            line.unwrap_or_default().to_owned()
        };
        (whole, answer.parts().iter().map(of_part).collect::<Vec<_>>())
    };
    for (asked, media) in [
        ("application/octet-stream\"; transfer-syntax=*", "application/octet-stream"),
        ("image/dicom-rle\"", "image/dicom-rle"),
    ] {
        let accept = format!("multipart/related; type=\"{asked}");
        let expected = (media.to_owned(), vec![format!("{media}; transfer-syntax={}", data::RLE)]);
        for path in ["frames/1", "bulkdata/7FE00010", "pixeldata"] {
            let answer = node.get_as(&format!("{at}/{path}"), &accept).await;
            assert_eq!(answer.status, 200, "{path} {accept}: {}", answer.text());
            assert_eq!(labels(&answer), expected, "{path} {accept}");
        }
    }
    // All bulk data: the private value in front of the pixels is octets, if it may come at all.
    let (octets, rle) = ("multipart/related; type=\"application/octet-stream\"", "image/dicom-rle");
    let only = format!("multipart/related; type=\"{rle}\"");
    let alone = node.get_as(&format!("{at}/bulkdata"), &only).await;
    assert_eq!((alone.status, alone.parts().len()), (200, 1));
    assert_eq!(labels(&alone).0, rle);
    let both = node.get_as(&format!("{at}/bulkdata"), &format!("{only}, {octets};q=0.5")).await;
    let (whole, parts) = labels(&both);
    assert_eq!(whole, "application/octet-stream");
    assert!(parts[0].starts_with(&whole) && parts[1].starts_with(rle), "{parts:?}");
    // Of a study, what is not so stored is left out, and that is said.
    let study = node.get_as("/dicom-web/studies/1.2.826.1/pixeldata", &only).await;
    assert_eq!((study.status, study.parts().len()), (206, 1));
    assert!(!study.header("warning").is_empty());
    let other = "multipart/related; type=\"image/jp2\"";
    let refused = node.get_as(&format!("{at}/bulkdata"), other).await;
    assert_eq!(refused.status, 406);
    assert!(refused.text().contains(rle), "{}", refused.text());
}

/// Of a document or value that changed meanwhile, the rest of the old one is not to be had.
#[tokio::test]
async fn if_match_names_what_is_wanted() {
    let node = Node::start().await;
    let instance = with_private(1);
    node.store(std::slice::from_ref(&instance)).await;
    for rest in ["", "/metadata", "/frames/1", "/rendered", "/bulkdata/00091001", "/bulkdata"] {
        let path = format!("{}{rest}", instance.path());
        let tag = node.get(&path).await.header("etag").to_owned();
        for (wanted, status) in [(tag.as_str(), 200), ("*", 200), ("\"other\"", 412)] {
            let headers = [(header::IF_MATCH, wanted)];
            let answer = node.request(Method::GET, &path, &headers, Vec::new()).await;
            assert_eq!(answer.status, status, "{rest} {wanted}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn metadata_as_xml() {
    let node = Node::start().await;
    let all = [with_private(1), Instance::new(1, 2, 1)];
    node.store(&all).await;
    let multipart = "multipart/related; type=\"application/dicom+xml\"";
    let study = node.get_as("/dicom-web/studies/1.2.826.1/metadata", multipart).await;
    assert!(
        study.header("content-type").starts_with("multipart/related; type=\"application/dicom+xml")
    );
    let parts = study.parts();
    assert_eq!(parts.len(), 2);
    for ((head, document), instance) in parts.iter().zip(&all) {
        assert!(head.contains("Content-Type: application/dicom+xml"), "{head}");
        let text = String::from_utf8_lossy(document);
        assert!(text.contains("NativeDicomModel") && text.contains(&instance.uid), "{text}");
        assert!(text.contains(&format!("http://localhost{}/bulkdata/7FE00010", instance.path())));
    }
    let single = node.get_as(&format!("{}/metadata", all[0].path()), "application/dicom+xml").await;
    assert_eq!(single.header("content-type").split(';').next(), Some("application/dicom+xml"));
    assert_eq!(single.body, parts[0].1);
    let json = node.get_as(&format!("{}/metadata", all[0].path()), "*/*").await;
    assert!(json.header("content-type").starts_with("application/dicom+json"));
    assert_ne!(json.header("etag"), single.header("etag"));
}

/// More instances than are read at once: the array is written series by series, and is the same.
#[tokio::test]
async fn metadata_of_a_large_study() {
    let node = Node::start().await;
    let mut all = Vec::new();
    for (series, count) in [(1, 600), (2, 401)] {
        all.extend((1..=count).map(|number| {
            let mut instance = Instance::new(1, series, number);
            instance.pixels = Pixels::None;
            instance
        }));
    }
    for some in all.chunks(200) {
        node.store(some).await;
    }
    let path = "/dicom-web/studies/1.2.826.1/metadata";
    let study = node.get(path).await;
    assert_eq!((study.status, study.header("content-length")), (200, ""));
    let sets = study.json();
    let uids = sets.as_array().into_iter().flatten().map(|set| set["00080018"]["Value"][0].clone());
    assert!(uids.eq(all.iter().map(|instance| instance.uid.clone())));
    let tag = [(header::IF_NONE_MATCH, study.header("etag"))];
    assert_eq!(node.request(Method::GET, path, &tag, Vec::new()).await.status, 304);
    let multipart = "multipart/related; type=\"application/dicom+xml\"";
    assert_eq!(node.get_as(path, multipart).await.parts().len(), 1001);
}
