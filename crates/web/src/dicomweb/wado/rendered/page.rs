//! Objects without pixels as a page for people (PS3.18 table 8.7.4-1: text/html): structured reports
//! with their content tree, waveforms drawn, plans, structure sets and presentation states in outline.
//!
//! A page is one file without scripts. Everything in it that came from outside is escaped.

mod html;
mod outline;
mod report;
mod set;
mod waveform;

use std::sync::Arc;

use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::TryStreamExt;
use qianli_catalog::types::Detail;
use qianli_model::header::BASE_URL_MARK;
use qianli_model::syntax::Encoding;

use super::Asked;
use crate::WebState;
use crate::caller::Caller;
use crate::dicomweb::respond;
use crate::error::HttpError;
use crate::headers::REPORT;
use html::Html;
use set::Set;

/// Media type of a page.
pub(super) const HTML: &str = "text/html";

/// What the answer says; the charset belongs to it.
pub(super) const HTML_UTF8: &str = "text/html; charset=utf-8";

/// Longest waveform that is fetched (bytes): 24 hours of one lead are not for a page.
const MOST_WAVEFORM: u64 = 32 << 20;

/// Answers with the page of an instance.
pub(super) async fn answer(
    asked: &Asked<'_>,
    detail: &Arc<Detail>,
    query: &str,
) -> Result<Response, HttpError> {
    asked.choose(&[(false, HTML)])?;
    let chinese = crate::portal::prefers_chinese(query, asked.headers);
    let variant = format!("page {chinese} {}", asked.base.as_str());
    let tag = respond::entity_tag([detail.location.content_hash.as_str()], &variant);
    if let Some(answer) = respond::conditional(asked.headers, &tag) {
        return Ok(answer);
    }
    let page = make(asked.state, asked.caller, detail, asked.base.as_str(), chinese).await?;
    let mut response = respond::pieces(HTML_UTF8, vec![page]);
    let headers = response.headers_mut();
    respond::cacheable(headers, &tag);
    headers.append(header::VARY, HeaderValue::from_static("accept-language, cookie"));
    let policy = HeaderValue::from_static(REPORT);
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    Ok(response)
}

/// The page of an instance.
pub(super) async fn make(
    state: &WebState,
    caller: &Caller,
    detail: &Arc<Detail>,
    base: &str,
    chinese: bool,
) -> Result<Bytes, HttpError> {
    let mut waveforms = Vec::new();
    for path in waveform::paths() {
        let value = detail.bulk.iter().find(|value| value.path == path);
        let Some(value) = value.filter(|value| value.range.length <= MOST_WAVEFORM) else {
            waveforms.push(None);
            continue;
        };
        let steps: Vec<Bytes> =
            state.archive().bulk(&caller.scope, detail, value).await?.try_collect().await?;
        waveforms.push(Some(steps.concat()));
    }
    let big_endian = detail.location.transfer_syntax.encoding() == Encoding::ExplicitBig;
    let (detail, base) = (Arc::clone(detail), base.to_owned());
    let work = move || Ok(page(&detail.json, &base, chinese, &waveforms, big_endian));
    Ok(state.pixels().run(work).await?.into())
}

fn page(
    json: &[u8],
    base: &str,
    chinese: bool,
    waveforms: &[Option<Vec<u8>>],
    big_endian: bool,
) -> String {
    let clean: Vec<u8> = json.iter().copied().filter(|byte| *byte != BASE_URL_MARK).collect();
    let value = serde_json::from_slice(&clean).unwrap_or_default();
    let set = Set::new(&value, chinese);
    let mut html = Html::start(chinese, &title(set, chinese));
    outline::patient(&mut html, set);
    if set.has("0040A730") || set.has("0040A043") {
        report::write(&mut html, set, base);
    }
    if set.has("54000100") {
        waveform::write(&mut html, set, waveforms, big_endian);
    }
    outline::write(&mut html, set, base);
    html.end()
}

/// What the page is called: the report's own title, or what kind of object it is.
fn title(set: Set<'_>, chinese: bool) -> String {
    let own = set.code("0040A043");
    if !own.is_empty() {
        return own;
    }
    let (english, other) = match set.text("00080060").as_str() {
        "SR" => ("Structured report", "结构化报告"),
        "KO" => ("Key images", "关键影像"),
        "PR" => ("Presentation state", "显示状态"),
        "RTPLAN" => ("Treatment plan", "放疗计划"),
        "RTSTRUCT" => ("Structure set", "结构集"),
        "ECG" | "HD" | "EPS" => ("Waveforms", "波形"),
        "SEG" => ("Segmentation", "分割"),
        _ => ("DICOM object", "DICOM 对象"),
    };
    if chinese { other.into() } else { english.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(json: &str, chinese: bool) -> String {
        page(json.as_bytes(), "http://h/dicom-web", chinese, &[], false)
    }

    const REPORT: &str = r#"{"00080060":{"vr":"CS","Value":["SR"]},
        "00100010":{"vr":"PN","Value":[{"Alphabetic":"Wang^Wu","Ideographic":"王^五"}]},
        "0020000D":{"vr":"UI","Value":["1.2"]},
        "0040A043":{"vr":"SQ","Value":[{"00080104":{"vr":"LO","Value":["Chest <CT>"]}}]},
        "0040A375":{"vr":"SQ","Value":[{"0020000D":{"vr":"UI","Value":["1.2"]},
          "00081115":{"vr":"SQ","Value":[{"0020000E":{"vr":"UI","Value":["1.3"]},
            "00081199":{"vr":"SQ","Value":[{"00081155":{"vr":"UI","Value":["1.4"]}}]}}]}}]},
        "0040A730":{"vr":"SQ","Value":[
          {"0040A040":{"vr":"CS","Value":["TEXT"]},
           "0040A043":{"vr":"SQ","Value":[{"00080104":{"vr":"LO","Value":["Finding"]}}]},
           "0040A160":{"vr":"UT","Value":["<script>alert(1)</script> & more"]}},
          {"0040A040":{"vr":"CS","Value":["NUM"]},
           "0040A043":{"vr":"SQ","Value":[{"00080104":{"vr":"LO","Value":["Diameter"]}}]},
           "0040A300":{"vr":"SQ","Value":[{"0040A30A":{"vr":"DS","Value":[12.5]},
             "004008EA":{"vr":"SQ","Value":[{"00080100":{"vr":"SH","Value":["mm"]}}]}}]}},
          {"0040A040":{"vr":"CS","Value":["IMAGE"]},
           "00081199":{"vr":"SQ","Value":[{"00081150":{"vr":"UI","Value":["1.2.840.10008.5.1.4.1.1.2"]},
             "00081155":{"vr":"UI","Value":["1.4"]}}]}}]}}"#;

    #[test]
    fn reports_are_readable_and_escaped() {
        let page = shown(REPORT, false);
        for expected in [
            "<title>Chest &lt;CT&gt;</title>",
            "Wang, Wu (王五)",
            "Finding",
            "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more",
            "12.5 mm",
            "href=\"http://h/dicom-web/studies/1.2/series/1.3/instances/1.4/rendered\"",
        ] {
            assert!(page.contains(expected), "{expected}: {page}");
        }
        assert!(!page.contains("<script"), "{page}");
        assert!(page.contains("lang=\"en\"") && page.contains("Patient"));
        let chinese = shown(REPORT, true);
        assert!(chinese.contains("lang=\"zh-CN\"") && chinese.contains("患者"), "{chinese}");
    }

    #[test]
    fn items_without_a_value_say_so_and_instants_are_readable() {
        let item = |kind: &str, name: &str, value: &str| {
            format!(
                r#"{{"0040A040":{{"vr":"CS","Value":["{kind}"]}},"0040A043":{{"vr":"SQ","Value":[
                {{"00080104":{{"vr":"LO","Value":["{name}"]}}}}]}}{value}}}"#
            )
        };
        let report = format!(
            r#"{{"0040A730":{{"vr":"SQ","Value":[{},{},{},{}]}}}}"#,
            item("NUM", "Length", ""),
            item("CODE", "Side", r#","0040A168":{"vr":"SQ"}"#),
            item("DATETIME", "At", r#","0040A120":{"vr":"DT","Value":["20001206120000.5+0100"]}"#),
            item("TIME", "Time", r#","0040A122":{"vr":"TM","Value":["120000"]}"#),
        );
        let page = shown(&report, false);
        for expected in [
            "<b>Length</b>: (no value)",
            "<b>Side</b>: (no value)",
            "<b>At</b>: 2000-12-06 12:00:00.5 +01:00",
            "<b>Time</b>: 12:00:00<",
        ] {
            assert!(page.contains(expected), "{expected}: {page}");
        }
        assert!(shown(&report, true).contains("<b>Length</b>：（无值）"));
    }

    #[test]
    fn unknown_objects_are_a_table_with_names() {
        let page = shown(
            r#"{"00080016":{"vr":"UI","Value":["1.2"]},"00080030":{"vr":"TM","Value":["1011"]}}"#,
            false,
        );
        assert!(page.contains("<td>(0008,0016)</td><td>SOP Class UID</td><td>UI</td>"), "{page}");
        assert!(page.contains("<td>Study Time</td><td>TM</td><td>10:11</td>"), "{page}");
    }

    #[test]
    fn plans_list_their_beams() {
        let plan = r#"{"00080060":{"vr":"CS","Value":["RTPLAN"]},"300A0002":{"vr":"SH","Value":["Plan A"]},
            "300A00B0":{"vr":"SQ","Value":[{"300A00C0":{"vr":"IS","Value":[1]},
            "300A00C2":{"vr":"LO","Value":["AP"]},"300A00C6":{"vr":"CS","Value":["PHOTON"]}}]}}"#;
        let page = shown(plan, false);
        for expected in ["Treatment plan", "Plan A", "AP", "PHOTON"] {
            assert!(page.contains(expected), "{expected}");
        }
    }

    #[test]
    fn waveforms_are_drawn_to_scale() {
        let ecg = r#"{"00080060":{"vr":"CS","Value":["ECG"]},"54000100":{"vr":"SQ","Value":[{
            "003A0005":{"vr":"US","Value":[1]},"003A0010":{"vr":"UL","Value":[3]},
            "003A001A":{"vr":"DS","Value":[100]},"54001004":{"vr":"US","Value":[16]},
            "54001006":{"vr":"CS","Value":["SS"]},"003A0200":{"vr":"SQ","Value":[{
              "003A0208":{"vr":"SQ","Value":[{"00080104":{"vr":"LO","Value":["Lead I"]}}]},
              "003A0210":{"vr":"DS","Value":[1]},"003A0211":{"vr":"SQ","Value":[
                {"00080100":{"vr":"SH","Value":["uV"]}}]}}]},
            "54001010":{"vr":"OW","BulkDataURI":"/bulkdata/54000100/0/54001010"}}]}}"#;
        let samples: Vec<u8> = [0i16, 1000, -500].iter().flat_map(|v| v.to_le_bytes()).collect();
        let page = page(ecg.as_bytes(), "http://h", false, &[Some(samples)], false);
        assert!(page.contains("<svg") && page.contains("Lead I"), "{page}");
        assert!(page.contains("25 mm/s") && page.contains("10 mm/mV"), "{page}");
        // One millivolt is ten millimetres up, a hundredth of a second a quarter of one to the right.
        assert!(page.contains("0,0 0.25,-10 0.5,5"), "{page}");
    }

    #[test]
    fn damaged_or_empty_objects_still_have_a_page() {
        for json in ["", "{}", "[]", r#"{"0040A730":{"vr":"SQ","Value":[{},null,{"0040A040":7}]}}"#]
        {
            let page = shown(json, false);
            assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"), "{json}");
        }
    }
}
