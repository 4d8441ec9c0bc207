//! Lines 46 to 48: character sets.

use crate::on_both_setups;
use crate::support::data_set::DataSet;
use crate::support::node::{AE, Node};
use crate::support::peer::{EXPLICIT, Peer};
use crate::support::setup::Setup;
use crate::support::synth::{self, CT, Instance, Place};
use crate::support::web::value;
use serde_json::Value;

on_both_setups! {
    /// GBK labelled as Latin-1 or not at all is read as what its sender is known to send.
    gotcha_47_charset_by_source = by_source;
    /// Every declared character set is read, found by and told in UTF-8.
    gotcha_46_every_character_set = every_set;
    /// Names of character sets as the field spells them.
    gotcha_48_charset_aliases = aliases;
}

/// "张^小东" in GBK.
const ZHANG: &[u8] = b"\xD5\xC5^\xD0\xA1\xB6\xAB";

/// Labels, bytes of a name, and the name (PS3.5 annexes H to K, and single-byte sets).
const NAMES: [(&str, &[u8], &str); 18] = [
    ("ISO_IR 100", b"M\xFCller^J\xF6rg", "Müller^Jörg"),
    ("ISO_IR 101", b"Wa\xB3\xEAsa^Lech", "Wałęsa^Lech"),
    ("ISO_IR 144", b"\xBB\xEEce\xDC\xD1yp\xD3", "Люceмбypг"),
    ("ISO_IR 126", b"\xC4\xE9\xEF\xED^\xC1", "Διον^Α"),
    ("ISO_IR 127", b"\xE2\xC8\xC7\xE6\xEA^\xE6", "قباني^ن"),
    ("ISO_IR 138", b"\xF9\xF8\xE5\xEF^\xE3", "שרון^ד"),
    ("ISO_IR 148", b"\xC7avu\xFEo\xF0lu", "Çavuşoğlu"),
    ("ISO_IR 166", b"\xB9\xD2\xC2", "นาย"),
    ("ISO_IR 192", "王^小東=Wang".as_bytes(), "王^小東=Wang"),
    ("GB18030", b"Wang=\xCD\xF5^\xB7\xBC", "Wang=王^芳"),
    // 0x85 0x5C is one character: its second byte is no backslash.
    ("GBK", b"Ka=\x85\x5C^\xD5\xC5", "Ka=匼^张"),
    // Two sets by escapes; back in the first one after the delimiter, where no escape says so.
    (r"ISO 2022 IR 100\ISO 2022 IR 144", b"\x1B-L\xBB\xEE^\xE9t\xE9", "Лю^été"),
    (
        r"\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1B$B;3ED\x1B(B^\x1B$BB@O:\x1B(B=\x1B$B$d$^$@\x1B(B^\x1B$B$?$m$&\x1B(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    (
        r"ISO 2022 IR 13\ISO 2022 IR 87",
        b"\xD4\xCF\xC0\xDE^\xC0\xDB\xB3=\x1B$B;3ED\x1B(J^\x1B$BB@O:\x1B(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎",
    ),
    ("ISO_IR 13", b"\xD4\xCF\xC0\xDE^A", "ﾔﾏﾀﾞ^A"),
    (r"\ISO 2022 IR 159", b"A=\x1B$(D0!\x1B(B", "A=丂"),
    (
        r"\ISO 2022 IR 149",
        b"Hong^Gildong=\x1B$)C\xFB\xF3^\x1B$)C\xD1\xCE\xD4\xD7=\x1B$)C\xC8\xAB^\x1B$)C\xB1\xE6\xB5\xBF",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    (
        r"\ISO 2022 IR 58",
        b"Zhang^XiaoDong=\x1B$)A\xD5\xC5^\x1B$)A\xD0\xA1\xB6\xAB",
        "Zhang^XiaoDong=张^小东",
    ),
];

/// An instance of a study of its own with this label and name.
fn named(charset: Option<&str>, name: &[u8]) -> Instance {
    let place = Place::new();
    let uid = format!("{}.1", place.series);
    let elements = synth::elements(&place, CT, &uid).without(0x0008_0005);
    let elements = match charset {
        Some(charset) => elements.text(0x0008_0005, "CS", charset),
        None => elements,
    };
    let elements: DataSet = elements.bytes(0x0010_0010, "PN", name.to_vec());
    Instance::new(&place, CT, &uid, &synth::image(elements, 4, 4, vec![0; 32]))
}

fn send(node: &Node, calling: &str, instance: &Instance) {
    let offers = [(CT, &[EXPLICIT][..])];
    let mut peer = Peer::associate(node.dimse(), AE, calling, &offers).expect("associate");
    let context = peer.context(CT, EXPLICIT).expect("an accepted context");
    let response = peer.store(context, CT, &instance.uid, &instance.data_set).expect("store");
    assert_eq!(response.status, 0, "{}", response.comment);
    peer.release().expect("release");
}

fn alphabetic(node: &Node, instance: &Instance) -> String {
    let path = format!("/studies?StudyInstanceUID={}", instance.place.study);
    let rows = node.web().json(&path);
    rows[0]["00100010"]["Value"][0]["Alphabetic"].as_str().unwrap_or_default().to_owned()
}

fn by_source(setup: &Setup) {
    let node = Node::plan(setup)
        .args(["--source-charsets", "OLDCT=gbk,SEOUL=euc-kr", "--unlabelled-charset", "gb18030"])
        .start();
    let mislabelled = named(Some("ISO_IR 100"), ZHANG);
    send(&node, "OLDCT", &mislabelled);
    assert_eq!(alphabetic(&node, &mislabelled), "张^小东");

    // Found by it, and told in the metadata as what it is.
    let found = node.web().json("/studies?PatientName=%E5%BC%A0*");
    assert_eq!(found.len(), 1);
    assert_eq!(value(&found[0], "0020000D"), mislabelled.place.study);
    let metadata = node.web().json(&format!("{}/metadata", mislabelled.path()));
    assert_eq!(value(&metadata[0], "00080005"), "ISO_IR 192");
    assert_eq!(metadata[0]["00100010"]["Value"][0]["Alphabetic"], "张^小东");
    // The object is kept as it was sent.
    assert!(node.web().file(&mislabelled).ends_with(&mislabelled.data_set));

    // The same source declares properly sometimes; that is believed.
    for (label, name) in [("ISO_IR 192", "王^芳".as_bytes()), ("GB18030", b"\xCD\xF5^\xB7\xBC")] {
        let honest = named(Some(label), name);
        send(&node, "OLDCT", &honest);
        assert_eq!(alphabetic(&node, &honest), "王^芳", "{label}");
    }
    // Another source with the same label means Latin-1; without a label the node's guess counts.
    let latin = named(Some("ISO_IR 100"), b"M\xFCller^J\xF6rg");
    send(&node, "OTHER", &latin);
    assert_eq!(alphabetic(&node, &latin), "Müller^Jörg");
    let unlabelled = named(None, ZHANG);
    send(&node, "OTHER", &unlabelled);
    assert_eq!(alphabetic(&node, &unlabelled), "张^小东");
    let korean = named(None, b"\xB1\xE8^\xC8\xF1\xC1\xDF");
    send(&node, "SEOUL", &korean);
    assert_eq!(alphabetic(&node, &korean), "김^희중");

    // By address, over STOW-RS and for everyone.
    let node = Node::plan(setup).args(["--source-charsets", "127.0.0.1=gbk"]).start();
    let mislabelled = named(Some("ISO_IR 100"), ZHANG);
    node.web().stow_instance(&mislabelled);
    assert_eq!(alphabetic(&node, &mislabelled), "张^小东");
}

/// A name in DICOM JSON, its groups joined as in a data set.
fn joined(name: &Value) -> String {
    let groups = ["Alphabetic", "Ideographic", "Phonetic"]
        .map(|group| name[group].as_str().unwrap_or_default().to_owned());
    groups.join("=").trim_end_matches('=').to_owned()
}

fn every_set(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    for (label, bytes, expected) in NAMES {
        let instance = named(Some(label), bytes);
        web.stow_instance(&instance);
        let metadata = web.json(&format!("{}/metadata", instance.path())).remove(0);
        assert_eq!(joined(&metadata["00100010"]["Value"][0]), expected, "{label} in metadata");
        assert_eq!(value(&metadata, "00080005"), "ISO_IR 192", "{label}");
        // Found by each of its component groups, and told by the search as it is.
        for group in expected.split('=') {
            let name = reqwest::Url::parse_with_params("http://x", [("PatientName", group)]);
            let query = name.expect("a URL").query().unwrap_or_default().to_owned();
            let rows = web.json(&format!("/studies?{query}"));
            let mine = |row: &&Value| value(row, "0020000D") == instance.place.study;
            let row = rows.iter().find(mine);
            let row = row.unwrap_or_else(|| panic!("{label}: not found by {group}"));
            assert_eq!(joined(&row["00100010"]["Value"][0]), expected, "{label} in the search");
        }
        // The object itself is as it was sent.
        assert!(web.file(&instance).ends_with(&instance.data_set), "{label}");
    }

    // The state of ISO 2022 ends at a backslash and at line ends, and it does not leak out of items.
    let place = Place::new();
    let uid = format!("{}.1", place.series);
    let inner = DataSet::default().text(0x0008_0005, "CS", "ISO_IR 144").bytes(
        0x0008_0104,
        "LO",
        b"\xBB\xEE".to_vec(),
    );
    let elements = synth::elements(&place, CT, &uid)
        .text(0x0008_0005, "CS", r"ISO 2022 IR 100\ISO 2022 IR 144")
        .bytes(0x0010_1000, "LO", b"\x1B-L\xBB\xEE\\\xE9t\xE9".to_vec())
        .bytes(0x0010_4000, "LT", b"\x1B-L\xBB\xEE\r\n\xE9t\xE9".to_vec())
        .sequence(0x0008_1032, &[inner])
        .bytes(0x0010_21B0, "LT", b"\xE9t\xE9".to_vec());
    let elements = synth::image(elements, 4, 4, vec![0; 32]);
    let instance = Instance::new(&place, CT, &uid, &elements);
    web.stow_instance(&instance);
    let metadata = web.json(&format!("{}/metadata", instance.path())).remove(0);
    assert_eq!(metadata["00101000"]["Value"][0], "Лю");
    assert_eq!(metadata["00101000"]["Value"][1], "été");
    assert_eq!(metadata["00104000"]["Value"][0], "Лю\r\nété");
    assert_eq!(metadata["00081032"]["Value"][0]["00080104"]["Value"][0], "Лю");
    assert_eq!(metadata["001021B0"]["Value"][0], "été");
}

fn aliases(setup: &Setup) {
    let node = Node::start(setup);
    let latin: [&str; 8] = [
        "ISO_IR_100",
        "ISO-IR 100",
        "ISO IR 100",
        "iso_ir 100",
        "ISO_IR100",
        "ISO 2022 IR 100",
        r"\ISO_IR 100",
        r"ISO_IR 100\",
    ];
    for label in latin {
        let instance = named(Some(label), b"M\xFCller^J\xF6rg");
        node.web().stow_instance(&instance);
        assert_eq!(alphabetic(&node, &instance), "Müller^Jörg", "{label}");
    }
    for label in ["UTF-8", "utf8", r"\ISO_IR 192", "ISO_IR_192", "ISO IR 192"] {
        let instance = named(Some(label), "王^小東".as_bytes());
        node.web().stow_instance(&instance);
        assert_eq!(alphabetic(&node, &instance), "王^小東", "{label}");
    }
    for label in ["GB18030", "gb18030", "GBK", "GB2312", r"\GB18030"] {
        let instance = named(Some(label), ZHANG);
        node.web().stow_instance(&instance);
        assert_eq!(alphabetic(&node, &instance), "张^小东", "{label}");
    }
}
