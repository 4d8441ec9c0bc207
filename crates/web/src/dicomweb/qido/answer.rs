//! Rows of a search answer (PS3.18 tables 10.6.3-3, 10.6.3-4, 10.6.3-5).

use std::collections::BTreeSet;

use qianli_catalog::types::{Found, Target};
use qianli_model::query::Level;
use qianli_model::{SeriesUid, SopInstanceUid, StudyUid, Tag, tag};

use super::super::json::{self, DataSet};
use super::search::Include;
use crate::caller::BaseUrl;

/// Attributes that are always there, empty if need be, with their VR.
type Defaults = &'static [(Tag, &'static str)];

const STUDY: Defaults = &[
    (tag::STUDY_DATE, "DA"),
    (tag::STUDY_TIME, "TM"),
    (tag::ACCESSION_NUMBER, "SH"),
    (tag::REFERRING_PHYSICIAN_NAME, "PN"),
    (tag::PATIENT_NAME, "PN"),
    (tag::PATIENT_ID, "LO"),
    (tag::PATIENT_BIRTH_DATE, "DA"),
    (tag::PATIENT_SEX, "CS"),
    (tag::STUDY_ID, "SH"),
];

const SERIES: Defaults = &[
    (tag::MODALITY, "CS"),
    (tag::SERIES_DESCRIPTION, "LO"),
    (tag::SERIES_NUMBER, "IS"),
    (tag::PERFORMED_PROCEDURE_STEP_START_DATE, "DA"),
    (tag::PERFORMED_PROCEDURE_STEP_START_TIME, "TM"),
    (tag::REQUEST_ATTRIBUTES_SEQUENCE, "SQ"),
];

const INSTANCE: Defaults = &[(tag::SOP_CLASS_UID, "UI"), (tag::INSTANCE_NUMBER, "IS")];

/// Attributes that are returned at their level where the data set has them.
const OPTIONAL: &[Tag] = &[
    tag::TIMEZONE_OFFSET_FROM_UTC,
    tag::ROWS,
    tag::COLUMNS,
    tag::BITS_ALLOCATED,
    tag::NUMBER_OF_FRAMES,
];

/// Attributes that this module computes or takes from columns of the index.
const COMPUTED: &[Tag] = &[
    tag::INSTANCE_AVAILABILITY,
    tag::MODALITIES_IN_STUDY,
    tag::SOP_CLASSES_IN_STUDY,
    tag::RETRIEVE_URL,
    tag::AVAILABLE_TRANSFER_SYNTAX_UID,
    tag::STUDY_INSTANCE_UID,
    tag::SERIES_INSTANCE_UID,
    tag::SOP_INSTANCE_UID,
    tag::NUMBER_OF_STUDY_RELATED_SERIES,
    tag::NUMBER_OF_STUDY_RELATED_INSTANCES,
    tag::NUMBER_OF_SERIES_RELATED_INSTANCES,
];

/// Attributes that rows of a level have without being asked for: always, and where there is a value.
/// For documents; a test holds it against real rows.
pub(crate) fn returned(level: Level) -> (Vec<Tag>, Vec<Tag>) {
    let (defaults, computed): (Defaults, &[Tag]) = match level {
        Level::Study => (
            STUDY,
            &[
                tag::MODALITIES_IN_STUDY,
                tag::STUDY_INSTANCE_UID,
                tag::NUMBER_OF_STUDY_RELATED_SERIES,
                tag::NUMBER_OF_STUDY_RELATED_INSTANCES,
            ],
        ),
        Level::Series => (
            SERIES,
            &[
                tag::STUDY_INSTANCE_UID,
                tag::SERIES_INSTANCE_UID,
                tag::NUMBER_OF_SERIES_RELATED_INSTANCES,
            ],
        ),
        Level::Instance => (
            INSTANCE,
            &[
                tag::STUDY_INSTANCE_UID,
                tag::SERIES_INSTANCE_UID,
                tag::SOP_INSTANCE_UID,
                tag::AVAILABLE_TRANSFER_SYNTAX_UID,
            ],
        ),
    };
    let everywhere = [tag::INSTANCE_AVAILABILITY, tag::RETRIEVE_URL];
    let defaults = defaults.iter().map(|(tag, _)| *tag);
    let mut always: Vec<Tag> = defaults.chain(computed.iter().copied()).chain(everywhere).collect();
    always.sort_unstable();
    (always, OPTIONAL.to_vec())
}

/// What the index keeps of an instance beside study and series attributes; anything else that a
/// client names is looked up in the stored header.
const INDEXED_INSTANCE: &[Tag] =
    &[tag::SOP_CLASS_UID, tag::INSTANCE_NUMBER, tag::SPECIFIC_CHARACTER_SET];

/// Which attributes the rows of one answer have.
pub(super) struct Layout<'a> {
    level: Level,
    /// Study attributes are part of the answer: the path names no study.
    with_study: bool,
    with_series: bool,
    include: &'a Include,
}

impl<'a> Layout<'a> {
    pub(super) fn new(level: Level, within: Option<&Target>, include: &'a Include) -> Self {
        Self {
            level,
            with_study: within.is_none(),
            with_series: within.is_none_or(|target| target.series.is_none()),
            include,
        }
    }

    /// Whether named attributes need the stored headers of instances.
    pub(super) fn beyond_index(&self) -> bool {
        let known: BTreeSet<Tag> = [STUDY, SERIES, INSTANCE]
            .into_iter()
            .flatten()
            .map(|(tag, _)| *tag)
            .chain(OPTIONAL.iter().chain(COMPUTED).chain(INDEXED_INSTANCE).copied())
            .collect();
        let indexed = |tag: &Tag| qianli_model::query::Indexed::from_tag(*tag).is_some();
        self.level == Level::Instance
            && (self.include.all
                || self.include.tags.iter().any(|tag| !known.contains(tag) && !indexed(tag)))
    }

    /// One row as a DICOM JSON object, and its RetrieveURL. `header` is the stored header of an
    /// instance row.
    pub(super) fn row(
        &self,
        base: &BaseUrl,
        found: &Found,
        header: Option<&str>,
    ) -> (String, String) {
        let mut row = DataSet::default();
        let mut url = String::new();
        if let Some(header) = header {
            for (tag, value) in json::members(header) {
                if self.asked(tag) || self.is_asked_creator(tag) {
                    row.set(tag, value);
                }
            }
        }
        self.study(&mut row, base, found, &mut url);
        self.series(&mut row, base, found, &mut url);
        self.instance(&mut row, base, found, &mut url);
        row.set_text(tag::INSTANCE_AVAILABILITY, "CS", ["ONLINE"]);
        row.set_text(tag::RETRIEVE_URL, "UR", [url.as_str()]);
        let row = row.to_json();
        if !row.as_bytes().contains(&qianli_model::header::BASE_URL_MARK) {
            return (row, url);
        }
        let mut replaced = Vec::with_capacity(row.len() + 256);
        json::replace_mark(row.as_bytes(), &url, &mut replaced);
        (String::from_utf8(replaced).unwrap_or_default(), url)
    }

    /// Whether a private creator reserves the block of an attribute that is asked for.
    fn is_asked_creator(&self, tag: Tag) -> bool {
        let asked = |wanted: &Tag| wanted.group == tag.group && wanted.element >> 8 == tag.element;
        tag.is_private() && self.include.tags.iter().any(asked)
    }

    fn study<'r>(&self, row: &mut DataSet<'r>, base: &BaseUrl, found: &'r Found, url: &mut String) {
        let study = &found.study;
        let with_defaults = self.level == Level::Study || self.with_study;
        self.fragment(row, &study.json, STUDY, with_defaults);
        let shown = |tag: Tag| with_defaults || self.asked(tag);
        if shown(tag::MODALITIES_IN_STUDY) {
            let modalities = study.modalities.iter().map(String::as_str);
            row.set_text(tag::MODALITIES_IN_STUDY, "CS", modalities);
        }
        if shown(tag::NUMBER_OF_STUDY_RELATED_SERIES) {
            row.set_number(tag::NUMBER_OF_STUDY_RELATED_SERIES, "IS", study.series_count);
        }
        if shown(tag::NUMBER_OF_STUDY_RELATED_INSTANCES) {
            row.set_number(tag::NUMBER_OF_STUDY_RELATED_INSTANCES, "IS", study.instance_count);
        }
        if self.asked(tag::SOP_CLASSES_IN_STUDY) {
            let classes = study.sop_classes.iter().map(String::as_str);
            row.set_text(tag::SOP_CLASSES_IN_STUDY, "UI", classes);
        }
        // Cheap, and every client wants to know to what a row belongs.
        row.set_text(tag::STUDY_INSTANCE_UID, "UI", [study.uid.as_str()]);
        if let Ok(uid) = StudyUid::parse(&study.uid) {
            *url = base.study(&uid);
        }
    }

    fn series<'r>(
        &self,
        row: &mut DataSet<'r>,
        base: &BaseUrl,
        found: &'r Found,
        url: &mut String,
    ) {
        let Some(series) = &found.series else { return };
        let with_defaults = self.level == Level::Series || self.with_series;
        self.fragment(row, &series.json, SERIES, with_defaults);
        if with_defaults || self.asked(tag::NUMBER_OF_SERIES_RELATED_INSTANCES) {
            let count = series.instance_count;
            row.set_number(tag::NUMBER_OF_SERIES_RELATED_INSTANCES, "IS", count);
        }
        row.set_text(tag::SERIES_INSTANCE_UID, "UI", [series.uid.as_str()]);
        let uids = (StudyUid::parse(&found.study.uid), SeriesUid::parse(&series.uid));
        if let (Ok(study), Ok(series)) = uids {
            *url = base.series(&study, &series);
        }
    }

    fn instance<'r>(
        &self,
        row: &mut DataSet<'r>,
        base: &BaseUrl,
        found: &'r Found,
        url: &mut String,
    ) {
        let (Some(series), Some(instance)) = (&found.series, &found.instance) else { return };
        self.fragment(row, &instance.json, INSTANCE, true);
        row.set_text(tag::SOP_INSTANCE_UID, "UI", [instance.uid.as_str()]);
        let syntax = [instance.transfer_syntax.as_str()];
        row.set_text(tag::AVAILABLE_TRANSFER_SYNTAX_UID, "UI", syntax);
        let uids = (
            StudyUid::parse(&found.study.uid),
            SeriesUid::parse(&series.uid),
            SopInstanceUid::parse(&instance.uid),
        );
        if let (Ok(study), Ok(series), Ok(instance)) = uids {
            *url = base.instance(&study, &series, &instance);
        }
    }

    /// Takes over what the answer has of a stored fragment, then fills up the defaults.
    fn fragment<'r>(
        &self,
        row: &mut DataSet<'r>,
        json: &'r str,
        defaults: Defaults,
        with_defaults: bool,
    ) {
        for (tag, value) in json::members(json) {
            let default = defaults.iter().any(|(t, _)| *t == tag) || OPTIONAL.contains(&tag);
            if (with_defaults && default) || self.asked(tag) {
                row.set(tag, value);
            }
        }
        if with_defaults {
            for (tag, vr) in defaults {
                if !row.contains(*tag) {
                    row.set_text(*tag, vr, []);
                }
            }
        }
    }

    fn asked(&self, tag: Tag) -> bool {
        self.include.all || self.include.tags.contains(&tag)
    }
}

#[cfg(test)]
mod tests {
    use qianli_catalog::types::{InstanceRow, SeriesRow, StudyRow};
    use serde_json::{Value, json};

    use super::*;

    fn found(level: Level) -> Found {
        let json = json!({
            "00080020": {"vr": "DA", "Value": ["20240102"]},
            "00081030": {"vr": "LO", "Value": ["HEAD"]},
            "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Wang^Wu", "Ideographic": "王^五"}]},
        });
        let study = StudyRow {
            uid: "1.2".into(),
            json: json.to_string(),
            modalities: vec!["CT".into(), "SR".into()],
            sop_classes: vec!["1.2.840.10008.5.1.4.1.1.2".into()],
            series_count: 2,
            instance_count: 30,
            size: 1,
            updated_ms: 1,
            patient_conflict: false,
        };
        let series = SeriesRow {
            uid: "1.3".into(),
            json: json!({"00080060": {"vr": "CS", "Value": ["CT"]}}).to_string(),
            instance_count: 20,
        };
        let instance = InstanceRow {
            uid: "1.4".into(),
            json: json!({
                "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]},
                "00280010": {"vr": "US", "Value": [512]},
            })
            .to_string(),
            transfer_syntax: "1.2.840.10008.1.2.1".into(),
            size: 1,
            header: None,
        };
        Found {
            study,
            series: (level >= Level::Series).then_some(series),
            instance: (level == Level::Instance).then_some(instance),
        }
    }

    fn row(
        level: Level,
        within: Option<&Target>,
        include: &Include,
        header: Option<&str>,
    ) -> Value {
        let base = BaseUrl::for_tests("http://h");
        let (text, _) = Layout::new(level, within, include).row(&base, &found(level), header);
        serde_json::from_str(&text).expect("a JSON object")
    }

    fn within(series: bool) -> Target {
        Target {
            study: StudyUid::parse("1.2").expect("a UID"),
            series: series.then(|| SeriesUid::parse("1.3").expect("a UID")),
            instance: None,
        }
    }

    #[test]
    fn study_rows_have_every_default_and_no_more() {
        let row = row(Level::Study, None, &Include::default(), None);
        assert_eq!(row["00080020"]["Value"][0], "20240102");
        assert_eq!(row["00080050"], json!({"vr": "SH"}));
        assert_eq!(row["00080056"]["Value"][0], "ONLINE");
        assert_eq!(row["00080061"]["Value"], json!(["CT", "SR"]));
        assert_eq!(row["00081190"]["Value"][0], "http://h/dicom-web/studies/1.2");
        assert_eq!(row["00201206"]["Value"][0], 2);
        assert_eq!(row["00201208"]["Value"][0], 30);
        assert!(row.get("00081030").is_none(), "StudyDescription is no default");
        for tag in ["00080030", "00080090", "00100020", "00100030", "00100040", "00200010"] {
            assert!(row.get(tag).is_some(), "{tag}");
        }
    }

    #[test]
    fn rows_have_what_documents_say() {
        let bare = Include::default();
        let levels = [
            (Level::Study, None),
            (Level::Series, Some(within(false))),
            (Level::Instance, Some(within(true))),
        ];
        for (level, within) in levels {
            let row = row(level, within.as_ref(), &bare, None);
            let (always, present) = returned(level);
            for tag in &always {
                assert!(row.get(tag.to_string()).is_some(), "{level:?}: {tag}");
            }
            for tag in row.as_object().expect("an object").keys() {
                let known = always.iter().chain(&present).any(|one| one.to_string() == *tag);
                assert!(known, "{level:?}: {tag} is not in the table");
            }
        }
    }

    #[test]
    fn included_attributes_come_along() {
        let mut include = Include::default();
        include.tags.insert(tag::STUDY_DESCRIPTION);
        include.tags.insert(tag::SOP_CLASSES_IN_STUDY);
        let named = row(Level::Study, None, &include, None);
        assert_eq!(named["00081030"]["Value"][0], "HEAD");
        assert_eq!(named["00080062"]["Value"][0], "1.2.840.10008.5.1.4.1.1.2");
        let all = Include { all: true, ..Include::default() };
        assert_eq!(row(Level::Study, None, &all, None)["00081030"]["Value"][0], "HEAD");
    }

    #[test]
    fn series_rows_have_study_attributes_only_without_a_study_in_the_path() {
        let include = Include::default();
        let relational = row(Level::Series, None, &include, None);
        assert_eq!(relational["00080020"]["Value"][0], "20240102");
        assert_eq!(relational["00201209"]["Value"][0], 20);
        let inside = row(Level::Series, Some(&within(false)), &include, None);
        assert!(inside.get("00080020").is_none());
        assert_eq!(inside["0020000E"]["Value"][0], "1.3");
        assert_eq!(inside["00400275"], json!({"vr": "SQ"}));
        let url = "http://h/dicom-web/studies/1.2/series/1.3";
        assert_eq!(inside["00081190"]["Value"][0], url);
    }

    #[test]
    fn instance_rows_say_how_they_are_stored() {
        let include = Include::default();
        let inside = row(Level::Instance, Some(&within(true)), &include, None);
        assert_eq!(inside["00083002"]["Value"][0], "1.2.840.10008.1.2.1");
        assert_eq!(inside["00280010"]["Value"][0], 512);
        assert!(inside.get("00280008").is_none());
        assert!(inside.get("00080060").is_none(), "the series is in the path");
        let of_study = row(Level::Instance, Some(&within(false)), &include, None);
        assert_eq!(of_study["00080060"]["Value"][0], "CT");
    }

    #[test]
    fn attributes_beyond_the_index_come_from_the_header() {
        let mut include = Include::default();
        include.tags.insert(tag::WINDOW_CENTER);
        include.tags.insert(tag::PIXEL_DATA);
        assert!(Layout::new(Level::Instance, None, &include).beyond_index());
        assert!(!Layout::new(Level::Study, None, &include).beyond_index());
        assert!(!Layout::new(Level::Instance, None, &Include::default()).beyond_index());
        let header = "{\"00281050\":{\"vr\":\"DS\",\"Value\":[40]},\"00281051\":{\"vr\":\"DS\"},\
                      \"7FE00010\":{\"vr\":\"OW\",\"BulkDataURI\":\"\u{1}/bulkdata/7FE00010\"}}";
        let row = row(Level::Instance, None, &include, Some(header));
        assert_eq!(row["00281050"]["Value"][0], 40);
        assert!(row.get("00281051").is_none());
        let uri = row["7FE00010"]["BulkDataURI"].as_str();
        let expected = "http://h/dicom-web/studies/1.2/series/1.3/instances/1.4/bulkdata/7FE00010";
        assert_eq!(uri, Some(expected));
    }
}
