//! Tests of HL7: frames, character sets, what orders and news of patients become, what is refused.

use super::*;
use crate::order::{Order, StepState};

const HEADER: &str = "MSH|^~\\&|HIS|COUNTY|QIANLI|RAD|20261123080000||ORM^O01|M1|P|2.3.1";

fn orm(rest: &str) -> String {
    format!("{HEADER}\r{rest}")
}

const PATIENT: &str = "PID|1||P1^^^COUNTY^MR||Zhang^XiaoDong^^^^^^A~张^小东^^^^^^I||19800102|M";
const ORDER: &str = "ORC|NW|PL1|FI1||||^^^20261123093000^^S|||||7^House^Gregory^^^Dr.\r\
    OBR|1|PL1|FI1|CTCH^CT chest^L^P1^Chest routine^L|||||||||dizzy \\T\\ pale|||||A1|RP1|SPS1|CT1|||CT";

fn latin() -> TextEncoding {
    "latin1".parse().unwrap()
}

fn one(text: &str) -> Command {
    let message = read(text.as_bytes(), latin()).unwrap();
    assert_eq!(message.commands.len(), 1, "{:?}", message.commands);
    message.commands.into_iter().next().unwrap()
}

fn new(text: &str) -> Order {
    let Command::Put(order) = one(text) else { panic!("not a new order") };
    *order
}

fn fault(text: &str) -> (u16, String, bool) {
    let (_, fault) = *read(text.as_bytes(), latin()).unwrap_err();
    (fault.number, fault.place, fault.rejected)
}

#[test]
fn an_order_of_a_radiology_system() {
    let order = new(&orm(&format!(
        "{PATIENT}\rPV1||O|WARD^7^2|||||9^Wilson^James\r{ORDER}\rZDS|1.2.3^X\r"
    )));
    assert_eq!(order.patient.name, "Zhang^XiaoDong=张^小东");
    assert_eq!((order.patient.id.as_str(), order.patient.issuer.as_str()), ("P1", "COUNTY"));
    assert_eq!((order.patient.birth_date.as_str(), order.patient.sex.as_str()), ("19800102", "M"));
    assert_eq!(order.patient.location, "WARD 7 2");
    assert_eq!(
        (order.accession.as_str(), order.placer.as_str(), order.filler.as_str()),
        ("A1", "PL1", "FI1")
    );
    assert_eq!(order.referring, "Wilson^James");
    assert_eq!(order.requesting, "House^Gregory^^Dr.");
    assert_eq!((order.procedure.id.as_str(), order.procedure.study_uid.as_str()), ("RP1", "1.2.3"));
    assert_eq!(order.procedure.code.value, "CTCH");
    assert_eq!(order.procedure.priority, "STAT");
    assert_eq!(order.procedure.comments, "dizzy & pale");
    let step = &order.steps[0];
    assert_eq!(
        (step.id.as_str(), step.modality.as_str(), step.station_ae.as_str()),
        ("SPS1", "CT", "CT1")
    );
    assert_eq!((step.start_date.as_str(), step.start_time.as_str()), ("20261123", "093000"));
    assert_eq!(step.description, "Chest routine");
    assert_eq!(step.protocol[0].value, "P1");
    assert_eq!(order.check(), Ok(()));
}

#[test]
fn an_order_with_imaging_segments_has_their_steps() {
    let text = orm(&format!(
        "{PATIENT}\rORC|NW|PL1\rTQ1|||||||202611231000+0800||R\rOBR|1|PL1||X^Y^Z\r\
         IPC|A2|RP2|1.2.9|S1|MR|PC1^Head^L|MRROOM|B1|MR1\rIPC|A2|RP2|1.2.9|S2|MR|||B1|MR2\r"
    ))
    .replace("ORM^O01", "OMI^O23^OMI_O23");
    let order = new(&text);
    assert_eq!((order.accession.as_str(), order.procedure.study_uid.as_str()), ("A2", "1.2.9"));
    let steps: Vec<_> =
        order.steps.iter().map(|s| (s.id.as_str(), s.station_ae.as_str())).collect();
    assert_eq!(steps, [("S1", "MR1"), ("S2", "MR2")]);
    assert_eq!(
        (order.steps[0].station_name.as_str(), order.steps[0].start_time.as_str()),
        ("MRROOM", "1000")
    );
    assert_eq!(order.procedure.priority, "ROUTINE");
}

#[test]
fn several_steps_of_a_procedure_are_one_order() {
    let second = ORDER.replace("SPS1", "SPS2");
    assert_eq!(new(&orm(&format!("{PATIENT}\r{ORDER}\r{second}"))).steps.len(), 2);
}

#[test]
fn orders_are_changed_and_cancelled() {
    let with =
        |control: &str| one(&orm(&format!("{PATIENT}\r{}", ORDER.replace("ORC|NW", control))));
    assert!(matches!(with("ORC|XO"), Command::Change(_)));
    assert!(matches!(with("ORC|CA"), Command::Cancel(key) if key.accession == "A1"));
    assert!(matches!(with("ORC|DC"), Command::Discontinue(_)));
    let begun =
        one(&orm(&format!("{PATIENT}\rORC|SC|PL1|FI1||IP\rOBR|1|||||||||||||||||A1||SPS1")));
    assert!(matches!(begun, Command::Advance(_, step, StepState::Started) if step == "SPS1"));
}

#[test]
fn news_of_patients() {
    let adt = |event: &str, rest: &str| {
        let header = HEADER.replace("ORM^O01", &format!("ADT^{event}"));
        format!("{header}\rEVN||20261123\r{PATIENT}\r{rest}")
    };
    let observed =
        "AL1|1||^Penicillin\rOBX|1|NM|^Body Weight||70500|g\rOBX|2|NM|^Body Height||171|cm";
    let Command::Patient(patient) = one(&adt("A08", observed)) else { panic!("no news") };
    assert_eq!((patient.weight.as_str(), patient.size.as_str()), ("70.5", "1.71"));
    assert_eq!(patient.allergies, "Penicillin");
    let message = read(adt("A40", "MRG|P9^^^COUNTY").as_bytes(), latin()).unwrap();
    assert!(
        matches!(&message.commands[0], Command::Merge(gone, stays) if gone.id == "P9" && stays.id == "P1")
    );
    assert!(message.remark.contains("stored images were not"));
    assert_eq!(fault(&adt("A40", "")), (100, "MRG".into(), false));
    assert_eq!(fault(&adt("A03", "")), (201, "MSH-9".into(), true));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let cases = [
        ("", 100, "", true),
        ("PID|1", 100, "", true),
        ("MSH|^~\\&", 101, "MSH-10", true),
        ("MSH|||||", 102, "MSH-2", true),
        (&HEADER.replace("ORM^O01", "SIU^S12"), 200, "MSH-9", true),
        (&orm(PATIENT), 100, "ORC", false),
        (&orm(ORDER), 100, "PID", false),
        (&orm(&format!("PID|1\r{ORDER}")), 101, "PID-3", false),
        (&orm(&format!("{PATIENT}\r{}", ORDER.replace("|CT1|||CT", ""))), 102, "OBR-24", false),
        (&orm(&format!("{PATIENT}\r{}", ORDER.replace("20261123093000", ""))), 102, "TQ1-7", false),
        (
            &orm(&format!("{PATIENT}\r{}", ORDER.replace("A1|RP1", "12345678901234567|RP1"))),
            102,
            "OBR-18",
            false,
        ),
        (&orm(&format!("{PATIENT}\r{}", ORDER.replace("NW", "ZZ"))), 103, "ORC-1", false),
        (
            &orm(&format!("{}\r{ORDER}", PATIENT.replace("19800102", "yesterday"))),
            102,
            "PID-7",
            false,
        ),
        (&orm(&format!("{PATIENT}\rxx\r{ORDER}")), 100, "", true),
        (&format!("{HEADER}||||||KLINGON\r{PATIENT}\r{ORDER}"), 103, "MSH-18", true),
    ];
    for (text, number, place, rejected) in cases {
        assert_eq!(fault(text), (number, place.into(), rejected), "{text}");
    }
    let long = orm(&format!("{PATIENT}{}", "^".repeat(MAX_PARTS)));
    assert_eq!(fault(&long), (207, "".into(), true));
}

#[test]
fn names_in_the_character_sets_of_hospitals() {
    let message = |set: &str| {
        let patient = "PID|1||P1||王^小东||19800102|M";
        format!("{HEADER}||||||{set}\r{patient}\r{ORDER}")
    };
    let check = |bytes: &[u8], expected: &str| {
        let message = read(bytes, latin()).unwrap();
        let Command::Put(order) = &message.commands[0] else { panic!("no order") };
        assert_eq!(order.patient.name, expected);
        assert_eq!(order.accession, "A1");
    };
    check(message("UNICODE UTF-8").as_bytes(), "王^小东");
    // Without a name of a set UTF-8 is known by itself.
    check(message("").as_bytes(), "王^小东");
    // In GBK the second byte of these is a delimiter: 乗 is 81 5C, 乂 is 81 5E, 亅 is 81 7C, 亊 81 7E.
    let text = message("GB 18030-2000").replace("王^小东", "乗乂^亅亊");
    let (gb, _, lost) = encoding_rs::GB18030.encode(&text);
    assert!(!lost && gb.windows(2).any(|pair| pair == [0x81, 0x5C]));
    check(&gb, "乗乂^亅亊");
    let text = message("8859/1").replace("王^小东", "Müller^Jörg");
    check(&encoding_rs::WINDOWS_1252.encode(&text).0, "Müller^Jörg");
    let text = message("~ISO IR87").replace("王^小东", "山田^太郎");
    check(&encoding_rs::ISO_2022_JP.encode(&text).0, "山田^太郎");
    let mut broken = message("UNICODE UTF-8").into_bytes();
    broken.push(0xFF);
    let (_, fault) = *read(&broken, latin()).unwrap_err();
    assert_eq!(fault.place, "MSH-18");
}

#[test]
fn frames_are_cut_wherever_the_bytes_part() {
    let mut stream = enclose(b"one\x1C two");
    stream.extend(b"\r\n");
    stream.extend(enclose(b"three"));
    for size in 1..stream.len() {
        let mut frames = Frames::default();
        let mut found = Vec::new();
        for mut piece in stream.chunks(size) {
            while !piece.is_empty() {
                let (taken, frame) = frames.take(piece);
                piece = &piece[taken..];
                found.extend(frame);
            }
        }
        let expected = [b"one\x1C two".to_vec(), b"three".to_vec()].map(Frame::Message);
        assert_eq!(found, expected, "{size}");
    }
    let broken = |bytes: &[u8]| Frames::default().take(bytes).1;
    assert!(matches!(broken(b"GET / HTTP/1.1\r\n"), Some(Frame::Broken(_))));
    assert!(matches!(broken(&[b'\r'; 100]), Some(Frame::Broken(_))));
    let endless: Vec<u8> =
        std::iter::once(0x0B).chain(std::iter::repeat_n(b'x', MAX_MESSAGE + 1)).collect();
    assert!(matches!(broken(&endless), Some(Frame::Broken(_))));
}

#[test]
fn acknowledgements_say_what_and_where() {
    let read = read(orm(&format!("{PATIENT}\r{ORDER}")).as_bytes(), latin()).unwrap();
    let answer = |answer: &Answer<'_>, envelope: &Envelope| {
        String::from_utf8(acknowledge(Some(envelope), answer, "20261123080001", "Q1")).unwrap()
    };
    let accepted = answer(&Answer::Accepted(""), &read.envelope);
    assert!(
        accepted
            .starts_with("MSH|^~\\&|QIANLI|RAD|HIS|COUNTY|20261123080001||ACK^O01^ACK|Q1|P|2.3.1"),
        "{accepted}"
    );
    assert!(accepted.contains("\rMSA|AA|M1|\r"), "{accepted}");
    let fault = Fault::error(101, "PID-3", "is missing: a | b");
    let refused = answer(&Answer::Refused(&fault), &read.envelope);
    assert!(refused.contains("\rMSA|AE|M1|PID-3 is missing: a \\F\\ b\r"), "{refused}");
    assert!(refused.contains("\rERR|PID^1^3^101&Required field missing&HL70357\r"), "{refused}");
    let newer = Envelope { version: "2.5.1".into(), ..read.envelope };
    let refused = answer(&Answer::Refused(&fault), &newer);
    assert!(
        refused.contains("\rERR||PID^1^3|101^Required field missing^HL70357|E||||is missing"),
        "{refused}"
    );
    let nobody = acknowledge(None, &Answer::Refused(&Fault::reject(100, "", "no MSH")), "", "Q2");
    assert!(String::from_utf8(nobody).unwrap().contains("\rMSA|AR||no MSH\r"));
}

#[test]
fn what_cannot_be_read_is_answered_by_its_number() {
    let check = |bytes: &[u8], number: &str| {
        let (header, fault) = *read(bytes, latin()).unwrap_err();
        let answer = acknowledge(header.as_ref(), &Answer::Refused(&fault), "20261123", "X1");
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.contains(&format!("\rMSA|AR|{number}|")), "{answer}");
    };
    let head = "MSH|^~\\&|HIS|COUNTY|QIANLI|RAD|20261123||ORM^O01|M7|P|2.5";
    let parts = format!("{head}\rNTE|{}", "|".repeat(50_001));
    check(parts.as_bytes(), "M7");
    check(format!("{head}\rno segment").as_bytes(), "M7");
    check(format!("{head}||||||UNICODE UTF-16\r").as_bytes(), "M7");
    check(b"nonsense", "");
    check(b"MSH", "");
    check(b"MSH|^~\\&|\xE5|COUNTY|QIANLI|RAD|1||ORM^O01|M7|P|2.5||||||LATIN9\r", "");
}
