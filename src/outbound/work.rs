//! Works off a list of objects over several associations at a time.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt;
use metrics::counter;
use qianli_dimse::scu::{Answer, ScuError};
use qianli_dimse::{Status, StatusClass};
use qianli_model::TransferSyntax;
use qianli_model::destination::Trouble;
use qianli_model::incident::{Tongue, named};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::io::StreamReader;
use tokio_util::task::AbortOnDropHandle;

use super::connect::CallError;
use super::plan::{self, Proposal, candidates};
use super::pool::{Lease, Line, Pressure};
use super::source::{OpenError, Ready, Source, limited, prepare};
use super::{Delivered, Failure, Fate, Sending};

/// One call.
struct Run {
    line: Arc<Line>,
    source: Arc<dyn Source>,
    sending: Sending,
    fates: Mutex<Vec<Option<Fate>>>,
}

/// Objects of a call that go over the same kind of associations.
struct Track {
    run: Arc<Run>,
    proposals: Arc<[Proposal]>,
    queue: Mutex<VecDeque<Todo>>,
    /// Associations that work on it now.
    leases: AtomicU32,
    /// Tells those who still wait for an association that there is nothing left to do.
    through: Notify,
}

/// An object that is still to be sent.
struct Todo {
    at: usize,
    /// How often it failed for now.
    attempts: u32,
    /// Transfer syntaxes that it turned out not to be had in.
    unsuitable: Vec<&'static str>,
}

/// An object that is being opened.
struct Ahead {
    todo: Todo,
    context: u8,
    syntax: TransferSyntax,
    ready: AbortOnDropHandle<Result<Ready, OpenError>>,
}

/// Why an association is not needed any more by who had it.
enum Driven {
    /// There is nothing left to do.
    Empty,
    /// Others of a higher priority need it.
    Yield,
    /// Others need one, and we have several.
    Spared,
    /// The peer had closed it before it was used again.
    Stale,
    /// It broke; something was acknowledged on it before, or not.
    Lost { acknowledged: bool },
    /// The call was cancelled.
    Cancelled,
}

/// Sends everything of a source and says what became of it.
pub(super) async fn run(
    line: Arc<Line>,
    source: Arc<dyn Source>,
    sending: Sending,
) -> Vec<Delivered> {
    let items = source.items();
    let lanes = plan::lanes(items, &line.to, |from, to| source.can_send(from, to));
    sending.progress.send_modify(|progress| progress.remaining = items.len() as u64);
    let fates = Mutex::new(items.iter().map(|_| None).collect());
    let run = Arc::new(Run { line, source: Arc::clone(&source), sending, fates });
    for lane in lanes {
        let todo = |at: &usize| Todo { at: *at, attempts: 0, unsuitable: Vec::new() };
        let track = Arc::new(Track {
            run: Arc::clone(&run),
            proposals: lane.proposals.into(),
            queue: Mutex::new(lane.objects.iter().map(todo).collect()),
            leases: AtomicU32::new(0),
            through: Notify::new(),
        });
        let most = run.line.to.associations.min(run.sending.associations.unwrap_or(u32::MAX));
        let window = u32::try_from(lane.objects.len()).unwrap_or(u32::MAX).min(most).max(1);
        // Somebody who gave up because others were at work may have been wrong: they too gave up.
        while !track.queue().is_empty() && !run.sending.cancel.is_cancelled() {
            let mut workers = JoinSet::new();
            for number in 0..window {
                workers.spawn(worker(Arc::clone(&track), number > 0));
            }
            while let Some(ended) = workers.join_next().await {
                if ended.is_err() {
                    track.give_up("the sender failed unexpectedly", true);
                }
            }
        }
    }
    let mut fates = run.fates.lock().unwrap_or_else(PoisonError::into_inner);
    let fates = std::mem::take(&mut *fates);
    let fate = |fate: Option<Fate>| fate.unwrap_or(Fate::Cancelled);
    items
        .iter()
        .zip(fates)
        .map(|(item, one)| Delivered { sop_instance: item.sop_instance.clone(), fate: fate(one) })
        .collect()
}

/// Holds one association at a time for as long as there is something to do.
async fn worker(track: Arc<Track>, is_spare: bool) {
    let Run { line, sending, .. } = &*track.run;
    let mut failures = 0;
    loop {
        let through = track.through.notified();
        tokio::pin!(through);
        // From here on nothing is missed.
        through.as_mut().enable();
        if track.queue().is_empty() {
            return;
        }
        let leased = tokio::select! {
            () = sending.cancel.cancelled() => return,
            () = through => return,
            leased = line.lease(&track.proposals, sending.priority) => leased,
        };
        let mut lease = match leased {
            Ok(lease) => lease,
            // A peer that takes fewer associations than was thought still takes the first; what it
            // did not come to is done by the next round of workers.
            Err(_) if is_spare => return,
            Err(error) => {
                failures += 1;
                if track.cannot_call(&error, failures) {
                    return;
                }
                track.pause(failures).await;
                continue;
            }
        };
        lease.association.set_priority(sending.priority);
        track.leases.fetch_add(1, Ordering::Relaxed);
        let driven = track.drive(&mut lease).await;
        let others = track.leases.fetch_sub(1, Ordering::Relaxed) > 1;
        if !others && track.queue().is_empty() {
            track.through.notify_waiters();
        }
        match driven {
            Driven::Empty => return line.give_back(lease),
            Driven::Yield => line.give_back(lease),
            Driven::Spared => return line.give_back(lease),
            Driven::Stale => drop(lease),
            Driven::Cancelled => return lease.association.abort().await,
            Driven::Lost { acknowledged } => {
                failures = if acknowledged { 1 } else { failures + 1 };
                drop(lease);
                track.pause(failures).await;
            }
        }
    }
}

impl Track {
    fn queue(&self) -> MutexGuard<'_, VecDeque<Todo>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits before the next try, unless the call is cancelled.
    async fn pause(&self, failures: u32) {
        if failures == 0 {
            return;
        }
        let sending = &self.run.sending;
        tokio::select! {
            () = sending.cancel.cancelled() => {}
            () = tokio::time::sleep(sending.patience.pause_after(failures)) => {}
        }
    }

    /// The destination cannot be called. True when everything was given up over that.
    fn cannot_call(&self, error: &CallError, failures: u32) -> bool {
        let to = &self.run.line.to;
        let over = !error.is_transient() || failures >= self.run.sending.patience.calls;
        tracing::warn!(
            to = %to.title,
            address = to.address,
            cause = self.run.sending.cause,
            failures,
            "cannot call {} ({}): {error}{}",
            to.title,
            to.address,
            if over { "; given up" } else { "; it is tried again" },
        );
        if over {
            let trouble = error.trouble();
            let asked = match trouble {
                Trouble::Service => {
                    let classes: BTreeSet<_> =
                        self.proposals.iter().map(|(class, _)| named(class.as_str())).collect();
                    format!(" for {}", classes.into_iter().collect::<Vec<_>>().join(", "))
                }
                _ => String::new(),
            };
            let advice = trouble.advice(Tongue::English);
            let words = format!("cannot call {}: {error}{asked}. {advice}", to.title);
            self.give_up(&words, error.is_transient());
        }
        over
    }

    /// Gives up everything that is still to be sent.
    fn give_up(&self, words: &str, is_transient: bool) {
        let left = std::mem::take(&mut *self.queue());
        for todo in left {
            let failure = Failure { status: None, words: words.to_owned(), is_transient };
            self.decide(todo.at, Fate::Failed(failure), 0);
        }
    }

    /// Notes what became of an object.
    fn decide(&self, at: usize, fate: Fate, bytes: u64) {
        let result = match &fate {
            Fate::Sent => "sent",
            Fate::Warned(..) => "warned",
            Fate::Failed(_) | Fate::Cancelled => "failed",
        };
        let cause = self.run.sending.cause;
        counter!("qianli_outbound_instances_total", "result" => result, "cause" => cause)
            .increment(1);
        counter!("qianli_outbound_bytes_total", "cause" => cause).increment(bytes);
        if let Fate::Failed(failure) = &fate {
            let sop_instance = self.run.source.items().get(at).map(|one| one.sop_instance.as_str());
            let to = &self.run.line.to.title;
            tracing::warn!(sop_instance, %to, cause, "did not send an instance: {}", failure.words);
        }
        self.run.sending.progress.send_modify(|progress| {
            progress.remaining = progress.remaining.saturating_sub(1);
            progress.bytes += bytes;
            match &fate {
                Fate::Sent => progress.sent += 1,
                Fate::Warned(..) => progress.warned += 1,
                Fate::Failed(_) | Fate::Cancelled => progress.failed += 1,
            }
        });
        if let Some(listener) = &self.run.sending.fates {
            // Whoever does not listen any more misses nothing: the answer has it too.
            let _ = listener.send((at, fate.clone()));
        }
        let mut fates = self.run.fates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = fates.get_mut(at) {
            *place = Some(fate);
        }
    }

    /// Takes the next object that this association can carry and begins to open it. Others that it
    /// cannot carry are given up: every association of the track has the same contexts.
    fn next(&self, lease: &Lease) -> Option<Ahead> {
        loop {
            let todo = self.queue().pop_front()?;
            let item = self.run.source.items().get(todo.at)?;
            let source = &self.run.source;
            let possible =
                candidates(item.syntax, &self.run.line.to, |from, to| source.can_send(from, to));
            let chosen = possible.into_iter().find_map(|syntax| {
                let suits = !todo.unsuitable.contains(&syntax.uid());
                let context = lease.association.context(item.sop_class.as_str(), syntax);
                context.filter(|_| suits).map(|context| (context.id, syntax))
            });
            if let Some((context, syntax)) = chosen {
                let opening = prepare(Arc::clone(source), todo.at, syntax);
                let ready = AbortOnDropHandle::new(tokio::spawn(opening));
                return Some(Ahead { todo, context, syntax, ready });
            }
            let failure = Failure {
                status: None,
                words: format!(
                    "{} takes {} in no transfer syntax that it can be sent in (it is in {})",
                    self.run.line.to.title,
                    named(item.sop_class.as_str()),
                    item.syntax.name()
                ),
                is_transient: false,
            };
            self.decide(todo.at, Fate::Failed(failure), 0);
        }
    }

    /// Sends one object after the other.
    async fn drive(&self, lease: &mut Lease) -> Driven {
        let mut acknowledged = false;
        let mut next = self.next(lease);
        loop {
            let Some(ahead) = next.take() else { return Driven::Empty };
            if self.run.sending.cancel.is_cancelled() {
                return Driven::Cancelled;
            }
            let several = self.leases.load(Ordering::Relaxed) > 1;
            let gives_way = match self.run.line.pressure(self.run.sending.priority) {
                Pressure::Higher => Some(Driven::Yield),
                Pressure::Equal if several => Some(Driven::Spared),
                Pressure::Equal | Pressure::None => None,
            };
            if let Some(why) = gives_way.filter(|_| acknowledged) {
                self.queue().push_front(ahead.todo);
                return why;
            }
            let Ahead { mut todo, context, syntax, ready } = ahead;
            let ready = tokio::select! {
                () = self.run.sending.cancel.cancelled() => return Driven::Cancelled,
                ready = ready => ready.unwrap_or_else(|error| {
                    Err(OpenError::Unreadable(error.to_string()))
                }),
            };
            next = self.next(lease);
            let ready = match ready {
                Ok(ready) => ready,
                Err(OpenError::Unsuitable(words)) => {
                    tracing::debug!(syntax = syntax.name(), "cannot send in this: {words}");
                    todo.unsuitable.push(syntax.uid());
                    self.queue().push_front(todo);
                    next = next.or_else(|| self.next(lease));
                    continue;
                }
                Err(OpenError::Unreadable(words)) => {
                    let words = format!("cannot read it: {words}");
                    self.later(todo, None, words, false).await;
                    next = next.or_else(|| self.next(lease));
                    continue;
                }
            };
            let result = self.store(lease, &todo, context, ready).await;
            let Some((result, bytes)) = result else { return Driven::Cancelled };
            match result {
                Ok(answer) => {
                    acknowledged = true;
                    lease.is_used = false;
                    self.answered(todo, answer, bytes).await;
                    next = next.or_else(|| self.next(lease));
                }
                Err(error) => {
                    if let Some(ahead) = next.take() {
                        self.queue().push_front(ahead.todo);
                    }
                    if lease.is_used {
                        self.queue().push_front(todo);
                        return Driven::Stale;
                    }
                    self.later(todo, None, error.to_string(), true).await;
                    return Driven::Lost { acknowledged };
                }
            }
        }
    }

    /// Sends one object; `None` when the call was cancelled meanwhile.
    async fn store(
        &self,
        lease: &mut Lease,
        todo: &Todo,
        context: u8,
        ready: Ready,
    ) -> Option<(Result<Answer, ScuError>, u64)> {
        let item = self.run.source.items().get(todo.at)?;
        let bytes = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&bytes);
        let content = ready.content.inspect(move |chunk| {
            let length = chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
            counted.fetch_add(length, Ordering::Relaxed);
        });
        let content = StreamReader::new(limited(content.boxed(), &self.run.line));
        let sending = &self.run.sending;
        let storing = lease.association.store(
            context,
            &item.sop_class,
            &ready.sop_instance,
            sending.originator.as_ref(),
            content,
        );
        let result = tokio::select! {
            biased;
            () = sending.cancel.cancelled() => return None,
            result = storing => result,
        };
        Some((result, bytes.load(Ordering::Relaxed)))
    }

    async fn answered(&self, todo: Todo, answer: Answer, bytes: u64) {
        let Answer { status, comment } = answer;
        match status.class() {
            StatusClass::Success => self.decide(todo.at, Fate::Sent, bytes),
            StatusClass::Warning => self.decide(todo.at, Fate::Warned(status, comment), bytes),
            _ => {
                let words = match &comment {
                    Some(comment) => format!("{status}: {comment}"),
                    None => status.to_string(),
                };
                // PS3.4 table B.2-1: the peer may have room again in a while.
                let for_now = matches!(status.code(), 0xA700..=0xA7FF);
                self.later(todo, Some(status), words, for_now).await;
            }
        }
    }

    /// An object failed: it is tried again later, unless that makes no sense or was done often
    /// enough.
    async fn later(&self, mut todo: Todo, status: Option<Status>, words: String, for_now: bool) {
        todo.attempts += 1;
        if for_now && todo.attempts < self.run.sending.patience.objects {
            let attempts = todo.attempts;
            self.queue().push_back(todo);
            if status.is_some() {
                self.pause(attempts).await;
            }
            return;
        }
        let failure = Failure { status, words, is_transient: for_now };
        self.decide(todo.at, Fate::Failed(failure), 0);
    }
}
