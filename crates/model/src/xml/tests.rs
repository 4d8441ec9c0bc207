//! Both directions against each other and against what PS3.19 A.1 shows.

use serde_json::Value;

use super::*;

fn xml(json: &str) -> String {
    let mut out = Vec::new();
    from_json(json.as_bytes(), "http://h/i", &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// What stands inside the root element.
fn inner(json: &str) -> String {
    let text = xml(json);
    let (_, rest) = text.split_once("xml:space=\"preserve\">").unwrap();
    rest.trim_end().strip_suffix("</NativeDicomModel>").unwrap().to_owned()
}

fn json(xml: &str) -> Result<Value, XmlError> {
    let text = to_json(xml.as_bytes(), &Limits::default())?;
    Ok(serde_json::from_slice(&text).unwrap())
}

/// The document comes back as it was.
#[track_caller]
fn comes_back(text: &str) {
    let before: Value = serde_json::from_str(text).unwrap();
    assert_eq!(json(&xml(text)).unwrap(), before);
}

#[test]
fn every_form_of_value_is_written() {
    let text = xml(r#"{"00080005":{"vr":"CS","Value":["ISO_IR 192"]}}"#);
    assert!(text.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<NativeDicomModel "));
    for (json, expected) in [
        ("{}", ""),
        (
            r#"{"00080005":{"vr":"CS","Value":["ISO_IR 192"]}}"#,
            "<DicomAttribute tag=\"00080005\" vr=\"CS\" keyword=\"SpecificCharacterSet\">\
             <Value number=\"1\">ISO_IR 192</Value></DicomAttribute>",
        ),
        (
            r#"{"00100020":{"vr":"LO"}}"#,
            "<DicomAttribute tag=\"00100020\" vr=\"LO\" keyword=\"PatientID\"/>",
        ),
        // The VR may come last, and a value may be missing.
        (
            r#"{"00080008" : { "Value" : ["A<&>\"", null, "\u00e9\ud83d\ude00\r\n\u0007"] , "vr":"CS"}}"#,
            "<DicomAttribute tag=\"00080008\" vr=\"CS\" keyword=\"ImageType\">\
             <Value number=\"1\">A&lt;&amp;&gt;\"</Value><Value number=\"2\"></Value>\
             <Value number=\"3\">é😀&#xD;\n\u{FFFD}</Value></DicomAttribute>",
        ),
        (
            r#"{"00281050":{"vr":"DS","Value":[-600,1.50e2]}}"#,
            "<DicomAttribute tag=\"00281050\" vr=\"DS\" keyword=\"WindowCenter\">\
             <Value number=\"1\">-600</Value><Value number=\"2\">1.50e2</Value></DicomAttribute>",
        ),
        (
            r#"{"00100010":{"vr":"PN","Value":[{"Alphabetic":"Wang^XiaoDong","Ideographic":"王^小东^"}]}}"#,
            "<DicomAttribute tag=\"00100010\" vr=\"PN\" keyword=\"PatientName\">\
             <PersonName number=\"1\"><Alphabetic><FamilyName>Wang</FamilyName>\
             <GivenName>XiaoDong</GivenName></Alphabetic><Ideographic><FamilyName>王</FamilyName>\
             <GivenName>小东</GivenName><MiddleName/></Ideographic></PersonName></DicomAttribute>",
        ),
        (
            r#"{"00400275":{"vr":"SQ","Value":[{"00400009":{"vr":"SH","Value":["S"]}},{}]}}"#,
            "<DicomAttribute tag=\"00400275\" vr=\"SQ\" keyword=\"RequestAttributesSequence\">\
             <Item number=\"1\"><DicomAttribute tag=\"00400009\" vr=\"SH\" \
             keyword=\"ScheduledProcedureStepID\"><Value number=\"1\">S</Value></DicomAttribute>\
             </Item><Item number=\"2\"></Item></DicomAttribute>",
        ),
        (
            "{\"7FE00010\":{\"vr\":\"OW\",\"BulkDataURI\":\"\u{1}/bulkdata/7FE00010?a&b\"}}",
            "<DicomAttribute tag=\"7FE00010\" vr=\"OW\" keyword=\"PixelData\">\
             <BulkData uri=\"http://h/i/bulkdata/7FE00010?a&amp;b\"/></DicomAttribute>",
        ),
        (
            r#"{"00282000":{"vr":"OB","InlineBinary":"AAEC"}}"#,
            "<DicomAttribute tag=\"00282000\" vr=\"OB\" keyword=\"ICCProfile\">\
             <InlineBinary>AAEC</InlineBinary></DicomAttribute>",
        ),
        // Private elements name their creator instead of its block; an orphan stays as it is.
        (
            r#"{"00090011":{"vr":"LO","Value":["ACME & CO"]},"00091102":{"vr":"SH","Value":["x"]},
                "00091203":{"vr":"SH","Value":["y"]}}"#,
            "<DicomAttribute tag=\"00090002\" vr=\"SH\" privateCreator=\"ACME &amp; CO\">\
             <Value number=\"1\">x</Value></DicomAttribute><DicomAttribute tag=\"00091203\" \
             vr=\"SH\"><Value number=\"1\">y</Value></DicomAttribute>",
        ),
    ] {
        assert_eq!(inner(json), expected, "{json}");
    }
}

#[test]
fn what_is_no_dicom_json_is_an_error() {
    for text in [
        "",
        "[]",
        "{",
        "{}x",
        "{\"0010\":{}}",
        "{\"00100020\":[]}",
        "{\"00100020\":{\"vr\":\"LO\"",
        "{\"00100020\":{\"vr\":\"LO\",\"Value\":[\"a\\q\"]}}",
        "{\"00100020\":{\"vr\":\"LO\",\"Value\":[{}]}}",
        "{\"00400275\":{\"vr\":\"SQ\",\"Value\":[1]}}",
    ] {
        let result = from_json(text.as_bytes(), "", &mut Vec::new());
        assert!(matches!(result, Err(XmlError::Json { .. })), "{text}: {result:?}");
    }
    let deep = |levels: usize| {
        let begin = "{\"00400275\":{\"vr\":\"SQ\",\"Value\":[".repeat(levels);
        format!("{begin}{{}}{}", "]}}".repeat(levels))
    };
    assert!(from_json(deep(40).as_bytes(), "", &mut Vec::new()).is_ok());
    let error = from_json(deep(100_000).as_bytes(), "", &mut Vec::new());
    assert!(matches!(error, Err(XmlError::Limit(_))));
}

#[test]
fn data_sets_come_back() {
    for text in [
        "{}",
        r#"{"00080008":{"vr":"CS","Value":["A",null,"C"]}}"#,
        r#"{"00100020":{"vr":"LO","Value":["a & <b> \" ' \r\n\t é 𠮷 ]]>"]}}"#,
        r#"{"00100010":{"vr":"PN","Value":[null,{"Phonetic":"やまだ^たろう^^^"},{"Alphabetic":"A^B^C^D^E^F"}]}}"#,
        r#"{"00281050":{"vr":"DS","Value":[40.50,-1e3]},"00280010":{"vr":"US","Value":[512]}}"#,
        r#"{"00720082":{"vr":"SV","Value":["9223372036854775807",5]}}"#,
        r#"{"00186011":{"vr":"SQ","Value":[{},{"00186024":{"vr":"FD","Value":["NaN",1.5]}}]}}"#,
        r#"{"00189999":{"vr":"UN","InlineBinary":"AAECAw=="},"00200052":{"vr":"UI"}}"#,
        r#"{"00090010":{"vr":"LO","Value":["ONE"]},"00090011":{"vr":"LO","Value":["TWO"]},
            "00091001":{"vr":"SH","Value":["a"]},"00091101":{"vr":"SH","Value":["b"]}}"#,
        r#"{"00020010":{"vr":"UI","Value":["1.2.840.10008.1.2.1"]},"00209165":{"vr":"AT","Value":["00540010"]}}"#,
    ] {
        comes_back(text);
    }
}

fn attribute(content: &str) -> String {
    format!("<NativeDicomModel>{content}</NativeDicomModel>")
}

#[test]
fn documents_of_others_are_read() {
    let text = attribute(
        "\n  <!-- a comment -->\n  <DicomAttribute keyword='PatientName' vr='PN' tag='00100010'>\
         <PersonName number='1'><Alphabetic><GivenName>John</GivenName></Alphabetic></PersonName>\
         </DicomAttribute>\n<x:DicomAttribute xmlns:x='y' keyword='Rows'><x:Value> 512 </x:Value>\
         </x:DicomAttribute><DicomAttribute tag='00100020' vr='LO'><Value number='1'>\
         <![CDATA[a<b]]>&#x26;&apos;</Value></DicomAttribute>\
         <DicomAttribute tag='00090002' vr='SH' privateCreator='ACME'><Value number='2'>x</Value>\
         </DicomAttribute><DicomAttribute tag='00092003' vr='SH' privateCreator='ACME'/>\
         <DicomAttribute tag='7FE00010' vr='OW'><BulkData uuid='u-1'/></DicomAttribute>",
    );
    let read = json(&text).unwrap();
    let expected: Value = serde_json::from_str(
        r#"{"00090010":{"vr":"LO","Value":["ACME"]},"00090020":{"vr":"LO","Value":["ACME"]},
            "00091002":{"vr":"SH","Value":[null,"x"]},"00092003":{"vr":"SH"},
            "00100010":{"vr":"PN","Value":[{"Alphabetic":"^John"}]},
            "00100020":{"vr":"LO","Value":["a<b&'"]},
            "00280010":{"vr":"US","Value":[512]},
            "7FE00010":{"vr":"OW","BulkDataURI":"urn:uuid:u-1"}}"#,
    )
    .unwrap();
    assert_eq!(read, expected);
}

#[test]
fn hostile_and_wrong_documents_are_refused() {
    let value = |inner: &str| {
        attribute(&format!("<DicomAttribute tag='00100020' vr='LO'>{inner}</DicomAttribute>"))
    };
    for text in [
        String::new(),
        "<NativeDicomModel>".into(),
        "<html></html>".into(),
        "{}".into(),
        format!("<!DOCTYPE x [<!ENTITY a 'aaaa'>]>{}", value("<Value number='1'>&a;</Value>")),
        format!("<!DOCTYPE x SYSTEM 'file:///etc/passwd'>{}", attribute("")),
        format!("<?xml version='1.0' encoding='UTF-16'?>{}", attribute("")),
        value("<Value number='1'>&a;</Value>"),
        value("<Value number='1'>&#0;</Value>"),
        value("<Value number='0'>a</Value>"),
        value("<Value number='1'>a</Value><Value number='1'>b</Value>"),
        value("<Value number='1'><b/></Value>"),
        value("<Item number='1'/>"),
        value("<InlineBinary>not base64!</InlineBinary>"),
        value("<InlineBinary>AAEC</InlineBinary><Value number='1'>a</Value>"),
        value("text"),
        attribute("<DicomAttribute vr='LO'/>"),
        attribute("<DicomAttribute tag='0010002' vr='LO'/>"),
        attribute("<DicomAttribute tag='00100020' vr='XX'/>"),
        attribute("<DicomAttribute tag='00100020'/><DicomAttribute tag='00100020'/>"),
        attribute("<Other/>"),
        format!("{}{}", attribute(""), attribute("")),
    ] {
        let result = json(&text);
        assert!(matches!(result, Err(XmlError::Xml { .. })), "{text}: {result:?}");
    }
    let far = value("<Value number='4000000000'>a</Value>");
    assert_eq!(json(&far), Err(XmlError::Limit("the data set is too long")));
    let item = "<DicomAttribute tag='00400275' vr='SQ'><Item number='1'>";
    let close = "</Item></DicomAttribute>";
    let deep = attribute(&format!("{}{}", item.repeat(100_000), close.repeat(100_000)));
    assert_eq!(json(&deep), Err(XmlError::Limit("sequences nest too deep")));
    let few = Limits { max_elements: 1, ..Limits::default() };
    let two = attribute("<DicomAttribute tag='00100020'/><DicomAttribute tag='00100021'/>");
    assert!(matches!(to_json(two.as_bytes(), &few), Err(XmlError::Limit(_))));
    assert!(to_json(two.as_bytes(), &Limits::default()).is_ok());
}
