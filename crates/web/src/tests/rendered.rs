//! Rendered resources: several frames, cines, whole series, thumbnails that are always there.

use axum::http::{Method, header};

use super::data::{Instance, Pixels};
use super::node::Node;

const PNG: &[u8] = b"\x89PNG";
const JPEG: &[u8] = b"\xFF\xD8\xFF";

/// Three frames of one brightness each.
fn cine() -> Instance {
    let mut instance = Instance::new(1, 1, 1);
    instance.pixels = Pixels::Words(vec![[0, 0, 0, 9], [0, 1, 2, 3], [9, 0, 0, 0]]);
    instance
}

async fn with(instances: &[Instance]) -> Node {
    let node = Node::start().await;
    node.store(instances).await;
    node
}

#[tokio::test]
async fn lists_of_frames_are_a_part_each() {
    let instance = cine();
    let node = with(std::slice::from_ref(&instance)).await;
    let path = format!("{}/frames/3,1/rendered", instance.path());
    let answer = node.get_as(&path, "multipart/related; type=\"image/png\"").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let parts = answer.parts();
    assert_eq!(parts.len(), 2);
    for ((head, body), number) in parts.iter().zip([3, 1]) {
        assert!(head.contains("Content-Type: image/png"), "{head}");
        assert!(head.contains(&format!("/frames/{number}/rendered")), "{head}");
        assert!(body.starts_with(PNG));
    }
    assert_ne!(parts[0].1, parts[1].1);
    assert_eq!(node.get(&path).await.parts().len(), 2, "any type is taken");
    let alone = node.get_as(&path, "image/png").await;
    assert_eq!(alone.status, 406);
    assert!(alone.text().contains("multipart/related; type=\"image/jpeg\""), "{}", alone.text());
    let beyond = format!("{}/frames/1,4/rendered", instance.path());
    assert_eq!(node.get(&beyond).await.status, 404);
}

#[tokio::test]
async fn several_frames_are_one_picture_a_cine_or_parts() {
    let instance = cine();
    let node = with(std::slice::from_ref(&instance)).await;
    let path = format!("{}/rendered", instance.path());
    let gif = node.get_as(&path, "image/gif").await;
    assert_eq!(gif.header("content-type"), "image/gif");
    assert!(gif.body.starts_with(b"GIF89a") && gif.body.ends_with(b";"));
    let frames = gif.body.windows(3).filter(|bytes| bytes == b"\x21\xF9\x04").count();
    assert_eq!(frames, 3);
    assert!(node.get_as(&path, "image/jpeg").await.body.starts_with(JPEG));
    let parts = node.get_as(&path, "multipart/related; type=\"image/jpeg\"").await.parts();
    assert_eq!(parts.len(), 3);
}

#[tokio::test]
async fn series_and_studies_are_a_part_per_image() {
    let mut without_image = Instance::new(1, 1, 2);
    without_image.pixels = Pixels::None;
    let all =
        [Instance::new(1, 1, 1), without_image, Instance::new(1, 1, 3), Instance::new(1, 2, 1)];
    let node = with(&all).await;
    for (level, count) in [("/dicom-web/studies/1.2.826.1", 3), ("/series/1.2.826.1.1", 2)] {
        let level = match level.strip_prefix("/series") {
            Some(_) => format!("/dicom-web/studies/1.2.826.1{level}"),
            None => level.to_owned(),
        };
        let path = format!("{level}/rendered");
        let wanted = "multipart/related; type=\"image/jpeg\"";
        let parts = node.get_as(&path, wanted).await.parts();
        assert_eq!(parts.len(), count, "{path}");
        for (head, body) in &parts {
            assert!(head.contains("/instances/") && body.starts_with(JPEG), "{head}");
        }
        let alone = node.get_as(&path, "image/png").await;
        assert!(alone.body.starts_with(PNG), "{}", alone.text());
        let tag = alone.header("etag").to_owned();
        let held = [
            ("if-none-match".parse().expect("a name"), tag.as_str()),
            ("accept".parse().expect("a name"), "image/png"),
        ];
        let again = node.request("GET".parse().expect("a method"), &path, &held, Vec::new()).await;
        assert_eq!(again.status, 304);
    }
    assert_eq!(node.get("/dicom-web/studies/9.9/rendered").await.status, 404);
}

#[tokio::test]
async fn regions_windows_and_profiles_are_applied_or_refused() {
    let instance = Instance::new(1, 1, 1);
    let node = with(std::slice::from_ref(&instance)).await;
    let get = async |query: &str| {
        let path = format!("{}/rendered?{query}", instance.path());
        node.get_as(&path, "image/png").await
    };
    let plain = get("").await;
    assert_eq!(plain.status, 200, "{}", plain.text());
    let width = |png: &[u8]| u32::from_be_bytes([png[16], png[17], png[18], png[19]]);
    assert_eq!(width(&plain.body), 2);
    assert_eq!(width(&get("viewport=8,8").await.body), 8);
    assert_eq!(width(&get("viewport=1,1").await.body), 1);
    let mirrored = get("viewport=2,2,0,0,-2,2").await;
    assert_ne!(mirrored.body, plain.body);
    assert_ne!(get("window=2,2,linear-exact").await.body, plain.body);
    let labelled = get("iccprofile=srgb").await;
    assert!(labelled.body.windows(4).any(|name| name == b"iCCP"));
    for query in ["viewport=2,2,5,5,1,1", "window=lung", "iccprofile=rommrgb", "annotation=patient"]
    {
        let answer = get(query).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
    }
}

/// Browsers seek in a video by ranges of its bytes, across the fragments it is stored in.
#[tokio::test]
async fn videos_are_one_stream_that_can_be_sought() {
    let mut film = Instance::new(1, 1, 1);
    film.syntax = "1.2.840.10008.1.2.4.102";
    let start = b"\0\0\0\x18ftypmp42".to_vec();
    film.pixels = Pixels::Fragments(vec![start.clone(), (0..100).collect()]);
    let node = with(std::slice::from_ref(&film)).await;
    let path = format!("{}/rendered", film.path());
    let whole = node.get(&path).await;
    assert_eq!((whole.status, whole.header("content-type")), (200, "video/mp4"));
    assert_eq!(whole.header("accept-ranges"), "bytes");
    assert_eq!(whole.body, [start, (0..100).collect()].concat());
    let all = whole.body.len();
    for (range, expected) in [
        ("bytes=0-", 0..all),
        ("bytes=0-3", 0..4),
        ("bytes=10-20", 10..21),
        ("bytes=50-50", 50..51),
        ("bytes=-5", all - 5..all),
    ] {
        let headers = [(header::RANGE, range)];
        let part = node.request(Method::GET, &path, &headers, Vec::new()).await;
        let status = if expected == (0..all) { 200 } else { 206 };
        assert_eq!((part.status, part.header("content-type")), (status, "video/mp4"), "{range}");
        assert_eq!(part.body, whole.body[expected.clone()], "{range}");
        assert_eq!(part.header("content-length"), expected.len().to_string(), "{range}");
        if status == 206 {
            let shown = format!("bytes {}-{}/{all}", expected.start, expected.end - 1);
            assert_eq!(part.header("content-range"), shown);
        }
    }
    let beyond = [(header::RANGE, "bytes=5000-")];
    let beyond = node.request(Method::GET, &path, &beyond, Vec::new()).await;
    assert_eq!(beyond.status, 416);

    for rest in ["frames/1", "frames/2", "frames/1/rendered"] {
        let answer = node.get(&format!("{}/{rest}", film.path())).await;
        assert_eq!(answer.status, 404, "{rest}");
        let text = answer.text();
        assert!(text.contains("video") && text.contains("/rendered"), "{rest}: {text}");
    }
    let bulk = node.get_as(&format!("{}/bulkdata/7FE00010", film.path()), "video/mp4").await;
    assert_eq!((bulk.status, &bulk.body), (200, &whole.body));
}

#[tokio::test]
async fn thumbnails_are_there_for_what_has_no_picture() {
    let mut report = Instance::new(1, 1, 1);
    report.modality = "SR";
    report.pixels = Pixels::None;
    let image = Instance::new(1, 2, 1);
    let node = with(&[report.clone(), image.clone()]).await;
    let study = "/dicom-web/studies/1.2.826.1";
    let png = async |path: String| node.get_as(&path, "image/png").await;
    let sheet = png(format!("{}/thumbnail", report.path())).await;
    assert_eq!(sheet.status, 200, "{}", sheet.text());
    assert!(sheet.body.starts_with(PNG));
    let of_image = png(format!("{}/thumbnail", image.path())).await;
    let of_study = png(format!("{study}/thumbnail")).await;
    assert_eq!(of_study.body, of_image.body, "images go before what has none");
    assert_ne!(of_study.body, sheet.body);
    assert_eq!(png(format!("{}/frames/1,1/thumbnail", image.path())).await.status, 400);
    assert_eq!(png(format!("{study}/thumbnail?viewport=8,8,9,9")).await.status, 400);
}

#[tokio::test]
async fn answers_in_parts_are_named_after_their_first() {
    let mut document = Instance::new(1, 1, 1);
    document.pixels = Pixels::None;
    document.document = Some("application/pdf");
    let image = Instance::new(1, 2, 1);
    let node = with(&[document, image]).await;
    let path = "/dicom-web/studies/1.2.826.1/rendered";
    for (accept, first) in [
        ("*/*", "application/pdf"),
        ("multipart/related", "application/pdf"),
        ("multipart/related; type=\"image/png\"", "image/png"),
    ] {
        let answer = node.get_as(path, accept).await;
        let kind = answer.header("content-type").to_owned();
        assert!(kind.contains(&format!("type=\"{first}\"")), "{accept}: {kind}");
        let parts = answer.parts();
        assert!(parts[0].0.contains(&format!("Content-Type: {first}")), "{accept}: {}", parts[0].0);
    }
}

#[tokio::test]
async fn images_that_are_none_say_by_how_much() {
    let mut bomb = Instance::new(1, 1, 1);
    bomb.pixels = Pixels::Words(vec![[1, 2, 3, 4]]);
    let mut file = bomb.file();
    let rows = [0x28, 0, 0x10, 0, b'U', b'S', 2, 0, 2, 0];
    let at = file.windows(rows.len()).position(|bytes| bytes == rows).expect("Rows");
    file[at + 8..at + 10].copy_from_slice(&[0xFF, 0xFF]);
    let node = Node::start().await;
    let stored = node.post("/dicom-web/studies", &[file]).await;
    assert!(matches!(stored.status, 200 | 202), "{}", stored.text());
    for (rest, accept, status) in [
        ("frames/1", "*/*", 404),
        ("frames/1/rendered", "*/*", 404),
        ("rendered", "image/jpeg", 406),
    ] {
        let answer = node.get_as(&format!("{}/{rest}", bomb.path()), accept).await;
        assert_eq!(answer.status, status, "{rest}: {}", answer.text());
        for word in ["2 columns", "65535 rows", "262140 bytes"] {
            assert!(answer.text().contains(word), "{rest}: {}", answer.text());
        }
    }
}
