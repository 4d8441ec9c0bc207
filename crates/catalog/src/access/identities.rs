//! People whom an identity provider knows: whose account is whose, logins under way, and the sessions
//! that a provider stands behind.

use qianli_model::audit::{Action, Outcome};
use qianli_model::{Role, Scope, TenantId};
use serde_json::json;
use sqlx::AssertSqlSafe;

use super::people::{ADD_ROLE, names};
use super::{Admission, Admitted, Membership, NewIdentity, NewOidcFlow, joining, roles};
use crate::Catalog;
use crate::audit::{Append, AuditEntry};
use crate::db::on_db;
use crate::deletion::{begin, now_ms};
use crate::error::CatalogError;

/// Who acts in the audit trail when a provider's word changes something.
const BY: &str = "identity provider";

/// Logins that are tried for a new account before it gets none.
const MOST_ALIKE: u32 = 1000;

impl Catalog {
    /// Notes that a login at a provider is under way, and drops those whose time is over. False when
    /// `most` are under way already.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn begin_oidc(&self, new: &NewOidcFlow, most: i64) -> Result<bool, CatalogError> {
        const SWEEP: &str = "DELETE FROM oidc_flows WHERE expires_ms <= $1";
        const TEXT: &str = "INSERT INTO oidc_flows (state, browser, provider, next, expires_ms)
            SELECT $1, $2, $3, $4, $5 WHERE (SELECT COUNT(*) FROM oidc_flows) < $6";
        let done = on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            sqlx::query(SWEEP).bind(new.at_ms).execute(&mut *transaction).await?;
            let done = sqlx::query(TEXT)
                .bind(&new.state)
                .bind(&new.browser)
                .bind(&new.provider)
                .bind(&new.next)
                .bind(new.expires_ms)
                .bind(most)
                .execute(&mut *transaction)
                .await?
                .rows_affected();
            transaction.commit().await?;
            done
        });
        Ok(done == 1)
    }

    /// Takes a login that is under way in this browser, once: where to go after it. `None` when there
    /// is none, or its time is over.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn take_oidc(
        &self,
        state: &str,
        browser: &str,
        provider: &str,
        now_ms: i64,
    ) -> Result<Option<String>, CatalogError> {
        const TEXT: &str = "DELETE FROM oidc_flows
            WHERE state = $1 AND browser = $2 AND provider = $3 AND expires_ms > $4
            RETURNING next";
        let row: Option<(String,)> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT)
                .bind(state)
                .bind(browser)
                .bind(provider)
                .bind(now_ms)
                .fetch_optional(&pools.write)
                .await?
        });
        Ok(row.map(|(next,)| next))
    }

    /// The account of somebody whom a provider knows, with the roles that it gives now and no others;
    /// a new account when there is none and one may be added.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn admit_identity(&self, new: &NewIdentity) -> Result<Admission, CatalogError> {
        match self.try_admit(new).await? {
            Some(admission) => Ok(admission),
            // Two first logins of one person at once: the other made the account.
            None => match self.try_admit(new).await? {
                Some(admission) => Ok(admission),
                None => Err(CatalogError::Corrupt("an identity")),
            },
        }
    }

    async fn try_admit(&self, new: &NewIdentity) -> Result<Option<Admission>, CatalogError> {
        const FIND: &str = "SELECT u.id, u.login, u.disabled FROM identities i
            JOIN users u ON u.id = i.user_id WHERE i.issuer = $1 AND i.subject = $2";
        const PERSON: &str = "INSERT INTO users (login, name, password, must_change, created_ms,
                password_ms) VALUES ($1, $2, '', FALSE, $3, 0)
            ON CONFLICT (login) DO NOTHING RETURNING id";
        const IDENTITY: &str = "INSERT INTO identities (issuer, subject, user_id, created_ms,
                seen_ms) VALUES ($1, $2, $3, $4, $4) ON CONFLICT DO NOTHING";
        const SEEN: &str = "UPDATE identities SET seen_ms = $3 WHERE issuer = $1 AND subject = $2";
        const NAMED: &str = "UPDATE users SET name = $2 WHERE id = $1 AND name <> $2";
        const CLEAR: &str = "DELETE FROM memberships WHERE user_id = $1 AND tenant_id = $2";
        let had = format!(
            "SELECT m.tenant_id, {} FROM memberships m WHERE m.user_id = $1 GROUP BY m.tenant_id",
            joining(self.db(), "m.role")
        );
        let first = new.memberships.first().map(|one| one.tenant);
        let scope = |tenant| Scope::system(tenant, BY).at(&new.peer);
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let row: Option<(i64, String, bool)> = sqlx::query_as(FIND)
                .bind(&new.issuer)
                .bind(&new.subject)
                .fetch_optional(&mut *transaction)
                .await?;
            let mut trail = Vec::new();
            let (person, login) = match (row, first) {
                (Some((_, _, true)), _) => return Ok(Some(Admission::Disabled)),
                (Some((person, login, false)), _) => {
                    sqlx::query(SEEN)
                        .bind(&new.issuer)
                        .bind(&new.subject)
                        .bind(new.at_ms)
                        .execute(&mut *transaction)
                        .await?;
                    sqlx::query(NAMED)
                        .bind(person)
                        .bind(&new.name)
                        .execute(&mut *transaction)
                        .await?;
                    (person, login)
                }
                (None, Some(tenant)) if new.may_add => {
                    let mut made = None;
                    for attempt in 1..=MOST_ALIKE {
                        let login = alike(&new.login, attempt);
                        let row: Option<(i64,)> = sqlx::query_as(PERSON)
                            .bind(&login)
                            .bind(&new.name)
                            .bind(new.at_ms)
                            .fetch_optional(&mut *transaction)
                            .await?;
                        if let Some((person,)) = row {
                            made = Some((person, login));
                            break;
                        }
                    }
                    let Some((person, login)) = made else {
                        return Err(CatalogError::TooLarge("the number of people of one name"));
                    };
                    let added = sqlx::query(IDENTITY)
                        .bind(&new.issuer)
                        .bind(&new.subject)
                        .bind(person)
                        .bind(new.at_ms)
                        .execute(&mut *transaction)
                        .await?
                        .rows_affected();
                    if added == 0 {
                        return Ok(None);
                    }
                    let scope = scope(tenant);
                    let entry =
                        AuditEntry::new(&scope, Action::ChangeUser, Outcome::Success, new.at_ms);
                    trail.push(entry.with(&json!({
                        "did": "add", "login": login, "issuer": new.issuer
                    })));
                    (person, login)
                }
                (None, _) => return Ok(Some(Admission::Nowhere)),
            };
            let rows: Vec<(i64, Option<String>)> = sqlx::query_as(AssertSqlSafe(had))
                .bind(person)
                .fetch_all(&mut *transaction)
                .await?;
            for (tenant, roles) in changes(&rows, &new.memberships) {
                sqlx::query(CLEAR)
                    .bind(person)
                    .bind(tenant.0)
                    .execute(&mut *transaction)
                    .await?;
                for role in &roles {
                    sqlx::query(ADD_ROLE)
                        .bind(person)
                        .bind(tenant.0)
                        .bind(role.name())
                        .execute(&mut *transaction)
                        .await?;
                }
                let scope = scope(tenant);
                let entry =
                    AuditEntry::new(&scope, Action::ChangeRole, Outcome::Success, new.at_ms);
                trail.push(entry.with(&json!({"login": login, "roles": names(&roles)})));
            }
            if !trail.is_empty() {
                transaction.append_audit(trail).await?;
            }
            transaction.commit().await?;
            Ok(Some(match first {
                Some(tenant) => Admission::In(Admitted { person, login, tenant }),
                None => Admission::Nowhere,
            }))
        })
    }

    /// Whether a provider stands behind an account, so that no password opens it.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn has_identity(&self, person: i64) -> Result<bool, CatalogError> {
        const TEXT: &str = "SELECT EXISTS (SELECT 1 FROM identities WHERE user_id = $1)";
        let (found,): (bool,) = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT).bind(person).fetch_one(&pools.read).await?
        });
        Ok(found)
    }

    /// Takes on the task of asking the provider of a session. False when somebody else did since
    /// `checked_ms`.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn claim_oidc_check(
        &self,
        secret: &str,
        checked_ms: i64,
        now_ms: i64,
    ) -> Result<bool, CatalogError> {
        const TEXT: &str =
            "UPDATE oidc_sessions SET checked_ms = $3 WHERE secret = $1 AND checked_ms = $2";
        let done = on_db!(self.db(), pools => {
            sqlx::query(TEXT)
                .bind(secret)
                .bind(checked_ms)
                .bind(now_ms)
                .execute(&pools.write)
                .await?
                .rows_affected()
        });
        Ok(done == 1)
    }

    /// Keeps what a provider gave when it said that a session may go on.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn keep_oidc(
        &self,
        secret: &str,
        sealed: &str,
        now_ms: i64,
    ) -> Result<(), CatalogError> {
        const TEXT: &str = "UPDATE oidc_sessions SET sealed = $2, valid_ms = $3 WHERE secret = $1";
        on_db!(self.db(), pools => {
            sqlx::query(TEXT).bind(secret).bind(sealed).bind(now_ms).execute(&pools.write).await?;
        });
        Ok(())
    }

    /// The provider of a session, and its sealed tokens.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn oidc_of(&self, secret: &str) -> Result<Option<(String, String)>, CatalogError> {
        const TEXT: &str = "SELECT provider, sealed FROM oidc_sessions WHERE secret = $1";
        Ok(on_db!(self.db(), pools => {
            sqlx::query_as(TEXT).bind(secret).fetch_optional(&pools.read).await?
        }))
    }

    /// Ends a session that no person ended.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn end_session(
        &self,
        tenant: TenantId,
        secret: &str,
        why: &str,
    ) -> Result<(), CatalogError> {
        const TEXT: &str = "DELETE FROM sessions WHERE secret = $1 RETURNING user_id";
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let row: Option<(i64,)> = sqlx::query_as(TEXT)
                .bind(secret)
                .fetch_optional(&mut *transaction)
                .await?;
            let Some((person,)) = row else { return Ok(()) };
            let scope = Scope::system(tenant, BY);
            let entry = AuditEntry::new(&scope, Action::Logout, Outcome::Success, now_ms());
            let entry = entry.with(&json!({"person": person, "why": why}));
            transaction.append_audit(vec![entry]).await?;
            transaction.commit().await?;
            Ok(())
        })
    }
}

/// The row of a provider's tokens, for a session that is opened.
pub(super) const LINK: &str = "INSERT INTO oidc_sessions (secret, provider, sealed, refreshes,
        checked_ms, valid_ms) VALUES ($1, $2, $3, $4, $5, $5)";

/// A login that no other account has yet, perhaps: the second of a name gets a number.
fn alike(login: &str, attempt: u32) -> String {
    match (attempt, login.split_once('@')) {
        (1, _) => login.to_owned(),
        (_, Some((own, provider))) => format!("{own}.{attempt}@{provider}"),
        (_, None) => format!("{login}.{attempt}"),
    }
}

/// The tenants in which somebody's roles change, with the new ones.
fn changes(had: &[(i64, Option<String>)], now: &[Membership]) -> Vec<(TenantId, Vec<Role>)> {
    let mut all = Vec::new();
    for one in now {
        let before = had.iter().find(|(tenant, _)| *tenant == one.tenant.0);
        let before = before.and_then(|(_, names)| names.as_deref()).map(roles).unwrap_or_default();
        let mut after = one.roles.clone();
        after.sort_unstable();
        after.dedup();
        if before != after {
            all.push((one.tenant, after));
        }
    }
    let gone = had.iter().filter(|(tenant, _)| now.iter().all(|one| one.tenant.0 != *tenant));
    all.extend(gone.map(|(tenant, _)| (TenantId(*tenant), Vec::new())));
    all
}
