//! Who an object is about, and in outline what kinds of objects hold that have neither pixels nor a
//! content tree: plans, structure sets, presentation states, and anything else.

use qianli_model::Tag;

use super::html::{Html, escape};
use super::report::url;
use super::set::{Set, written};

/// Most attributes of the list of an unknown object.
const MOST_ATTRIBUTES: usize = 400;

/// Writes patient and study.
pub(super) fn patient(html: &mut Html, set: Set<'_>) {
    let rows = [
        ("Patient", "患者", set.text("00100010")),
        ("Patient ID", "患者编号", set.text("00100020")),
        ("Born", "出生日期", set.written("00100030")),
        ("Sex", "性别", set.text("00100040")),
        ("Study", "检查", join(&[set.written("00080020"), set.text("00081030")])),
        ("Accession number", "检查号", set.text("00080050")),
        ("Series", "序列", join(&[set.text("00080060"), set.text("0008103E")])),
        ("Institution", "机构", set.text("00080080")),
        ("Referring physician", "申请医师", set.text("00080090")),
    ];
    html.raw("<dl class=\"who\">\n");
    for (name, chinese, value) in rows {
        if !value.is_empty() {
            let name = html.word(name, chinese);
            html.raw(&format!("<dt>{name}</dt><dd>{}</dd>\n", escape(&value)));
        }
    }
    html.raw("</dl>\n");
}

fn join(parts: &[String]) -> String {
    let parts: Vec<&str> = parts.iter().map(String::as_str).filter(|p| !p.is_empty()).collect();
    parts.join(" · ")
}

/// Writes what the kind of object calls for.
pub(super) fn write(html: &mut Html, set: Set<'_>, base: &str) {
    if set.has("300A00B0") || set.has("300A03A2") || set.has("300A0002") {
        plan(html, set);
    } else if set.has("30060020") {
        structures(html, set);
    } else if set.has("00700080") || set.has("00700001") {
        presentation(html, set, base);
    } else if !set.has("0040A730") && !set.has("54000100") {
        attributes(html, set);
    }
}

fn lines(html: &mut Html, set: Set<'_>, rows: &[(&'static str, &'static str, &str)]) {
    for (name, chinese, tag) in rows {
        let value = set.written(tag);
        if !value.is_empty() {
            let name = html.word(name, chinese);
            html.line(name, &value);
        }
    }
}

/// A treatment plan with its beams (PS3.3 sections C.8.8.9, C.8.8.14 and C.8.8.25).
fn plan(html: &mut Html, set: Set<'_>) {
    lines(
        html,
        set,
        &[
            ("Plan", "计划", "300A0002"),
            ("Name", "名称", "300A0003"),
            ("Description", "说明", "300A0004"),
            ("Date", "日期", "300A0006"),
            ("Intent", "目的", "300A000A"),
            ("Approval", "批准状态", "300E0002"),
        ],
    );
    for group in set.items("300A0070") {
        let fractions = group.text("300A0078");
        if !fractions.is_empty() {
            let name = html.word("Fractions planned", "计划分次");
            html.line(name, &fractions);
        }
    }
    let meterset = |number: &str| {
        let groups = set.items("300A0070").flat_map(|group| group.items("300C0004"));
        let mut of_beam = groups.filter(|beam| beam.text("300C0006") == number);
        of_beam.next().map(|beam| beam.text("300A0086")).unwrap_or_default()
    };
    let beams = set.items("300A00B0").chain(set.items("300A03A2")).map(|beam| {
        let points = beam.items("300A0111").chain(beam.items("300A03A8"));
        let first = points.take(1).last();
        let of_first = |tag: &str| first.map(|point| point.text(tag)).unwrap_or_default();
        let number = beam.text("300A00C0");
        vec![
            number.clone(),
            beam.text("300A00C2"),
            beam.text("300A00C4"),
            beam.text("300A00C6"),
            of_first("300A0114"),
            of_first("300A011E"),
            beam.text("300A0110"),
            meterset(&number),
        ]
    });
    let heads = [
        html.word("No.", "编号"),
        html.word("Beam", "射束"),
        html.word("Type", "类型"),
        html.word("Radiation", "射线"),
        html.word("Energy (MV, MeV)", "能量（MV、MeV）"),
        html.word("Gantry (°)", "机架角（°）"),
        html.word("Control points", "控制点"),
        html.word("Meterset", "机器跳数"),
    ];
    let beams: Vec<Vec<String>> = beams.collect();
    html.table(&heads, beams);
}

/// The regions of a structure set (PS3.3 sections C.8.8.5, C.8.8.6 and C.8.8.8).
fn structures(html: &mut Html, set: Set<'_>) {
    lines(
        html,
        set,
        &[
            ("Structure set", "结构集", "30060002"),
            ("Name", "名称", "30060004"),
            ("Date", "日期", "30060008"),
        ],
    );
    let rows: Vec<Vec<String>> = set
        .items("30060020")
        .map(|region| {
            let number = region.text("30060022");
            let of = |sequence: &str| {
                let mut items = set.items(sequence).filter(|item| item.text("30060084") == number);
                items.next()
            };
            let kind = of("30060080").map(|item| item.text("300600A4")).unwrap_or_default();
            let contours = of("30060039").map_or(0, |item| item.items("30060040").count());
            vec![number.clone(), region.text("30060026"), kind, contours.to_string()]
        })
        .collect();
    let heads = [
        html.word("No.", "编号"),
        html.word("Region", "区域"),
        html.word("Type", "类型"),
        html.word("Contours", "轮廓数"),
    ];
    html.table(&heads, rows);
}

/// A presentation state: what it is called, says and refers to (PS3.3 section A.33).
fn presentation(html: &mut Html, set: Set<'_>, base: &str) {
    lines(
        html,
        set,
        &[
            ("Label", "标签", "00700080"),
            ("Description", "说明", "00700081"),
            ("Creator", "创建者", "00700084"),
            ("Date", "日期", "00700082"),
        ],
    );
    for (center, width) in set
        .items("00283110")
        .map(|voi| (voi.text("00281050"), voi.text("00281051")))
        .filter(|(center, _)| !center.is_empty())
    {
        let name = html.word("Window (center, width)", "窗位、窗宽");
        html.line(name, &format!("{center}, {width}"));
    }
    for annotation in set.items("00700001") {
        for text in annotation.items("00700008") {
            let name = html.word("Text", "文字");
            html.line(name, &text.text("00700006"));
        }
        let drawings = annotation.items("00700009").count();
        if drawings > 0 {
            let name = html.word("Drawings", "图形");
            html.line(name, &drawings.to_string());
        }
    }
    let study = set.text("0020000D");
    for series in set.items("00081115") {
        let series_uid = series.text("0020000E");
        for image in series.items("00081140") {
            let instance = image.text("00081155");
            let label = html.word("Image", "影像");
            if let Some(url) = url(base, &study, &series_uid, &instance) {
                html.raw(&format!(
                    "<p><a href=\"{url}/rendered\"><img src=\"{url}/thumbnail?viewport=192,192\" \
                     alt=\"\" loading=\"lazy\">{label}</a></p>\n"
                ));
            }
        }
    }
}

/// Every public attribute of the top level that is short, by its tag and name.
fn attributes(html: &mut Html, set: Set<'_>) {
    let heading = html.word("Attributes", "属性");
    html.heading(2, heading);
    let chinese = html.chinese;
    let rows: Vec<Vec<String>> = set
        .members()
        .filter(|(tag, _)| {
            let group = tag.get(..4).and_then(|group| u16::from_str_radix(group, 16).ok());
            group.is_some_and(|group| group % 2 == 0)
        })
        .filter_map(|(tag, element)| {
            let values = element.get("Value")?.as_array()?;
            let vr = element.get("vr")?.as_str()?;
            let texts: Vec<String> =
                values.iter().take(16).map(|value| written(vr, value, chinese)).collect();
            let text = match vr {
                "SQ" => format!("[{}]", values.len()),
                _ => texts.join(", "),
            };
            let (group, rest) = (tag.get(..4)?, tag.get(4..)?);
            let name = Tag::from_hex(tag).and_then(Tag::keyword).map(words).unwrap_or_default();
            Some(vec![format!("({group},{rest})"), name, vr.to_owned(), text])
        })
        .take(MOST_ATTRIBUTES)
        .collect();
    let heads =
        [html.word("Tag", "标签"), html.word("Name", "名称"), "VR", html.word("Value", "值")];
    html.table(&heads, rows);
}

/// A keyword of the dictionary as words: `SOPClassUID` as `SOP Class UID`.
fn words(keyword: &str) -> String {
    let mut out = String::with_capacity(keyword.len() + 8);
    let mut before = None;
    let mut rest = keyword.chars().peekable();
    while let Some(letter) = rest.next() {
        let ends_word = before.is_some_and(|c: char| c.is_lowercase() || c.is_ascii_digit());
        let ends_acronym = before.is_some_and(char::is_uppercase)
            && rest.peek().is_some_and(|next| next.is_lowercase());
        if letter.is_uppercase() && (ends_word || ends_acronym) {
            out.push(' ');
        }
        out.push(letter);
        before = Some(letter);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_taken_apart() {
        for (keyword, expected) in [
            ("PatientName", "Patient Name"),
            ("SOPClassUID", "SOP Class UID"),
            ("FrameOfReferenceUID", "Frame Of Reference UID"),
            ("Rows", "Rows"),
            ("", ""),
        ] {
            assert_eq!(words(keyword), expected);
        }
    }
}
