//! Logins by the accounts of a hospital, and programs with its tokens, against a real OpenID provider
//! that the tests start and change while it runs.

mod attacks;
mod machines;
mod people;

use std::collections::HashMap;

use reqwest::blocking::{RequestBuilder, Response};
use serde_json::{Value, json};

use crate::support::clients::ServedByNode;
use crate::support::node::{Node, Plan};
use crate::support::setup::Setup;
use crate::support::web::{Answer, client};

/// The provider, and a folder for the settings that name it.
pub struct Hospital {
    provider: ServedByNode,
    folder: tempfile::TempDir,
}

const SECRET: &str = "a-client-secret-of-the-tests+/=";

impl Hospital {
    pub fn start() -> Option<Self> {
        let provider = ServedByNode::start("tests/oidc/provider.js", "oidc-provider")?;
        Some(Self { provider, folder: tempfile::tempdir().expect("a folder") })
    }

    pub fn url(&self) -> &str {
        &self.provider.url
    }

    /// Does something behind everybody's back, and returns the answer.
    #[track_caller]
    pub fn control(&self, command: &str, given: &Value) -> Value {
        let url = format!("{}/control/{command}", self.url());
        let answer = client().post(url).body(given.to_string()).send().expect("the provider");
        assert_eq!(answer.status(), 200, "{command}");
        serde_json::from_slice(&answer.bytes().expect("an answer")).expect("JSON")
    }

    /// Says what the hospital knows of somebody.
    pub fn person(&self, subject: &str, groups: &[&str]) {
        let claims = json!({"name": "王小东", "preferred_username": "wang@county.example",
            "groups": groups, "email": "admin@county.example"});
        self.control("person", &json!({"sub": subject, "claims": claims}));
    }

    /// A node whose settings name the provider; `more` stands in front of them.
    pub fn node(&self, setup: &Setup, more: &str) -> Node {
        let node = self.plan(setup, more).start();
        let root = node.http();
        self.control(
            "client",
            &json!({
                "client_id": "qianli", "client_secret": SECRET,
                "redirect_uris": [format!("{root}/login/oidc/county/callback")],
                "post_logout_redirect_uris": [format!("{root}/login")],
                "grant_types": ["authorization_code", "refresh_token"],
                "response_types": ["code"],
            }),
        );
        node
    }

    fn plan(&self, setup: &Setup, more: &str) -> Plan {
        let issuer = self.url();
        let secret = self.folder.path().join("secret");
        std::fs::write(&secret, format!("{SECRET}\n")).expect("a file");
        let rule = |value: &str, tenant: &str, role: &str| {
            format!(
                "[[oidc.roles]]\nclaim = 'groups'\nvalue = '{value}'\ntenant = '{tenant}'\n\
                 roles = ['{role}']\n"
            )
        };
        let may = |value: &str, tenant: &str, what: &str| {
            format!(
                "[[machines.may]]\nclaim = 'scope'\nvalue = '{value}'\ntenant = '{tenant}'\n\
                 permissions = [{what}]\n"
            )
        };
        let text = [
            more.to_owned(),
            format!(
                "\n[[oidc]]\nname = 'county'\nlabel = 'County Hospital'\nissuer = '{issuer}'\n\
                 client_id = 'qianli'\nclient_secret_file = '{}'\nrecheck = '1s'\n\
                 scopes = ['openid', 'profile', 'offline_access']\n",
                secret.display()
            ),
            rule("radiology", "default", "reader"),
            rule("chiefs", "default", "administrator"),
            rule("audit", "default", "auditor"),
            format!(
                "[[machines]]\nissuer = '{issuer}'\naudience = 'https://images.example'\n{}{}",
                may("images.read", "default", "'read'"),
                may("images.store", "default", "'store'"),
            ),
            may("images.other", "other", "'read'"),
        ];
        let path = self.folder.path().join("qianli.toml");
        std::fs::write(&path, text.concat()).expect("a file");
        let path = path.to_string_lossy().into_owned();
        Node::plan(setup).args(["--no-auth=false", "--config"]).arg(path)
    }
}

/// A browser without pictures: cookies by host and port, one answer at a time.
#[derive(Default)]
pub struct Browser {
    cookies: HashMap<String, HashMap<String, String>>,
}

impl Browser {
    pub fn get(&mut self, url: &str) -> Answer {
        self.send(url, client().get(url))
    }

    pub fn post(&mut self, url: &str, form: &str) -> Answer {
        let kind = "application/x-www-form-urlencoded";
        let request = client().post(url).header("Content-Type", kind).body(form.to_owned());
        self.send(url, request)
    }

    fn send(&mut self, url: &str, request: RequestBuilder) -> Answer {
        let jar = self.cookies.entry(authority(url)).or_default();
        let held: Vec<String> = jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let response: Response = request.header("Cookie", held.join("; ")).send().expect("answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        for cookie in headers.get_all("set-cookie") {
            let cookie = cookie.to_str().expect("a cookie");
            let (name, rest) = cookie.split_once('=').expect("a cookie");
            let value = rest.split(';').next().unwrap_or_default();
            if cookie.contains("Max-Age=0") || value.is_empty() {
                jar.remove(name);
            } else {
                jar.insert(name.to_owned(), value.to_owned());
            }
        }
        Answer { status, headers, body: response.bytes().expect("a body").to_vec() }
    }

    pub fn cookies_of(&self, url: &str) -> HashMap<String, String> {
        self.cookies.get(&authority(url)).cloned().unwrap_or_default()
    }

    /// Goes from the button to the provider, enters an account there, and returns the URL by which
    /// the provider sends the browser back, without following it.
    #[track_caller]
    pub fn log_in_there(&mut self, node: &Node, hospital: &Hospital, form: &str) -> String {
        let begun = self.get(&format!("{}/login/oidc/county?next=%2Faccount", node.http()));
        assert_eq!(begun.status, 303, "{}", begun.text());
        let mut url = begun.header("location").to_owned();
        assert!(url.starts_with(&format!("{}/auth?", hospital.url())), "{url}");
        for _ in 0..6 {
            if url.starts_with(node.http()) {
                return url;
            }
            let answer = self.get(&url);
            url = match answer.status {
                200 => {
                    let next = self.post(&url, form);
                    assert_eq!(next.status, 303, "{}", next.text());
                    next.header("location").to_owned()
                }
                303 | 302 => answer.header("location").to_owned(),
                other => panic!("{other} at {url}: {}", answer.text()),
            };
            if url.starts_with('/') {
                url = format!("{}{url}", hospital.url());
            }
        }
        panic!("the provider never sends the browser back, but to {url}")
    }

    /// The whole login; the answer of the way back.
    #[track_caller]
    pub fn log_in(&mut self, node: &Node, hospital: &Hospital, account: &str) -> Answer {
        let back = self.log_in_there(node, hospital, &format!("login={account}"));
        self.get(&back)
    }

    /// Status of a page of the node.
    pub fn status(&mut self, node: &Node, path: &str) -> u16 {
        self.get(&format!("{}{path}", node.http())).status
    }
}

fn authority(url: &str) -> String {
    url.split('/').nth(2).unwrap_or_default().to_owned()
}
