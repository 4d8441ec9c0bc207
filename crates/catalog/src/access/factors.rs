//! Second factors: codes of a phone (RFC 6238), codes for the day it is lost, and the way in while one
//! is asked for.

use qianli_model::audit::{Action, Outcome};
use qianli_model::{Scope, TenantId};
use serde_json::json;

use super::{LoginStep, NewLoginStep, Totp};
use crate::Catalog;
use crate::audit::{Append, AuditEntry};
use crate::db::on_db;
use crate::deletion::{begin, now_ms};
use crate::error::CatalogError;

impl Catalog {
    /// The second factor of a person, confirmed or not.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn totp(&self, person: i64) -> Result<Option<Totp>, CatalogError> {
        const TEXT: &str = "SELECT secret, confirmed, step FROM totp WHERE user_id = $1";
        let row: Option<(String, bool, i64)> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT).bind(person).fetch_optional(&pools.read).await?
        });
        Ok(row.map(|(secret, confirmed, step)| Totp { secret, confirmed, step }))
    }

    /// Begins a second factor, which counts when it is confirmed. False when there is one that is.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn begin_totp(&self, person: i64, secret: &str) -> Result<bool, CatalogError> {
        const TEXT: &str = "INSERT INTO totp (user_id, secret, confirmed, step, created_ms)
            VALUES ($1, $2, FALSE, 0, $3) ON CONFLICT (user_id) DO UPDATE
            SET secret = excluded.secret, created_ms = excluded.created_ms
            WHERE NOT totp.confirmed";
        let done = on_db!(self.db(), pools => {
            sqlx::query(TEXT)
                .bind(person)
                .bind(secret)
                .bind(now_ms())
                .execute(&pools.write)
                .await?
                .rows_affected()
        });
        Ok(done == 1)
    }

    /// Confirms a second factor by a code of `step`, with digests of recovery codes. False when it
    /// was replaced or confirmed meanwhile.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn confirm_totp(
        &self,
        scope: &Scope,
        person: i64,
        (secret, step): (&str, i64),
        recovery: &[String],
    ) -> Result<bool, CatalogError> {
        const TEXT: &str = "UPDATE totp SET confirmed = TRUE, step = $3
            WHERE user_id = $1 AND secret = $2 AND NOT confirmed";
        const FORGET: &str = "DELETE FROM recovery_codes WHERE user_id = $1";
        const CODE: &str = "INSERT INTO recovery_codes (user_id, code) VALUES ($1, $2)";
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let done = sqlx::query(TEXT)
                .bind(person)
                .bind(secret)
                .bind(step)
                .execute(&mut *transaction)
                .await?
                .rows_affected();
            if done == 0 {
                return Ok(false);
            }
            sqlx::query(FORGET).bind(person).execute(&mut *transaction).await?;
            for code in recovery {
                sqlx::query(CODE).bind(person).bind(code).execute(&mut *transaction).await?;
            }
            let entry = AuditEntry::new(scope, Action::ChangeUser, Outcome::Success, now_ms())
                .with(&json!({"did": "second factor", "person": person}));
            transaction.append_audit(vec![entry]).await?;
            transaction.commit().await?;
            Ok(true)
        })
    }

    /// Takes a code of a time step, once: a later one only, so that none is played again.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn use_totp(&self, person: i64, step: i64) -> Result<bool, CatalogError> {
        const TEXT: &str =
            "UPDATE totp SET step = $2 WHERE user_id = $1 AND confirmed AND step < $2";
        let done = on_db!(self.db(), pools => {
            sqlx::query(TEXT)
                .bind(person)
                .bind(step)
                .execute(&pools.write)
                .await?
                .rows_affected()
        });
        Ok(done == 1)
    }

    /// Takes a recovery code by its digest, once.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn use_recovery_code(
        &self,
        scope: &Scope,
        person: i64,
        code: &str,
    ) -> Result<bool, CatalogError> {
        const TEXT: &str = "DELETE FROM recovery_codes WHERE user_id = $1 AND code = $2";
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let done = sqlx::query(TEXT)
                .bind(person)
                .bind(code)
                .execute(&mut *transaction)
                .await?
                .rows_affected();
            if done == 0 {
                return Ok(false);
            }
            let entry = AuditEntry::new(scope, Action::ChangeUser, Outcome::Success, now_ms())
                .with(&json!({"did": "recovery code", "person": person}));
            transaction.append_audit(vec![entry]).await?;
            transaction.commit().await?;
            Ok(true)
        })
    }

    /// How many recovery codes a person has left.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn recovery_codes(&self, person: i64) -> Result<i64, CatalogError> {
        const TEXT: &str = "SELECT COUNT(*) FROM recovery_codes WHERE user_id = $1";
        let (count,): (i64,) = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT).bind(person).fetch_one(&pools.read).await?
        });
        Ok(count)
    }

    /// Takes a person's second factor away, with the recovery codes. False when there is none.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn remove_totp(&self, scope: &Scope, person: i64) -> Result<bool, CatalogError> {
        const TEXT: &str = "DELETE FROM totp WHERE user_id = $1";
        const CODES: &str = "DELETE FROM recovery_codes WHERE user_id = $1";
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            sqlx::query(CODES).bind(person).execute(&mut *transaction).await?;
            let done = sqlx::query(TEXT)
                .bind(person)
                .execute(&mut *transaction)
                .await?
                .rows_affected();
            if done == 0 {
                return Ok(false);
            }
            let entry = AuditEntry::new(scope, Action::ChangeUser, Outcome::Success, now_ms())
                .with(&json!({"did": "no second factor", "person": person}));
            transaction.append_audit(vec![entry]).await?;
            transaction.commit().await?;
            Ok(true)
        })
    }

    /// Says whether everybody who is anything to the scope's tenant has to have a second factor.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn require_second_factor(
        &self,
        scope: &Scope,
        required: bool,
    ) -> Result<(), CatalogError> {
        const TEXT: &str = "UPDATE tenants SET second_factor = $2 WHERE id = $1";
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            sqlx::query(TEXT)
                .bind(scope.tenant().0)
                .bind(required)
                .execute(&mut *transaction)
                .await?;
            let entry = AuditEntry::new(scope, Action::ChangeTenant, Outcome::Success, now_ms())
                .with(&json!({"did": "second factor", "required": required}));
            transaction.append_audit(vec![entry]).await?;
            transaction.commit().await?;
        });
        Ok(())
    }

    /// Whether a tenant asks for second factors.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn requires_second_factor(&self, tenant: TenantId) -> Result<bool, CatalogError> {
        const TEXT: &str = "SELECT second_factor FROM tenants WHERE id = $1";
        let row: Option<(bool,)> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT).bind(tenant.0).fetch_optional(&pools.read).await?
        });
        Ok(row.is_some_and(|(required,)| required))
    }

    /// Notes that a password was right and a code is asked for, and drops what is over.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn begin_login_step(&self, new: &NewLoginStep) -> Result<(), CatalogError> {
        const SWEEP: &str = "DELETE FROM login_steps WHERE expires_ms <= $1";
        const TEXT: &str = "INSERT INTO login_steps (secret, user_id, password, next, expires_ms)
            VALUES ($1, $2, $3, $4, $5)";
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            sqlx::query(SWEEP).bind(new.at_ms).execute(&mut *transaction).await?;
            sqlx::query(TEXT)
                .bind(&new.secret)
                .bind(new.person)
                .bind(&new.password)
                .bind(&new.next)
                .bind(new.expires_ms)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
        });
        Ok(())
    }

    /// The login that waits for a code in the browser of a secret.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn login_step(
        &self,
        secret: &str,
        now_ms: i64,
    ) -> Result<Option<LoginStep>, CatalogError> {
        const TEXT: &str = "SELECT s.user_id, u.login, s.password, s.next FROM login_steps s
            JOIN users u ON u.id = s.user_id
            WHERE s.secret = $1 AND s.expires_ms > $2 AND s.password = u.password
                AND NOT u.disabled";
        let row: Option<(i64, String, String, String)> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT).bind(secret).bind(now_ms).fetch_optional(&pools.read).await?
        });
        Ok(row.map(|(person, login, password, next)| LoginStep { person, login, password, next }))
    }

    /// Ends a login that waited for a code. False when somebody else did.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn end_login_step(&self, secret: &str) -> Result<bool, CatalogError> {
        const TEXT: &str = "DELETE FROM login_steps WHERE secret = $1";
        let done = on_db!(self.db(), pools => {
            sqlx::query(TEXT).bind(secret).execute(&pools.write).await?.rows_affected()
        });
        Ok(done == 1)
    }
}
