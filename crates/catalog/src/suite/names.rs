//! Person names as people type them.

use qianli_model::Query;
use qianli_model::query::{Indexed, Level, Rule};

use super::fixture::{instance, matching, scope, studies, with};
use crate::Catalog;

super::on_both!(
    names_are_found_by_any_group,
    referring_physicians_match_like_patients,
    fuzzy_matching_takes_words_in_any_order,
);

const NAMES: [&str; 8] = [
    "Wang^XiaoDong=王^小东",
    "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "Müller^Jürgen",
    "王^芳",
    "O'Neil^Ann\"Q\"",
    "Wang^Xiaolin^^Dr.",
    "",
    "DOE^JANE^^^",
];

async fn check(catalog: &Catalog, attribute: Indexed, value: &str, expected: &[u32]) {
    let mut found = studies(catalog, &matching(attribute, value)).await;
    found.sort_unstable();
    assert_eq!(found, expected, "{attribute:?} {value}");
}

async fn names_are_found_by_any_group(catalog: &Catalog) {
    for (study, name) in (1..).zip(NAMES) {
        let new = with(instance(study, 1, 1), |header| header.patient.name = name.into());
        catalog.record(&scope(), new).await.unwrap();
    }
    for (value, expected) in [
        ("Wang^XiaoDong", &[1][..]),
        ("WANG^XIAODONG", &[1]),
        ("Wang XiaoDong", &[1]),
        ("Wang, XiaoDong", &[1]),
        ("wang^xiao*", &[1, 6]),
        ("wang*", &[1, 6]),
        ("wang", &[]),
        ("*xiao*", &[1, 6]),
        ("王^小东", &[1]),
        ("王小东", &[1]),
        ("王*", &[1, 4]),
        ("王^*", &[1, 4]),
        ("*小东*", &[1]),
        ("*小*", &[1]),
        ("*王小东*", &[1]),
        ("小*", &[]),
        ("?芳", &[4]),
        ("王?", &[4]),
        ("*田太*", &[2]),
        ("山田*", &[2]),
        ("やまだ^たろう", &[2]),
        ("*たろ*", &[2]),
        ("Yamada^Tarou=山田^太郎", &[2]),
        ("=山田*", &[2]),
        ("Yamada*=王*", &[]),
        ("muller^jurgen", &[3]),
        ("MÜLLER*", &[3]),
        ("ｗａｎｇ＊", &[1, 6]),
        ("O'Neil*", &[5]),
        ("*ann\"q\"*", &[5]),
        ("doe^jane", &[8]),
        ("*", &[1, 2, 3, 4, 5, 6, 7, 8]),
    ] {
        check(catalog, Indexed::PatientName, value, expected).await;
    }
    let empty = Query::all(Level::Study, 10).with(Indexed::PatientName, Rule::Empty);
    assert_eq!(studies(catalog, &empty).await, [7]);
    let either =
        Rule::AnyOf(vec!["doe*".into(), "*小东*".into(), "*arou*".into(), "nobody".into()]);
    let any = Query::all(Level::Study, 10).with(Indexed::PatientName, either);
    assert_eq!(studies(catalog, &any).await, [8, 2, 1]);
}

async fn referring_physicians_match_like_patients(catalog: &Catalog) {
    for (study, name) in (1..).zip(NAMES) {
        let new = with(instance(study, 1, 1), |header| {
            header.study.referring_physician = name.into();
        });
        catalog.record(&scope(), new).await.unwrap();
    }
    let attribute = Indexed::ReferringPhysicianName;
    check(catalog, attribute, "*xiao*", &[1, 6]).await;
    check(catalog, attribute, "山田^太郎", &[2]).await;
}

async fn fuzzy_matching_takes_words_in_any_order(catalog: &Catalog) {
    for (study, name) in (1..).zip(NAMES) {
        let new = with(instance(study, 1, 1), |header| header.patient.name = name.into());
        catalog.record(&scope(), new).await.unwrap();
    }
    for (value, expected) in [("jane doe", &[8][..]), ("xiao wang", &[6, 1]), ("nobody", &[])] {
        let mut query = matching(Indexed::PatientName, value);
        query.fuzzy = true;
        assert_eq!(studies(catalog, &query).await, expected, "{value}");
    }
}
