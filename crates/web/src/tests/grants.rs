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
const OWNER: TenantId = TenantId::DEFAULT;

/// When the patient was born.
const BORN: &str = "19700101";

/// A tenant beside the owner.
async fn tenant(node: &Node, name: &str) -> TenantId {
    node.catalog.add_tenant(name, "", 0).await.expect("a catalog").expect("a tenant").id
}

async fn store(node: &Node, instances: &[Instance]) {
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

fn grant(study: &str, to: Recipient) -> NewGrant {
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

async fn give(node: &Node, new: &NewGrant) -> i64 {
    let scope = Scope::local(OWNER);
    let made = node.catalog.add_grant(&scope, new, Origin::Share).await;
    made.expect("a catalog").expect("a study")
}

/// Study, series and instance UID of an instance.
fn uids(instance: &Instance) -> [String; 3] {
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

/// What stands between two texts.
fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    let rest = text.split_once(before).unwrap_or_else(|| panic!("{before} in {text}")).1;
    rest.split_once(after).expect("an end").0
}

#[tokio::test]
async fn links_open_with_their_code_alone_and_until_they_are_revoked() {
    let node = start().await;
    let (shared, kept) = (Instance::new(1, 1, 1), Instance::new(2, 1, 1));
    store(&node, &[shared.clone(), kept.clone()]).await;
    person(&node, OWNER, "wang", &[Role::Physician]).await;
    let cookie = log_in(&node, "wang", PASSWORD).await.ok().expect("a session");
    let [study, ..] = uids(&shared);
    let wish = "name=Li&days=7&views=3&code=true";
    let page = form(&node, &format!("/studies/{study}/links"), &cookie, wish).await;
    assert_eq!(page.status, 200, "{}", page.text());
    let text = page.text();
    let url = between(&text, "data-copy=\"http://localhost", "\"").to_owned();
    let code = between(&text, "id=\"code\">", "<").to_owned();
    assert!(text.contains("<svg class=\"qr\""), "a code for phones");
    assert!(url.starts_with("/l/") && url.len() > 30 && code.len() == 6, "{url} {code}");
    let again = get(&node, &format!("/studies/{study}/share"), header::COOKIE, &cookie).await;
    assert!(!again.text().contains(&url) && !again.text().contains(&code), "shown once");

    assert_eq!(node.get("/l/unknown").await.status, 404);
    let asked = node.get(&url).await;
    assert_eq!(asked.status, 200);
    assert!(!asked.text().contains("Wang"), "no patient before the code");
    let wrong = if code == "000000" { "code=000001" } else { "code=000000" };
    assert_eq!(form(&node, &url, "", wrong).await.status, 401);
    assert_eq!(form(&node, &url, "", "").await.status, 401);
    let opened = form(&node, &url, "", &format!("code={code}")).await;
    assert_eq!(opened.status, 303, "{}", opened.text());
    let visit = opened.header("set-cookie").to_owned();
    let place = opened.header("location").to_owned();
    assert!(visit.contains(&format!("Path={place};")) && visit.contains("HttpOnly"), "{visit}");
    let visit = visit.split(';').next().expect("a cookie").to_owned();

    let see = async |path: &str, cookie: &str| get(&node, path, header::COOKIE, cookie).await;
    let shown = see(&place, &visit).await;
    assert_eq!(shown.status, 200, "{}", shown.text());
    assert!(shown.text().contains("Wang"), "{}", shown.text());
    let root = format!("{place}/dicom-web");
    let found = see(&format!("{root}/studies"), &visit).await.json();
    assert_eq!(found.as_array().map(Vec::len), Some(1));
    let base = found[0]["00081190"]["Value"][0].to_string();
    assert!(base.contains(&root), "{base}");
    let [study, series, instance] = uids(&shared);
    let object = format!("{root}/studies/{study}/series/{series}/instances/{instance}");
    assert_eq!(see(&format!("{object}/rendered"), &visit).await.status, 200);
    assert_eq!(see(&object, &visit).await.status, 403, "to look at");
    let [hidden, ..] = uids(&kept);
    assert_eq!(see(&format!("{root}/studies/{hidden}/metadata"), &visit).await.status, 404);
    // The cookie opens this link and nothing else, and no login opens a link.
    for path in ["/studies", "/dicom-web/studies", "/links/99", "/links/99/dicom-web/studies"] {
        let status = see(path, &visit).await.status;
        assert!([401, 303].contains(&status), "{path}: {status}");
    }
    assert_eq!(see(&format!("{root}/studies"), &cookie).await.status, 401);
    assert_eq!(see(&place, &cookie).await.header("location"), "/l/ended");

    let id = place.rsplit('/').next().expect("a key");
    let revoked = form(&node, "/grants/links/revoke", &cookie, &format!("id={id}")).await;
    assert_eq!(revoked.status, 303);
    assert_eq!(see(&place, &visit).await.header("location"), "/l/ended");
    assert_eq!(see("/l/ended", "").await.status, 404);
    assert_eq!(see(&format!("{object}/rendered"), &visit).await.status, 401);
    assert_eq!(form(&node, &url, "", &format!("code={code}")).await.status, 404);
}

#[tokio::test]
async fn codes_of_links_are_not_guessed() {
    let node = start().await;
    let shared = Instance::new(1, 1, 1);
    store(&node, std::slice::from_ref(&shared)).await;
    person(&node, OWNER, "wang", &[Role::Physician]).await;
    let cookie = log_in(&node, "wang", PASSWORD).await.ok().expect("a session");
    let path = format!("/studies/{}/links", uids(&shared)[0]);
    let page = form(&node, &path, &cookie, "name=Li&days=7&code=true").await.text();
    let url = between(&page, "data-copy=\"http://localhost", "\"").to_owned();
    let code = between(&page, "id=\"code\">", "<").to_owned();
    let wrong = if code == "000000" { "code=000001" } else { "code=000000" };
    for _ in 0..5 {
        assert_eq!(form(&node, &url, "", wrong).await.status, 401);
    }
    assert_eq!(form(&node, &url, "", &format!("code={code}")).await.status, 429, "it rests");
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

#[tokio::test]
async fn programs_make_links_and_grants() {
    let node = start().await;
    let instance = Instance::new(1, 1, 1);
    store(&node, std::slice::from_ref(&instance)).await;
    let near = tenant(&node, "near").await;
    let [study, ..] = uids(&instance);
    let may = Permissions::of(&[Permission::Share, Permission::Read]);
    let bearer = format!("Bearer {}", token(&node, OWNER, may, 1).await);
    let say = async |method: Method, path: &str, body: String| {
        let headers =
            [(header::AUTHORIZATION, bearer.as_str()), (header::CONTENT_TYPE, "application/json")];
        node.request(method, path, &headers, body.into_bytes()).await
    };
    assert_eq!(node.get("/api/links").await.status, 401, "a program is not sent to the login");
    for body in [
        "".to_owned(),
        "{}".into(),
        format!("{{\"study\":\"{study}\",\"name\":\"\"}}"),
        "{\"study\":\"x\",\"name\":\"Li\"}".into(),
        format!("{{\"study\":\"{study}\",\"name\":\"Li\",\"day\":7}}"),
    ] {
        assert_eq!(say(Method::POST, "/api/links", body.clone()).await.status, 400, "{body}");
    }
    let absent = "{\"study\":\"1.2.3\",\"name\":\"Li\"}".to_owned();
    assert_eq!(say(Method::POST, "/api/links", absent).await.status, 404);
    let body = format!("{{\"study\":\"{study}\",\"name\":\"Li\",\"days\":30}}");
    let made = say(Method::POST, "/api/links", body).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    let url = made["url"].as_str().expect("an address").trim_start_matches("http://localhost");
    let code = made["code"].as_str().expect("a code");
    assert!(made["qr"].as_str().is_some_and(|qr| qr.starts_with("<svg")));
    assert_eq!(form(&node, url, "", &format!("code={code}")).await.status, 303);
    let listed = say(Method::GET, &format!("/api/links?study={study}"), String::new()).await;
    assert_eq!(listed.json()[0]["views"], 1);
    assert!(!listed.text().contains(code) && !listed.text().contains(url), "told once");
    let path = format!("/api/links/{}", made["id"]);
    assert_eq!(say(Method::DELETE, &path, String::new()).await.status, 204);
    assert_eq!(say(Method::DELETE, &path, String::new()).await.status, 404);

    let body =
        format!("{{\"study\":\"{study}\",\"tenant\":\"near\",\"days\":7,\"purpose\":\"opinion\"}}");
    let made = say(Method::POST, "/api/grants", body).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let theirs = format!("Bearer {}", token(&node, near, may, 1).await);
    let path = "/tenants/default/dicom-web/studies";
    assert_eq!(get(&node, path, header::AUTHORIZATION, &theirs).await.status, 200);
    let listed = say(Method::GET, "/api/grants", String::new()).await.json();
    assert_eq!((&listed[0]["to"], &listed[0]["live"]), (&"near".into(), &true.into()));
    let grant = format!("/api/grants/{}", made.json()["id"]);
    assert_eq!(say(Method::DELETE, &grant, String::new()).await.status, 204);
    assert_eq!(get(&node, path, header::AUTHORIZATION, &theirs).await.status, 404);
}

#[tokio::test]
async fn what_is_shared_under_pseudonyms_names_nobody() {
    let node = start().await;
    let mut instance = Instance::new(1, 1, 1);
    instance.birth_date = BORN;
    store(&node, std::slice::from_ref(&instance)).await;
    tenant(&node, "near").await;
    let near = node.catalog.tenant("near").await.expect("a catalog").expect("a tenant").id;
    person(&node, OWNER, "wang", &[Role::Physician]).await;
    person(&node, near, "near", &[Role::Reader]).await;
    let owner = log_in(&node, "wang", PASSWORD).await.ok().expect("a session");
    let reader = log_in(&node, "near", PASSWORD).await.ok().expect("a session");
    let [study, ..] = uids(&instance);
    let share = format!("/studies/{study}/share");
    let bad = "tenant=near&days=7&purpose=trial&project=a+b";
    assert_eq!(form(&node, &share, &owner, bad).await.status, 400);
    let wish = "tenant=near&days=7&purpose=trial&project=TRIAL-1&what=study";
    assert_eq!(form(&node, &share, &owner, wish).await.status, 303);
    let see = async |path: &str| get(&node, path, header::COOKIE, &reader).await;
    let nothing = see("/tenants/default/dicom-web/studies").await;
    assert_eq!(nothing.json().as_array().map(Vec::len), Some(0), "not as it is");
    let object = instance.path().replace("/dicom-web", "/tenants/default/dicom-web");
    for path in ["", "/metadata", "/rendered", "/frames/1"] {
        assert_eq!(see(&format!("{object}{path}")).await.status, 404, "{path}");
    }
    let page = see("/shared").await.text();
    assert!(!page.contains("Wang") && !page.contains(&study), "{page}");
    let href =
        format!("/shared/default/TRIAL-1/{}", between(&page, "/shared/default/TRIAL-1/", "\""));
    let archive = see(&href).await;
    assert_eq!(archive.status, 200, "{}", archive.text());
    assert!(archive.body.starts_with(b"PK"), "a zip file");
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(archive.body)).expect("a zip file");
    assert_eq!(zip.len(), 1);
    let mut object = Vec::new();
    let mut entry = zip.by_index(0).expect("an object");
    let name = entry.name().expect("a name").into_owned();
    assert!(!name.contains(&study), "{name}");
    std::io::Read::read_to_end(&mut entry, &mut object).expect("an object");
    let holds = |text: &str| object.windows(text.len()).any(|part| part == text.as_bytes());
    for secret in ["Wang", "王", BORN, study.as_str(), instance.uid.as_str()] {
        assert!(!holds(secret), "{secret} is in the object");
    }
    assert!(holds("TRIAL-1"), "its project is named");
    assert_eq!(see(&href.replace("TRIAL-1/", "OTHER/")).await.status, 404);
    assert_eq!(see(&format!("/shared/default/TRIAL-1/{study}")).await.status, 404);

    let links = format!("/studies/{study}/links");
    let text = form(&node, &links, &owner, "name=lab&days=7&project=LAB").await.text();
    let url = between(&text, "data-copy=\"http://localhost", "\"").to_owned();
    let opened = form(&node, &url, "", "").await;
    let visit = opened.header("set-cookie").split(';').next().expect("a cookie").to_owned();
    let place = opened.header("location").to_owned();
    let page = get(&node, &place, header::COOKIE, &visit).await.text();
    assert!(!page.contains("Wang") && !page.contains(&study), "{page}");
    let root = format!("{place}/pseudonyms/LAB/");
    let href = format!("{root}{}", between(&page, &root, "\""));
    assert_eq!(get(&node, &href, header::COOKIE, &visit).await.status, 200);
    assert_eq!(get(&node, &href, header::COOKIE, "").await.header("location"), "/l/ended");
    let found = get(&node, &format!("{place}/dicom-web/studies"), header::COOKIE, &visit).await;
    assert_eq!(found.json().as_array().map(Vec::len), Some(0));
}
