//! Who may open an association, decided in memory: the register of peers as it was a few seconds ago
//! at most, and the settings for those whom it does not know. What was decided is noted afterwards, and
//! so is everything else that goes wrong with peers (`notes`).

mod notes;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use qianli_catalog::Catalog;
use qianli_catalog::peers::SeenPeer;
use qianli_dimse::association::{
    AssociationInfo, AssociationRequest, IdentityKind, Rejection, RejectionReason,
};
use qianli_model::incident::{Cause, Incident};
use qianli_model::peer::{Admission, Calling, Certificate, Coercions, Known, Register};
use qianli_model::{AeTitle, Permission, Permissions, Role, TenantId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::notes::{Note, write_notes};
use crate::app::now_ms;
use crate::config::{Config, DimseIdentity, UnknownPeers};

/// How often it is asked whether the register changed.
const REFRESH: Duration = Duration::from_secs(4);

/// Notes that wait to be written; more are dropped, and said to be.
const WAITING: usize = 4096;

/// What the settings say about peers.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Our AE title.
    pub aet: AeTitle,
    /// Whether a peer must call us by it, or by a title of a tenant.
    pub check_called: bool,
    /// Who may call without a row in the register; empty for everyone.
    pub calling: Vec<AeTitle>,
    /// Whether anybody may call without a row in the register.
    pub unknown: UnknownPeers,
    /// What becomes of user identities.
    pub identity: DimseIdentity,
    /// What they may do then.
    pub unknown_may: Permissions,
}

/// Decides about associations.
pub struct Gate {
    policy: Policy,
    register: RwLock<Arc<Register>>,
    notes: mpsc::Sender<Note>,
}

/// What keeps a [`Gate`] up to date and writes its notes.
pub struct GateKeeper {
    gate: Arc<Gate>,
    catalog: Catalog,
    notes: mpsc::Receiver<Note>,
}

impl Gate {
    /// Reads the register, so that the first peer meets it.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub async fn open(
        catalog: &Catalog,
        policy: Policy,
    ) -> anyhow::Result<(Arc<Self>, GateKeeper)> {
        let register = catalog.peer_register(0).await?.unwrap_or_default();
        let (sender, receiver) = mpsc::channel(WAITING);
        let register = RwLock::new(Arc::new(register));
        let gate = Arc::new(Self { policy, register, notes: sender });
        let keeper =
            GateKeeper { gate: Arc::clone(&gate), catalog: catalog.clone(), notes: receiver };
        Ok((gate, keeper))
    }

    fn register(&self) -> Arc<Register> {
        Arc::clone(&self.register.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Decides about an association, and notes what was decided.
    ///
    /// # Errors
    ///
    /// It is refused.
    pub fn admit(&self, request: &AssociationRequest) -> Result<Admission, Rejection> {
        let register = self.register();
        let who = Calling {
            calling: &request.calling,
            called: &request.called,
            address: request.peer.ip(),
            certificate: request.certificate.as_ref(),
        };
        let admission = self.policy.decide(&register, &who)?;
        let proves_nothing =
            request.identity.as_ref().is_none_or(|one| one.kind == IdentityKind::Username);
        if self.policy.identity == DimseIdentity::Require && proves_nothing {
            let line = format!("{} shows no user identity that proves anything", request.calling);
            let rejection = Rejection::new(RejectionReason::NoReasonGiven, line);
            return Err(rejection.because(Cause::NoIdentity));
        }
        if let Some(rule) = admission.rule {
            let address = request.peer.ip().to_canonical().to_string();
            self.note(Note::Seen(SeenPeer { rule, address, at_ms: now_ms() }));
        }
        Ok(admission)
    }

    /// What becomes of user identities.
    pub fn identities(&self) -> DimseIdentity {
        self.policy.identity
    }

    /// Takes note of what went wrong with a peer, or that one was admitted. Without a tenant, it is that
    /// of the called AE title.
    pub fn record(&self, tenant: Option<TenantId>, incident: Incident) {
        let owner = || self.register().owner(&AeTitle::parse(&incident.called).ok()?);
        let tenant = tenant.or_else(owner).unwrap_or(TenantId::DEFAULT);
        self.note(Note::Incident(tenant, Box::new(incident), now_ms()));
    }

    /// What a peer may still do, in the middle of its association. `None` when it would be refused
    /// now, or when it would work in another tenant.
    pub fn still(&self, info: &AssociationInfo) -> Option<Admission> {
        let register = self.register();
        if register.version() == info.admission.version {
            return Some(info.admission);
        }
        let who = Calling {
            calling: &info.calling,
            called: &info.called,
            address: info.peer.ip(),
            certificate: info.certificate.as_ref(),
        };
        let now = self.policy.decide(&register, &who).ok()?;
        let before = info.admission;
        (now.tenant == before.tenant && now.through == before.through).then_some(now)
    }

    /// How the objects of a peer are read now, when not as they are.
    pub fn coercions(&self, info: &AssociationInfo) -> Option<Arc<Coercions>> {
        // A row of another tenant says nothing of what is stored here.
        let rule = self.still(info).filter(|now| now.through.is_none())?.rule?;
        self.register().coercions(rule)
    }

    fn note(&self, note: Note) {
        if self.notes.try_send(note).is_err() {
            metrics::counter!("qianli_dimse_peer_notes_dropped_total").increment(1);
            tracing::warn!(
                "too much went wrong with peers to note each: some is not in the audit trail"
            );
        }
    }
}

impl Policy {
    /// The policy of a node with these settings.
    pub fn of(config: &Config) -> Self {
        Self {
            aet: config.aet.clone(),
            check_called: config.check_called_aet,
            calling: config.calling_aets.clone(),
            unknown: config.unknown_peers,
            identity: config.dimse_identity,
            // Where everybody on this machine may see everything anyway, a workstation may ask too.
            unknown_may: match config.no_auth || config.demo {
                true => Permissions::of(&[Permission::Store, Permission::Read]),
                false => Role::Modality.permissions(),
            },
        }
    }

    /// Decides, or says why not: a cause for programs, and a line for the log.
    ///
    /// # Errors
    ///
    /// The peer is refused.
    pub fn decide(&self, register: &Register, who: &Calling<'_>) -> Result<Admission, Rejection> {
        use RejectionReason::{
            CalledAeTitleNotRecognised, CallingAeTitleNotRecognised, NoReasonGiven,
        };
        let Calling { calling, called, address, certificate } = *who;
        let owner = register.owner(called);
        if self.check_called && owner.is_none() && *called != self.aet {
            let line = format!(
                "{calling} calls {:?}, but we are {:?}; correct the AE title at the sender, give it \
                 to a tenant (qianli tenant ae), or set check_called_aet = false",
                called.as_str(),
                self.aet.as_str()
            );
            return Err(Rejection::new(CalledAeTitleNotRecognised, line));
        }
        let refuse =
            |cause, line| Err(Rejection::new(CallingAeTitleNotRecognised, line).because(cause));
        let version = register.version();
        match register.find(who) {
            Known::Rule(rule) if rule.disabled => refuse(
                Cause::SwitchedOff,
                format!("{calling} is registered as peer {} and switched off", rule.id),
            ),
            Known::Rule(rule) => Ok(Admission {
                tenant: rule.tenant,
                permissions: rule.permissions,
                through: None,
                rule: Some(rule.id),
                version,
            }),
            Known::Ambiguous(one, other) => {
                let line = format!(
                    "{calling} at {address} is registered by two tenants alike (peers {} and {}): \
                     give one of the rows an address or a called AE title",
                    one.id, other.id
                );
                Err(Rejection::new(NoReasonGiven, line).because(Cause::TwoTenants))
            }
            Known::Elsewhere(rule) => refuse(
                Cause::Elsewhere,
                format!(
                    "{calling} is registered as peer {}, but not from {address}{}; correct the row, \
                     or find out who calls",
                    rule.id,
                    shown(certificate)
                ),
            ),
            Known::Unknown => {
                let listed = self.calling.is_empty() || self.calling.contains(calling);
                let refused = self.unknown == UnknownPeers::Refuse || !listed;
                // Over HTTP the path names the tenant whose grants are asked for; here the title does.
                if let (Some(rule), Some(tenant)) = (register.abroad(who), owner) {
                    let (through, rule) = (Some(rule.tenant), Some(rule.id));
                    let permissions = Permissions::NONE;
                    return Ok(Admission { tenant, permissions, through, rule, version });
                }
                // Images of a device that a hospital registered must not end up in another one, because
                // somebody typed the wrong title into it. The operator's list goes before that.
                if !self.calling.contains(calling)
                    && let Some(rule) = register.of_others(who)
                {
                    let title = rule.called.as_ref().map_or_else(
                        || "a title of its hospital".to_owned(),
                        |title| format!("{:?}", title.as_str()),
                    );
                    return refuse(
                        Cause::Elsewhere,
                        format!(
                            "{calling} is registered as peer {} by another tenant, for {title}: it must \
                             not call {:?}; correct the called AE title at the device",
                            rule.id,
                            called.as_str()
                        ),
                    );
                }
                if refused {
                    let what = match self.unknown {
                        UnknownPeers::Refuse => "",
                        UnknownPeers::Accept => ", or list it in calling_aets",
                    };
                    return refuse(
                        Cause::Unknown,
                        format!(
                            "{calling} at {address} is not registered; add it at /peers or with \
                             `qianli peer add {calling} --from {address}`{what}"
                        ),
                    );
                }
                let permissions = self.unknown_may;
                let tenant = owner.unwrap_or(TenantId::DEFAULT);
                Ok(Admission { tenant, permissions, through: None, rule: None, version })
            }
        }
    }
}

fn shown(certificate: Option<&Certificate>) -> String {
    match certificate {
        Some(one) => format!(" with the certificate of {:?} ({})", one.subject, one.sha256),
        None => " without a certificate".to_owned(),
    }
}

impl GateKeeper {
    /// Follows the register and writes notes, until told to stop; what waits then is still written.
    pub async fn run(self, stop: CancellationToken) {
        let Self { gate, catalog, notes } = self;
        let refreshing = async {
            loop {
                tokio::select! {
                    () = catalog.peers_changed().notified() => {}
                    () = tokio::time::sleep(REFRESH) => {}
                }
                refresh(&gate, &catalog).await;
            }
        };
        tokio::select! {
            () = refreshing => {}
            () = write_notes(&catalog, notes, &stop) => {}
        }
    }
}

async fn refresh(gate: &Gate, catalog: &Catalog) {
    let known = gate.register().version();
    match catalog.peer_register(known).await {
        Ok(Some(register)) => {
            tracing::info!(version = register.version(), "the register of DICOM peers changed");
            *gate.register.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(register);
        }
        Ok(None) => {}
        Err(error) => tracing::warn!(
            %error,
            "the register of DICOM peers cannot be read; what was last read still counts"
        ),
    }
}
