//! What this node does for DIMSE peers: glue between the protocol and the archive, without rules of
//! its own beyond who may call.

use async_trait::async_trait;
use bytes::Bytes;
use qianli_archive::{Archive, Format, SpoolWriter};
use qianli_dimse::association::{AssociationRequest, Rejection, RejectionReason, VERIFICATION};
use qianli_dimse::services::{ObjectSink, Services, StoreOutcome, StoreRequest};
use qianli_model::scope::Principal;
use qianli_model::{AeTitle, Provenance, Role, Route, Scope, TenantId};

/// The services of one node.
pub struct NodeServices {
    /// Where instances go.
    pub archive: Archive,
    /// Our AE title.
    pub aet: AeTitle,
    /// Whether a peer must call us by it.
    pub check_called: bool,
    /// Who may call; empty for everyone.
    pub calling: Vec<AeTitle>,
}

/// Whether a presentation context with this abstract syntax is accepted, given whether objects of
/// that class may be stored.
pub(crate) fn accepts(uid: &str, is_stored: bool) -> bool {
    uid == VERIFICATION || is_stored
}

#[async_trait]
impl Services for NodeServices {
    fn admit(&self, request: &AssociationRequest) -> Result<(), Rejection> {
        if self.check_called && request.called != self.aet {
            return Err(Rejection::new(
                RejectionReason::CalledAeTitleNotRecognised,
                format!(
                    "it calls {:?}, but we are {:?}; correct the AE title at the sender, or set \
                     check_called_aet = false",
                    request.called.as_str(),
                    self.aet.as_str()
                ),
            ));
        }
        if !self.calling.is_empty() && !self.calling.contains(&request.calling) {
            return Err(Rejection::new(
                RejectionReason::CallingAeTitleNotRecognised,
                format!("{:?} is not listed; add it to calling_aets", request.calling.as_str()),
            ));
        }
        Ok(())
    }

    fn accepts_abstract_syntax(&self, uid: &str) -> bool {
        accepts(uid, self.archive.accepts_sop_class(uid))
    }

    async fn begin_store(
        &self,
        request: &StoreRequest,
    ) -> Result<Box<dyn ObjectSink>, StoreOutcome> {
        let association = &request.association;
        let peer = association.calling.to_string();
        Ok(Box::new(ArchiveSink {
            archive: self.archive.clone(),
            scope: Scope::new(
                TenantId::DEFAULT,
                Principal::Peer(peer.clone()),
                Role::Modality.permissions(),
            )
            .at(&association.peer.to_string()),
            from: Provenance {
                route: Route::Dimse,
                peer: association.peer.to_string(),
                calling_ae: Some(peer),
                called_ae: Some(association.called.to_string()),
            },
            spool: self.archive.spool(),
            format: Format::DataSet {
                transfer_syntax: request.transfer_syntax,
                sop_class: request.sop_class_uid.to_string(),
                sop_instance: request.sop_instance_uid.to_string(),
            },
        }))
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
