//! WADO-URI through the router.

use super::data::{self, Instance, Pixels};
use super::node::Node;

fn path(instance: &Instance, rest: &str) -> String {
    let Instance { study, series, uid, .. } = instance;
    format!(
        "/dicom-web/wado?requestType=WADO&studyUID={study}&seriesUID={series}&objectUID={uid}{rest}"
    )
}

async fn with(instances: &[Instance]) -> Node {
    let node = Node::start().await;
    node.store(instances).await;
    node
}

#[tokio::test]
async fn the_object_in_the_syntax_asked_for() {
    let mut instance = Instance::new(1, 1, 1);
    instance.syntax = data::IMPLICIT;
    let node = with(std::slice::from_ref(&instance)).await;
    for (rest, syntax) in [
        ("&contentType=application/dicom", data::EXPLICIT),
        ("&contentType=application%2Fdicom&transferSyntax=1.2.840.10008.1.2", data::IMPLICIT),
        ("&contentType=application/dicom&transferSyntax=1.2.840.10008.1.2.5", data::RLE),
        ("&contentType=application/x-other,application/dicom&transferSyntax=*", data::IMPLICIT),
    ] {
        let answer = node.get_as(&path(&instance, rest), "text/html, */*").await;
        assert_eq!(answer.status, 200, "{rest}: {}", answer.text());
        let kind = format!("application/dicom; transfer-syntax={syntax}");
        assert_eq!(answer.header("content-type"), kind, "{rest}");
        assert_eq!(&answer.body[128..132], b"DICM", "{rest}");
    }
    let video = "&contentType=application/dicom&transferSyntax=1.2.840.10008.1.2.4.102";
    assert_eq!(node.get(&path(&instance, video)).await.status, 406);
}

#[tokio::test]
async fn pictures_and_their_parameters() {
    let mut instance = Instance::new(1, 1, 1);
    instance.pixels = Pixels::Words(vec![[1, 2, 3, 0x1234]]);
    let mut cine = Instance::new(1, 1, 2);
    cine.pixels = Pixels::Words(vec![[1, 2, 3, 4], [4, 3, 2, 1]]);
    let node = with(&[instance.clone(), cine.clone()]).await;
    for (rest, media) in [
        ("", "image/jpeg"),
        ("&contentType=image/png", "image/png"),
        ("&contentType=image%2Fjpeg&rows=64&columns=32&imageQuality=50", "image/jpeg"),
        ("&contentType=image/jpeg&windowCenter=2&windowWidth=3.5", "image/jpeg"),
        ("&contentType=image/png&region=0.0,0.5,0.5,1.0", "image/png"),
        ("&contentType=image/x-unknown,image/png&frameNumber=1", "image/png"),
    ] {
        let answer = node.get_as(&path(&instance, rest), "text/html, */*").await;
        assert_eq!(answer.status, 200, "{rest}: {}", answer.text());
        assert_eq!(answer.header("content-type"), media, "{rest}");
    }
    // The same picture as the rendered resource, byte for byte.
    let same = format!("{}/rendered?window=2,3.5,linear&accept=image/png", instance.path());
    let rest = "&contentType=image/png&windowCenter=2&windowWidth=3.5";
    assert_eq!(node.get(&path(&instance, rest)).await.body, node.get(&same).await.body);
    let second = node.get(&path(&cine, "&contentType=image/png&frameNumber=2")).await;
    let rendered = node.get_as(&format!("{}/frames/2/rendered", cine.path()), "image/png").await;
    assert_eq!(second.body, rendered.body);
    let animated = node.get(&path(&cine, "&contentType=image/gif")).await;
    assert_eq!((animated.status, animated.header("content-type")), (200, "image/gif"));
    // Of several frames the object is the default.
    let object = node.get(&path(&cine, "")).await;
    assert!(object.header("content-type").starts_with("application/dicom"));
}

#[tokio::test]
async fn without_content_type_the_accept_header_decides() {
    let instance = Instance::new(1, 1, 1);
    let mut film = Instance::new(1, 1, 2);
    film.syntax = "1.2.840.10008.1.2.4.102";
    film.pixels = Pixels::Fragments(vec![b"\0\0\0\x18ftypmp42".to_vec()]);
    let node = with(&[instance.clone(), film.clone()]).await;
    for (accept, media) in [
        ("*/*", "image/jpeg"),
        ("text/html, */*;q=0.8", "image/jpeg"),
        ("image/avif, image/*, */*;q=0.8", "image/jpeg"),
        ("image/png", "image/png"),
        ("application/dicom", "application/dicom"),
        ("image/jpeg;q=0.5, application/dicom", "application/dicom"),
    ] {
        let answer = node.get_as(&path(&instance, ""), accept).await;
        let got = answer.header("content-type").split(';').next().unwrap_or_default().to_owned();
        assert_eq!((answer.status, got.as_str()), (200, media), "{accept}");
    }
    let refused = node.get_as(&path(&instance, ""), "text/html").await;
    assert_eq!(refused.status, 406);
    assert!(refused.text().contains("contentType=image/png"), "{}", refused.text());
    let named = node.get_as(&path(&instance, "&contentType=image/png"), "application/dicom").await;
    assert_eq!(named.header("content-type"), "image/png", "the parameter outranks the header");
    for (accept, media) in [("*/*", "application/dicom"), ("video/mp4", "video/mp4")] {
        let answer = node.get_as(&path(&film, ""), accept).await;
        assert!(answer.header("content-type").starts_with(media), "{accept}: {}", answer.text());
    }
}

#[tokio::test]
async fn documents_by_default() {
    let mut pdf = Instance::new(1, 1, 1);
    pdf.pixels = Pixels::None;
    let node = with(std::slice::from_ref(&pdf)).await;
    // Neither image nor document: the object.
    let answer = node.get(&path(&pdf, "")).await;
    assert!(answer.header("content-type").starts_with("application/dicom"));
}

#[tokio::test]
async fn what_cannot_be_done_is_said() {
    let instance = Instance::new(1, 1, 1);
    let node = with(std::slice::from_ref(&instance)).await;
    for (rest, status) in [
        ("&anonymize=yes", 400),
        ("&presentationUID=1.2.3", 400),
        ("&contentType=image/png&rows=0", 400),
        ("&contentType=image/png&windowCenter=1", 400),
        ("&contentType=image/png&region=0,0,2,2", 400),
        ("&contentType=image/png&imageQuality=200", 400),
        ("&contentType=image/png&frameNumber=2", 404),
        ("&contentType=audio/basic", 406),
    ] {
        assert_eq!(node.get(&path(&instance, rest)).await.status, status, "{rest}");
    }
    let mut other = instance.clone();
    other.uid.push('9');
    assert_eq!(node.get(&path(&other, "")).await.status, 404);
    for query in ["", "requestType=WADO", "requestType=X&studyUID=1&seriesUID=1&objectUID=1"] {
        assert_eq!(node.get(&format!("/dicom-web/wado?{query}")).await.status, 400, "{query}");
    }
    let malformed = "requestType=WADO&studyUID=../1&seriesUID=1&objectUID=1";
    assert_eq!(node.get(&format!("/dicom-web/wado?{malformed}")).await.status, 400);
}

#[tokio::test]
async fn refusals_speak_of_the_parameters_of_this_service() {
    let instance = Instance::new(1, 1, 1);
    let node = Node::start().await;
    node.store(std::slice::from_ref(&instance)).await;
    for (query, status, words) in [
        ("&imageQuality=200", 400, "imageQuality"),
        ("&rows=99999", 400, "rows"),
        ("&windowCenter=1&windowWidth=0", 400, "windowWidth"),
        ("&rows=5&rows=6", 400, "rows is given more than once"),
        ("&charset=gbk", 400, "charset=utf-8"),
        ("&contentType=image/bmp", 406, "contentType=image/jpeg"),
        ("&contentType=application/dicom&transferSyntax=1.2.3", 406, "transferSyntax=* or 1.2.840"),
    ] {
        let answer = node.get(&path(&instance, query)).await;
        let text = answer.text();
        assert_eq!(answer.status, status, "{query}: {text}");
        assert!(text.contains(words) && !text.contains("multipart"), "{query}: {text}");
        assert!(!text.contains("transfer-syntax="), "{query}: {text}");
    }
}
