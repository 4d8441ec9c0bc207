//! Reads studies and series back from rows of either database.

use sqlx::{ColumnIndex, Decode, Row, Type};

use super::plan::{Series, Study, split_list};
use super::prepare::{SERIES_TEXT, STUDY_TEXT};

pub(super) fn study_from<'r, R>(row: &'r R) -> Result<Study, sqlx::Error>
where
    R: Row,
    &'static str: ColumnIndex<R>,
    String: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    bool: Decode<'r, R::Database> + Type<R::Database>,
{
    let mut text: [String; 19] = Default::default();
    for (value, column) in text.iter_mut().zip(STUDY_TEXT) {
        *value = row.try_get(column)?;
    }
    let modalities: String = row.try_get("modalities")?;
    let sop_classes: String = row.try_get("sop_classes")?;
    Ok(Study {
        id: Some(row.try_get("id")?),
        tenant: row.try_get("tenant_id")?,
        uid: row.try_get("study_uid")?,
        text,
        json: row.try_get("study_json")?,
        modalities: split_list(&modalities).collect(),
        sop_classes: split_list(&sop_classes).collect(),
        series_count: row.try_get("series_count")?,
        instance_count: row.try_get("instance_count")?,
        size: row.try_get("size")?,
        patient_conflict: row.try_get("patient_conflict")?,
        created_ms: row.try_get("created_ms")?,
        updated_ms: row.try_get("updated_ms")?,
        patient_row: Some(row.try_get("patient_row")?),
        left_patient: None,
        patient_from: 0,
        is_new: false,
        touched: false,
        filled: false,
    })
}

pub(super) fn series_from<'r, R>(row: &'r R, study: usize) -> Result<Series, sqlx::Error>
where
    R: Row,
    &'static str: ColumnIndex<R>,
    String: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
{
    let mut text: [String; 9] = Default::default();
    for (value, column) in text.iter_mut().zip(SERIES_TEXT) {
        *value = row.try_get(column)?;
    }
    Ok(Series {
        id: Some(row.try_get("id")?),
        study,
        uid: row.try_get("series_uid")?,
        text,
        number: row.try_get("series_number")?,
        json: row.try_get("series_json")?,
        instance_count: row.try_get("instance_count")?,
        size: row.try_get("size")?,
        created_ms: row.try_get("created_ms")?,
        updated_ms: row.try_get("updated_ms")?,
        is_new: false,
        touched: false,
        filled: false,
    })
}
