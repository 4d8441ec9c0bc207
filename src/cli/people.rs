//! `qianli user`, `qianli tenant`, `qianli token`: who may come in, as the operator of the server sees
//! it; and the accounts of the demonstration.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Subcommand;
use qianli_catalog::Catalog;
use qianli_catalog::access::{Change, NewPerson, NewToken, Tenant};
use qianli_model::{AeTitle, Permissions, Role, Scope, TenantId};
use qianli_web::access::secret;

use super::say::say;
use crate::app::{App, now_ms, open_catalog};
use crate::config::Config;

/// Password of every account of the demonstration.
pub(super) const DEMO_PASSWORD: &str = "demo-of-qianli";

/// Who made the tokens of the demonstration; no login, for the space in it.
const DEMO_MAKER: &str = "the demonstration";

/// Login, role, and what it is for.
pub(super) const DEMO: &[(&str, Role, &str)] = &[
    ("admin", Role::Administrator, "manages accounts and may do everything"),
    ("doctor", Role::Reader, "reads studies"),
    ("tech", Role::Technician, "brings studies in, and takes them out again"),
];

const DAY: i64 = 24 * 3600 * 1000;

/// Arguments of `qianli user`.
#[derive(Subcommand)]
pub(super) enum UserCommand {
    /// Make an account and print its password, which must be changed at the first login.
    Add {
        /// Login name.
        login: String,
        /// Roles in the tenant, separated by commas: administrator, reader, physician, technician,
        /// dispatcher, auditor, modality, patient.
        #[arg(long, value_name = "ROLE", value_delimiter = ',', required = true, value_parser = role)]
        role: Vec<Role>,
        /// Name for people.
        #[arg(long, default_value = "")]
        name: String,
        /// The tenant.
        #[arg(long, default_value = "default")]
        tenant: String,
    },
    /// Set what somebody is to a tenant, these roles and no others.
    Roles {
        /// Login name.
        login: String,
        /// Roles as for `add`; none ends the membership.
        #[arg(long, value_name = "ROLE", value_delimiter = ',', value_parser = role)]
        role: Vec<Role>,
        /// The tenant.
        #[arg(long, default_value = "default")]
        tenant: String,
        /// Also take the role from the tenant's last administrator.
        #[arg(long)]
        force: bool,
    },
    /// List the members of a tenant.
    List {
        /// The tenant.
        #[arg(long, default_value = "default")]
        tenant: String,
    },
    /// Give somebody a new password and print it; ends all sessions and any lock.
    Password {
        /// Login name.
        login: String,
    },
    /// Take somebody's second factor away, who lost the phone.
    TotpReset {
        /// Login name.
        login: String,
    },
    /// Switch an account off; ends all sessions.
    Disable {
        /// Login name.
        login: String,
        /// Also the last administrator of a tenant.
        #[arg(long)]
        force: bool,
    },
    /// Switch an account on again.
    Enable {
        /// Login name.
        login: String,
    },
}

/// Arguments of `qianli tenant`.
#[derive(Subcommand)]
pub(super) enum TenantCommand {
    /// Make a tenant: a hospital, a reading centre.
    Add {
        /// Short name for URLs: letters, digits and hyphens.
        name: String,
        /// Name for people.
        #[arg(long, default_value = "")]
        title: String,
    },
    /// List the tenants and their AE titles.
    List,
    /// Change the name for people, which those see with whom something is shared.
    Title {
        /// The tenant.
        name: String,
        /// Its name for people.
        title: String,
    },
    /// Ask everybody who belongs to a tenant for a second factor, or no longer.
    SecondFactor {
        /// The tenant.
        name: String,
        /// Whether it is asked for.
        #[arg(value_parser = clap::value_parser!(bool), action = clap::ArgAction::Set)]
        required: bool,
    },
    /// Give a tenant an AE title of its own, which its devices call; without one, list those it has.
    Ae {
        /// The tenant.
        name: String,
        /// The AE title. A title belongs to one tenant only.
        title: Option<AeTitle>,
        /// Take the title from it instead.
        #[arg(long, requires = "title")]
        remove: bool,
    },
}

/// Arguments of `qianli token`.
#[derive(Subcommand)]
pub(super) enum TokenCommand {
    /// Make an API token and print it; it is shown this once.
    Add {
        /// What it is for.
        name: String,
        /// What it may do, separated by commas: read, share, store, delete, settle, worklist, audit.
        #[arg(long, value_name = "PERMISSION", required = true, value_parser = permissions)]
        may: Permissions,
        /// Days until it ends.
        #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(i64).range(1..=3650))]
        days: i64,
        /// The tenant.
        #[arg(long, default_value = "default")]
        tenant: String,
    },
    /// List the tokens of a tenant, without their secrets.
    List {
        /// The tenant.
        #[arg(long, default_value = "default")]
        tenant: String,
    },
    /// Revoke a token by its number.
    Revoke {
        /// Number of the token.
        number: i64,
        /// The tenant.
        #[arg(long, default_value = "default")]
        tenant: String,
    },
}

fn role(name: &str) -> Result<Role, String> {
    Role::parse(name).ok_or_else(|| {
        let names: Vec<&str> = Role::ALL.into_iter().map(Role::name).collect();
        format!("there is no role {name:?}; there are {}", names.join(", "))
    })
}

pub(super) fn permissions(names: &str) -> Result<Permissions, String> {
    Permissions::parse(names).filter(|set| !set.is_none()).ok_or_else(|| {
        format!("{names:?} is no list of permissions; there are {}", Permissions::ALL.names())
    })
}

/// Names go to terminals and pages.
pub(super) fn plain(what: &str, text: &str) -> anyhow::Result<()> {
    if text.chars().count() > 64 || text.chars().any(char::is_control) {
        bail!("{what} is too long or holds control characters");
    }
    Ok(())
}

pub(super) async fn open(config: Config) -> anyhow::Result<Catalog> {
    std::fs::create_dir_all(&config.data)?;
    let catalog = open_catalog(&config).await?;
    catalog.migrate().await.context("bring the index to this version's schema")?;
    Ok(catalog)
}

pub(super) async fn tenant(catalog: &Catalog, name: &str) -> anyhow::Result<Tenant> {
    match catalog.tenant(name).await? {
        Some(tenant) => Ok(tenant),
        None => bail!("there is no tenant {name:?}; `qianli tenant list` names those there are"),
    }
}

async fn hashed(password: String) -> anyhow::Result<String> {
    let hash = tokio::task::spawn_blocking(move || secret::hash(&password)).await?;
    hash.map_err(|error| anyhow::anyhow!("hash a password: {error}"))
}

async fn key_of(catalog: &Catalog, login: &str) -> anyhow::Result<i64> {
    match catalog.credentials(login).await? {
        Some(known) => Ok(known.id),
        None => bail!("nobody has the login {login:?}"),
    }
}

/// Runs `qianli user`.
pub(super) async fn user(config: Config, command: UserCommand) -> anyhow::Result<ExitCode> {
    let catalog = open(config).await?;
    match command {
        UserCommand::Add { login, role, name, tenant: of } => {
            let scope = Scope::local(tenant(&catalog, &of).await?.id);
            let fine = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '@');
            if login.is_empty() || login.chars().count() > 64 || !login.chars().all(fine) {
                bail!(
                    "{login:?} is no login: it has 1 to 64 letters, digits, dots, hyphens, \
                     underscores or @"
                );
            }
            plain("the name", &name)?;
            let password = secret::password();
            let new = NewPerson {
                password: hashed(password.clone()).await?,
                must_change: true,
                roles: role,
                at_ms: now_ms(),
                name,
                login: login.clone(),
            };
            if catalog.add_person(&scope, &new).await?.is_none() {
                bail!("the login {login:?} is taken; `qianli user roles` makes somebody a member");
            }
            say!("login     {login}");
            say!("password  {password}");
        }
        UserCommand::Roles { login, role, tenant: of, force } => {
            let scope = Scope::local(tenant(&catalog, &of).await?.id);
            let change = match force {
                true => catalog.set_roles(&scope, &login, &role).await.map(|done| match done {
                    true => Change::Done,
                    false => Change::NoSuchPerson,
                }),
                false => catalog.change_roles(&scope, &login, &role).await,
            };
            settled(change?, &login)?;
            let roles: Vec<&str> = role.iter().map(|role| role.name()).collect();
            match roles.as_slice() {
                [] => say!("{login} is no member of the tenant {of} any more"),
                roles => say!("{login} is now {} in the tenant {of}", roles.join(", ")),
            }
        }
        UserCommand::List { tenant: of } => {
            let scope = Scope::local(tenant(&catalog, &of).await?.id);
            for person in catalog.people(&scope).await? {
                let roles: Vec<&str> = person.roles.iter().map(|role| role.name()).collect();
                let state = if person.disabled { "off" } else { "on" };
                say!("{:<20} {state:<4} {:<40} {}", person.login, roles.join(","), person.name);
            }
        }
        UserCommand::Password { login } => {
            let key = key_of(&catalog, &login).await?;
            let password = secret::password();
            let hash = hashed(password.clone()).await?;
            catalog
                .set_password(&Scope::local(TenantId::DEFAULT), key, &hash, true, now_ms())
                .await?;
            say!("login     {login}");
            say!("password  {password}");
        }
        UserCommand::TotpReset { login } => {
            let key = key_of(&catalog, &login).await?;
            if !catalog.remove_totp(&Scope::local(TenantId::DEFAULT), key).await? {
                bail!("{login:?} has no second factor");
            }
        }
        UserCommand::Disable { login, force } => {
            let (key, scope) = (key_of(&catalog, &login).await?, Scope::local(TenantId::DEFAULT));
            if force {
                catalog.set_disabled(&scope, key, true).await?;
            } else {
                settled(catalog.change_disabled(&scope, key, true).await?, &login)?;
            }
            say!("{login} is switched off; all sessions and tokens of theirs have ended");
        }
        UserCommand::Enable { login } => {
            let (key, scope) = (key_of(&catalog, &login).await?, Scope::local(TenantId::DEFAULT));
            catalog.set_disabled(&scope, key, false).await?;
            say!("{login} is switched on");
        }
    }
    catalog.close().await;
    Ok(ExitCode::SUCCESS)
}

/// Says why a change was not made.
fn settled(change: Change, login: &str) -> anyhow::Result<()> {
    match change {
        Change::Done => Ok(()),
        Change::NoSuchPerson => bail!("nobody has the login {login:?}"),
        Change::LastAdministrator => bail!(
            "{login} is the last administrator of a tenant: make another first, with `qianli user \
             roles LOGIN --role administrator`, or add --force"
        ),
    }
}

/// Runs `qianli tenant`.
pub(super) async fn tenants(config: Config, command: TenantCommand) -> anyhow::Result<ExitCode> {
    let catalog = open(config).await?;
    match command {
        TenantCommand::Add { name, title } => {
            let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            if name.is_empty() || name.len() > 40 || !name.bytes().all(legal) {
                bail!(
                    "{name:?} is no name for a tenant: it stands in URLs and has 1 to 40 lower-case \
                     letters, digits and hyphens; --title takes the name for people"
                );
            }
            let made = catalog.add_tenant(&name, &title, now_ms()).await?;
            let Some(made) = made else { bail!("there is a tenant {name:?} already") };
            say!("{} is at /tenants/{}/dicom-web", made.name, made.name);
            say!(
                "Next: qianli user add LOGIN --role administrator --tenant {name}, who makes the \
                 other accounts"
            );
        }
        TenantCommand::List => {
            for tenant in catalog.tenants().await? {
                let titles = catalog.tenant_titles(&Scope::local(tenant.id)).await?.join(", ");
                say!("{:<40} {:<34} {}", tenant.name, titles, tenant.title);
            }
        }
        TenantCommand::Title { name, title } => {
            let scope = Scope::local(tenant(&catalog, &name).await?.id);
            catalog.set_title(&scope, title.trim(), now_ms()).await?;
            say!("{name} is called {:?} now", title.trim());
        }
        TenantCommand::SecondFactor { name, required } => {
            let scope = Scope::local(tenant(&catalog, &name).await?.id);
            catalog.require_second_factor(&scope, required).await?;
        }
        TenantCommand::Ae { name, title, remove } => {
            let scope = Scope::local(tenant(&catalog, &name).await?.id);
            match title {
                None => {
                    for title in catalog.tenant_titles(&scope).await? {
                        say!("{title}");
                    }
                }
                Some(title) if remove => {
                    if !catalog.release_title(&scope, &title).await? {
                        bail!("tenant {name:?} has no AE title {title}");
                    }
                }
                Some(title) => {
                    if !catalog.claim_title(&scope, &title, now_ms()).await? {
                        bail!("the AE title {title} belongs to another tenant");
                    }
                }
            }
        }
    }
    catalog.close().await;
    Ok(ExitCode::SUCCESS)
}

/// Runs `qianli token`.
pub(super) async fn token(config: Config, command: TokenCommand) -> anyhow::Result<ExitCode> {
    let catalog = open(config).await?;
    match command {
        TokenCommand::Add { name, may, days, tenant: of } => {
            plain("what the token is for", &name)?;
            if name.is_empty() {
                bail!("say what the token is for");
            }
            let scope = Scope::local(tenant(&catalog, &of).await?.id);
            let by = scope.principal().kind();
            say!("{}", make_token(&catalog, &scope, (&name, by), may, days).await?);
        }
        TokenCommand::List { tenant: of } => {
            let scope = Scope::local(tenant(&catalog, &of).await?.id);
            let now = now_ms();
            for token in catalog.tokens(&scope).await? {
                let state = match (token.revoked_ms, token.expires_ms > now) {
                    (0, true) => "valid",
                    (0, false) => "ended",
                    _ => "revoked",
                };
                say!("{:>6} {state:<8} {:<40} {}", token.id, token.permissions.names(), token.name);
            }
        }
        TokenCommand::Revoke { number, tenant: of } => {
            let scope = Scope::local(tenant(&catalog, &of).await?.id);
            if !catalog.revoke_token(&scope, number, now_ms()).await? {
                bail!("tenant {of:?} has no valid token {number}");
            }
        }
    }
    catalog.close().await;
    Ok(ExitCode::SUCCESS)
}

async fn make_token(
    catalog: &Catalog,
    scope: &Scope,
    (name, by): (&str, &str),
    permissions: Permissions,
    days: i64,
) -> anyhow::Result<String> {
    let (token, now) = (secret::token(), now_ms());
    let new = NewToken {
        secret: secret::digest(&token),
        name: name.to_owned(),
        permissions,
        created_by: by.to_owned(),
        at_ms: now,
        expires_ms: now.saturating_add(days.saturating_mul(DAY)),
    };
    catalog.add_token(scope, &new).await?;
    Ok(token)
}

/// Makes the accounts of the demonstration, where their logins are free, and a token for a day.
pub(super) async fn demonstrate(app: &App) -> anyhow::Result<String> {
    let (catalog, scope) = (app.archive.catalog(), Scope::local(TenantId::DEFAULT));
    for (login, role, _) in DEMO {
        if catalog.credentials(login).await?.is_some() {
            continue;
        }
        let new = NewPerson {
            login: (*login).to_owned(),
            name: String::new(),
            password: hashed(DEMO_PASSWORD.to_owned()).await?,
            must_change: false,
            roles: vec![*role],
            at_ms: now_ms(),
        };
        catalog.add_person(&scope, &new).await?;
    }
    make_token(catalog, &scope, ("demonstration", DEMO_MAKER), Permissions::ALL, 1).await
}

/// Ends what a demonstration left open: its tokens, and, if there were any, the sessions of its
/// accounts. Refuses an archive in which an account still has the password that everybody knows.
///
/// # Errors
///
/// There is one.
pub(super) async fn refuse_demonstration(catalog: &Catalog) -> anyhow::Result<()> {
    let scope = Scope::system(TenantId::DEFAULT, "end of the demonstration");
    let ended = catalog.revoke_tokens_of(&scope, DEMO_MAKER, now_ms()).await?;
    for (login, ..) in DEMO {
        let Some(known) = catalog.credentials(login).await? else { continue };
        if ended > 0 {
            catalog.end_sessions(&scope, known.id).await?;
        }
        let hash = known.password.clone();
        let right =
            tokio::task::spawn_blocking(move || secret::verify(DEMO_PASSWORD, &hash)).await?;
        if right && !known.disabled {
            bail!(
                "the account {login:?} still has the password of the demonstration, which everybody \
                 knows: run `qianli user password {login}` or `qianli user disable {login}` for this \
                 archive, then start again"
            );
        }
    }
    Ok(())
}
