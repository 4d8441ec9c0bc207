//! Folded search keys of a workitem and their rows.

use std::collections::BTreeMap;

use qianli_model::workitem::DataSet;
use qianli_model::workitem::search::{self, Kind};

use super::tx::{Tx, on_tx};
use crate::error::CatalogError;
use crate::keys::{bounded, group_key, text_key};

/// By path: item and folded value.
pub(super) type Keys = BTreeMap<String, Vec<(String, String)>>;

/// The folded keys of a data set.
pub(super) fn of(data: &DataSet) -> Keys {
    let mut keys = Keys::new();
    for key in search::keys(data) {
        let value = fold(key.kind, &key.value);
        if !value.is_empty() {
            keys.entry(key.path).or_default().push((key.item, value));
        }
    }
    keys
}

/// The form in which stored values and match values meet.
pub(super) fn fold(kind: Kind, value: &str) -> String {
    match kind {
        Kind::Text => text_key(value),
        Kind::Name => group_key(value),
        Kind::Date | Kind::Time | Kind::DateTime | Kind::Uid | Kind::Number => bounded(value),
    }
}

/// Makes the rows of a workitem say `after` where they said `before`.
pub(super) async fn write(
    tx: &mut Tx,
    tenant: i64,
    workitem: i64,
    before: &Keys,
    after: &Keys,
) -> Result<(), CatalogError> {
    let gone: Vec<&String> = before
        .iter()
        .filter(|(path, rows)| after.get(*path) != Some(rows))
        .map(|(p, _)| p)
        .collect();
    for path in gone {
        on_tx!(tx, connection => {
            sqlx::query("DELETE FROM workitem_keys WHERE workitem_id = $1 AND path = $2")
                .bind(workitem)
                .bind(path)
                .execute(connection)
                .await?;
        });
    }
    let (mut paths, mut items, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for (path, rows) in after.iter().filter(|(path, rows)| before.get(*path) != Some(rows)) {
        for (item, value) in rows {
            paths.push(path.as_str());
            items.push(item.as_str());
            values.push(value.as_str());
        }
    }
    match tx {
        Tx::Postgres(transaction) => {
            sqlx::query(
                "INSERT INTO workitem_keys (workitem_id, tenant_id, path, item, value)
                SELECT $1, $2, * FROM UNNEST($3::text[], $4::text[], $5::text[])",
            )
            .bind(workitem)
            .bind(tenant)
            .bind(&paths)
            .bind(&items)
            .bind(&values)
            .execute(&mut **transaction)
            .await?;
        }
        Tx::Sqlite(transaction) => {
            for ((path, item), value) in paths.into_iter().zip(items).zip(values) {
                sqlx::query(
                    "INSERT INTO workitem_keys (workitem_id, tenant_id, path, item, value)
                    VALUES ($1, $2, $3, $4, $5)",
                )
                .bind(workitem)
                .bind(tenant)
                .bind(path)
                .bind(item)
                .bind(value)
                .execute(&mut **transaction)
                .await?;
            }
        }
    }
    Ok(())
}
