//! Where DICOM peers are reached: rows of a tenant, by AE title, beside the register of who may call.
//!
//! A table of its own: a row of the register can mean many peers by a pattern, and one peer can have
//! several; what is called is exactly one, under exactly one title.

use qianli_model::audit::{Action, Outcome};
use qianli_model::destination::{Destination, DestinationTls, Identity, MOST_ASSOCIATIONS};
use qianli_model::{AeTitle, Scope, TransferSyntax};
use serde_json::json;
use sqlx::AssertSqlSafe;

use crate::Catalog;
use crate::audit::{Append, AuditEntry};
use crate::db::on_db;
use crate::deletion::{begin, now_ms};
use crate::error::CatalogError;

/// A destination, and who entered it when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationRow {
    /// Its key.
    pub id: i64,
    /// What it says.
    pub destination: Destination,
    /// Name of whoever entered it.
    pub created_by: String,
    /// When (ms since 1970).
    pub created_ms: i64,
}

const COLUMNS: &str = "SELECT id, title, address, tls, tls_name, tls_ca, syntaxes, only_these,
    associations, bandwidth, identity, identity_name, identity_secret, created_by, created_ms
    FROM destinations WHERE tenant_id = $1";

type Row = (
    i64,
    String,
    String,
    bool,
    String,
    String,
    String,
    bool,
    i64,
    i64,
    String,
    String,
    String,
    String,
    i64,
);

fn row(row: Row) -> Result<DestinationRow, CatalogError> {
    const CORRUPT: CatalogError = CatalogError::Corrupt("a row of the destinations");
    let (id, title, address, tls, server_name, authorities, syntaxes, only_these, associations, ..) =
        row;
    let (bandwidth, kind, name, secret, by, created_ms) =
        (row.9, row.10, row.11, row.12, row.13, row.14);
    let syntaxes: Option<Vec<TransferSyntax>> =
        syntaxes.split(',').filter(|uid| !uid.is_empty()).map(TransferSyntax::from_uid).collect();
    Ok(DestinationRow {
        id,
        destination: Destination {
            title: AeTitle::parse(&title).map_err(|_| CORRUPT)?,
            address,
            tls: tls.then_some(DestinationTls { server_name, authorities }),
            syntaxes: syntaxes.ok_or(CORRUPT)?,
            only_these,
            associations: u32::try_from(associations).unwrap_or(1).clamp(1, MOST_ASSOCIATIONS),
            bandwidth: u64::try_from(bandwidth).unwrap_or_default(),
            identity: match kind.as_str() {
                "" => None,
                "username" => Some(Identity::Username(name)),
                "password" => Some(Identity::Password(name, secret)),
                "jwt" => Some(Identity::Jwt(secret)),
                _ => return Err(CORRUPT),
            },
        },
        created_by: by,
        created_ms,
    })
}

impl Catalog {
    /// The destinations of the scope's tenant, by title.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn destinations(&self, scope: &Scope) -> Result<Vec<DestinationRow>, CatalogError> {
        let text = format!("{COLUMNS} ORDER BY title");
        let rows: Vec<Row> = on_db!(self.db(), pools => {
            sqlx::query_as(AssertSqlSafe(text))
                .bind(scope.tenant().0)
                .fetch_all(&pools.read)
                .await?
        });
        rows.into_iter().map(row).collect()
    }

    /// The destination of the scope's tenant with this AE title.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn destination(
        &self,
        scope: &Scope,
        title: &AeTitle,
    ) -> Result<Option<Destination>, CatalogError> {
        let text = format!("{COLUMNS} AND title = $2");
        let found: Option<Row> = on_db!(self.db(), pools => {
            sqlx::query_as(AssertSqlSafe(text))
                .bind(scope.tenant().0)
                .bind(title.as_str())
                .fetch_optional(&pools.read)
                .await?
        });
        found.map(|found| row(found).map(|row| row.destination)).transpose()
    }

    /// Enters a destination of the scope's tenant, or changes the one of its title. True when it is
    /// new.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn put_destination(
        &self,
        scope: &Scope,
        destination: &Destination,
        at_ms: i64,
    ) -> Result<bool, CatalogError> {
        const FIND: &str = "SELECT id FROM destinations WHERE tenant_id = $1 AND title = $2";
        const PUT: &str = "INSERT INTO destinations (tenant_id, title, address, tls, tls_name,
                tls_ca, syntaxes, only_these, associations, bandwidth, identity, identity_name,
                identity_secret, created_by, created_ms)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
            ON CONFLICT (tenant_id, title) DO UPDATE SET address = $3, tls = $4, tls_name = $5,
                tls_ca = $6, syntaxes = $7, only_these = $8, associations = $9, bandwidth = $10,
                identity = $11, identity_name = $12, identity_secret = $13, created_by = $14,
                created_ms = $15";
        let Destination { title, address, tls, syntaxes, only_these, identity, .. } = destination;
        let syntaxes: Vec<&str> = syntaxes.iter().map(|syntax| syntax.uid()).collect();
        let syntaxes = syntaxes.join(",");
        let (server_name, authorities) = match tls {
            Some(tls) => (tls.server_name.as_str(), tls.authorities.as_str()),
            None => ("", ""),
        };
        let (kind, name, secret) = match identity {
            None => ("", "", ""),
            Some(Identity::Username(name)) => ("username", name.as_str(), ""),
            Some(Identity::Password(name, secret)) => ("password", name.as_str(), secret.as_str()),
            Some(Identity::Jwt(token)) => ("jwt", "", token.as_str()),
        };
        let tenant = scope.tenant().0;
        let is_new = on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let there: Option<(i64,)> = sqlx::query_as(FIND)
                .bind(tenant)
                .bind(title.as_str())
                .fetch_optional(&mut *transaction)
                .await?;
            sqlx::query(PUT)
                .bind(tenant)
                .bind(title.as_str())
                .bind(address)
                .bind(tls.is_some())
                .bind(server_name)
                .bind(authorities)
                .bind(&syntaxes)
                .bind(*only_these)
                .bind(i64::from(destination.associations.clamp(1, MOST_ASSOCIATIONS)))
                .bind(i64::try_from(destination.bandwidth).unwrap_or(i64::MAX))
                .bind(kind)
                .bind(name)
                .bind(secret)
                .bind(scope.principal().name())
                .bind(at_ms)
                .execute(&mut *transaction)
                .await?;
            // Without the secret: the trail is read by more people than may know it.
            let details = json!({
                "did": if there.is_none() { "add destination" } else { "change destination" },
                "title": title.as_str(), "address": address, "tls": tls.is_some(),
                "syntaxes": syntaxes, "only_these": only_these,
                "associations": destination.associations, "bandwidth": destination.bandwidth,
                "identity": kind,
            });
            let entry = AuditEntry::new(scope, Action::ChangePeer, Outcome::Success, at_ms);
            transaction.append_audit(vec![entry.with(&details)]).await?;
            transaction.commit().await?;
            there.is_none()
        });
        Ok(is_new)
    }

    /// Removes the destination of the scope's tenant with this title. False when there is none.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn remove_destination(
        &self,
        scope: &Scope,
        title: &AeTitle,
    ) -> Result<bool, CatalogError> {
        const REMOVE: &str = "DELETE FROM destinations WHERE tenant_id = $1 AND title = $2";
        let removed = on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let removed = sqlx::query(REMOVE)
                .bind(scope.tenant().0)
                .bind(title.as_str())
                .execute(&mut *transaction)
                .await?
                .rows_affected();
            if removed > 0 {
                let entry =
                    AuditEntry::new(scope, Action::ChangePeer, Outcome::Success, now_ms())
                        .with(&json!({"did": "remove destination", "title": title.as_str()}));
                transaction.append_audit(vec![entry]).await?;
                transaction.commit().await?;
            }
            removed > 0
        });
        Ok(removed)
    }
}
