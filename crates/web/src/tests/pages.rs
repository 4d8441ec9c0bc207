//! The pages and the viewer's files through the router.

use axum::http::{Method, header};

use super::data::{Instance, Pixels};
use super::node::{Answer, Node};
use crate::{NodeInfo, WebConfig};

async fn page(node: &Node, path: &str, language: &str) -> Answer {
    let headers = [(header::ACCEPT_LANGUAGE, language)];
    node.request(Method::GET, path, &headers, Vec::new()).await
}

fn config() -> WebConfig {
    let node = NodeInfo {
        aet: "QIANLI".into(),
        dimse: "0.0.0.0:11112".into(),
        database: "sqlite".into(),
        store: "file:///data/objects".into(),
        version: "1.2.3".into(),
        ..NodeInfo::default()
    };
    WebConfig { node, ..WebConfig::default() }
}

#[tokio::test]
async fn a_fresh_node_says_how_to_send_images() {
    let node = Node::start_with(config()).await;
    let english = page(&node, "/", "en").await;
    assert_eq!(english.status, 200);
    assert_eq!(english.header("content-language"), "en");
    assert_eq!(english.header("cache-control"), "no-store");
    for words in [
        "Ready for the first study",
        "QIANLI",
        "11112",
        "http://localhost/dicom-web/studies",
        "SQLite",
    ] {
        assert!(english.text().contains(words), "{words}");
    }
    let shell = english.text().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        shell.contains("TCP_NODELAY=1 dcmsend") && shell.contains("+sd +r ./folder"),
        "{shell}"
    );
    assert!(shell.contains("TCP_NODELAY=1 keeps"), "the page says why");
    let chinese = page(&node, "/", "zh-CN,zh;q=0.9").await;
    assert!(chinese.text().contains("一切就绪") && chinese.text().contains("lang=\"zh-CN\""));
}

#[tokio::test]
async fn studies_are_listed_searched_and_shown() {
    let node = Node::start_with(config()).await;
    let mut other = Instance::new(2, 1, 1);
    other.patient_id = "P2";
    other.patient_name = "<b>Doe^Jane";
    node.store(&[Instance::new(1, 1, 1), Instance::new(1, 2, 1), other]).await;

    let list = page(&node, "/studies", "zh").await.text();
    assert!(list.contains("王五") && list.contains("Wang, Wu"), "both groups of the name");
    assert!(list.contains("2024-01-02") && list.contains("2 个序列，2 幅"));
    assert!(list.contains("/viewer?StudyInstanceUIDs=1.2.826.1\""));
    assert!(!list.contains("<b>") && list.contains("Doe, Jane"), "values are escaped");

    for (query, shown) in [
        ("name=%E7%8E%8B", true),
        ("name=wang+wu", true),
        ("name=Jane", false),
        ("id=P1", true),
        ("modality=CT&accession=a1", true),
        ("modality=MR", false),
        ("from=2024-01-02&to=2024-01-02", true),
        ("from=2024-01-03", false),
        ("range=7d", false),
        ("page=9", false),
    ] {
        let list = page(&node, &format!("/studies?{query}"), "en").await;
        assert_eq!(list.status, 200, "{query}");
        assert_eq!(list.text().contains("StudyInstanceUIDs=1.2.826.1\""), shown, "{query}");
    }

    let study = page(&node, "/studies/1.2.826.1", "en").await.text();
    for words in ["Wang, Wu", "王五", "1.2.826.1.1", "1.2.826.1.2", "series/1.2.826.1.2/thumbnail"]
    {
        assert!(study.contains(words), "{words}");
    }
    for path in ["/studies/9.9", "/studies/none", "/nothing", "/index.html"] {
        let answer = page(&node, path, "en").await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.text().contains("Nothing here"), "{path}");
    }
}

#[tokio::test]
async fn what_has_no_picture_is_linked_and_called_a_document() {
    let node = Node::start_with(config()).await;
    let document = |series, number, modality, class| {
        let mut one = Instance::new(1, series, number);
        (one.modality, one.class, one.pixels) = (modality, class, Pixels::None);
        one
    };
    let mut pdf = document(3, 1, "OT", "1.2.840.10008.5.1.4.1.1.104.1");
    pdf.document = Some("application/pdf");
    node.store(&[
        Instance::new(1, 1, 1),
        document(2, 1, "SR", "1.2.840.10008.5.1.4.1.1.88.33"),
        pdf,
        document(4, 2, "PR", "1.2.840.10008.5.1.4.1.1.11.1"),
        document(4, 1, "PR", "1.2.840.10008.5.1.4.1.1.11.1"),
    ])
    .await;
    let study = page(&node, "/studies/1.2.826.1", "en").await.text();
    for words in [">Report</a>", ">Document</a>", ">Presentation state 2</a>", ">1 document<"] {
        assert!(study.contains(words), "{words}: {study}");
    }
    assert!(study.contains(">2 documents<") && study.contains(">1 image<"));
    assert!(study.contains("4 series, 5 images and documents"), "the study as a whole");
    assert!(!study.contains("series/1.2.826.1.2/thumbnail"), "no picture is asked of a report");
    let links: Vec<&str> = study.split('"').filter(|part| part.ends_with("/rendered")).collect();
    assert!(!links.iter().any(|link| link.contains("/series/1.2.826.1.1/")), "{links:?}");
    for (series, kind) in [(2, "text/html"), (3, "application/pdf"), (4, "text/html")] {
        let of = format!("/series/1.2.826.1.{series}/");
        let link = links.iter().find(|link| link.contains(&of)).expect("a link");
        let answer = node.get_as(link, "text/html,application/xhtml+xml,*/*;q=0.8").await;
        assert_eq!(answer.status, 200, "{link}");
        assert!(answer.header("content-type").starts_with(kind), "{link}");
    }
    let chinese = page(&node, "/studies/1.2.826.1", "zh").await.text();
    assert!(chinese.contains(">报告</a>") && chinese.contains(">1 份文档<"), "{chinese}");
}

#[tokio::test]
async fn conditions_that_are_not_understood_are_told_at_their_field() {
    let node = Node::start_with(config()).await;
    for (language, date, unknown) in [
        ("en", "2026-13-45 is no date", "Not understood and left out: <code>patient=X&#60;"),
        ("zh", "2026-13-45 不是有效日期", "无法识别以下条件，已忽略： <code>patient=X&#60;"),
    ] {
        let list = page(&node, "/studies?from=2026-13-45&patient=X%3C", language).await.text();
        for words in [date, unknown, "aria-describedby=\"no-from\""] {
            assert!(list.contains(words), "{words}: {list}");
        }
        let fine = page(&node, "/studies?from=2026-01-02&name=A&lang=en", language).await.text();
        assert!(!fine.contains("class=\"warning"), "{fine}");
    }
}

#[tokio::test]
async fn a_chosen_language_is_remembered() {
    let node = Node::start_with(config()).await;
    let chosen = page(&node, "/studies?lang=zh-CN", "en").await;
    assert!(chosen.header("set-cookie").starts_with("lang=zh-CN;"));
    let headers = [(header::COOKIE, "lang=zh-CN"), (header::ACCEPT_LANGUAGE, "en")];
    let later = node.request(Method::GET, "/", &headers, Vec::new()).await;
    assert_eq!(later.header("content-language"), "zh-CN");
}

#[tokio::test]
async fn every_asset_of_a_page_is_there_and_kept() {
    let node = Node::start_with(config()).await;
    let home = page(&node, "/", "en").await.text();
    let mut assets = 0;
    for path in home.split('"').filter(|part| part.starts_with("/static/")) {
        let asset = node.get(path).await;
        assert_eq!(asset.status, 200, "{path}");
        assert!(asset.header("cache-control").contains("immutable"), "{path}");
        assets += 1;
    }
    assert!(assets >= 3);
    for origin in ["src=\"http", "src=\"//", "href=\"http", "href=\"//"] {
        assert!(!home.contains(origin), "{origin}: nothing is loaded from elsewhere");
    }
}

#[tokio::test]
async fn without_a_viewer_the_page_says_how_to_get_one() {
    let node = Node::start_with(config()).await;
    for path in ["/viewer?StudyInstanceUIDs=1.2", "/ohif", "/ohif/viewer"] {
        let answer = page(&node, path, "en").await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.text().contains("make viewer"), "{path}");
    }
}

#[tokio::test]
async fn the_viewer_is_served_at_the_root_without_taking_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).expect("a file of the viewer");
    };
    write("index.html", "OHIF");
    write("app.bundle.0f6159c501addfe9.js", "plain");
    write("app.bundle.0f6159c501addfe9.js.gz", "squeezed");
    write("app.bundle.css", "css");
    write("5130ccb17e3f3f5b.wasm", "wasm");
    write("app-config.js", "points elsewhere");
    write(".version", "3");
    let mut config = config();
    config.node.viewer = Some(folder.path().to_owned());
    let node = Node::start_with(config).await;

    for path in ["/viewer", "/viewer/", "/viewer?StudyInstanceUIDs=1.2", "/ohif", "/ohif/viewer"] {
        let answer = node.get(path).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "OHIF"), "{path}");
        assert_eq!(answer.header("cache-control"), "no-cache", "{path}");
    }
    assert!(page(&node, "/", "en").await.text().contains("OHIF installed"), "the root stays ours");

    let bundle = "/app.bundle.0f6159c501addfe9.js";
    let plain = node.get(bundle).await;
    assert_eq!((plain.status, plain.text().as_str()), (200, "plain"));
    assert!(plain.header("content-type").starts_with("text/javascript"));
    assert!(plain.header("cache-control").contains("immutable"));
    let gzip = [(header::ACCEPT_ENCODING, "gzip, br")];
    let squeezed = node.request(Method::GET, bundle, &gzip, Vec::new()).await;
    assert_eq!(squeezed.text(), "squeezed");
    assert_eq!(squeezed.header("content-encoding"), "gzip");
    assert_eq!(node.get("/5130ccb17e3f3f5b.wasm").await.header("content-type"), "application/wasm");
    assert_eq!(node.get("/app.bundle.css").await.header("cache-control"), "no-cache");

    let config = node.get("/app-config.js").await;
    assert!(config.text().contains("/dicom-web") && !config.text().contains("https://"));
    for path in ["/.version", "/..%2Fsecret.txt", "/%2e%2e/secret.txt", "/absent.js", "/index.html"]
    {
        assert_eq!(node.get(path).await.status, 404, "{path}");
    }
    let posted = node.request(Method::POST, "/app.bundle.css", &[], Vec::new()).await;
    assert!(posted.status >= 400, "files are only read");
    assert_eq!(
        node.get("/dicom-web/nothing.js").await.header("content-type"),
        "text/plain; charset=utf-8"
    );
}

#[tokio::test]
async fn tags_of_the_viewer_follow_the_content_and_not_the_time() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let fixed = std::time::UNIX_EPOCH + std::time::Duration::from_secs(499_162_500);
    let write = |name: &str, text: &str| {
        let new = folder.path().join("new");
        std::fs::write(&new, text).expect("a file of the viewer");
        let file = std::fs::File::options().write(true).open(&new).expect("the file");
        file.set_modified(fixed).expect("the time that packages have");
        std::fs::rename(new, folder.path().join(name)).expect("the file in its place");
    };
    let mut config = config();
    config.node.viewer = Some(folder.path().to_owned());
    let node = Node::start_with(config).await;
    for (name, path) in [("index.html", "/viewer"), ("app bundle.css", "/app%20bundle.css")] {
        write(name, "one");
        let first = node.get(path).await;
        let tag = first.header("etag").to_owned();
        assert_eq!((first.status, first.text().as_str()), (200, "one"), "{path}");
        assert!(!tag.is_empty() && first.header("last-modified").is_empty(), "{path}");
        assert_eq!(first.header("x-content-type-options"), "nosniff", "{path}");
        let held = [
            (header::IF_NONE_MATCH, tag.as_str()),
            (header::IF_MODIFIED_SINCE, "Wed, 21 Oct 2026 07:28:00 GMT"),
        ];
        let again = node.request(Method::GET, path, &held, Vec::new()).await;
        assert_eq!((again.status, again.header("etag")), (304, tag.as_str()), "{path}");
        write(name, "two");
        let changed = node.request(Method::GET, path, &held, Vec::new()).await;
        assert_eq!((changed.status, changed.text().as_str()), (200, "two"), "{path}");
        assert_ne!(changed.header("etag"), tag, "{path}");
    }
    // Scripts inside the document are named by what they say, nothing else inside it may run.
    write("index.html", "<script>alert(1)</script><script src=\"/x.js\"></script>");
    let page = node.get("/viewer").await;
    let policy = page.header("content-security-policy");
    let script = policy.rsplit("script-src ").next().expect("a rule for scripts");
    let expected = "'self' 'wasm-unsafe-eval' 'unsafe-eval' 'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='";
    assert_eq!(script, expected, "{policy}");
    assert!(policy.contains("frame-ancestors 'self'"), "{policy}");
}

#[tokio::test]
async fn values_of_any_length_leave_the_pages_readable() {
    let node = Node::start_with(config()).await;
    let mut long = Instance::new(1, 1, 1);
    long.patient_name = "Xylo".repeat(16_000).leak();
    long.patient_id = "0123456789".repeat(6_000).leak();
    let answer = node.post("/dicom-web/studies", &[long.file()]).await;
    assert!(matches!(answer.status, 200 | 202), "{}", answer.text());
    for path in ["/", "/studies", "/studies/1.2.826.1"] {
        let text = page(&node, path, "en").await.text();
        assert!(text.contains(&format!("{}…", "Xylo".repeat(30))), "{path}");
        assert!(text.len() < 40_000, "{path}: {} bytes", text.len());
    }
}
