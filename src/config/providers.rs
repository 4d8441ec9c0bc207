//! Identity providers in the settings: `[[oidc]]` for people, `[[machines]]` for programs.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use qianli_model::{Permission, Permissions, Role};
use qianli_web::access::oidc::{Hidden, Machines, Provider, Rule, is_safe_url};
use serde::Deserialize;

use super::Span;

/// Providers in one file.
const MOST: usize = 20;

/// Rules of one provider.
const MOST_RULES: usize = 500;

/// One `[[oidc]]`: where people log in with accounts that they have already.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcSettings {
    /// Short name, which stands in URLs: lower-case letters, digits and hyphens.
    name: String,
    /// What the button says.
    label: String,
    issuer: String,
    client_id: String,
    /// File that holds our secret at the provider.
    client_secret_file: Option<PathBuf>,
    /// Variable of the environment that does.
    client_secret_env: Option<String>,
    #[serde(default = "usual_scopes")]
    scopes: Vec<String>,
    recheck: Option<Span>,
    #[serde(default)]
    roles: Vec<RoleSettings>,
}

/// One `[[oidc.roles]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleSettings {
    claim: String,
    value: String,
    #[serde(default = "usual_tenant")]
    tenant: String,
    roles: Vec<String>,
}

/// One `[[machines]]`: whose tokens programs may show.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachinesSettings {
    issuer: String,
    audience: String,
    #[serde(default)]
    may: Vec<MaySettings>,
}

/// One `[[machines.may]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct MaySettings {
    claim: String,
    value: String,
    #[serde(default = "usual_tenant")]
    tenant: String,
    permissions: Vec<String>,
}

fn usual_scopes() -> Vec<String> {
    ["openid", "profile"].map(str::to_owned).into()
}

fn usual_tenant() -> String {
    "default".into()
}

/// An issuer as the discovery document is asked for below it.
fn issuer(section: &str, url: &str) -> anyhow::Result<()> {
    if !is_safe_url(url) || url.contains(['?', '#', ' ']) {
        bail!(
            "[[{section}]] issuer = {url:?}: an issuer is an https:// URL (http:// for this machine \
             only) without a query; write for example issuer = \"https://id.example/realms/county\""
        );
    }
    Ok(())
}

/// A claim and its value.
fn rule<T>(
    section: &str,
    (claim, value): (&str, &str),
    tenant: &str,
    gives: T,
) -> anyhow::Result<Rule<T>> {
    if claim.is_empty() || value.is_empty() || tenant.is_empty() {
        bail!(
            "[[{section}]]: claim, value and tenant must not be empty; write for example claim = \
             \"groups\" and value = \"radiology\""
        );
    }
    Ok(Rule { claim: claim.into(), value: value.into(), tenant: tenant.into(), gives })
}

/// Decides the providers of people.
pub(super) fn people(settings: Vec<OidcSettings>) -> anyhow::Result<Vec<Provider>> {
    if settings.len() > MOST {
        bail!("[[oidc]]: more than {MOST} providers");
    }
    let mut all: Vec<Provider> = Vec::new();
    for one in settings {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if one.name.is_empty() || one.name.len() > 20 || !one.name.bytes().all(legal) {
            bail!(
                "[[oidc]] name = {:?}: it stands in URLs and has 1 to 20 lower-case letters, digits \
                 and hyphens; label is the name for people",
                one.name
            );
        }
        if all.iter().any(|other| other.name == one.name || other.issuer == one.issuer) {
            bail!("[[oidc]] {:?}: its name or its issuer stands there twice", one.name);
        }
        issuer("oidc", &one.issuer)?;
        if one.client_id.is_empty() || one.label.trim().is_empty() {
            bail!("[[oidc]] {:?}: label and client_id must not be empty", one.name);
        }
        let client_secret = secret(&one)?;
        let mut scopes = one.scopes;
        if !scopes.iter().any(|scope| scope == "openid") {
            scopes.insert(0, "openid".into());
        }
        let recheck = one.recheck.map_or(Duration::from_secs(300), |span| span.0);
        super::check::between(
            "recheck",
            Span(recheck),
            Span(Duration::from_secs(1)),
            Span(Duration::from_secs(24 * 3600)),
            "5m",
        )?;
        if one.roles.is_empty() || one.roles.len() > MOST_RULES {
            bail!(
                "[[oidc]] {:?}: it needs from 1 to {MOST_RULES} [[oidc.roles]], since nobody is \
                 anything here without; see qianli.toml",
                one.name
            );
        }
        let mut rules = Vec::new();
        for of in &one.roles {
            let roles: Option<Vec<Role>> = of.roles.iter().map(|name| Role::parse(name)).collect();
            let Some(roles) = roles.filter(|roles| !roles.is_empty()) else {
                let names = Role::ALL.map(Role::name).join(", ");
                bail!("[[oidc.roles]] roles = {:?}: roles are {names}", of.roles);
            };
            rules.push(rule("oidc.roles", (&of.claim, &of.value), &of.tenant, roles)?);
        }
        all.push(Provider {
            name: one.name,
            label: one.label,
            issuer: one.issuer,
            client_id: one.client_id,
            client_secret,
            scopes,
            recheck,
            rules,
        });
    }
    Ok(all)
}

/// Our secret at a provider, which never stands in the settings themselves.
fn secret(of: &OidcSettings) -> anyhow::Result<Option<Hidden>> {
    let text = match (&of.client_secret_file, &of.client_secret_env) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            bail!("[[oidc]] {:?}: client_secret_file or client_secret_env, not both", of.name)
        }
        (Some(path), None) => std::fs::read_to_string(path).with_context(|| {
            format!("read client_secret_file = {path:?} of [[oidc]] {:?}", of.name)
        })?,
        (None, Some(name)) => std::env::var(name).with_context(|| {
            format!("read the variable client_secret_env = {name:?} of [[oidc]] {:?}", of.name)
        })?,
    };
    let text = text.trim();
    if text.is_empty() {
        bail!("[[oidc]] {:?}: its client secret is empty", of.name);
    }
    Ok(Some(Hidden(text.to_owned())))
}

/// Decides the issuers of programs.
pub(super) fn machines(
    settings: Vec<MachinesSettings>,
    people: &[Provider],
) -> anyhow::Result<Vec<Machines>> {
    if settings.len() > MOST {
        bail!("[[machines]]: more than {MOST} issuers");
    }
    let mut all = Vec::new();
    for one in settings {
        issuer("machines", &one.issuer)?;
        let is_ours =
            |other: &Provider| other.issuer == one.issuer && other.client_id == one.audience;
        // Else the ID token of a person would open what a program's token opens.
        if one.audience.is_empty() || people.iter().any(is_ours) {
            bail!(
                "[[machines]] audience = {:?}: it names this archive as a resource, and is neither \
                 empty nor the client_id of an [[oidc]] of this issuer; write for example audience = \
                 \"https://images.example\"",
                one.audience
            );
        }
        if one.may.is_empty() || one.may.len() > MOST_RULES {
            bail!(
                "[[machines]]: it needs from 1 to {MOST_RULES} [[machines.may]]; see qianli.toml"
            );
        }
        let mut rules = Vec::new();
        for of in &one.may {
            let may: Option<Vec<Permission>> =
                of.permissions.iter().map(|name| Permission::parse(name)).collect();
            let may = may.filter(|all| !all.is_empty() && !all.contains(&Permission::Administer));
            let Some(may) = may else {
                bail!(
                    "[[machines.may]] permissions = {:?}: they are read, store, delete, settle, \
                     worklist and audit; only people administer",
                    of.permissions
                );
            };
            let may = Permissions::of(&may);
            rules.push(rule("machines.may", (&of.claim, &of.value), &of.tenant, may)?);
        }
        all.push(Machines { issuer: one.issuer, audience: one.audience, rules });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::super::Settings;

    const PERSON: &str = "[[oidc]]\nname = 'county'\nlabel = 'County'\nissuer = \
        'https://id.example'\nclient_id = 'qianli'\n[[oidc.roles]]\nclaim = 'groups'\nvalue = \
        'radiology'\nroles = ['reader']\n";

    const PROGRAM: &str = "[[machines]]\nissuer = 'https://id.example'\naudience = \
        'https://images.example'\n[[machines.may]]\nclaim = 'scope'\nvalue = 'images.read'\n\
        permissions = ['read']\n";

    fn decide(text: &str) -> anyhow::Result<super::super::Config> {
        Settings::default().decide(toml::from_str(text)?)
    }

    #[test]
    fn providers_are_read_with_their_defaults() {
        let config = decide(&format!("{PERSON}{PROGRAM}")).unwrap();
        let provider = &config.oidc[0];
        assert_eq!(provider.scopes, ["openid", "profile"]);
        assert_eq!(provider.rules[0].tenant, "default");
        assert_eq!(provider.recheck.as_secs(), 300);
        assert_eq!(config.machines[0].audience, "https://images.example");
    }

    #[test]
    fn what_would_let_the_wrong_in_is_refused() {
        for (good, bad) in [
            ("https://id.example", "http://id.example"),
            ("name = 'county'", "name = 'County/1'"),
            ("roles = ['reader']", "roles = ['emperor']"),
            ("roles = ['reader']", "roles = []"),
            ("value = 'radiology'", "value = ''"),
            ("client_id = 'qianli'", "client_id = 'qianli'\nclient_secret = 'in the open'"),
            ("client_id = 'qianli'", "client_id = 'qianli'\nclient_secret_file = '/nowhere'"),
            ("permissions = ['read']", "permissions = ['read', 'administer']"),
            ("audience = 'https://images.example'", "audience = 'qianli'"),
        ] {
            let text = format!("{PERSON}{PROGRAM}");
            assert!(text.contains(good), "{good}");
            assert!(decide(&text.replace(good, bad)).is_err(), "{bad}");
        }
        assert!(decide(&format!("{PERSON}{PERSON}")).is_err(), "twice the same");
        assert!(decide("password_login = false").is_err(), "nobody could log in");
        assert!(decide(&format!("password_login = false\n{PERSON}")).is_ok());
    }

    /// The example in the annotated file works as it stands there.
    #[test]
    fn the_example_of_the_annotated_file_works() {
        let text = include_str!("../../qianli.toml");
        let (_, section) = text.split_once("# [[oidc]]\n").expect("the section of providers");
        let lines = section.lines().filter_map(|line| line.strip_prefix("# "));
        let lines = lines.filter(|line| line.starts_with("[[") || line.contains(" = "));
        let text = format!("[[oidc]]\n{}", lines.collect::<Vec<_>>().join("\n"));
        let text = text.replace("client_secret_file", "#client_secret_file");
        let config = decide(&text).unwrap();
        assert_eq!((config.oidc.len(), config.machines.len()), (1, 1), "{text}");
    }
}
