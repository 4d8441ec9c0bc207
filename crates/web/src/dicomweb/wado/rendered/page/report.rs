//! The content tree of a structured report or key object selection (PS3.3 section C.17.3).

use std::collections::HashMap;

use super::html::{Html, escape};
use super::set::Set;

/// Nesting that is shown; data sets nested deeper are not reports.
const DEEPEST: usize = 48;

/// Where referenced instances are: instance to study and series.
type Places = HashMap<String, (String, String)>;

/// Writes the tree.
pub(super) fn write(html: &mut Html, set: Set<'_>, base: &str) {
    let report = Report { base, places: places(set) };
    html.raw("<main>\n");
    for (name, chinese, tag) in
        [("Completion", "完成状态", "0040A491"), ("Verification", "审核状态", "0040A493")]
    {
        let value = set.text(tag);
        if !value.is_empty() {
            let name = html.word(name, chinese);
            html.line(name, &value);
        }
    }
    for (index, item) in set.items("0040A730").enumerate() {
        report.item(html, item, 2, &format!("{}", index + 1));
    }
    html.raw("</main>\n");
}

/// Collects what the evidence sequences say about where instances are.
fn places(set: Set<'_>) -> Places {
    let mut places = Places::new();
    for evidence in ["0040A375", "0040A385"] {
        for study in set.items(evidence) {
            let study_uid = study.text("0020000D");
            for series in study.items("00081115") {
                let series_uid = series.text("0020000E");
                for instance in series.items("00081199") {
                    let place = (study_uid.clone(), series_uid.clone());
                    places.insert(instance.text("00081155"), place);
                }
            }
        }
    }
    places
}

struct Report<'r> {
    base: &'r str,
    places: Places,
}

impl Report<'_> {
    fn item(&self, html: &mut Html, item: Set<'_>, level: usize, id: &str) {
        if level > DEEPEST || html.is_full() {
            return;
        }
        let name = item.code("0040A043");
        let kind = item.text("0040A040");
        html.raw(&format!("<section id=\"i{id}\">\n"));
        match kind.as_str() {
            "CONTAINER" => {
                let fallback = html.word("Section", "章节");
                html.heading(level, if name.is_empty() { fallback } else { &name });
            }
            "IMAGE" | "COMPOSITE" | "WAVEFORM" => self.reference(html, item, &name, &kind),
            _ => self.value(html, item, &name, &kind),
        }
        for (index, child) in item.items("0040A730").enumerate() {
            self.item(html, child, level + 1, &format!("{id}.{}", index + 1));
        }
        html.raw("</section>\n");
    }

    fn value(&self, html: &mut Html, item: Set<'_>, name: &str, kind: &str) {
        let target: Vec<String> =
            item.numbers("0040DB73").iter().skip(1).map(|step| format!("{step:.0}")).collect();
        if !target.is_empty() {
            let (target, see) = (target.join("."), html.word("see item", "参见条目"));
            html.raw(&format!("<p><a href=\"#i{target}\">{see} {target}</a></p>\n"));
            return;
        }
        let value = match kind {
            "TEXT" => item.text("0040A160"),
            "CODE" => item.code("0040A168"),
            "NUM" => measurement(item),
            "DATETIME" => item.written("0040A120"),
            "DATE" => item.written("0040A121"),
            "TIME" => item.written("0040A122"),
            "PNAME" => item.text("0040A123"),
            "UIDREF" => item.text("0040A124"),
            "SCOORD" | "SCOORD3D" => coordinates(item),
            "TCOORD" => instants(item),
            _ => String::new(),
        };
        match value.as_str() {
            "" if name.is_empty() => {}
            // A label without anything after it looks like a fault of the page.
            "" => {
                let nothing = html.word("(no value)", "（无值）");
                html.line(name, nothing);
            }
            value => html.line(name, value),
        }
    }

    /// A reference, as a link where the object's place is known.
    fn reference(&self, html: &mut Html, item: Set<'_>, name: &str, kind: &str) {
        for target in item.items("00081199") {
            let instance = target.text("00081155");
            let frames = target.text("00081160");
            let label = if name.is_empty() {
                match kind {
                    "IMAGE" => html.word("Image", "影像"),
                    "WAVEFORM" => html.word("Waveform", "波形"),
                    _ => html.word("Object", "对象"),
                }
            } else {
                name
            };
            let frames = match frames.as_str() {
                "" => String::new(),
                frames => format!(" ({} {frames})", html.word("frames", "帧")),
            };
            let text = escape(&format!("{label}{frames}"));
            match self.url(&instance) {
                Some(url) if kind == "IMAGE" => html.raw(&format!(
                    "<p><a href=\"{url}/rendered\"><img src=\"{url}/thumbnail?viewport=192,192\" \
                     alt=\"\" loading=\"lazy\">{text}</a></p>\n"
                )),
                Some(url) => html.raw(&format!("<p><a href=\"{url}/rendered\">{text}</a></p>\n")),
                None => html.raw(&format!("<p>{text} <code>{}</code></p>\n", escape(&instance))),
            }
        }
    }

    fn url(&self, instance: &str) -> Option<String> {
        let (study, series) = self.places.get(instance)?;
        url(self.base, study, series, instance)
    }
}

/// URL of an instance, if its UIDs are made of what UIDs are made of.
pub(super) fn url(base: &str, study: &str, series: &str, instance: &str) -> Option<String> {
    let plain = |uid: &str| {
        !uid.is_empty() && uid.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    };
    [study, series, instance]
        .into_iter()
        .all(plain)
        .then(|| format!("{}/studies/{study}/series/{series}/instances/{instance}", escape(base)))
}

fn measurement(item: Set<'_>) -> String {
    let measured = item.item("0040A300");
    let value = measured.text("0040A30A");
    if value.is_empty() {
        return item.code("0040A301");
    }
    let units = measured.item("004008EA");
    // The code is the unit as people write it (UCUM), except for "no unit".
    let unit = match units.text("00080100").as_str() {
        "1" | "{ratio}" => String::new(),
        "" => units.text("00080104"),
        code if code.contains('{') => units.text("00080104"),
        code => code.to_owned(),
    };
    if unit.is_empty() { value } else { format!("{value} {unit}") }
}

/// The kind of range in time, and its instants (PS3.3 section C.18.7).
fn instants(item: Set<'_>) -> String {
    let points = ["0040A13A", "0040A138", "0040A132"].into_iter().map(|tag| item.written(tag));
    let points = points.filter(|points| !points.is_empty()).collect::<Vec<_>>().join(" ");
    format!("{} {points}", item.text("0040A130")).trim().to_owned()
}

fn coordinates(item: Set<'_>) -> String {
    let numbers = item.numbers("00700022");
    let dimension = if item.text("0040A040") == "SCOORD3D" { 3 } else { 2 };
    let points: Vec<String> = numbers
        .chunks(dimension)
        .take(12)
        .map(|point| {
            let parts: Vec<String> = point.iter().map(|number| format!("{number:.1}")).collect();
            format!("({})", parts.join(", "))
        })
        .collect();
    let more = if numbers.len() > 12 * dimension { " …" } else { "" };
    format!("{} {}{more}", item.text("00700023"), points.join(" ")).trim().to_owned()
}
