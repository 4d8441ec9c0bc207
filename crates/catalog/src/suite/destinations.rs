//! Destinations: of one tenant, changed by their title, and never with their secret in the trail.

use qianli_model::destination::{Destination, DestinationTls, Identity};
use qianli_model::{AeTitle, TransferSyntax};

use super::fixture::{other_tenant, scope};
use crate::{AuditFilter, Catalog};

super::on_both!(destinations_are_of_one_tenant_and_audited);

async fn destinations_are_of_one_tenant_and_audited(catalog: &Catalog) {
    let other = other_tenant(catalog).await;
    let title = AeTitle::parse("WORKSTATION").unwrap();
    let plain = Destination::new(title.clone(), "10.0.0.5:104");
    assert!(catalog.put_destination(&scope(), &plain, 1000).await.unwrap());
    assert_eq!(catalog.destination(&scope(), &title).await.unwrap(), Some(plain));
    assert_eq!(catalog.destination(&other, &title).await.unwrap(), None);
    let full = Destination {
        tls: Some(DestinationTls { server_name: "pacs".into(), authorities: "/etc/ca".into() }),
        syntaxes: vec![TransferSyntax::EXPLICIT_LITTLE, TransferSyntax::IMPLICIT_LITTLE],
        only_these: true,
        associations: 4,
        bandwidth: 1 << 20,
        identity: Some(Identity::Password("ward".into(), "hidden-secret".into())),
        ..Destination::new(title.clone(), "pacs:2762")
    };
    assert!(!catalog.put_destination(&scope(), &full, 2000).await.unwrap(), "changed, not new");
    let rows = catalog.destinations(&scope()).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((&rows[0].destination, rows[0].created_ms), (&full, 2000));
    assert!(!catalog.remove_destination(&other, &title).await.unwrap());
    assert!(catalog.remove_destination(&scope(), &title).await.unwrap());
    assert!(!catalog.remove_destination(&scope(), &title).await.unwrap());
    assert!(catalog.destinations(&scope()).await.unwrap().is_empty());
    let filter = AuditFilter::default();
    let trail = catalog.audit(&scope(), &filter, 50).await.unwrap();
    let said: Vec<&str> = trail.iter().map(|row| row.entry.details.as_str()).collect();
    for did in ["add destination", "change destination", "remove destination"] {
        assert!(said.iter().any(|text| text.contains(did)), "{did}: {said:?}");
    }
    assert!(!said.concat().contains("hidden-secret"), "{said:?}");
}
