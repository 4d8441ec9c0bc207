//! Accounts and memberships.

use qianli_model::audit::{Action, Outcome};
use qianli_model::{Role, Scope};
use serde_json::json;
use sqlx::AssertSqlSafe;

use super::{Change, Credentials, NewPerson, Person, joining, roles};
use crate::Catalog;
use crate::audit::{Append, AuditEntry};
use crate::db::on_db;
use crate::deletion::{begin, now_ms};
use crate::error::CatalogError;

type Row = (i64, String, String, bool, bool, i64, i64, Option<String>, bool);

fn person(row: Row) -> Person {
    let (id, login, name, must_change, disabled, locked_until_ms, created_ms, names, second_factor) =
        row;
    let roles = roles(&names.unwrap_or_default());
    Person {
        id,
        login,
        name,
        must_change,
        disabled,
        locked_until_ms,
        created_ms,
        roles,
        second_factor,
    }
}

impl Catalog {
    /// Whether anybody has an account.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn has_people(&self) -> Result<bool, CatalogError> {
        const TEXT: &str = "SELECT EXISTS (SELECT 1 FROM users)";
        let (found,): (bool,) =
            on_db!(self.db(), pools => sqlx::query_as(TEXT).fetch_one(&pools.read).await?);
        Ok(found)
    }

    /// The members of the scope's tenant, by login.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn people(&self, scope: &Scope) -> Result<Vec<Person>, CatalogError> {
        let text = format!(
            "SELECT u.id, u.login, u.name, u.must_change, u.disabled, u.locked_until_ms,
                u.created_ms, {},
                EXISTS (SELECT 1 FROM totp f WHERE f.user_id = u.id AND f.confirmed)
            FROM users u JOIN memberships m ON m.user_id = u.id
            WHERE m.tenant_id = $1 GROUP BY u.id ORDER BY u.login",
            joining(self.db(), "m.role")
        );
        let rows: Vec<Row> = on_db!(self.db(), pools => {
            sqlx::query_as(AssertSqlSafe(text))
                .bind(scope.tenant().0)
                .fetch_all(&pools.read)
                .await?
        });
        Ok(rows.into_iter().map(person).collect())
    }

    /// A person by login, with the roles in the scope's tenant; whoever has none there is not seen.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn person(&self, scope: &Scope, login: &str) -> Result<Option<Person>, CatalogError> {
        Ok(self.people(scope).await?.into_iter().find(|one| one.login == login.to_lowercase()))
    }

    /// Makes an account that is a member of the scope's tenant. `None` when the login is taken,
    /// perhaps by a member of another tenant.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn add_person(
        &self,
        scope: &Scope,
        new: &NewPerson,
    ) -> Result<Option<i64>, CatalogError> {
        const PERSON: &str = "INSERT INTO users (login, name, password, must_change, created_ms,
                password_ms) VALUES ($1, $2, $3, $4, $5, $5)
            ON CONFLICT (login) DO NOTHING RETURNING id";
        let login = new.login.to_lowercase();
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let row: Option<(i64,)> = sqlx::query_as(PERSON)
                .bind(&login)
                .bind(&new.name)
                .bind(&new.password)
                .bind(new.must_change)
                .bind(new.at_ms)
                .fetch_optional(&mut *transaction)
                .await?;
            let Some((id,)) = row else { return Ok(None) };
            for role in &new.roles {
                sqlx::query(ADD_ROLE)
                    .bind(id)
                    .bind(scope.tenant().0)
                    .bind(role.name())
                    .execute(&mut *transaction)
                    .await?;
            }
            let details = json!({"did": "add", "login": login, "roles": names(&new.roles)});
            let entry = AuditEntry::new(scope, Action::ChangeUser, Outcome::Success, new.at_ms);
            transaction.append_audit(vec![entry.with(&details)]).await?;
            transaction.commit().await?;
            Ok(Some(id))
        })
    }

    /// Sets what a person is to the scope's tenant: these roles and no others; none ends the
    /// membership. False when the login is unknown.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn set_roles(
        &self,
        scope: &Scope,
        login: &str,
        roles: &[Role],
    ) -> Result<bool, CatalogError> {
        Ok(self.roles_to(scope, login, roles, false).await? == Change::Done)
    }

    /// As [`Self::set_roles`], but leaves the tenant an administrator who can log in.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn change_roles(
        &self,
        scope: &Scope,
        login: &str,
        roles: &[Role],
    ) -> Result<Change, CatalogError> {
        self.roles_to(scope, login, roles, true).await
    }

    async fn roles_to(
        &self,
        scope: &Scope,
        login: &str,
        roles: &[Role],
        keep: bool,
    ) -> Result<Change, CatalogError> {
        const FIND: &str = "SELECT id FROM users WHERE login = $1";
        const CLEAR: &str = "DELETE FROM memberships WHERE user_id = $1 AND tenant_id = $2";
        let login = login.to_lowercase();
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let row: Option<(i64,)> = sqlx::query_as(FIND)
                .bind(&login)
                .fetch_optional(&mut *transaction)
                .await?;
            let Some((id,)) = row else { return Ok(Change::NoSuchPerson) };
            sqlx::query(HOLD).bind(scope.tenant().0).execute(&mut *transaction).await?;
            let (before,): (i64,) = sqlx::query_as(ADMINISTRATORS)
                .bind(scope.tenant().0)
                .fetch_one(&mut *transaction)
                .await?;
            sqlx::query(CLEAR)
                .bind(id)
                .bind(scope.tenant().0)
                .execute(&mut *transaction)
                .await?;
            for role in roles {
                sqlx::query(ADD_ROLE)
                    .bind(id)
                    .bind(scope.tenant().0)
                    .bind(role.name())
                    .execute(&mut *transaction)
                    .await?;
            }
            let (after,): (i64,) = sqlx::query_as(ADMINISTRATORS)
                .bind(scope.tenant().0)
                .fetch_one(&mut *transaction)
                .await?;
            if keep && before > 0 && after == 0 {
                transaction.rollback().await?;
                return Ok(Change::LastAdministrator);
            }
            let details = json!({"login": login, "roles": names(roles)});
            let entry = AuditEntry::new(scope, Action::ChangeRole, Outcome::Success, now_ms());
            transaction.append_audit(vec![entry.with(&details)]).await?;
            transaction.commit().await?;
            Ok(Change::Done)
        })
    }

    /// Switches a person's account off or on; switching off ends all sessions.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn set_disabled(
        &self,
        scope: &Scope,
        person: i64,
        disabled: bool,
    ) -> Result<(), CatalogError> {
        self.disabled_to(scope, person, disabled, false).await.map(drop)
    }

    /// As [`Self::set_disabled`], but leaves every tenant of the person an administrator who can log
    /// in.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn change_disabled(
        &self,
        scope: &Scope,
        person: i64,
        disabled: bool,
    ) -> Result<Change, CatalogError> {
        self.disabled_to(scope, person, disabled, true).await
    }

    async fn disabled_to(
        &self,
        scope: &Scope,
        person: i64,
        disabled: bool,
        keep: bool,
    ) -> Result<Change, CatalogError> {
        const HOLD_ALL: &str = "UPDATE tenants SET name = name WHERE id IN
            (SELECT tenant_id FROM memberships WHERE user_id = $1)";
        // Tenants of which the person is the only administrator who can log in.
        const ALONE: &str = "SELECT COUNT(*) FROM memberships m JOIN users u ON u.id = m.user_id
            WHERE m.user_id = $1 AND m.role = 'administrator' AND NOT u.disabled
                AND NOT EXISTS (SELECT 1 FROM memberships o JOIN users v ON v.id = o.user_id
                    WHERE o.tenant_id = m.tenant_id AND o.role = 'administrator'
                        AND o.user_id <> m.user_id AND NOT v.disabled)";
        const TEXT: &str = "UPDATE users SET disabled = $2 WHERE id = $1";
        let did = if disabled { "switch off" } else { "switch on" };
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            sqlx::query(HOLD_ALL).bind(person).execute(&mut *transaction).await?;
            let (alone,): (i64,) =
                sqlx::query_as(ALONE).bind(person).fetch_one(&mut *transaction).await?;
            if keep && disabled && alone > 0 {
                transaction.rollback().await?;
                return Ok(Change::LastAdministrator);
            }
            sqlx::query(TEXT).bind(person).bind(disabled).execute(&mut *transaction).await?;
            if disabled {
                sqlx::query(END_SESSIONS).bind(person).execute(&mut *transaction).await?;
            }
            let entry = AuditEntry::new(scope, Action::ChangeUser, Outcome::Success, now_ms())
                .with(&json!({"did": did, "person": person}));
            transaction.append_audit(vec![entry]).await?;
            transaction.commit().await?;
        });
        Ok(Change::Done)
    }

    /// Sets a person's password, ends all sessions and any lock. `must_change` when somebody else
    /// set it.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn set_password(
        &self,
        scope: &Scope,
        person: i64,
        password: &str,
        must_change: bool,
        at_ms: i64,
    ) -> Result<(), CatalogError> {
        const TEXT: &str = "UPDATE users SET password = $2, must_change = $3, password_ms = $4,
            failures = 0, locked_until_ms = 0 WHERE id = $1";
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            sqlx::query(TEXT)
                .bind(person)
                .bind(password)
                .bind(must_change)
                .bind(at_ms)
                .execute(&mut *transaction)
                .await?;
            sqlx::query(END_SESSIONS).bind(person).execute(&mut *transaction).await?;
            let entry = AuditEntry::new(scope, Action::ChangeUser, Outcome::Success, at_ms)
                .with(&json!({"did": "password", "person": person}));
            transaction.append_audit(vec![entry]).await?;
            transaction.commit().await?;
        });
        Ok(())
    }

    /// What a login is checked against, by login.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn credentials(&self, login: &str) -> Result<Option<Credentials>, CatalogError> {
        const TEXT: &str = "SELECT id, password, disabled, failures, locked_until_ms
            FROM users WHERE login = $1";
        let row: Option<(i64, String, bool, i64, i64)> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT)
                .bind(login.to_lowercase())
                .fetch_optional(&pools.read)
                .await?
        });
        Ok(row.map(|(id, password, disabled, failures, locked_until_ms)| Credentials {
            id,
            password,
            disabled,
            failures,
            locked_until_ms,
        }))
    }

    /// Counts an attempt to log in before the password is looked at, so that many at once count as
    /// many. False while the account is locked: after the fifth in a row that was not followed by
    /// [`Self::login_succeeded`] for a minute, then longer and longer, up to an hour.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn attempt_login(&self, person: i64, now_ms: i64) -> Result<bool, CatalogError> {
        const TEXT: &str = "UPDATE users SET failures = failures + 1, locked_until_ms = $2 +
                CASE WHEN failures < 4 THEN 0 WHEN failures < 5 THEN 60000
                    WHEN failures < 6 THEN 300000 WHEN failures < 7 THEN 900000 ELSE 3600000 END
            WHERE id = $1 AND locked_until_ms <= $2";
        let counted = on_db!(self.db(), pools => {
            sqlx::query(TEXT)
                .bind(person)
                .bind(now_ms)
                .execute(&pools.write)
                .await?
                .rows_affected()
        });
        Ok(counted == 1)
    }

    /// Forgets wrong passwords after a right one. False when the password was changed since it was
    /// read, so that the old one opens nothing.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn login_succeeded(&self, person: i64, password: &str) -> Result<bool, CatalogError> {
        const TEXT: &str = "UPDATE users SET failures = 0, locked_until_ms = 0
            WHERE id = $1 AND password = $2 AND NOT disabled";
        let done = on_db!(self.db(), pools => {
            sqlx::query(TEXT)
                .bind(person)
                .bind(password)
                .execute(&pools.write)
                .await?
                .rows_affected()
        });
        Ok(done == 1)
    }
}

pub(super) fn names(roles: &[Role]) -> Vec<&'static str> {
    roles.iter().map(|role| role.name()).collect()
}

/// Holds the row of a tenant until the end of the transaction: of two who each take the other's role
/// away, one comes second and sees it.
const HOLD: &str = "UPDATE tenants SET name = name WHERE id = $1";

/// Administrators of a tenant who can log in.
const ADMINISTRATORS: &str = "SELECT COUNT(*) FROM memberships m JOIN users u ON u.id = m.user_id
    WHERE m.tenant_id = $1 AND m.role = 'administrator' AND NOT u.disabled";

pub(super) const ADD_ROLE: &str =
    "INSERT INTO memberships (user_id, tenant_id, role) VALUES ($1, $2, $3)
    ON CONFLICT DO NOTHING";

const END_SESSIONS: &str = "DELETE FROM sessions WHERE user_id = $1";
