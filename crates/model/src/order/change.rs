//! What a command makes of an order: new and changed orders, cancellation, news of a patient.

use super::{Order, OrderPatient, Step, StepState};

/// By what somebody outside names an order. Empty parts say nothing; the first that is known decides.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OrderKey {
    /// Study Instance UID.
    pub study_uid: String,
    /// Accession Number.
    pub accession: String,
    /// Requested Procedure ID.
    pub procedure: String,
    /// Placer order number.
    pub placer: String,
    /// Filler order number.
    pub filler: String,
}

impl OrderKey {
    /// The key of an order.
    pub fn of(order: &Order) -> Self {
        Self {
            study_uid: order.procedure.study_uid.clone(),
            accession: order.accession.clone(),
            procedure: order.procedure.id.clone(),
            placer: order.placer.clone(),
            filler: order.filler.clone(),
        }
    }
}

/// What is to be done to the orders of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A new order; known steps of a known order are replaced, others added.
    Put(Box<Order>),
    /// A change of a known order, as [`Command::Put`]; unknown orders are refused.
    Change(Box<Order>),
    /// A step goes to a state, or all steps (no ID) do.
    Advance(OrderKey, String, StepState),
    /// It is not to be done; refused once a modality has begun.
    Cancel(OrderKey),
    /// It is given up, also when it has begun.
    Discontinue(OrderKey),
    /// What is known of a patient, for orders that are not finished.
    Patient(Box<OrderPatient>),
    /// The orders of one patient ID are another's: what was merged away, and the one that stays.
    Merge(Box<OrderPatient>, Box<OrderPatient>),
}

/// Why an order cannot be changed as asked. The texts hold no values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OrderRefusal {
    /// No order has these numbers.
    #[error("no order with these numbers is known")]
    Unknown,
    /// The numbers belong to an order of another patient.
    #[error("the order with these numbers is of another patient")]
    OtherPatient,
    /// A modality has begun, or it is finished.
    #[error("the procedure has begun or is finished and cannot be changed so")]
    HasBegun,
    /// The same numbers under another Study Instance UID.
    #[error("the order with these numbers has another Study Instance UID")]
    OtherStudy,
    /// The same Study Instance UID under an order of another sending facility.
    #[error("the order with this Study Instance UID is another facility's")]
    OtherFacility,
    /// More steps than an order can have.
    #[error("the order would have too many steps")]
    TooManySteps,
}

/// The order after a command that names it, `known` being what is there.
///
/// # Errors
///
/// See [`OrderRefusal`]. News of patients are no matter of one order and are refused as unknown.
pub fn apply(known: &Order, command: &Command) -> Result<Order, OrderRefusal> {
    let mut order = known.clone();
    match command {
        Command::Put(new) | Command::Change(new) => {
            let same_patient = new.patient.id == known.patient.id
                && (new.patient.issuer == known.patient.issuer
                    || new.patient.issuer.is_empty()
                    || known.patient.issuer.is_empty());
            if !same_patient {
                return Err(OrderRefusal::OtherPatient);
            }
            merge(&mut order, new)?;
        }
        Command::Advance(_, step, next) => {
            let wanted = |one: &&mut Step| step.is_empty() || one.id == *step;
            let mut met = false;
            for one in order.steps.iter_mut().filter(wanted) {
                met = true;
                // Finished steps of an order that goes on as a whole stay as they are.
                if !(step.is_empty() && one.status.is_final()) {
                    go(one, *next)?;
                }
            }
            if !met {
                return Err(OrderRefusal::Unknown);
            }
            // Of an order that is finished nothing moves, and whoever asks shall know.
            if step.is_empty()
                && order == *known
                && order.steps.iter().any(|one| one.status != *next)
            {
                return Err(OrderRefusal::HasBegun);
            }
        }
        Command::Cancel(_) => {
            if order.steps.iter().any(|step| step.status.has_begun()) {
                return Err(OrderRefusal::HasBegun);
            }
            for step in &mut order.steps {
                go(step, StepState::Discontinued)?;
            }
        }
        Command::Discontinue(_) => {
            if order.steps.iter().all(|step| step.status == StepState::Completed) {
                return Err(OrderRefusal::HasBegun);
            }
            for step in order.steps.iter_mut().filter(|step| !step.status.is_final()) {
                step.status = StepState::Discontinued;
            }
        }
        Command::Patient(_) | Command::Merge(..) => return Err(OrderRefusal::Unknown),
    }
    Ok(order)
}

fn go(step: &mut Step, next: StepState) -> Result<(), OrderRefusal> {
    if !step.status.may_become(next) {
        return Err(OrderRefusal::HasBegun);
    }
    step.status = next;
    Ok(())
}

/// Takes over what a message says and keeps what it leaves out. A step that has begun stays where it
/// was scheduled: the modality has it that way.
fn merge(order: &mut Order, new: &Order) -> Result<(), OrderRefusal> {
    let uid = &new.procedure.study_uid;
    if !uid.is_empty() && *uid != order.procedure.study_uid {
        return Err(OrderRefusal::OtherStudy);
    }
    patient(&mut order.patient, &new.patient);
    let take = |to: &mut String, from: &String| {
        if !from.is_empty() {
            to.clone_from(from);
        }
    };
    take(&mut order.accession, &new.accession);
    take(&mut order.placer, &new.placer);
    take(&mut order.filler, &new.filler);
    take(&mut order.referring, &new.referring);
    take(&mut order.requesting, &new.requesting);
    take(&mut order.service, &new.service);
    let (to, from) = (&mut order.procedure, &new.procedure);
    take(&mut to.id, &from.id);
    take(&mut to.description, &from.description);
    take(&mut to.priority, &from.priority);
    take(&mut to.reason, &from.reason);
    take(&mut to.comments, &from.comments);
    take(&mut to.transport, &from.transport);
    if !from.code.is_empty() {
        to.code = from.code.clone();
    }
    let alone = order.steps.len() == 1 && new.steps.len() == 1;
    for step in &new.steps {
        let is_meant = |one: &Step| one.id == step.id || (alone && step.id.is_empty());
        let full = order.steps.len() >= super::MAX_STEPS;
        match order.steps.iter_mut().find(|one| is_meant(one)) {
            Some(one) if one.status.has_begun() || one.status.is_final() => {
                if step.status != StepState::Scheduled {
                    go(one, step.status)?;
                }
            }
            Some(one) => {
                let id = std::mem::take(&mut one.id);
                *one = Step { id, ..step.clone() };
            }
            None if full => return Err(OrderRefusal::TooManySteps),
            None => order.steps.push(step.clone()),
        }
    }
    Ok(())
}

/// Takes over what is said of a patient; the ID stays.
pub fn patient(to: &mut OrderPatient, from: &OrderPatient) {
    for (to, from) in [
        (&mut to.issuer, &from.issuer),
        (&mut to.name, &from.name),
        (&mut to.birth_date, &from.birth_date),
        (&mut to.sex, &from.sex),
        (&mut to.weight, &from.weight),
        (&mut to.size, &from.size),
        (&mut to.alerts, &from.alerts),
        (&mut to.allergies, &from.allergies),
        (&mut to.state, &from.state),
        (&mut to.needs, &from.needs),
        (&mut to.pregnancy, &from.pregnancy),
        (&mut to.location, &from.location),
        (&mut to.admission, &from.admission),
    ] {
        if !from.is_empty() {
            to.clone_from(from);
        }
    }
}

impl Order {
    /// Takes over news of its patient. With `merged` the ID becomes the one that stays.
    pub fn hear_of(&mut self, news: &OrderPatient, merged: bool) {
        patient(&mut self.patient, news);
        if merged {
            self.patient.id.clone_from(&news.id);
        }
    }
}
