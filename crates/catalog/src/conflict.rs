//! Studies in which images of more than one patient arrived, for a person to look at.

use qianli_model::audit::{Action, Outcome};
use qianli_model::{Scope, StudyUid};

use crate::Catalog;
use crate::audit::{Append, AuditEntry};
use crate::db::on_db;
use crate::deletion::{begin, now_ms};
use crate::error::CatalogError;
use crate::types::PatientConflict;

impl Catalog {
    /// Studies that were flagged, the latest first.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn patient_conflicts(
        &self,
        scope: &Scope,
        limit: u32,
    ) -> Result<Vec<PatientConflict>, CatalogError> {
        const TEXT: &str = "SELECT study_uid, instance_count, updated_ms, study_json FROM studies
            WHERE tenant_id = $1 AND patient_conflict ORDER BY updated_ms DESC, id DESC LIMIT $2";
        let rows: Vec<(String, i64, i64, String)> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT)
                .bind(scope.tenant().0)
                .bind(i64::from(limit))
                .fetch_all(&pools.read)
                .await?
        });
        let conflict = |(study, instances, updated_ms, study_json)| PatientConflict {
            study,
            instances,
            updated_ms,
            study_json,
        };
        Ok(rows.into_iter().map(conflict).collect())
    }

    /// One flagged study; `None` when it is not here or not flagged.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn patient_conflict(
        &self,
        scope: &Scope,
        study: &StudyUid,
    ) -> Result<Option<PatientConflict>, CatalogError> {
        const TEXT: &str = "SELECT study_uid, instance_count, updated_ms, study_json FROM studies
            WHERE tenant_id = $1 AND study_uid = $2 AND patient_conflict";
        let row: Option<(String, i64, i64, String)> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT)
                .bind(scope.tenant().0)
                .bind(study.as_str())
                .fetch_optional(&pools.read)
                .await?
        });
        Ok(row.map(|(study, instances, updated_ms, study_json)| PatientConflict {
            study,
            instances,
            updated_ms,
            study_json,
        }))
    }

    /// Takes the flag from a study, unless something arrived since `updated_ms`. Returns whether it
    /// did.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn settle_patient_conflict(
        &self,
        scope: &Scope,
        study: &StudyUid,
        updated_ms: i64,
    ) -> Result<bool, CatalogError> {
        const TEXT: &str = "UPDATE studies SET patient_conflict = FALSE
            WHERE tenant_id = $1 AND study_uid = $2 AND updated_ms = $3 AND patient_conflict";
        let begin = begin(self.db());
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin).await?;
            let settled = sqlx::query(TEXT)
                .bind(scope.tenant().0)
                .bind(study.as_str())
                .bind(updated_ms)
                .execute(&mut *transaction)
                .await?
                .rows_affected();
            if settled == 0 {
                return Ok(false);
            }
            let entry = AuditEntry::new(scope, Action::SettleConflict, Outcome::Success, now_ms());
            transaction.append_audit(vec![entry.about_study(study)]).await?;
            transaction.commit().await?;
        });
        Ok(true)
    }
}
