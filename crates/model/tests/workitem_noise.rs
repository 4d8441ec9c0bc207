//! Damaged bodies and nonsense in searches: refused or taken, never a panic, and what is taken can
//! be kept and read again. The noise is the same in every run.

use qianli_model::SopInstanceUid;
use qianli_model::workitem::{DataSet, Held, change, instant, report, search};

const NOW: i64 = 1_709_624_400_000;

const BODY: &str = r#"{
    "00741000":{"vr":"CS","Value":["SCHEDULED"]},"00741200":{"vr":"CS","Value":["HIGH"]},
    "00741202":{"vr":"LO","Value":["reading"]},"00741204":{"vr":"LO","Value":["Read a CT"]},
    "00404005":{"vr":"DT","Value":["20240305120000.5+0800"]},
    "00404041":{"vr":"CS","Value":["READY"]},"00080201":{"vr":"SH","Value":["+0800"]},
    "00100010":{"vr":"PN","Value":[{"Alphabetic":"Wang^XiaoDong","Ideographic":"王^小东"}]},
    "00741004":{"vr":"DS","Value":[50.5]},"00100020":{"vr":"LO","Value":["P1",null]},
    "00404025":{"vr":"SQ","Value":[{"00080100":{"vr":"SH","Value":["X"]},
        "00080102":{"vr":"SH","Value":["99Q"]},"00080104":{"vr":"LO","Value":["x"]}}]},
    "00404021":{"vr":"SQ","Value":[{"00081199":{"vr":"SQ","Value":[{},null]}}]}
}"#;

/// A generator whose numbers are always the same (xorshift).
struct Noise(u64);

impl Noise {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound.max(1) as u64).unwrap_or(0)
    }
}

#[test]
fn damaged_bodies_never_panic_and_what_is_taken_can_be_kept() {
    const PIECES: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        "\"",
        ":",
        ",",
        "null",
        "1e999",
        "-0",
        "99999999999999999999",
        "\\u0000",
        "\\ud800",
        "true",
        "\"vr\":\"SQ\"",
        "\"vr\":\"UN\"",
        "\"Value\":[]",
        "王",
        "00000000",
        "[[[[[[",
        "\"InlineBinary\":\"AA\"",
        "{\"00741002\":",
        "1E-400",
    ];
    let uid = SopInstanceUid::parse("1.2.3").expect("a UID");
    let mut noise = Noise(0x9E37_79B9_7F4A_7C15);
    let (mut parsed, mut created) = (0, 0);
    for _ in 0..20_000 {
        let mut body = BODY.as_bytes().to_vec();
        for _ in 0..=noise.below(4) {
            let at = noise.below(body.len());
            match noise.below(4) {
                0 => body[at] = u8::try_from(noise.below(256)).unwrap_or(0),
                1 => {
                    let end = (at + noise.below(30)).min(body.len());
                    body.drain(at..end);
                }
                2 => {
                    let piece = PIECES[noise.below(PIECES.len())];
                    body.splice(at..at, piece.bytes());
                }
                _ => {
                    let end = (at + noise.below(60)).min(body.len());
                    let copy = body[at..end].to_vec();
                    let to = noise.below(body.len());
                    body.splice(to..to, copy);
                }
            }
            if body.is_empty() {
                body.push(b'{');
            }
        }
        let Ok(data) = DataSet::parse(&body) else { continue };
        parsed += 1;
        let again = DataSet::parse(data.to_json().as_bytes());
        assert_eq!(again.as_ref(), Ok(&data), "{}", String::from_utf8_lossy(&body));
        search::keys(&data);
        let Ok((held, made)) = change::create(data.clone(), &uid, NOW) else { continue };
        created += 1;
        assert_eq!(DataSet::parse(held.data.to_json().as_bytes()).as_ref(), Ok(&held.data));
        for event in &made.events {
            let text = report("1.2.3", event.kind.number(), &event.attributes.to_json(), 1);
            assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
        }
        let _ = change::update(&held, None, data.clone(), NOW);
        let asked = change::request_cancel(&held, &data, Some("A"), NOW);
        let Ok(Some(Held { data: canceled, .. })) = asked.map(|change| change.held) else {
            panic!("what is scheduled can be canceled")
        };
        assert_eq!(DataSet::parse(canceled.to_json().as_bytes()).as_ref(), Ok(&canceled));
    }
    assert!(
        parsed > 500 && created > 100,
        "{parsed} parsed, {created} created: too little is left"
    );
}

#[test]
fn nonsense_in_searches_never_panics() {
    const LETTERS: &[char] = &[
        '0',
        '1',
        '2',
        '9',
        '.',
        '-',
        '+',
        '*',
        '?',
        '\\',
        ',',
        '=',
        '"',
        ' ',
        ':',
        '^',
        '王',
        'é',
        '\u{301}',
        '\0',
        '\n',
        'A',
        'z',
        '%',
        '_',
        '\u{1F600}',
        '٣',
    ];
    const NAMES: &[&str] = &[
        "PatientName",
        "00404005",
        "StudyTime",
        "00100030",
        "SOPInstanceUID",
        "00741204",
        "00404025.00080100",
        "00280010",
        "00091001",
    ];
    let mut noise = Noise(7);
    for _ in 0..50_000 {
        let length = noise.below(24);
        let text: String = (0..length).map(|_| LETTERS[noise.below(LETTERS.len())]).collect();
        let _ = instant::bounds(&text, &text);
        let _ = search::path(&text);
        let _ = search::filter(&text);
        let name = NAMES[noise.below(NAMES.len())];
        let _ = search::filter(&format!("{name}={text}"));
        if let Some(path) = search::path(name) {
            let _ = search::condition(path, &text);
        }
    }
}
