//! Share links, sharing by programs, and sharing without the patient's identity.

use axum::http::{Method, header};
use qianli_model::{Permission, Permissions, Role};

use super::access::{PASSWORD, form, get, log_in, person, start, token};
use super::data::Instance;
use super::grants::{BORN, OWNER, between, store, tenant, uids};

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
