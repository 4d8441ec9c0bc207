//! The register of peers: rows of one tenant, titles of one tenant, refusals that are remembered.

use qianli_model::incident::{Cause, Incident};
use qianli_model::peer::{Calling, Coercions, Known, TitlePattern};
use qianli_model::scope::Principal;
use qianli_model::{AeTitle, Permission, Permissions, Scope, TenantId};

use super::fixture::{number, other_tenant, scope};
use crate::peers::{IncidentsOf, NewPeer, Noted, PeerAdded, PeerChange, PeerChanged, SeenPeer};
use crate::{AuditFilter, Catalog};

super::on_both!(
    rows_are_of_one_tenant_and_raise_the_version,
    rows_are_changed_with_a_trail,
    titles_belong_to_one_tenant,
    administrators_speak_for_their_own_titles_only,
    incidents_are_remembered_and_refusals_audited,
);

fn title(text: &str) -> AeTitle {
    AeTitle::parse(text).unwrap()
}

fn peer(calling: &str, called: Option<&str>) -> NewPeer {
    NewPeer {
        label: "扫描仪".into(),
        calling: TitlePattern::parse(calling).unwrap(),
        called: called.map(title),
        network: Some("10.1.0.0/16".parse().unwrap()),
        certificate: None,
        permissions: Permissions::of(&[Permission::Store]),
        coercions: Coercions::default(),
        at_ms: 1000,
    }
}

fn made(added: PeerAdded) -> i64 {
    let PeerAdded::Made(id) = added else { panic!("{added:?}") };
    id
}

async fn rows_are_of_one_tenant_and_raise_the_version(catalog: &Catalog) {
    let other = other_tenant(catalog).await;
    let before = catalog.peer_register(0).await.unwrap().unwrap().version();
    assert!(catalog.peer_register(before).await.unwrap().is_none());
    let id = made(catalog.add_peer(&scope(), &peer("CT1", None)).await.unwrap());
    let again = catalog.add_peer(&scope(), &peer("CT1", None)).await.unwrap();
    assert_eq!(again, PeerAdded::Taken(id));
    made(catalog.add_peer(&other, &peer("CT1", None)).await.unwrap());
    let register = catalog.peer_register(before).await.unwrap().unwrap();
    assert_eq!(register.version(), before + 2);
    let rows = catalog.peers(&scope()).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].rule.id, rows[0].rule.label.as_str()), (id, "扫描仪"));
    assert_eq!(rows[0].rule.permissions.names(), "store");
    assert_eq!(rows[0].rule.network.unwrap().to_string(), "10.1.0.0/16");
    let seen = SeenPeer { rule: id, address: "10.1.2.3".into(), at_ms: 7000 };
    catalog.note_peers(&[], 0, &[seen]).await.unwrap();
    let rows = catalog.peers(&scope()).await.unwrap();
    assert_eq!((rows[0].seen_ms, rows[0].seen_from.as_str()), (7000, "10.1.2.3"));
    assert!(!catalog.set_peer_disabled(&other, id, true).await.unwrap(), "another tenant's");
    assert!(!catalog.remove_peer(&other, id).await.unwrap());
    assert!(catalog.set_peer_disabled(&scope(), id, true).await.unwrap());
    assert!(catalog.peers(&scope()).await.unwrap()[0].rule.disabled);
    assert!(catalog.remove_peer(&scope(), id).await.unwrap());
    assert_eq!(catalog.peers(&scope()).await.unwrap(), []);
    assert_eq!(catalog.peer_register(0).await.unwrap().unwrap().version(), before + 4);
    let audited = "SELECT COUNT(*) FROM audit WHERE action = 'change peer'";
    assert_eq!(number(catalog, audited).await, 4);
}

async fn rows_are_changed_with_a_trail(catalog: &Catalog) {
    let other = other_tenant(catalog).await;
    let id = made(catalog.add_peer(&scope(), &peer("CT1", None)).await.unwrap());
    let before = catalog.peer_register(0).await.unwrap().unwrap().version();
    let nothing = PeerChange::default();
    let same = catalog.change_peer(&scope(), id, &nothing, 5).await.unwrap();
    assert!(matches!(same, PeerChanged::Now(rule) if rule.permissions.names() == "store"));
    assert!(catalog.peer_register(before).await.unwrap().is_none(), "nothing changed");
    let wider = PeerChange {
        permissions: Some(Permissions::of(&[Permission::Store, Permission::Read])),
        network: Some(None),
        label: Some("MR".into()),
        coercions: Coercions::from_text(r#"{"charset":"gbk","issuer":"A"}"#),
        ..PeerChange::default()
    };
    let missing = catalog.change_peer(&other, id, &wider, 6).await.unwrap();
    assert_eq!(missing, PeerChanged::Missing, "another tenant's");
    let PeerChanged::Now(now) = catalog.change_peer(&scope(), id, &wider, 6).await.unwrap() else {
        panic!("not changed")
    };
    let row = catalog.peers(&scope()).await.unwrap().remove(0);
    assert_eq!(row.rule, *now);
    assert_eq!((now.network, now.label.as_str()), (None, "MR"));
    assert_eq!(now.permissions.names(), "read,store");
    assert_eq!(catalog.peer_register(0).await.unwrap().unwrap().version(), before + 1);
    let register = catalog.peer_register(0).await.unwrap().unwrap();
    assert_eq!(register.coercions(id).unwrap().issuer, "A");
    let second = made(catalog.add_peer(&scope(), &peer("CT1", None)).await.unwrap());
    let alike = PeerChange { network: Some(None), ..PeerChange::default() };
    let taken = catalog.change_peer(&scope(), second, &alike, 7).await.unwrap();
    assert_eq!(taken, PeerChanged::Taken(id));
    let filter = AuditFilter::default();
    let trail = catalog.audit(&scope(), &filter, 50).await.unwrap();
    let said: Vec<_> = trail.iter().map(|row| row.entry.details.as_str()).collect();
    let change = said.iter().find(|text| text.contains("\"change\"")).unwrap();
    let change: serde_json::Value = serde_json::from_str(change).unwrap();
    assert_eq!(change["was"]["permissions"], "store");
    assert_eq!(change["is"]["permissions"], "read,store");
    assert_eq!(change["was"]["network"], "10.1.0.0/16");
    assert_eq!(change["is"]["coercions"]["charset"], "gbk");
    assert!(change["is"].get("certificate").is_none(), "only what is different: {change}");
}

async fn titles_belong_to_one_tenant(catalog: &Catalog) {
    let other = other_tenant(catalog).await;
    let (ours, theirs) = (title("A_AE"), title("B_AE"));
    assert!(catalog.claim_title(&other, &theirs, 5).await.unwrap());
    assert!(catalog.claim_title(&other, &theirs, 6).await.unwrap(), "again is no harm");
    assert!(!catalog.claim_title(&scope(), &theirs, 7).await.unwrap());
    assert!(catalog.claim_title(&scope(), &ours, 8).await.unwrap());
    assert_eq!(catalog.tenant_titles(&other).await.unwrap(), ["B_AE"]);
    let register = catalog.peer_register(0).await.unwrap().unwrap();
    assert_eq!(register.owner(&theirs), Some(TenantId(2)));
    assert!(!catalog.release_title(&scope(), &theirs).await.unwrap());
    assert!(catalog.release_title(&other, &theirs).await.unwrap());
    assert!(catalog.claim_title(&scope(), &theirs, 9).await.unwrap());
    let audited = "SELECT COUNT(*) FROM audit WHERE action = 'change tenant'";
    assert_eq!(number(catalog, audited).await, 4);
}

async fn administrators_speak_for_their_own_titles_only(catalog: &Catalog) {
    let other = other_tenant(catalog).await;
    catalog.claim_title(&other, &title("B_AE"), 5).await.unwrap();
    let person = Principal::Person(1, "chief".into());
    let theirs = Scope::new(other.tenant(), person.clone(), Permissions::ALL);
    let ours = Scope::new(TenantId::DEFAULT, person, Permissions::ALL);
    for (scope, called, fine) in [
        (&theirs, None, false),
        (&theirs, Some("QIANLI"), false),
        (&theirs, Some("B_AE"), true),
        (&ours, None, true),
        (&other, None, true),
        (&other, Some("QIANLI"), false),
    ] {
        let added = catalog.add_peer(scope, &peer("*", called)).await.unwrap();
        let expected = matches!(added, PeerAdded::Made(_));
        assert_eq!(expected, fine, "{called:?} {:?}: {added:?}", scope.principal());
        assert!(fine || added == PeerAdded::NotYourTitle);
    }
    let register = catalog.peer_register(0).await.unwrap().unwrap();
    let (calling, called) = (title("CT9"), title("B_AE"));
    let address = "10.1.9.9".parse().unwrap();
    let who = Calling { calling: &calling, called: &called, address, certificate: None };
    assert!(matches!(register.find(&who), Known::Rule(rule) if rule.tenant == TenantId(2)));
}

fn noted(cause: Cause, calling: &str, at_ms: i64) -> Noted {
    let incident = Incident {
        calling: calling.into(),
        called: "QIANLI".into(),
        ..Incident::new(cause, [192, 0, 2, 1].into()).about("1.2.3")
    };
    Noted { tenant: TenantId::DEFAULT, incident, times: 2, first_ms: at_ms, last_ms: at_ms }
}

async fn incidents_are_remembered_and_refusals_audited(catalog: &Catalog) {
    let other = other_tenant(catalog).await;
    let everybody = IncidentsOf::Everybody;
    let refused = |calling: &str, at_ms| noted(Cause::Unknown, calling, at_ms);
    let day = 24 * 3600 * 1000;
    catalog.note_peers(&[refused("OLD", 5)], 0, &[]).await.unwrap();
    catalog.note_peers(&[refused("CT1", 40 * day)], 0, &[]).await.unwrap();
    catalog.note_peers(&[refused("CT1", 40 * day + 5)], 3, &[]).await.unwrap();
    let found = catalog.incidents(&scope(), everybody, 10).await.unwrap();
    assert_eq!(found.len(), 1, "what is old is forgotten");
    assert_eq!((found[0].times, found[0].first_ms, found[0].last_ms), (4, 40 * day, 40 * day + 5));
    assert_eq!(found[0].incident, refused("CT1", 0).incident);
    assert_eq!(catalog.incidents(&other, everybody, 10).await.unwrap(), []);
    let requests = "SELECT CAST(SUM(requests) AS BIGINT) FROM audit WHERE action = 'access denied'
        AND outcome = 'refused'";
    assert_eq!(number(catalog, requests).await, 9);

    let context =
        Incident { version: "OLD_1".into(), ..noted(Cause::AbstractSyntax, "CT1", 0).incident };
    let context = Noted { incident: context, ..noted(Cause::AbstractSyntax, "CT1", 41 * day) };
    let admitted = noted(Cause::Admitted, "CT1", 41 * day);
    catalog.note_peers(&[context.clone(), admitted.clone()], 0, &[]).await.unwrap();
    assert_eq!(number(catalog, requests).await, 9, "only who was kept out is audited");
    assert_eq!(catalog.incidents(&scope(), everybody, 10).await.unwrap().len(), 2);
    for name in ["CT1", "192.0.2.1"] {
        let found = catalog.incidents(&scope(), IncidentsOf::Peer(name), 10).await.unwrap();
        let found: Vec<_> = found.iter().map(|one| one.incident.cause).collect();
        assert_eq!(found, [Cause::AbstractSyntax, Cause::Admitted, Cause::Unknown], "{name}");
    }
    assert_eq!(catalog.incidents(&scope(), IncidentsOf::Peer("CT2"), 10).await.unwrap(), []);

    let many: Vec<Noted> = (0..600).map(|at| refused(&format!("X{at}"), 41 * day + at)).collect();
    catalog.note_peers(&many, 0, &[]).await.unwrap();
    let left = catalog.incidents(&scope(), everybody, 1000).await.unwrap();
    assert!(left.len() <= 502, "{}", left.len());
    assert!(left.contains(&context), "strangers push out nothing but strangers");
    made(catalog.add_peer(&scope(), &peer("X599", None)).await.unwrap());
    let left = catalog.incidents(&scope(), everybody, 1000).await.unwrap();
    assert!(left.iter().all(|one| one.incident.calling != "X599"), "settled");
}
