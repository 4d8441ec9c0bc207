//! People, their roles, sessions and API tokens: the rows that a `Scope` is made from. So the
//! functions that look a caller up take none; those that change what others may do take the scope of
//! whoever does it, and touch its tenant only.
//!
//! Secrets come as digests; nothing here ever sees a password or a token.

mod factors;
mod identities;
mod invitations;
mod people;
mod sessions;
mod tenants;
mod tokens;

use qianli_model::{Permissions, Role, TenantId};

/// A tenant: a hospital, a reading centre.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its key.
    pub id: TenantId,
    /// Short name in URLs and on command lines.
    pub name: String,
    /// Name for people; may be empty.
    pub title: String,
}

/// A person with an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Key in the catalog.
    pub id: i64,
    /// Login name, in lower case.
    pub login: String,
    /// Name for people.
    pub name: String,
    /// Whether the password was set by somebody else and must be changed first.
    pub must_change: bool,
    /// Whether the account was switched off.
    pub disabled: bool,
    /// No login before this moment (ms since 1970), after wrong passwords; 0 for none.
    pub locked_until_ms: i64,
    /// When the account was made (ms since 1970).
    pub created_ms: i64,
    /// What the person is to the tenant that was asked about.
    pub roles: Vec<Role>,
    /// Whether a second factor is asked for at the login.
    pub second_factor: bool,
}

/// A second factor of a person.
#[derive(Clone, PartialEq, Eq)]
pub struct Totp {
    /// What the phone shares with us, in base32.
    pub secret: String,
    /// Whether a code of it was right once, so that it counts.
    pub confirmed: bool,
    /// Last time step of which a code was taken.
    pub step: i64,
}

/// A login whose password was right, and which waits for a code.
#[derive(Clone, PartialEq, Eq)]
pub struct LoginStep {
    /// Key of the person.
    pub person: i64,
    /// Login name of the person.
    pub login: String,
    /// Hash of the password that was right.
    pub password: String,
    /// Path of this server to go to afterwards.
    pub next: String,
}

/// What a login that waits for a code is made of.
#[derive(Clone, PartialEq, Eq)]
pub struct NewLoginStep {
    /// Digest of what the browser holds.
    pub secret: String,
    /// Key of the person.
    pub person: i64,
    /// Hash of the password that was right.
    pub password: String,
    /// Path of this server to go to afterwards.
    pub next: String,
    /// Now (ms since 1970).
    pub at_ms: i64,
    /// When it is too late (ms since 1970).
    pub expires_ms: i64,
}

/// What an invitation is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInvitation {
    /// Digest of what stands in the link.
    pub secret: String,
    /// What the person will be to the tenant.
    pub roles: Vec<Role>,
    /// For whom it is, in the words of whoever made it.
    pub note: String,
    /// Now (ms since 1970).
    pub at_ms: i64,
    /// When it ends (ms since 1970).
    pub expires_ms: i64,
}

/// An invitation, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Key in the catalog.
    pub id: i64,
    /// What the person will be to the tenant.
    pub roles: Vec<Role>,
    /// For whom it is, in the words of whoever made it.
    pub note: String,
    /// Login of whoever made it.
    pub created_by: String,
    /// When it ends (ms since 1970).
    pub expires_ms: i64,
    /// When it was taken back (ms since 1970); 0 while it is not.
    pub revoked_ms: i64,
    /// When an account was made by it (ms since 1970); 0 while none is.
    pub used_ms: i64,
    /// Login of that account.
    pub used_by: String,
}

/// What an open invitation is to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invited {
    /// The tenant, as people call it.
    pub tenant: String,
    /// What the person will be to it.
    pub roles: Vec<Role>,
}

/// What came of an invitation that somebody took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// There is an account now.
    In,
    /// The login is another's; the invitation stays open.
    Taken,
    /// It was used, taken back, or is at its end.
    Over,
}

/// What came of a change to what somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is done.
    Done,
    /// Nobody has that login.
    NoSuchPerson,
    /// Nothing was done: a tenant would be left without an administrator who can log in.
    LastAdministrator,
}

/// What a login is checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Key of the person.
    pub id: i64,
    /// Hash of the password with its parameters; empty when there is none.
    pub password: String,
    /// Whether the account was switched off.
    pub disabled: bool,
    /// Wrong passwords since the last right one.
    pub failures: i64,
    /// No login before this moment (ms since 1970).
    pub locked_until_ms: i64,
}

/// What a new account is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPerson {
    /// Login name; kept in lower case.
    pub login: String,
    /// Name for people.
    pub name: String,
    /// Hash of the password with its parameters; empty for none.
    pub password: String,
    /// Whether it must be changed at the first login.
    pub must_change: bool,
    /// What the person is to the tenant.
    pub roles: Vec<Role>,
    /// Now (ms since 1970).
    pub at_ms: i64,
}

/// A session that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Key of the person.
    pub person: i64,
    /// Login name of the person.
    pub login: String,
    /// Name of the person.
    pub name: String,
    /// Whether the password must be changed before anything else.
    pub must_change: bool,
    /// The tenant that the person works in.
    pub tenant: Tenant,
    /// What the person is to it; empty when the membership has ended.
    pub roles: Vec<Role>,
    /// Last request (ms since 1970), as far as it was noted.
    pub seen_ms: i64,
    /// When it ends at the latest (ms since 1970).
    pub expires_ms: i64,
    /// Whether a tenant of the person asks for a second factor that there is not yet.
    pub must_enrol: bool,
    /// The identity provider behind it; `None` after a login by password.
    pub oidc: Option<OidcLink>,
}

/// The identity provider behind a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OidcLink {
    /// Its short name in the settings.
    pub provider: String,
    /// Whether it gave a refresh token, so that it can be asked again.
    pub refreshes: bool,
    /// When somebody last began to ask it (ms since 1970).
    pub checked_ms: i64,
    /// When it last said yes (ms since 1970).
    pub valid_ms: i64,
}

/// What is kept of a provider's answer with a new session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOidcLink {
    /// Short name of the provider.
    pub provider: String,
    /// Its tokens, encrypted with what the browser holds.
    pub sealed: String,
    /// Whether a refresh token is among them.
    pub refreshes: bool,
}

/// A login at a provider that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOidcFlow {
    /// Digest of what the provider gives back.
    pub state: String,
    /// Digest of what the browser holds.
    pub browser: String,
    /// Short name of the provider.
    pub provider: String,
    /// Path of this server to go to afterwards.
    pub next: String,
    /// Now (ms since 1970).
    pub at_ms: i64,
    /// When it is too late (ms since 1970).
    pub expires_ms: i64,
}

/// What a provider says of somebody, as the rules of the settings read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewIdentity {
    /// The provider.
    pub issuer: String,
    /// Whom it means, for ever.
    pub subject: String,
    /// Login for a new account; another number is added when it is taken.
    pub login: String,
    /// Name for people.
    pub name: String,
    /// What the person is to which tenant, and to no other.
    pub memberships: Vec<Membership>,
    /// Whether an account may be made.
    pub may_add: bool,
    /// Address of the browser.
    pub peer: String,
    /// Now (ms since 1970).
    pub at_ms: i64,
}

/// What somebody is to a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The tenant.
    pub tenant: TenantId,
    /// The roles there.
    pub roles: Vec<Role>,
}

/// What comes of an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// There is an account, with a role somewhere.
    In(Admitted),
    /// The account was switched off here.
    Disabled,
    /// There is no role for this person anywhere.
    Nowhere,
}

/// The account of an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// Key of the person.
    pub person: i64,
    /// Login name of the person.
    pub login: String,
    /// The tenant to begin in.
    pub tenant: TenantId,
}

/// What a new session is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSession {
    /// Digest of what the browser holds.
    pub secret: String,
    /// Key of the person.
    pub person: i64,
    /// Login name of the person.
    pub login: String,
    /// The tenant that the person works in.
    pub tenant: TenantId,
    /// Now (ms since 1970).
    pub at_ms: i64,
    /// When it ends at the latest (ms since 1970).
    pub expires_ms: i64,
    /// Address of the browser.
    pub peer: String,
    /// What the browser says that it is.
    pub agent: String,
}

/// A session as its person sees it in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// Digest that names it.
    pub secret: String,
    /// When it began (ms since 1970).
    pub created_ms: i64,
    /// Last request (ms since 1970), as far as it was noted.
    pub seen_ms: i64,
    /// When it ends at the latest (ms since 1970).
    pub expires_ms: i64,
    /// Address of the browser.
    pub peer: String,
    /// What the browser says that it is.
    pub agent: String,
}

/// An API token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiToken {
    /// Key in the catalog.
    pub id: i64,
    /// The tenant that it works in.
    pub tenant: Tenant,
    /// What it is for, in the words of whoever made it.
    pub name: String,
    /// What it may do.
    pub permissions: Permissions,
    /// Login of whoever made it.
    pub created_by: String,
    /// When it was made (ms since 1970).
    pub created_ms: i64,
    /// When it ends (ms since 1970).
    pub expires_ms: i64,
    /// When it was revoked (ms since 1970); 0 while it is not.
    pub revoked_ms: i64,
    /// Last use (ms since 1970), as far as it was noted; 0 for never.
    pub used_ms: i64,
}

/// What a new token is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// Digest of the token.
    pub secret: String,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub permissions: Permissions,
    /// Login of whoever makes it.
    pub created_by: String,
    /// Now (ms since 1970).
    pub at_ms: i64,
    /// When it ends (ms since 1970).
    pub expires_ms: i64,
}

/// Roles of a list of names; a name that this version does not know permits nothing.
fn roles(names: &str) -> Vec<Role> {
    let mut roles: Vec<Role> = names.split(',').filter_map(Role::parse).collect();
    roles.sort_unstable();
    roles.dedup();
    roles
}

/// The SQL function that joins texts by commas.
fn joining(db: &crate::db::Db, column: &str) -> String {
    match db {
        crate::db::Db::Postgres(_) => format!("STRING_AGG({column}, ',')"),
        crate::db::Db::Sqlite(_) => format!("GROUP_CONCAT({column}, ',')"),
    }
}
