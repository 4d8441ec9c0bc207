//! Changes of a task: read, decide, write if nobody was faster; else again.

use qianli_model::reading::{Actor, Ask, Held, Reader, Refusal, State, change};
use qianli_model::{Permission, Permissions, Scope};

use super::{Changed, Task, face, rows, steps};
use crate::Catalog;
use crate::error::{CatalogError, Cause};
use crate::workitem::tx::Tx;

/// How often a change is tried while others change the same task.
const TRIES: usize = 32;

/// A task with its new state, and when that began.
pub(super) fn stamped(task: &Task, held: Held, now_ms: i64) -> Task {
    let mut after = task.clone();
    if held.state != task.held.state {
        match held.state {
            State::Open => (after.claimed_ms, after.final_ms) = (0, 0),
            State::Claimed if task.held.state == State::Done => after.final_ms = 0,
            State::Claimed => after.claimed_ms = now_ms,
            State::Done | State::Cancelled => after.final_ms = now_ms,
        }
    }
    if held.late < task.held.late {
        after.late_seen = after.late_seen.saturating_add(task.held.late.saturating_sub(held.late));
    }
    after.held = held;
    after
}

impl Catalog {
    /// Changes a task of the scope's tenant, or one that it handed out, as `ask` says. Of two readers who claim it at
    /// once, on whatever nodes, one gets it and the other is told who has it. `note` is why, in the words of whoever
    /// asks; `random` makes the numbers of new workitems.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn change_reading(
        &self,
        scope: &Scope,
        id: i64,
        (ask, note): (&Ask, &str),
        random: &(dyn Fn() -> u128 + Sync),
        now_ms: i64,
    ) -> Result<Changed, CatalogError> {
        for _ in 0..TRIES {
            let Some(task) = self.reading_task(scope, id).await? else {
                return Ok(Changed::Absent);
            };
            let by = Actor::of(scope, task.tenant);
            let held = match change(&task.held, &by, ask, now_ms) {
                Ok(held) => held,
                Err(refusal) => return Ok(Changed::Refused(refusal)),
            };
            if *ask == Ask::Second {
                match self.second(scope, &task, note, random, now_ms).await? {
                    Some(made) => return Ok(made),
                    None => continue,
                }
            }
            if held == task.held {
                return Ok(Changed::Done(Box::new(task)));
            }
            let mut after = stamped(&task, held, now_ms);
            let present = face::present(self.db(), &task).await?;
            let mut tx = Tx::of_reading(self.db(), task.tenant.0).await?;
            if !face::write(&mut tx, &mut after, present, random, now_ms).await? {
                continue;
            }
            let on = match (ask, task.held.state) {
                (Ask::Cancel, _) => Some(false),
                (Ask::Reopen, State::Cancelled) => Some(true),
                _ => None,
            };
            let mut audited = Vec::new();
            if let Some(on) = on.filter(|_| task.grant > 0 && task.parent == 0) {
                audited.extend(steps::switch_grant(&mut tx, scope, &task, on, now_ms).await?);
            }
            if !rows::save(&mut tx, &after, now_ms).await? {
                continue;
            }
            let detail = detail(ask);
            let step = steps::Did { did: ask.word(), detail: &detail, note, place: 1 };
            steps::tell(&mut tx, scope, &after, step, now_ms).await?;
            audited.splice(0..0, steps::entries(scope, &after, (ask.word(), &detail), now_ms));
            steps::audit(&mut tx, audited).await?;
            tx.commit().await?;
            after.revision += 1;
            after.updated_ms = now_ms;
            return Ok(Changed::Done(Box::new(after)));
        }
        Err(Self::busy_reading())
    }

    /// Makes the second reading of a task. `None` when somebody was faster and it is to be looked at again.
    async fn second(
        &self,
        scope: &Scope,
        first: &Task,
        note: &str,
        random: &(dyn Fn() -> u128 + Sync),
        now_ms: i64,
    ) -> Result<Option<Changed>, CatalogError> {
        let mut held = first.held.clone();
        held.first_reader = held.reader.take();
        (held.state, held.is_second, held.late) = (State::Open, true, 0);
        held.discrepancy = qianli_model::reading::Discrepancy::None;
        let usual = now_ms.saturating_add(held.priority.minutes().saturating_mul(60_000));
        held.due_ms = held.due_ms.max(usual);
        let mut task = Task {
            id: 0,
            parent: first.id,
            rule: 0,
            held,
            question: note.to_owned(),
            made_by: Reader::of(scope).name,
            made_ms: now_ms,
            claimed_ms: 0,
            final_ms: 0,
            late_seen: 0,
            workitem: String::new(),
            revision: 0,
            ..first.clone()
        };
        let mut tx = Tx::of_reading(self.db(), task.tenant.0).await?;
        let Some(id) = rows::add(&mut tx, &task).await? else {
            return Ok(Some(Changed::Refused(Refusal::SecondAsked)));
        };
        task.id = id;
        if !face::write(&mut tx, &mut task, None, random, now_ms).await? {
            return Ok(None);
        }
        if !rows::save(&mut tx, &task, now_ms).await? {
            return Ok(None);
        }
        let number = id.to_string();
        let step = steps::Did { did: "second", detail: &number, note, place: 1 };
        steps::tell(&mut tx, scope, first, step, now_ms).await?;
        let step = steps::Did { did: "make", detail: "second", note: "", place: 2 };
        steps::tell(&mut tx, scope, &task, step, now_ms).await?;
        steps::audit(&mut tx, steps::entries(scope, first, ("second", &number), now_ms)).await?;
        tx.commit().await?;
        task.revision += 1;
        Ok(Some(Changed::Done(Box::new(task))))
    }

    /// Who reads for the scope's tenant under this login, if somebody does.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn reading_person(
        &self,
        scope: &Scope,
        login: &str,
    ) -> Result<Option<Reader>, CatalogError> {
        let all = self.reading_people(scope).await?;
        Ok(all.into_iter().find(|reader| reader.name == login.to_lowercase()))
    }

    /// Everybody who reads for the scope's tenant, by login.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn reading_people(&self, scope: &Scope) -> Result<Vec<Reader>, CatalogError> {
        let reads = |roles: &[qianli_model::Role]| {
            let all = roles.iter().map(|role| role.permissions());
            all.fold(Permissions::NONE, Permissions::and).allow(Permission::Interpret)
        };
        let people = self.people(scope).await?;
        let readers = people.into_iter().filter(|one| !one.disabled && reads(&one.roles));
        Ok(readers.map(|one| Reader { id: one.id, name: one.login }).collect())
    }

    pub(super) fn busy_reading() -> CatalogError {
        CatalogError::Unavailable(Cause::new("others keep changing the same reading task"))
    }
}

fn detail(ask: &Ask) -> String {
    match ask {
        Ask::Assign(reader) => reader.name.clone(),
        Ask::Prioritise(priority, _) => priority.as_str().to_owned(),
        Ask::Discrepancy(found) => found.as_str().to_owned(),
        _ => String::new(),
    }
}
