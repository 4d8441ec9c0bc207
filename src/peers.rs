//! Who may open an association, decided in memory: the register of peers as it was a few seconds ago
//! at most, and the settings for those whom it does not know. What was decided is noted afterwards.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use qianli_catalog::Catalog;
use qianli_catalog::peers::{Refusals, RefusedPeer, SeenPeer};
use qianli_dimse::association::{AssociationInfo, AssociationRequest, Rejection, RejectionReason};
use qianli_model::peer::{Admission, Calling, Certificate, Known, Register};
use qianli_model::{AeTitle, Role, TenantId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::app::now_ms;
use crate::config::UnknownPeers;

/// How often it is asked whether the register changed.
const REFRESH: Duration = Duration::from_secs(4);

/// Notes that wait to be written; more are dropped, and said to be.
const WAITING: usize = 4096;

/// How long notes are gathered before they are written together.
const GATHER: Duration = Duration::from_secs(1);

/// Refusals that one writing keeps apart; the others are only counted.
const KEPT_APART: usize = 64;

/// How often the use of a row is noted (ms).
const NOTED: i64 = 60_000;

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
}

/// A note about an association, or about what its peer was refused.
#[derive(Debug)]
enum Note {
    Refused(RefusedPeer, i64),
    Seen(SeenPeer),
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
        let at_ms = now_ms();
        match self.policy.decide(&register, &who) {
            Ok(admission) => {
                if let Some(rule) = admission.rule {
                    let address = request.peer.ip().to_canonical().to_string();
                    self.note(Note::Seen(SeenPeer { rule, address, at_ms }));
                }
                Ok(admission)
            }
            Err((word, rejection)) => {
                let tenant = register.owner(&request.called).unwrap_or(TenantId::DEFAULT);
                let certificate = request.certificate.as_ref();
                let refused = RefusedPeer {
                    tenant: tenant.0,
                    calling: request.calling.to_string(),
                    called: request.called.to_string(),
                    address: request.peer.ip().to_canonical().to_string(),
                    certificate: certificate.map(|one| one.sha256.clone()).unwrap_or_default(),
                    reason: word.to_owned(),
                };
                self.note(Note::Refused(refused, at_ms));
                Err(rejection)
            }
        }
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
        (now.tenant == info.admission.tenant).then_some(now)
    }

    fn note(&self, note: Note) {
        if self.notes.try_send(note).is_err() {
            metrics::counter!("qianli_dimse_peer_notes_dropped_total").increment(1);
            tracing::warn!("too many associations to note each: some are not in the audit trail");
        }
    }
}

impl Policy {
    /// Decides, or says why not: in a word for programs, and in a line for the log.
    fn decide(
        &self,
        register: &Register,
        who: &Calling<'_>,
    ) -> Result<Admission, (&'static str, Rejection)> {
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
            return Err(("called title", Rejection::new(CalledAeTitleNotRecognised, line)));
        }
        let refuse = |word, line| Err((word, Rejection::new(CallingAeTitleNotRecognised, line)));
        let version = register.version();
        match register.find(who) {
            Known::Rule(rule) if rule.disabled => refuse(
                "switched off",
                format!("{calling} is registered as peer {} and switched off", rule.id),
            ),
            Known::Rule(rule) => Ok(Admission {
                tenant: rule.tenant,
                permissions: rule.permissions,
                rule: Some(rule.id),
                version,
            }),
            Known::Ambiguous(one, other) => {
                let line = format!(
                    "{calling} at {address} is registered by two tenants alike (peers {} and {}): \
                     give one of the rows an address or a called AE title",
                    one.id, other.id
                );
                Err(("two tenants", Rejection::new(NoReasonGiven, line)))
            }
            Known::Elsewhere(rule) => refuse(
                "registered elsewhere",
                format!(
                    "{calling} is registered as peer {}, but not from {address}{}; correct the row, \
                     or find out who calls",
                    rule.id,
                    shown(certificate)
                ),
            ),
            Known::Unknown => {
                let listed = self.calling.is_empty() || self.calling.contains(calling);
                if self.unknown == UnknownPeers::Refuse || !listed {
                    let what = match self.unknown {
                        UnknownPeers::Refuse => "",
                        UnknownPeers::Accept => ", or list it in calling_aets",
                    };
                    return refuse(
                        "unknown",
                        format!(
                            "{calling} at {address} is not registered; add it at /peers or with \
                             `qianli peer add {calling} --from {address}`{what}"
                        ),
                    );
                }
                let permissions = Role::Modality.permissions();
                let tenant = owner.unwrap_or(TenantId::DEFAULT);
                Ok(Admission { tenant, permissions, rule: None, version })
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

async fn write_notes(catalog: &Catalog, mut notes: mpsc::Receiver<Note>, stop: &CancellationToken) {
    let mut arrived = Vec::new();
    let mut noted: HashMap<i64, i64> = HashMap::new();
    loop {
        let stopping = tokio::select! {
            _ = notes.recv_many(&mut arrived, WAITING) => false,
            () = stop.cancelled() => true,
        };
        if !stopping {
            tokio::select! {
                () = tokio::time::sleep(GATHER) => {}
                () = stop.cancelled() => {}
            }
        }
        while let Ok(note) = notes.try_recv() {
            arrived.push(note);
        }
        let (refused, uncounted, seen) = fold(arrived.drain(..), &mut noted);
        if !(refused.is_empty() && uncounted == 0 && seen.is_empty())
            && let Err(error) = catalog.note_peers(&refused, uncounted, &seen).await
        {
            tracing::error!(%error, "who called and was refused is not in the audit trail");
        }
        if stopping {
            return;
        }
    }
}

/// Brings equal notes together, within limits: whoever calls chooses the titles.
fn fold(
    notes: impl Iterator<Item = Note>,
    noted: &mut HashMap<i64, i64>,
) -> (Vec<Refusals>, i64, Vec<SeenPeer>) {
    let mut refused: HashMap<RefusedPeer, Refusals> = HashMap::new();
    let mut uncounted = 0;
    let mut seen = HashMap::new();
    for note in notes {
        match note {
            Note::Refused(peer, at_ms) => {
                if !refused.contains_key(&peer) && refused.len() >= KEPT_APART {
                    uncounted += 1;
                    continue;
                }
                let first =
                    Refusals { peer: peer.clone(), times: 0, first_ms: at_ms, last_ms: at_ms };
                let refusals = refused.entry(peer).or_insert(first);
                refusals.times += 1;
                refusals.last_ms = refusals.last_ms.max(at_ms);
            }
            Note::Seen(one) => {
                let before = noted.get(&one.rule).copied().unwrap_or_default();
                if one.at_ms.saturating_sub(before) >= NOTED {
                    noted.insert(one.rule, one.at_ms);
                    seen.insert(one.rule, one);
                }
            }
        }
    }
    (refused.into_values().collect(), uncounted, seen.into_values().collect())
}
