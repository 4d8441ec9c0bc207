//! Objects of a study that are read instead of looked at: reports, documents, plans, waveforms. Each
//! has a page or document of its own under `…/rendered`, which nothing else would lead to.

use std::collections::HashMap;

use qianli_catalog::types::Found;
use qianli_model::query::{Indexed, Level, Rule};
use qianli_model::{Query, StudyUid};

use super::format::Attributes;
use super::language::Language;
use super::page::encode;

/// Most documents of a study that are linked.
pub(super) const MAX_DOCUMENTS: u32 = 500;

/// Most links of one series.
const MAX_LINKS: usize = 24;

/// What the UIDs of all storage SOP classes of the standard begin with.
const STORAGE: &str = "1.2.840.10008.5.1.4.1.1.";

/// SOP classes without pixels (PS3.4 table B.5-1), by how they are called here.
const CLASSES: &[(&str, &str, &[&str])] = &[
    (
        "Report",
        "报告",
        &[
            "88.1", "88.2", "88.3", "88.4", "88.11", "88.22", "88.33", "88.34", "88.35", "88.40",
            "88.50", "88.65", "88.67", "88.68", "88.69", "88.70", "88.71", "88.72", "88.73",
            "88.74", "88.75", "88.76", "79.1",
        ],
    ),
    ("Key images", "关键影像", &["88.59"]),
    ("Document", "文档", &["104.1", "104.2"]),
    ("3D model", "三维模型", &["104.3", "104.4", "104.5"]),
    (
        "Presentation state",
        "显示状态",
        &[
            "11.1", "11.2", "11.3", "11.4", "11.5", "11.6", "11.7", "11.8", "11.9", "11.10",
            "11.11", "11.12",
        ],
    ),
    ("Structure set", "结构集", &["481.3", "481.19"]),
    ("Treatment plan", "放疗计划", &["481.5", "481.8", "481.10", "481.12", "481.13", "481.20"]),
    (
        "Treatment record",
        "治疗记录",
        &["481.4", "481.6", "481.7", "481.9", "481.14", "481.16", "481.17", "481.18"],
    ),
    (
        "Waveforms",
        "波形",
        &[
            "9.1.1", "9.1.2", "9.1.3", "9.1.4", "9.2.1", "9.3.1", "9.4.1", "9.4.2", "9.5.1",
            "9.6.1", "9.6.2", "9.7.1", "9.7.2", "9.7.3", "9.7.4", "9.8.1",
        ],
    ),
    (
        "Object",
        "对象",
        &[
            "66", "66.1", "66.2", "66.3", "66.5", "66.6", "67", "68.1", "68.2", "77.1.5.3", "78.1",
            "78.2", "78.3", "78.4", "78.5", "78.6", "78.7", "78.8",
        ],
    ),
];

/// The query for the documents of a study.
pub(super) fn query(study: &StudyUid) -> Query {
    let classes = CLASSES.iter().flat_map(|(_, _, classes)| classes.iter());
    let uids = classes.map(|class| format!("{STORAGE}{class}")).collect();
    Query::all(Level::Instance, MAX_DOCUMENTS)
        .equals(Indexed::StudyInstanceUid, study.as_str())
        .with(Indexed::SopClassUid, Rule::AnyOf(uids))
}

/// A document's link.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub href: String,
    pub label: String,
    number: i64,
}

/// The documents of one series.
#[derive(Debug, Default)]
pub(super) struct Documents {
    /// How many there are.
    pub count: i64,
    /// Links to them, or to the first of very many.
    pub links: Vec<Link>,
}

/// Sorts documents into their series.
pub(super) fn by_series(
    study: &StudyUid,
    found: &[Found],
    language: Language,
) -> HashMap<String, Documents> {
    let mut all: HashMap<String, Documents> = HashMap::new();
    for row in found {
        let (Some(series), Some(instance)) = (&row.series, &row.instance) else { continue };
        let attributes = Attributes::parse(&instance.json);
        let number = attributes.text("00200013");
        let path = |uid: &str| encode(uid).replace("%2E", ".");
        let documents = all.entry(series.uid.clone()).or_default();
        documents.count += 1;
        documents.links.push(Link {
            href: format!(
                "/dicom-web/studies/{}/series/{}/instances/{}/rendered",
                study.as_str(),
                path(&series.uid),
                path(&instance.uid)
            ),
            label: label(&attributes.text("00080016"), language).to_owned(),
            number: number.parse().unwrap_or(i64::MAX),
        });
    }
    for documents in all.values_mut() {
        documents.links.sort_by_key(|link| link.number);
        documents.links.truncate(MAX_LINKS);
        // One of a kind needs no number.
        if documents.count > 1 {
            for (index, link) in documents.links.iter_mut().enumerate() {
                let number = match link.number {
                    i64::MAX => index as i64 + 1,
                    number => number,
                };
                link.label = format!("{} {}", link.label, number);
            }
        }
    }
    all
}

fn label(class: &str, language: Language) -> &'static str {
    let class = class.strip_prefix(STORAGE).unwrap_or_default();
    let found = CLASSES.iter().find(|(_, _, classes)| classes.contains(&class));
    match (found, language) {
        (Some((english, _, _)), Language::English) => english,
        (Some((_, chinese, _)), Language::Chinese) => chinese,
        (None, Language::English) => "Object",
        (None, Language::Chinese) => "对象",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_names_in_both_languages() {
        let of = |class: &str| {
            let uid = format!("{STORAGE}{class}");
            (label(&uid, Language::English), label(&uid, Language::Chinese))
        };
        assert_eq!(of("88.33"), ("Report", "报告"));
        assert_eq!(of("104.1"), ("Document", "文档"));
        assert_eq!(of("9.1.1"), ("Waveforms", "波形"));
        assert_eq!(label("1.2.3", Language::English), "Object");
    }
}
