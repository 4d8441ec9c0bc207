//! What becomes of a task that somebody wants to change.

use super::{Actor, Ask, Discrepancy, Held, Reader, Refusal, State};

/// The task afterwards; the same as before where nothing changes.
///
/// # Errors
///
/// Why not.
pub fn change(task: &Held, by: &Actor, ask: &Ask, now_ms: i64) -> Result<Held, Refusal> {
    let mut after = task.clone();
    let is_reader = task.reader.as_ref() == Some(&by.reader) && !by.is_owner_only;
    let hands_out = by.dispatches && !by.is_owner_only;
    let wrong = Err(Refusal::WrongState(task.state));
    match ask {
        Ask::Claim => {
            if !by.interprets || by.is_owner_only {
                return Err(Refusal::NotAllowed);
            }
            match (task.state, &task.reader) {
                (State::Claimed, Some(reader)) if *reader != by.reader => {
                    return Err(Refusal::Taken(reader.name.clone()));
                }
                (State::Claimed, _) => {}
                (State::Open, _) => give(&mut after, &by.reader)?,
                _ => return wrong,
            }
        }
        Ask::Assign(reader) => {
            if !hands_out {
                return Err(Refusal::NotAllowed);
            }
            if task.state.is_final() {
                return wrong;
            }
            give(&mut after, reader)?;
        }
        Ask::Release => match task.state {
            State::Claimed if is_reader || hands_out => {
                after.state = State::Open;
                after.reader = None;
            }
            State::Claimed => return Err(Refusal::NotAllowed),
            _ => return wrong,
        },
        Ask::Finish => match (task.state, &task.reader) {
            (State::Claimed, _) if is_reader && by.interprets => after.state = State::Done,
            (State::Claimed, Some(reader)) if by.interprets && !by.is_owner_only => {
                return Err(Refusal::Taken(reader.name.clone()));
            }
            (State::Claimed, _) => return Err(Refusal::NotAllowed),
            _ => return wrong,
        },
        Ask::Prioritise(priority, minutes) => {
            // The hospital that waits may say that it waits; whoever reads may notice it first.
            let notices = by.interprets && !by.is_owner_only;
            if !by.dispatches && !notices {
                return Err(Refusal::NotAllowed);
            }
            if task.state.is_final() {
                return wrong;
            }
            let from_now = |minutes: i64| now_ms.saturating_add(minutes.saturating_mul(60_000));
            let usual = priority.minutes();
            after.due_ms = match minutes {
                Some(minutes) => from_now(*minutes),
                None if *priority < task.priority => task.due_ms.min(from_now(usual)),
                None if *priority > task.priority => {
                    task.due_ms.max(task.begun_ms.saturating_add(usual.saturating_mul(60_000)))
                }
                None => task.due_ms,
            };
            after.priority = *priority;
            after.touched = true;
        }
        Ask::Second => {
            if !is_reader && !hands_out {
                return Err(Refusal::NotAllowed);
            }
            if task.is_second {
                return Err(Refusal::SecondAsked);
            }
            if task.state == State::Cancelled || task.state == State::Open {
                return wrong;
            }
        }
        Ask::Discrepancy(found) => {
            if !(by.interprets || by.dispatches) || by.is_owner_only {
                return Err(Refusal::NotAllowed);
            }
            if !matches!(task.state, State::Claimed | State::Done) {
                return wrong;
            }
            after.discrepancy = *found;
        }
        Ask::Cancel => {
            if !by.dispatches {
                return Err(Refusal::NotAllowed);
            }
            if task.state.is_final() {
                return wrong;
            }
            after.state = State::Cancelled;
        }
        Ask::Reopen => match task.state {
            // What was shared for the reading ended with it: only the hospital can share it again.
            State::Cancelled if by.dispatches && (by.is_owner_only || !task.is_foreign) => {
                after.state = State::Open;
                after.reader = None;
            }
            State::Done if is_reader || hands_out => after.state = State::Claimed,
            State::Cancelled | State::Done => return Err(Refusal::NotAllowed),
            _ => return wrong,
        },
        Ask::SeeLate => {
            if !((is_reader && by.interprets) || hands_out) {
                return Err(Refusal::NotAllowed);
            }
            if task.late == 0 {
                return Err(Refusal::NothingLate);
            }
            after.late = 0;
        }
    }
    if after.state == State::Open {
        after.discrepancy = Discrepancy::None;
    }
    Ok(after)
}

fn give(after: &mut Held, reader: &Reader) -> Result<(), Refusal> {
    if after.is_second && after.first_reader.as_ref() == Some(reader) {
        return Err(Refusal::SameReader);
    }
    after.state = State::Claimed;
    after.reader = Some(reader.clone());
    Ok(())
}
