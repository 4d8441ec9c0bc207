//! What one tenant sees of another: by grant, by link, in an emergency, and no longer.

use axum::http::{Method, header};
use qianli_catalog::grants::{NewGrant, Origin, Recipient};
use qianli_model::grant::{Priors, Subject};
use qianli_model::{Permission, Permissions, Role, Scope, TenantId};

use super::access::{PASSWORD, form, get, log_in, person, start, token};
use super::data::Instance;
use super::node::{Answer, Node};
use crate::access::{Needs, now_ms};
use crate::dicomweb::routes;

/// The tenant into which others look.
pub(super) const OWNER: TenantId = TenantId::DEFAULT;

/// When the patient was born.
pub(super) const BORN: &str = "19700101";

/// A tenant beside the owner.
pub(super) async fn tenant(node: &Node, name: &str) -> TenantId {
    node.catalog.add_tenant(name, "", 0).await.expect("a catalog").expect("a tenant").id
}

pub(super) async fn store(node: &Node, instances: &[Instance]) {
    let bearer = format!("Bearer {}", token(node, OWNER, Permissions::ALL, 1).await);
    for instance in instances {
        let body = [
            b"\r\n--XX\r\nContent-Type: application/dicom\r\n\r\n".to_vec(),
            instance.file(),
            b"\r\n--XX--\r\n".to_vec(),
        ];
        let kind = "multipart/related; type=\"application/dicom\"; boundary=XX";
        let headers = [(header::CONTENT_TYPE, kind), (header::AUTHORIZATION, bearer.as_str())];
        let path = "/dicom-web/studies";
        let answer = node.request(Method::POST, path, &headers, body.concat()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

pub(super) fn grant(study: &str, to: Recipient) -> NewGrant {
    NewGrant {
        subject: Subject::Study(study.into()),
        priors: Priors::None,
        to,
        download: true,
        reshare: false,
        project: None,
        purpose: "a second opinion".into(),
        created_by: "wang".into(),
        at_ms: now_ms(),
        expires_ms: 0,
    }
}

pub(super) async fn give(node: &Node, new: &NewGrant) -> i64 {
    let scope = Scope::local(OWNER);
    let made = node.catalog.add_grant(&scope, new, Origin::Share).await;
    made.expect("a catalog").expect("a study")
}

/// Study, series and instance UID of an instance.
pub(super) fn uids(instance: &Instance) -> [String; 3] {
    [instance.study.clone(), instance.series.clone(), instance.uid.clone()]
}

/// Method, path below the DICOMweb root, and what it needs, of everything about an instance.
fn everything(about: &[String; 3]) -> Vec<(Method, String, Needs)> {
    let segment = |part: &str| match part {
        "{study}" => about[0].clone(),
        "{series}" => about[1].clone(),
        "{instance}" => about[2].clone(),
        "{frames}" | "{id}" => "1".into(),
        "{workitem}" => "1.2.3".into(),
        "{aetitle}" => "READER".into(),
        "{*tag}" => "7FE00010".into(),
        other => other.to_owned(),
    };
    routes::all()
        .map(|route| {
            let method = Method::from_bytes(route.verb.name().as_bytes()).expect("a method");
            let path: Vec<String> = route.path.split('/').map(segment).collect();
            let mut path = path.join("/");
            if route.path == "/wado" {
                path = format!(
                    "/wado?requestType=WADO&studyUID={}&seriesUID={}&objectUID={}",
                    about[0], about[1], about[2]
                );
            }
            (method, path, route.needs)
        })
        .collect()
}

async fn ask(node: &Node, method: &Method, path: &str, who: &Who) -> Answer {
    let headers: Vec<_> = who.iter().map(|(name, value)| (name.clone(), value.as_str())).collect();
    node.request(method.clone(), path, &headers, Vec::new()).await
}

/// Headers that say who it is.
type Who = Vec<(header::HeaderName, String)>;

/// What stands between two texts.
pub(super) fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    let rest = text.split_once(before).unwrap_or_else(|| panic!("{before} in {text}")).1;
    rest.split_once(after).expect("an end").0
}

#[tokio::test]
async fn every_route_shows_what_was_granted_and_nothing_else() {
    let node = start().await;
    let (shared, kept) = (Instance::new(1, 1, 1), Instance::new(2, 1, 1));
    store(&node, &[shared.clone(), kept.clone()]).await;
    let study = uids(&shared)[0].clone();
    let near = tenant(&node, "near").await;
    let far = tenant(&node, "far").await;
    let late = tenant(&node, "late").await;
    give(&node, &grant(&study, Recipient::Tenant(near))).await;
    let ended = NewGrant { expires_ms: now_ms() - 1, ..grant(&study, Recipient::Tenant(late)) };
    give(&node, &ended).await;
    let single = person(&node, far, "single", &[Role::Reader]).await;
    give(&node, &grant(&study, Recipient::Person(single))).await;
    let taken = give(&node, &grant(&study, Recipient::Tenant(far))).await;
    let revoked = node.catalog.revoke_grant(&Scope::local(OWNER), taken, now_ms()).await;
    assert!(revoked.expect("a catalog"));

    let mut granted: Vec<(String, Who)> = Vec::new();
    let mut others: Vec<(String, Who)> = Vec::new();
    let cookie = async |tenant, login: &str, roles: &[Role], made: bool| {
        if !made {
            person(&node, tenant, login, roles).await;
        }
        let cookie = log_in(&node, login, PASSWORD).await.ok().expect("a session");
        (login.to_owned(), vec![(header::COOKIE, cookie)])
    };
    for role in Role::ALL {
        let who = cookie(near, &format!("near-{role}"), &[role], false).await;
        let reads = role.permissions().allow(Permission::Read);
        if reads {
            granted.push(who)
        } else {
            others.push(who)
        }
        others.push(cookie(late, &format!("late-{role}"), &[role], false).await);
        others.push(cookie(far, &format!("far-{role}"), &[role], false).await);
    }
    granted.push(cookie(far, "single", &[], true).await);
    for (name, tenant, may) in [
        ("token near", near, Permissions::ALL),
        ("token late", late, Permissions::ALL),
        ("token near, no reading", near, Permissions::of(&[Permission::Store])),
    ] {
        let bearer = format!("Bearer {}", token(&node, tenant, may, 1).await);
        let who = (name.to_owned(), vec![(header::AUTHORIZATION, bearer)]);
        if name == "token near" { granted.push(who) } else { others.push(who) }
    }
    let own = format!("Bearer {}", token(&node, OWNER, Permissions::ALL, 1).await);
    let own: Who = vec![(header::AUTHORIZATION, own)];
    let nobodys = ["1.2.3.4.5", "1.2.3.4.6", "1.2.3.4.7"].map(str::to_owned);
    let root = "/tenants/default/dicom-web";
    let mut seen = 0;
    let of_kept = everything(&uids(&kept));
    let of_nobody = everything(&nobodys);
    for (at, (method, path, needs)) in everything(&uids(&shared)).into_iter().enumerate() {
        let url = format!("{root}{path}");
        let nowhere = format!("/tenants/nowhere/dicom-web{path}");
        for (who, headers) in &others {
            let (answer, unknown) = (
                ask(&node, &method, &url, headers).await,
                ask(&node, &method, &nowhere, headers).await,
            );
            assert_eq!(
                (answer.status, answer.text()),
                (404, unknown.text()),
                "{who} {method} {url}"
            );
            seen += 1;
        }
        let reads = needs == Needs::Permission(Permission::Read);
        let expected = match reads && method == Method::GET {
            true => Some(ask(&node, &method, &url, &own).await),
            false => None,
        };
        for (who, headers) in &granted {
            let answer = ask(&node, &method, &url, headers).await;
            match (&expected, needs) {
                (Some(expected), _) => {
                    assert_eq!(answer.status, expected.status, "{who} {method} {url}");
                    assert!(
                        answer.status < 300 || expected.status == 406,
                        "{} {url}",
                        answer.status
                    );
                    let searches = ["/studies", "/series", "/instances"].contains(&path.as_str());
                    if searches {
                        assert_eq!(answer.json().as_array().map(Vec::len), Some(1), "{who} {url}");
                    }
                }
                (None, Needs::Permission(_)) => {
                    assert_eq!(answer.status, 403, "{who} {method} {url}");
                }
                (None, _) => assert!(answer.status < 300, "{who} {method} {url}"),
            }
            // The other study of the owner answers as one that nobody has.
            let (_, hidden, _) = &of_kept[at];
            let (_, absent, _) = &of_nobody[at];
            if hidden != &path && reads {
                let hidden = ask(&node, &method, &format!("{root}{hidden}"), headers).await;
                let absent = ask(&node, &method, &format!("{root}{absent}"), headers).await;
                assert_eq!(hidden.status, absent.status, "{who} {method} {path}");
                assert_eq!(hidden.text(), absent.text(), "{who} {method} {path}");
            }
            seen += 1;
        }
    }
    assert!(seen > 1000, "{seen}");
}

#[tokio::test]
async fn what_may_only_be_looked_at_is_not_taken_away() {
    let node = start().await;
    let shared = Instance::new(1, 1, 1);
    store(&node, std::slice::from_ref(&shared)).await;
    let near = tenant(&node, "near").await;
    let [study, series, instance] = uids(&shared);
    give(&node, &NewGrant { download: false, ..grant(&study, Recipient::Tenant(near)) }).await;
    let bearer = format!("Bearer {}", token(&node, near, Permissions::ALL, 1).await);
    let root = format!("/tenants/default/dicom-web/studies/{study}");
    let see = async |path: String| get(&node, &path, header::AUTHORIZATION, &bearer).await.status;
    let object = format!("{root}/series/{series}/instances/{instance}");
    for path in [root.clone(), format!("{root}/series/{series}"), object.clone()] {
        assert_eq!(see(path.clone()).await, 403, "{path}");
    }
    let uri = format!(
        "/tenants/default/dicom-web/wado?requestType=WADO&studyUID={study}&seriesUID={series}\
         &objectUID={instance}&contentType=application/dicom"
    );
    assert_eq!(see(uri).await, 403);
    for path in [format!("{root}/metadata"), format!("{object}/rendered")] {
        assert_eq!(see(path.clone()).await, 200, "{path}");
    }
}

#[tokio::test]
async fn glass_is_broken_with_leave_and_reason_and_is_looked_at() {
    let node = start().await;
    let mut instance = Instance::new(1, 1, 1);
    instance.birth_date = BORN;
    store(&node, std::slice::from_ref(&instance)).await;
    let near = tenant(&node, "near").await;
    person(&node, OWNER, "chief", &[Role::Administrator]).await;
    person(&node, near, "doctor", &[Role::Physician]).await;
    let chief = log_in(&node, "chief", PASSWORD).await.ok().expect("a session");
    let doctor = log_in(&node, "doctor", PASSWORD).await.ok().expect("a session");
    let patient = node.catalog.patient_of(&Scope::local(OWNER), &uids(&instance)[0]).await;
    let Some(Subject::Patient { id, .. }) = patient.expect("a catalog") else {
        panic!("a patient with an ID")
    };
    let need = |birth: &str, reason: &str| {
        format!("tenant=default&patient={id}&birth_date={birth}&reason={reason}")
    };
    let right = need(BORN, "unconscious+after+a+fall");
    let breaks = async |body: &str| form(&node, "/emergency", &doctor, body).await.status;
    assert_eq!(breaks(&right).await, 404, "the owner does not allow it");
    assert_eq!(form(&node, "/grants/emergency", &doctor, "allowed=true").await.status, 403);
    assert_eq!(form(&node, "/grants/emergency", &chief, "allowed=true").await.status, 303);
    assert_eq!(breaks(&need(BORN, "why")).await, 400);
    assert_eq!(breaks(&need("19010101", "unconscious+after+a+fall")).await, 404);
    let web = "/tenants/default/dicom-web/studies";
    assert_eq!(get(&node, web, header::COOKIE, &doctor).await.status, 404);
    assert_eq!(breaks(&right).await, 303);
    assert_eq!(breaks(&right).await, 303, "once more, and still one grant");
    let found = get(&node, web, header::COOKIE, &doctor).await.json();
    assert_eq!(found.as_array().map(Vec::len), Some(1));
    let page = get(&node, "/shared", header::COOKIE, &doctor).await.text();
    assert!(page.contains("&#38;tenant=default") || page.contains("&amp;tenant=default"), "{page}");

    let home = get(&node, "/", header::COOKIE, &chief).await.text();
    assert!(home.contains("href=\"/grants\"") && home.contains("waits for a look"), "{home}");
    let page = get(&node, "/grants", header::COOKIE, &chief).await.text();
    assert!(page.contains("unconscious after a fall") && page.contains("doctor"), "{page}");
    let grant = between(&page, "name=\"id\" value=\"", "\"").to_owned();
    assert_eq!(form(&node, "/grants/review", &chief, &format!("id={grant}")).await.status, 303);
    let home = get(&node, "/", header::COOKIE, &chief).await.text();
    assert!(!home.contains("waits for a look"), "{home}");
    assert_eq!(form(&node, "/grants/revoke", &chief, &format!("id={grant}")).await.status, 303);
    assert_eq!(get(&node, web, header::COOKIE, &doctor).await.status, 404);
    // Whoever goes through birth dates is stopped, wherever they sit.
    let mut seen = Vec::new();
    for day in 10..30 {
        seen.push(breaks(&need(&format!("196001{day}"), "unconscious+after+a+fall")).await);
    }
    assert_eq!((seen.first(), seen.last()), (Some(&404), Some(&429)), "{seen:?}");
}

#[tokio::test]
async fn people_share_and_pass_on_by_their_pages() {
    let node = start().await;
    let instance = Instance::new(1, 1, 1);
    store(&node, std::slice::from_ref(&instance)).await;
    let (near, far) = (tenant(&node, "near").await, tenant(&node, "far").await);
    let study = uids(&instance)[0].clone();
    for (tenant, login) in [(OWNER, "owner"), (near, "near"), (far, "far")] {
        person(&node, tenant, login, &[Role::Physician]).await;
    }
    let session = async |login: &str| log_in(&node, login, PASSWORD).await.ok().expect("a session");
    let (owner, middle, end) =
        (session("owner").await, session("near").await, session("far").await);
    let path = format!("/studies/{study}/share");
    for (body, why) in [
        ("tenant=default&days=7&purpose=x", "one's own tenant"),
        ("tenant=nowhere&days=7&purpose=x", "no tenant"),
        ("tenant=near&days=7&purpose=", "no purpose"),
        ("tenant=near&days=7&purpose=x&person=far", "nobody there"),
    ] {
        assert_eq!(form(&node, &path, &owner, body).await.status, 400, "{why}");
    }
    let body = "tenant=near&days=7&purpose=opinion&download=true&reshare=true&what=study";
    assert_eq!(form(&node, &path, &owner, body).await.status, 303);
    assert!(get(&node, &path, header::COOKIE, &owner).await.text().contains("opinion"));
    let shelf = get(&node, "/shared", header::COOKIE, &middle).await.text();
    assert!(shelf.contains(&format!("/tenants/default/dicom-web/studies/{study}")), "{shelf}");
    let nothing = get(&node, "/shared", header::COOKIE, &end).await.text();
    assert!(!nothing.contains(&study));
    let on = format!("owner=default&study={study}&tenant=far&days=30&purpose=more");
    assert_eq!(form(&node, "/shared/pass-on", &end, &on).await.status, 404, "not theirs");
    for body in [
        format!("{on}&project=TRIAL"),
        on.replace("tenant=far", "tenant=default&person=owner"),
        on.replace("tenant=far", "tenant=near&person=near"),
    ] {
        assert_eq!(form(&node, "/shared/pass-on", &middle, &body).await.status, 400, "{body}");
    }
    assert_eq!(form(&node, "/shared/pass-on", &middle, &on).await.status, 303);
    assert!(get(&node, "/shared", header::COOKIE, &end).await.text().contains(&study));
    let rule = "tenant=far&days=0&purpose=night+reading&modality=CT&older=true";
    assert_eq!(form(&node, "/grants", &owner, rule).await.status, 303);
    assert!(get(&node, "/grants", header::COOKIE, &owner).await.text().contains("night reading"));
}

#[tokio::test]
async fn patients_see_what_was_shared_with_them() {
    let node = start().await;
    let (shared, kept) = (Instance::new(1, 1, 1), Instance::new(2, 1, 1));
    store(&node, &[shared.clone(), kept.clone()]).await;
    person(&node, OWNER, "wang", &[Role::Physician]).await;
    person(&node, OWNER, "patient", &[Role::Patient]).await;
    let physician = log_in(&node, "wang", PASSWORD).await.ok().expect("a session");
    let patient = log_in(&node, "patient", PASSWORD).await.ok().expect("a session");
    let see = async |path: &str| get(&node, path, header::COOKIE, &patient).await;
    assert_eq!(see("/").await.header("location"), "/shared");
    assert_eq!(see("/dicom-web/studies").await.json().as_array().map(Vec::len), Some(0));
    assert_eq!(see(&shared.path()).await.status, 404);
    let [study, ..] = uids(&shared);
    let wish = "tenant=default&person=patient&days=30&purpose=your+own+images&download=true";
    let path = format!("/studies/{study}/share");
    assert_eq!(form(&node, &path, &physician, wish).await.status, 303);
    // What is remembered of a caller lasts for a moment; sharing ends it.
    let page = see("/shared").await.text();
    assert!(page.contains(&study) && !page.contains("/emergency"), "{page}");
    assert_eq!(see(&shared.path()).await.status, 200);
    assert_eq!(see(&kept.path()).await.status, 404);
    for path in ["/dicom-web/studies", "/tenants/default/dicom-web/studies"] {
        assert_eq!(see(path).await.json().as_array().map(Vec::len), Some(1), "{path}");
    }
    assert_eq!(see(&format!("/studies/{study}")).await.status, 200);
    assert_eq!(see("/emergency").await.status, 404);
    let need = "tenant=default&patient=P1&birth_date=19700101&reason=curious+about+others";
    assert_eq!(form(&node, "/emergency", &patient, need).await.status, 404);
}

#[tokio::test]
async fn what_is_revoked_is_gone_from_every_memory() {
    let node = start().await;
    let (one, two) = (Instance::new(1, 1, 1), Instance::new(2, 1, 1));
    store(&node, &[one.clone(), two.clone()]).await;
    let near = tenant(&node, "near").await;
    let bearer = format!("Bearer {}", token(&node, near, Permissions::ALL, 1).await);
    let taken = give(&node, &grant(&one.study, Recipient::Tenant(near))).await;
    // The door stays open for the other one.
    give(&node, &grant(&two.study, Recipient::Tenant(near))).await;
    let object = one.path().replace("/dicom-web", "/tenants/default/dicom-web");
    let study = format!("/tenants/default/dicom-web/studies/{}", one.study);
    let paths = ["/frames/1", "/rendered", "/thumbnail", "/metadata", ""]
        .map(|end| format!("{object}{end}"));
    let paths = [paths.as_slice(), &[format!("{study}/thumbnail")]].concat();
    for path in &paths {
        assert_eq!(get(&node, path, header::AUTHORIZATION, &bearer).await.status, 200, "{path}");
    }
    let revoked = node.catalog.revoke_grant(&Scope::local(OWNER), taken, now_ms()).await;
    assert!(revoked.expect("a catalog"));
    for path in &paths {
        assert_eq!(get(&node, path, header::AUTHORIZATION, &bearer).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn whoever_may_not_read_at_home_still_sees_what_is_theirs() {
    let node = start().await;
    let instance = Instance::new(1, 1, 1);
    store(&node, std::slice::from_ref(&instance)).await;
    let near = tenant(&node, "near").await;
    let auditor = person(&node, OWNER, "auditor", &[Role::Auditor, Role::Patient]).await;
    let doctor = person(&node, near, "doctor", &[Role::Reader]).await;
    for (id, login) in [(auditor, "auditor"), (doctor, "doctor")] {
        give(&node, &grant(&instance.study, Recipient::Person(id))).await;
        if login == "doctor" {
            let owner = Scope::local(OWNER);
            node.catalog.set_roles(&owner, login, &[Role::Patient]).await.expect("a catalog");
        }
        let cookie = log_in(&node, login, PASSWORD).await.ok().expect("a session");
        let page = get(&node, "/shared", header::COOKIE, &cookie).await;
        assert!(page.status == 200 && page.text().contains(&instance.study), "{login}");
        let path = "/tenants/default/dicom-web/studies";
        let found = get(&node, path, header::COOKIE, &cookie).await;
        assert_eq!(found.status, 200, "{login}");
    }
}
