//! Deliveries to DICOMweb services: STOW-RS (PS3.18 10.5), several objects in one request, streamed from the store.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use qianli_archive::Archive;
use qianli_catalog::AuditEntry;
use qianli_catalog::routing::{Delivery, Said, WebAddress, WebAuth};
use qianli_catalog::types::{Location, Target};
use qianli_model::audit::{Action, Outcome};
use qianli_model::peer::Network;
use qianli_model::{Scope, StudyUid};
use reqwest::Url;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde_json::{Value, json};

use super::reach::Reach;
use super::{BATCH, Router, Sent, Trouble};
use crate::app::now_ms;

/// Bytes of objects in one request, unless a single one is larger.
const MOST: u64 = 64 << 20;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a request may take, beside what the slowest line needs for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes per second of the slowest line.
const SLOWEST: u64 = 50_000;

/// Longest answer that is read (bytes).
const LONGEST: usize = 4 << 20;

/// Calls DICOMweb services.
#[derive(Clone)]
pub(super) struct Client {
    /// For destinations that the operator registered.
    trusted: reqwest::Client,
    /// For those of tenants.
    others: reqwest::Client,
    reach: Reach,
}

impl Client {
    /// No redirects: a request goes where an administrator said, with what is secret in it. `allowed` are networks beyond
    /// the public internet that destinations of tenants may be in.
    pub(super) fn new(allowed: &[Network]) -> reqwest::Result<Self> {
        let builder = || {
            reqwest::Client::builder()
                .connect_timeout(CONNECT)
                .redirect(reqwest::redirect::Policy::none())
                .user_agent(concat!("qianli/", env!("CARGO_PKG_VERSION")))
        };
        let reach = Reach::new(allowed);
        // Behind a proxy nobody would know what is connected to.
        let others = builder().no_proxy().dns_resolver(Arc::new(reach.clone())).build()?;
        Ok(Self { trusted: builder().build()?, others, reach })
    }

    fn post(&self, to: &WebAddress) -> Result<reqwest::RequestBuilder, String> {
        let url = format!("{}/studies", to.url.trim_end_matches('/'));
        let url = Url::parse(&url).map_err(|error| error.to_string())?;
        if to.trusted {
            return Ok(self.trusted.post(url));
        }
        self.reach.check(&url).map_err(|error| error.to_string())?;
        Ok(self.others.post(url))
    }
}

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// Of each object.
    Each(Vec<Fate>),
    /// The request was not understood; a single object of it may be why.
    Whole(String),
    /// Another time.
    Later(String),
}

/// What became of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Taken,
    Refused(String),
    /// Another time.
    Later(String),
}

/// Sends objects and notes what the service says of each.
pub(super) async fn send(
    router: &Router,
    scope: &Scope,
    delivery: &Delivery,
    name: &str,
    objects: Vec<Location>,
) -> Result<Sent, Trouble> {
    let archive = &router.app.archive;
    let Some(to) = archive.catalog().web_goal(scope, name).await? else {
        return Ok(Sent::Later(format!("there is no DICOMweb destination {name}")));
    };
    note_export(archive, scope, delivery, &to.url, objects.len()).await?;
    for batch in batches(objects) {
        let call = |objects: Vec<Location>| call(&router.web, archive, scope, &to, objects);
        let groups = match call(batch.clone()).await {
            Answer::Each(fates) => vec![(batch, fates)],
            Answer::Later(words) => return Ok(Sent::Later(words)),
            Answer::Whole(_) => {
                // One by one it shows which of them it was.
                let mut groups = Vec::new();
                for one in batch {
                    let single = vec![one];
                    let fates = match call(single.clone()).await {
                        Answer::Each(fates) => fates,
                        Answer::Whole(words) => vec![Fate::Refused(words)],
                        Answer::Later(words) => vec![Fate::Later(words)],
                    };
                    groups.push((single, fates));
                }
                groups
            }
        };
        for (objects, fates) in groups {
            router.note(delivery, &said(&objects, &fates)).await?;
            for fate in fates {
                if let Fate::Later(words) = fate {
                    return Ok(Sent::Later(words));
                }
            }
        }
    }
    Ok(Sent::Done)
}

/// What leaves is in the audit trail before it does.
async fn note_export(
    archive: &Archive,
    scope: &Scope,
    delivery: &Delivery,
    url: &str,
    objects: usize,
) -> Result<(), Trouble> {
    let study = StudyUid::parse(&delivery.study)?;
    let mut entry = AuditEntry::new(scope, Action::Export, Outcome::Success, now_ms())
        .about(&Target { study, series: None, instance: None })
        .with(&json!({"to": delivery.to.to_string(), "address": url, "by": "route"}));
    entry.instances = i64::try_from(objects).unwrap_or(i64::MAX);
    Ok(archive.catalog().write_audit(vec![entry]).await?)
}

fn said(objects: &[Location], fates: &[Fate]) -> Vec<Said> {
    let said = |(one, fate): (&Location, &Fate)| {
        let refused = match fate {
            Fate::Taken => None,
            Fate::Refused(words) => Some(words.clone()),
            Fate::Later(_) => return None,
        };
        let instance = one.instance.to_string();
        Some(Said { instance, content_hash: one.content_hash.clone(), refused })
    };
    objects.iter().zip(fates).filter_map(said).collect()
}

fn batches(objects: Vec<Location>) -> Vec<Vec<Location>> {
    let mut batches: Vec<Vec<Location>> = Vec::new();
    let mut bytes = 0;
    for one in objects {
        let size = one.blob_size;
        match batches.last_mut() {
            Some(last) if last.len() < BATCH && bytes + size <= MOST => {
                bytes += size;
                last.push(one);
            }
            _ => {
                bytes = size;
                batches.push(vec![one]);
            }
        }
    }
    batches
}

async fn call(
    client: &Client,
    archive: &Archive,
    scope: &Scope,
    to: &WebAddress,
    objects: Vec<Location>,
) -> Answer {
    let bytes: u64 = objects.iter().map(|one| one.blob_size).sum();
    let wanted: Vec<String> = objects.iter().map(|one| one.instance.to_string()).collect();
    // No object holds its own hash.
    let hash = objects.first().map_or("", |one| one.content_hash.get(..32).unwrap_or_default());
    let boundary = format!("qianli-{hash}-{}", now_ms());
    let kind = format!("multipart/related; type=\"application/dicom\"; boundary={boundary}");
    let request = match client.post(to) {
        Ok(request) => request,
        Err(words) => return Answer::Later(words),
    };
    let request = request
        .header(CONTENT_TYPE, kind)
        .header(ACCEPT, "application/dicom+json")
        .timeout(PATIENCE + Duration::from_secs(bytes / SLOWEST))
        .body(body(archive.clone(), scope.clone(), objects, boundary));
    let request = match &to.auth {
        WebAuth::Nothing => request,
        WebAuth::Bearer(token) => request.bearer_auth(token),
        WebAuth::Basic(login, password) => request.basic_auth(login, Some(password)),
    };
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) => return Answer::Later(told(error)),
    };
    let status = response.status().as_u16();
    let mut read = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if read.len() + chunk.len() <= LONGEST => {
                read.extend_from_slice(&chunk)
            }
            Ok(Some(_)) => return Answer::Later("its answer is too long".into()),
            Ok(None) => break,
            Err(error) => return Answer::Later(told(error)),
        }
    }
    answer(status, &read, &wanted)
}

/// What went wrong on the way, down to its cause, without the address.
fn told(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(one) = cause {
        words = format!("{words}: {one}");
        cause = one.source();
    }
    words
}

fn body(archive: Archive, scope: Scope, objects: Vec<Location>, boundary: String) -> reqwest::Body {
    let end = format!("--{boundary}--\r\n");
    let parts = stream::iter(objects).then(move |one| {
        let (archive, scope) = (archive.clone(), scope.clone());
        let head = format!("--{boundary}\r\nContent-Type: application/dicom\r\n\r\n");
        async move {
            let content = archive.open(&scope, &one).await.map_err(io::Error::other)?;
            let line = |text: String| stream::once(async move { Ok(Bytes::from(text)) });
            let content = content.map_err(io::Error::other);
            io::Result::Ok(line(head).chain(content).chain(line("\r\n".into())))
        }
    });
    let end = stream::once(async move { io::Result::Ok(Bytes::from(end)) });
    reqwest::Body::wrap_stream(parts.try_flatten().chain(end))
}

/// Reads the answer of a store transaction (PS3.18 10.5.3, annex I.2).
fn answer(status: u16, body: &[u8], wanted: &[String]) -> Answer {
    let text: Value = serde_json::from_slice(body).unwrap_or_default();
    // Some services answer with a list of one.
    let text = text.get(0).unwrap_or(&text);
    let items = |tag: &str| {
        text.get(tag)
            .and_then(|one| one.get("Value"))
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let uid =
        |item: &Value| item.pointer("/00081155/Value/0").and_then(Value::as_str).map(str::to_owned);
    let (taken, failed) = (items("00081199"), items("00081198"));
    if taken.is_empty() && failed.is_empty() {
        return match status {
            200 => Answer::Each(vec![Fate::Taken; wanted.len()]),
            202 => Answer::Later("it took some, and does not say which".into()),
            400 | 409 | 411 | 413 | 415 | 422 => Answer::Whole(format!("HTTP status {status}")),
            401 | 403 => Answer::Later(format!("HTTP status {status}: it wants other credentials")),
            _ => Answer::Later(format!("HTTP status {status}")),
        };
    }
    let taken: Vec<String> = taken.iter().filter_map(uid).collect();
    let fate = |one: &String| {
        if taken.contains(one) {
            return Fate::Taken;
        }
        let Some(item) = failed.iter().find(|item| uid(item).as_ref() == Some(one)) else {
            return Fate::Later("it says nothing of an object".into());
        };
        match item.pointer("/00081197/Value/0").and_then(Value::as_u64) {
            // Out of resources, and a failure of the service itself.
            Some(0xA700..=0xA7FF | 0x0110) => Fate::Later("it is out of resources".into()),
            Some(reason) => Fate::Refused(format!("failure reason {reason:04X}H")),
            None => Fate::Refused("it gives no reason".into()),
        }
    };
    Answer::Each(wanted.iter().map(fate).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, body: &Value, expected: Answer) {
        let wanted = ["1.2".to_owned(), "1.3".to_owned()];
        assert_eq!(answer(status, body.to_string().as_bytes(), &wanted), expected, "{body}");
    }

    fn item(uid: &str, reason: Option<u16>) -> Value {
        let mut item = json!({"00081155": {"vr": "UI", "Value": [uid]}});
        if let Some(reason) = reason {
            item["00081197"] = json!({"vr": "US", "Value": [reason]});
        }
        item
    }

    fn lists(taken: &[Value], failed: &[Value]) -> Value {
        json!({
            "00081199": {"vr": "SQ", "Value": taken}, "00081198": {"vr": "SQ", "Value": failed},
        })
    }

    #[test]
    fn answers_are_read_by_object() {
        let refused = || Fate::Refused("failure reason 0122H".into());
        let both = [item("1.3", None), item("1.2", None)];
        check(200, &lists(&both, &[]), Answer::Each(vec![Fate::Taken, Fate::Taken]));
        let one = lists(&[item("1.2", None)], &[item("1.3", Some(0x0122))]);
        check(202, &one, Answer::Each(vec![Fate::Taken, refused()]));
        check(202, &json!([one]), Answer::Each(vec![Fate::Taken, refused()]));
        let none = lists(&[], &[item("1.2", Some(0x0122)), item("1.3", Some(0x0122))]);
        check(409, &none, Answer::Each(vec![refused(), refused()]));
        let later = |words: &str| Answer::Each(vec![Fate::Taken, Fate::Later(words.into())]);
        let full = lists(&[item("1.2", None)], &[item("1.3", Some(0xA700))]);
        check(202, &full, later("it is out of resources"));
        let silent = lists(&[item("1.2", None)], &[]);
        check(202, &silent, later("it says nothing of an object"));
    }

    #[test]
    fn answers_without_a_list_count_as_a_whole() {
        check(200, &json!({}), Answer::Each(vec![Fate::Taken, Fate::Taken]));
        check(409, &json!({}), Answer::Whole("HTTP status 409".into()));
        check(503, &json!("busy"), Answer::Later("HTTP status 503".into()));
        check(302, &json!({}), Answer::Later("HTTP status 302".into()));
        let credentials = "HTTP status 401: it wants other credentials".to_owned();
        check(401, &json!({}), Answer::Later(credentials));
    }
}
