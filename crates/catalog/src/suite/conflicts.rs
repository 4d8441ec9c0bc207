//! Who a study's patient is.

use qianli_model::header::PatientFields;
use qianli_model::query::{Indexed, Level, Query};

use super::fixture::{instance, matching, number, scope, studies, with};
use crate::{Catalog, NewInstance, Recorded};

super::on_both!(
    another_patient_in_a_study_is_stored_and_flagged,
    strangers_without_an_id_are_not_one_patient,
    issuers_keep_patients_apart,
    a_patient_id_that_comes_later_is_adopted,
    a_nameless_id_does_not_hide_a_stranger,
    conflicts_are_listed_until_a_person_settled_them,
);

const STORED: Recorded = Recorded::Stored { patient_conflict: false };
const CONFLICT: Recorded = Recorded::Stored { patient_conflict: true };

fn of_patient(new: NewInstance, id: &str, name: &str) -> NewInstance {
    with(new, |header| {
        header.patient =
            PatientFields { id: id.into(), name: name.into(), ..PatientFields::default() };
    })
}

async fn another_patient_in_a_study_is_stored_and_flagged(catalog: &Catalog) {
    let first = of_patient(instance(1, 1, 1), "P1", "Doe^Jane");
    let stranger = of_patient(instance(1, 1, 2), "P2", "Roe^Richard");
    assert_eq!(catalog.record(&scope(), first).await.unwrap(), STORED);
    assert_eq!(catalog.record(&scope(), stranger).await.unwrap(), CONFLICT);
    assert_eq!(
        catalog.record(&scope(), of_patient(instance(1, 1, 3), "P1", "DOE^JANE")).await.unwrap(),
        STORED,
        "the rest of the study is as usual"
    );
    let found = catalog.find(&scope(), &Query::all(Level::Study, 10)).await.unwrap();
    assert_eq!(found.len(), 1);
    assert!(found[0].study.patient_conflict);
    assert_eq!(found[0].study.instance_count, 3);
    assert!(found[0].study.json.contains("P1") && !found[0].study.json.contains("P2"));
    assert_eq!(studies(catalog, &matching(Indexed::PatientId, "P2")).await, [0; 0]);
    assert_eq!(catalog.totals(&scope()).await.unwrap().patients, 1);
}

async fn strangers_without_an_id_are_not_one_patient(catalog: &Catalog) {
    for study in 1..=3 {
        let new = of_patient(instance(study, 1, 1), "", "Unknown");
        assert_eq!(catalog.record(&scope(), new).await.unwrap(), STORED);
    }
    assert_eq!(catalog.totals(&scope()).await.unwrap().patients, 3);
    assert_eq!(number(catalog, "SELECT COUNT(*) FROM patients").await, 3);
}

async fn issuers_keep_patients_apart(catalog: &Catalog) {
    for (study, issuer) in [(1, "A"), (2, "B"), (3, "A")] {
        let new = with(instance(study, 1, 1), |header| {
            header.patient.id = "1".into();
            header.patient.issuer = issuer.into();
        });
        catalog.record(&scope(), new).await.unwrap();
    }
    assert_eq!(catalog.totals(&scope()).await.unwrap().patients, 2);
    let query = matching(Indexed::PatientId, "1").equals(Indexed::IssuerOfPatientId, "a");
    assert_eq!(studies(catalog, &query).await, [3, 1]);
}

/// The first instances of a study may lack what later ones say; the study must be found by it.
async fn a_patient_id_that_comes_later_is_adopted(catalog: &Catalog) {
    let known = of_patient(instance(9, 1, 1), "P1", "Doe^Jane");
    catalog.record(&scope(), known).await.unwrap();
    let nameless = of_patient(instance(1, 1, 1), "", "");
    let named = of_patient(instance(1, 1, 2), "P1", "Doe^Jane");
    assert_eq!(catalog.record(&scope(), nameless).await.unwrap(), STORED);
    assert_eq!(catalog.totals(&scope()).await.unwrap().patients, 2);
    assert_eq!(catalog.record(&scope(), named).await.unwrap(), STORED);
    assert_eq!(studies(catalog, &matching(Indexed::PatientId, "p1")).await, [1, 9]);
    assert_eq!(studies(catalog, &matching(Indexed::PatientName, "doe*")).await, [1, 9]);
    assert_eq!(studies(catalog, &matching(Indexed::PatientName, "*oe jan*")).await, [1, 9]);
    assert_eq!(catalog.totals(&scope()).await.unwrap().patients, 1);
    assert_eq!(number(catalog, "SELECT COUNT(*) FROM patients").await, 1);
    assert_eq!(number(catalog, "SELECT study_count FROM patients").await, 2);
}

async fn a_nameless_id_does_not_hide_a_stranger(catalog: &Catalog) {
    catalog.record(&scope(), of_patient(instance(1, 1, 1), "P1", "Doe^Jane")).await.unwrap();
    let stranger = of_patient(instance(1, 1, 2), "", "Roe^Richard");
    assert_eq!(catalog.record(&scope(), stranger).await.unwrap(), CONFLICT);
    let anonymous = of_patient(instance(1, 1, 3), "", "");
    assert_eq!(catalog.record(&scope(), anonymous).await.unwrap(), STORED);
}

async fn conflicts_are_listed_until_a_person_settled_them(catalog: &Catalog) {
    catalog.record(&scope(), of_patient(instance(1, 1, 1), "P1", "Doe^Jane")).await.unwrap();
    catalog.record(&scope(), of_patient(instance(2, 1, 1), "P1", "Doe^Jane")).await.unwrap();
    assert!(catalog.patient_conflicts(&scope(), 10).await.unwrap().is_empty());
    catalog.record(&scope(), of_patient(instance(2, 1, 2), "P2", "Roe^Richard")).await.unwrap();
    let listed = catalog.patient_conflicts(&scope(), 10).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].study.as_str(), listed[0].instances), ("1.2.2", 2));
    assert!(listed[0].study_json.contains("P1"));
    let study = "1.2.2".parse().unwrap();
    assert_eq!(catalog.patient_conflict(&scope(), &study).await.unwrap().as_ref(), listed.first());
    let before = listed[0].updated_ms - 1;
    assert!(!catalog.settle_patient_conflict(&scope(), &study, before).await.unwrap());
    assert!(catalog.settle_patient_conflict(&scope(), &study, before + 1).await.unwrap());
    assert!(catalog.patient_conflicts(&scope(), 10).await.unwrap().is_empty());
    assert!(catalog.patient_conflict(&scope(), &study).await.unwrap().is_none());
}
