//! What this node does for DIMSE peers: glue between the protocol and the archive. Who may open an
//! association is decided in `peers`; what each service needs of a peer stands here.

pub(crate) mod commitment;
mod getting;
mod models;
mod moving;
mod mpps;
mod query;
mod retrieval;
mod worklist;

pub(crate) use retrieval::words;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use qianli_archive::{Archive, Format, SpoolWriter};
use qianli_catalog::AuditEntry;
use qianli_dimse::Status;
use qianli_dimse::association::{
    AssociationInfo, AssociationRequest, Behind, Rejection, Rights, UserIdentity, VERIFICATION,
};
use qianli_dimse::exchange::{Exchange, OperationRequest, Reply};
use qianli_dimse::message::Operation;
use qianli_dimse::services::{ObjectSink, Service, Services, StoreOutcome, StoreRequest};
use qianli_model::audit::{Action, Outcome};
use qianli_model::grant::Viewer;
use qianli_model::incident::Incident;
use qianli_model::peer::Admission;
use qianli_model::scope::Principal;
use qianli_model::{Permission, Permissions, Provenance, Refusal, Route, Scope, TenantId};
use qianli_web::WebState;
use serde_json::json;

use crate::app::now_ms;
use crate::outbound::Outbound;
use crate::peers::Gate;
use mpps::{PERFORMED_STEP, PERFORMED_STEP_RETRIEVE};
use worklist::WORKLIST;

/// The services of one node.
pub struct NodeServices {
    /// Where instances go.
    pub archive: Archive,
    /// Who is admitted.
    pub gate: Arc<Gate>,
    /// What sends objects to other nodes.
    pub outbound: Outbound,
    /// Who has accounts and tokens.
    pub people: WebState,
    /// How long a peer gets to say that it keeps what we sent it.
    pub commitment_wait: Duration,
}

/// The service that a presentation context with this abstract syntax is for, given whether objects of
/// that class may be stored.
pub(crate) fn service(uid: &str, is_stored: bool) -> Option<Service> {
    match uid {
        VERIFICATION => Some(Service::Verification),
        commitment::SOP_CLASS => Some(Service::Commitment),
        WORKLIST => Some(Service::Worklist),
        PERFORMED_STEP | PERFORMED_STEP_RETRIEVE => Some(Service::PerformedStep),
        _ => models::service(uid).or_else(|| is_stored.then_some(Service::Storage)),
    }
}

/// What a service needs of a peer; `None` for no more than to be admitted. Without a line here a
/// service does not compile.
pub fn needs(service: Service) -> Option<Permission> {
    match service {
        Service::Verification => None,
        Service::Storage => Some(Permission::Store),
        // Other places than ours are told what may be told to whoever stored it.
        Service::Commitment => Some(Permission::Store),
        Service::Query | Service::Get | Service::Move => Some(Permission::Read),
        // A worklist names patients of whom the peer has stored nothing.
        Service::Worklist | Service::PerformedStep => Some(Permission::Worklist),
    }
}

impl NodeServices {
    /// The scope in which a peer is served, or the refusal of what it may not do: noted in the audit
    /// trail, and told the peer as "Refused: Not Authorized" (PS3.7 annex C).
    async fn scope(&self, who: &AssociationInfo, service: Service) -> Result<Scope, Denied> {
        let principal = match &who.behind {
            Some(behind) => behind.0.principal().clone(),
            None => Principal::Peer(who.calling.to_string()),
        };
        let as_who = |permissions: Permissions| {
            let scope = Scope::new(who.admission.tenant, principal.clone(), permissions);
            scope.at(&who.peer.to_string())
        };
        let denied = match (self.rights(who).await, needs(service)) {
            (None, _) => Denied::NotAdmitted,
            (Some(rights), None) => return Ok(as_who(rights.permissions)),
            (Some(rights), Some(one)) if rights.permissions.allow(one) => {
                return Ok(as_who(rights.permissions));
            }
            (Some(Rights { viewer: Some(viewer), .. }), Some(Permission::Read)) => {
                let catalog = self.archive.catalog();
                match catalog.sharer(&viewer, who.admission.tenant, now_ms()).await {
                    Ok(Some(sharer)) => {
                        let viewer = Viewer { by_rule: sharer.by_rule, ..viewer };
                        return Ok(as_who(Permissions::of(&[Permission::Read])).through(viewer));
                    }
                    Ok(None) => Denied::NothingGranted,
                    Err(error) => {
                        tracing::error!(%error, "it cannot be found out what is granted to a peer");
                        return Err(Denied::Unknown);
                    }
                }
            }
            (Some(_), Some(one)) => Denied::Permission(one),
        };
        let entry = AuditEntry::new(
            &as_who(Permissions::NONE),
            Action::AccessDenied,
            Outcome::Refused,
            now_ms(),
        );
        let entry = entry.with(&json!({
            "what": format!("{service:?}").to_lowercase(),
            "called": who.called.as_str(),
            "reason": denied.reason(),
        }));
        if let Err(error) = self.archive.catalog().note_audit(entry).await {
            tracing::error!(%error, "a refusal is not in the audit trail");
        }
        Err(denied)
    }

    /// What a peer may do at the moment, as the register and the accounts have it now.
    async fn rights(&self, who: &AssociationInfo) -> Option<Rights> {
        let now = self.gate.still(who)?;
        match &who.behind {
            // The row lets the peer in; what it may do, whoever is behind it.
            Some(behind) => behind.0.now().await,
            None => {
                let home = |tenant| Viewer { tenant: Some(tenant), ..Viewer::default() };
                let viewer = now.through.map(home);
                Some(Rights { permissions: now.permissions, viewer })
            }
        }
    }
}

/// Why a service is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Denied {
    /// The register, or the account behind it, lets the peer in no more.
    NotAdmitted,
    /// It lacks a permission.
    Permission(Permission),
    /// The tenant of the called title shares nothing with the peer's own.
    NothingGranted,
    /// It cannot be found out at the moment.
    Unknown,
}

impl Denied {
    /// For the audit trail.
    fn reason(self) -> &'static str {
        match self {
            Self::NotAdmitted => "no longer admitted",
            Self::Permission(_) => "permission",
            Self::NothingGranted => "nothing granted",
            Self::Unknown => "unknown",
        }
    }

    /// What the peer is told.
    fn status(self) -> (Status, String) {
        let refused = Status::new(Refusal::NotAuthorised.code());
        match self {
            Self::NotAdmitted => {
                (refused, "no longer admitted, by the register or by the account shown".into())
            }
            Self::Permission(one) => {
                (refused, format!("this AE title lacks the permission: {}", one.name()))
            }
            Self::NothingGranted => {
                (refused, "nothing is shared with the hospital of this AE title".into())
            }
            Self::Unknown => (Status::OUT_OF_RESOURCES, "try again later".into()),
        }
    }
}

#[async_trait]
impl Services for NodeServices {
    fn admit(&self, request: &AssociationRequest) -> Result<Admission, Rejection> {
        self.gate.admit(request)
    }

    fn note(&self, tenant: Option<TenantId>, incident: Incident) {
        self.gate.record(tenant, incident);
    }

    async fn identify(
        &self,
        request: &AssociationRequest,
        identity: &UserIdentity,
        admission: Admission,
    ) -> Result<Option<Behind>, Rejection> {
        crate::identity::identify(
            &self.people,
            self.gate.identities(),
            request,
            identity,
            admission,
        )
        .await
    }

    fn service(&self, uid: &str) -> Option<Service> {
        service(uid, self.archive.accepts_sop_class(uid))
    }

    async fn begin_store(
        &self,
        request: &StoreRequest,
    ) -> Result<Box<dyn ObjectSink>, StoreOutcome> {
        let association = &request.association;
        let scope = self.scope(association, Service::Storage).await.map_err(|denied| {
            let (status, comment) = denied.status();
            StoreOutcome::with_comment(status, comment)
        })?;
        Ok(Box::new(ArchiveSink {
            archive: self.archive.clone(),
            scope,
            from: Provenance {
                route: Route::Dimse,
                peer: association.peer.to_string(),
                calling_ae: Some(association.calling.to_string()),
                called_ae: Some(association.called.to_string()),
                coercions: self.gate.coercions(association),
            },
            spool: self.archive.spool(),
            format: Format::DataSet {
                transfer_syntax: request.transfer_syntax,
                sop_class: request.sop_class_uid.to_string(),
                sop_instance: request.sop_instance_uid.to_string(),
            },
        }))
    }

    async fn perform(&self, request: OperationRequest, exchange: &mut Exchange) {
        let is_report = matches!(request.operation, Operation::EventReport { .. });
        let service = match request.service {
            // Whoever we asked may answer; the transaction that it names says that we did.
            Service::Commitment if is_report => Service::Verification,
            service => service,
        };
        let scope = match self.scope(&request.association, service).await {
            Ok(scope) => scope,
            Err(denied) => {
                let (status, comment) = denied.status();
                return exchange.reply(Reply::with_comment(status, comment)).await;
            }
        };
        let archive = &self.archive;
        match request.service {
            Service::Query => query::find(archive, &scope, &request, exchange).await,
            Service::Get => getting::perform(archive, &scope, &request, exchange).await,
            Service::Move => {
                moving::perform(archive, &self.outbound, &scope, &request, exchange).await;
            }
            Service::Worklist => self.worklist(&scope, request, exchange).await,
            Service::PerformedStep => self.performed_step(&scope, request, exchange).await,
            Service::Commitment if is_report => {
                let reply =
                    commitment::reported(archive, &scope, &request, self.commitment_wait).await;
                exchange.reply(reply).await;
            }
            Service::Commitment => commitment::perform(archive, &scope, &request, exchange).await,
            _ => exchange.reply(Reply::new(Status::UNRECOGNISED_OPERATION)).await,
        }
    }
}

/// One C-STORE on its way into the archive. Dropping it frees what it held.
struct ArchiveSink {
    archive: Archive,
    scope: Scope,
    from: Provenance,
    spool: SpoolWriter,
    format: Format,
}

#[async_trait]
impl ObjectSink for ArchiveSink {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StoreOutcome> {
        self.spool.write(chunk).await.map_err(StoreOutcome::from)
    }

    async fn finish(self: Box<Self>) -> StoreOutcome {
        let Self { archive, scope, from, spool, format } = *self;
        let calling_ae = from.calling_ae.clone().unwrap_or_default();
        match archive.ingest(&scope, from, spool, format).await {
            Ok(_) => StoreOutcome::success(),
            Err(error) => {
                tracing::warn!(
                    calling_ae,
                    sop_instance = error.sop_instance.as_deref().unwrap_or_default(),
                    status = format!("{:04X}", error.refusal.code()),
                    "refused an instance: {}",
                    error.refusal
                );
                StoreOutcome::from(error.refusal)
            }
        }
    }
}
