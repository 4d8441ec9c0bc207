//! HL7 v2 over MLLP: takes orders and news of patients, and acknowledges each message when its rows
//! are committed. What messages mean is in [`qianli_model::hl7`].

mod places;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use qianli_catalog::Catalog;
use qianli_catalog::orders::{Applied, Hl7Refusal, MessageId};
use qianli_model::charset::TextEncoding;
use qianli_model::hl7::{Answer, Envelope, Fault, Frame, Frames, acknowledge, enclose, read};
use qianli_model::scope::Principal;
use qianli_model::workitem::instant::date_time;
use qianli_model::{Permission, Permissions, Scope, TenantId};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::app::{App, now_ms};
use crate::config::Hl7Listener;
use crate::tls::Tls;
use places::{Doing, Place, Places};

/// Bytes that are read at once.
const BUFFER: usize = 16 << 10;

/// How long a connection may be silent between messages. Interface engines keep theirs open.
const IDLE: Duration = Duration::from_secs(15 * 60);

/// How long a message may take to arrive once it has begun, a handshake to be done, and an answer to
/// be taken.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long an answer may take when the node is told to stop.
const LAST: Duration = Duration::from_secs(3);

/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// One listener.
#[derive(Clone)]
pub struct Hl7 {
    inner: Arc<Inner>,
}

struct Inner {
    catalog: Catalog,
    settings: Hl7Listener,
    /// Tenants of the receivers, in their order.
    tenants: Vec<TenantId>,
    tls: Option<Arc<Tls>>,
    unlabelled: TextEncoding,
    numbers: AtomicU64,
}

impl Hl7 {
    /// A listener with these settings.
    ///
    /// # Errors
    ///
    /// A tenant that the settings name does not exist, or the catalog does not answer.
    pub async fn new(
        app: &App,
        settings: Hl7Listener,
        tls: Option<Arc<Tls>>,
    ) -> anyhow::Result<Self> {
        let catalog = app.archive.catalog().clone();
        let mut tenants = Vec::new();
        for (_, _, name) in &settings.receivers {
            match catalog.tenant(name).await.context("read the tenants")? {
                Some(tenant) => tenants.push(tenant.id),
                None => bail!(
                    "hl7: there is no tenant {name:?}; `qianli tenant list` names those there are"
                ),
            }
        }
        let unlabelled = app.config.unlabelled_charset;
        let numbers = AtomicU64::new(0);
        let inner = Inner { catalog, settings, tenants, tls, unlabelled, numbers };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Serves until told to stop. Messages that are here as a whole are finished and answered first; of others their
    /// senders hear nothing, and send them again.
    pub async fn run(self, listener: TcpListener, stop: CancellationToken) {
        let places = Arc::new(Places::default());
        let mut tasks = JoinSet::new();
        loop {
            while tasks.try_join_next().is_some() {}
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let Some(place) = places.take(peer.ip(), Instant::now()) else {
                        tracing::warn!(peer = %peer.ip(), "too many HL7 connections at work; hung up");
                        continue;
                    };
                    let (this, stop) = (self.clone(), stop.clone());
                    tasks.spawn(async move { this.inner.serve(stream, peer, &place, &stop).await });
                }
                Err(error) => {
                    tracing::error!(%error, "cannot accept HL7 connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        while tasks.join_next().await.is_some() {}
    }
}

impl Inner {
    async fn serve(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        place: &Place,
        stop: &CancellationToken,
    ) {
        let may = &self.settings.senders;
        if !may.is_empty() && !may.iter().any(|network| network.contains(peer.ip())) {
            tracing::warn!(peer = %peer.ip(), "an HL7 sender is not among `senders`; hung up");
            let fault = Fault::reject(207, "", "the address is not among the senders of [[hl7]]");
            self.note(TenantId::DEFAULT, peer, None, &fault).await;
            return;
        }
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => self.talk(stream, peer, place, stop).await,
            Some(tls) => {
                let acceptor = TlsAcceptor::from(tls.current());
                let done = tokio::select! {
                    done = timeout(PATIENCE, acceptor.accept(stream)) => done,
                    () = place.leave.cancelled() => return,
                    () = stop.cancelled() => return,
                };
                match done {
                    Ok(Ok(stream)) => self.talk(stream, peer, place, stop).await,
                    Ok(Err(error)) => {
                        tracing::warn!(peer = %peer.ip(), %error, "no TLS with an HL7 sender");
                    }
                    Err(_) => tracing::warn!(peer = %peer.ip(), "an HL7 sender began no TLS"),
                }
            }
        }
    }

    async fn talk(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        peer: SocketAddr,
        place: &Place,
        stop: &CancellationToken,
    ) {
        let mut frames = Frames::default();
        let mut buffer = vec![0; BUFFER];
        // A message has one time for all of its bytes: a sender of a byte a minute is none.
        let mut due = tokio::time::Instant::now() + IDLE;
        loop {
            let was_inside = frames.is_inside();
            let doing = if was_inside { Doing::Moving } else { Doing::Waiting };
            place.does(doing, Instant::now());
            let length = tokio::select! {
                () = stop.cancelled() => return,
                () = place.leave.cancelled() => return,
                read = tokio::time::timeout_at(due, stream.read(&mut buffer)) => match read {
                    Ok(Ok(0) | Err(_)) => return,
                    Ok(Ok(length)) => length,
                    Err(_) => {
                        if was_inside {
                            tracing::warn!(peer = %peer.ip(), "an HL7 message did not end; hung up");
                        }
                        return;
                    }
                },
            };
            let mut rest = buffer.get(..length).unwrap_or_default();
            let mut ended = false;
            while !rest.is_empty() {
                let (taken, frame) = frames.take(rest);
                rest = rest.get(taken..).unwrap_or_default();
                let answer = match frame {
                    None => continue,
                    Some(Frame::Message(message)) => {
                        place.does(Doing::Working, Instant::now());
                        self.answer(&message, peer).await
                    }
                    Some(Frame::Broken(why)) => {
                        tracing::warn!(peer = %peer.ip(), "HL7 that is none: {why}; hung up");
                        let fault = Fault::reject(207, "", why);
                        self.note(TenantId::DEFAULT, peer, None, &fault).await;
                        return;
                    }
                };
                ended = true;
                place.does(Doing::Moving, Instant::now());
                let framed = enclose(&answer);
                let late = async {
                    stop.cancelled().await;
                    tokio::time::sleep(LAST).await;
                };
                let written = tokio::select! {
                    written = timeout(PATIENCE, stream.write_all(&framed)) => written,
                    () = place.leave.cancelled() => return,
                    () = late => return,
                };
                match written {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) | Err(_) => return,
                }
            }
            if frames.is_inside() && (ended || !was_inside) {
                due = tokio::time::Instant::now() + PATIENCE;
            } else if !frames.is_inside() {
                due = tokio::time::Instant::now() + IDLE;
            }
        }
    }

    /// Does what a message asks and returns its acknowledgement.
    async fn answer(&self, bytes: &[u8], peer: SocketAddr) -> Vec<u8> {
        let now = now_ms();
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let control_id = format!("{now:X}-{number:X}");
        let moment = date_time(now);
        let moment = moment.get(..14).unwrap_or_default();
        let refuse = |envelope: Option<&Envelope>, fault: &Fault| {
            acknowledge(envelope, &Answer::Refused(fault), moment, &control_id)
        };
        let message = match read(bytes, self.unlabelled) {
            Ok(message) => message,
            Err(refused) => {
                let (envelope, fault) = *refused;
                let tenant = envelope.as_ref().and_then(|one| self.tenant(one));
                let tenant = tenant.unwrap_or(TenantId::DEFAULT);
                self.note(tenant, peer, envelope.as_ref(), &fault).await;
                return refuse(envelope.as_ref(), &fault);
            }
        };
        let envelope = &message.envelope;
        let Some(tenant) = self.tenant(envelope) else {
            let fault = Fault::reject(207, "MSH-5", "and MSH-6 name no receiver of this server");
            self.note(TenantId::DEFAULT, peer, Some(envelope), &fault).await;
            return refuse(Some(envelope), &fault);
        };
        let principal = Principal::Peer(format!("hl7:{}", envelope.sender()));
        let may = Permissions::of(&[Permission::Order]);
        let scope = Scope::new(tenant, principal, may).at(&peer.ip().to_string());
        let id = MessageId {
            sender: envelope.sender(),
            facility: envelope.sending_facility.clone(),
            control_id: envelope.control_id.clone(),
            digest: Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        let random = || uuid::Uuid::new_v4().as_u128();
        let from = ("hl7", Some(&id));
        match self.catalog.apply_orders(&scope, from, &message.commands, random, now).await {
            Ok(Applied::Done(orders)) => {
                tracing::info!(kind = envelope.kind, orders = orders.len(), "took an HL7 message");
                let answer = Answer::Accepted(message.remark);
                acknowledge(Some(envelope), &answer, moment, &control_id)
            }
            Ok(Applied::Before) => {
                let answer = Answer::Accepted("this message was taken before");
                acknowledge(Some(envelope), &answer, moment, &control_id)
            }
            Ok(Applied::Refused(index, refusal)) => {
                let order = index.saturating_add(1);
                let reason = format!("order {order} of the message: {refusal}");
                let fault = Fault::error(204, "ORC", &reason);
                self.note(tenant, peer, Some(envelope), &fault).await;
                refuse(Some(envelope), &fault)
            }
            Err(error) => {
                tracing::error!(%error, "an HL7 message could not be taken");
                let fault = Fault::error(207, "", "the server cannot take it now; send it again");
                refuse(Some(envelope), &fault)
            }
        }
    }

    fn tenant(&self, envelope: &Envelope) -> Option<TenantId> {
        self.tenants.get(self.settings.receiver(envelope)?).copied()
    }

    /// Keeps a refusal for county IT. The log names no more than kind and place.
    async fn note(
        &self,
        tenant: TenantId,
        peer: SocketAddr,
        envelope: Option<&Envelope>,
        fault: &Fault,
    ) {
        let refusal = Hl7Refusal {
            address: peer.ip().to_string(),
            sender: envelope.map(Envelope::sender).unwrap_or_default(),
            control_id: envelope.map(|one| one.control_id.clone()).unwrap_or_default(),
            kind: envelope.map(|one| one.kind.clone()).unwrap_or_default(),
            code: if fault.rejected { "AR" } else { "AE" }.to_owned(),
            place: fault.place.clone(),
            reason: fault.reason.clone(),
            at_ms: now_ms(),
        };
        tracing::warn!(
            peer = refusal.address,
            kind = refusal.kind,
            code = refusal.code,
            "refused an HL7 message: {fault}"
        );
        let scope = Scope::system(tenant, "an HL7 message was refused");
        if let Err(error) = self.catalog.note_hl7_refusal(&scope, &refusal).await {
            tracing::error!(%error, "a refused HL7 message is not on the list");
        }
    }
}
