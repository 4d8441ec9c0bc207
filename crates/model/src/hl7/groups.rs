//! ORC, OBR, TQ1, IPC, ZDS and NTE: the orders of a message.

use super::fields::{Parsed, Segment};
use super::person::{patient, provider, short, staff};
use super::{Fault, MAX_ORDERS};
use crate::order::{Code, Command, Order, OrderKey, OrderPatient, Procedure, Step, StepState};

/// The segments of one order.
#[derive(Default)]
struct Group<'m, 'a> {
    orc: Option<Segment<'m, 'a>>,
    obr: Option<Segment<'m, 'a>>,
    tq1: Option<Segment<'m, 'a>>,
    zds: Option<Segment<'m, 'a>>,
    ipc: Vec<Segment<'m, 'a>>,
    notes: Vec<String>,
}

/// What a message asks to be done with orders.
pub(super) fn orders(message: &Parsed<'_>) -> Result<Vec<Command>, Fault> {
    let groups = split(message);
    if groups.is_empty() {
        return Err(Fault::error(100, "ORC", "is missing: there is no order"));
    }
    if groups.len() > MAX_ORDERS {
        return Err(Fault::reject(207, "ORC", "stands too often: at most 100 orders are taken"));
    }
    let patient = patient(message)?;
    let referring = message.first("PV1").map(|visit| provider(&visit, 8)).unwrap_or_default();
    let mut commands: Vec<Command> = Vec::new();
    for group in &groups {
        let command = command(group, &patient, &referring)?;
        // Several steps of one procedure come as several orders with the same numbers.
        if let Command::Put(new) = &command
            && let Some(Command::Put(known)) = commands.iter_mut().find(|known| joins(known, new))
        {
            known.steps.extend(new.steps.iter().cloned());
            continue;
        }
        commands.push(command);
    }
    for command in &commands {
        if let Command::Put(order) | Command::Change(order) = command {
            order.check().map_err(|error| {
                let reason = format!("{} {}", error.field, error.reason);
                Fault::error(102, place_of(&error.field), &reason)
            })?;
        }
    }
    Ok(commands)
}

fn joins(known: &Command, new: &Order) -> bool {
    let Command::Put(known) = known else { return false };
    !new.procedure.id.is_empty()
        && !new.accession.is_empty()
        && (&known.accession, &known.procedure.id) == (&new.accession, &new.procedure.id)
        && known.procedure.study_uid == new.procedure.study_uid
}

/// The field that most likely is at fault, for the ERR segment.
fn place_of(field: &str) -> &'static str {
    match field.rsplit('.').next().unwrap_or_default() {
        "name" => "PID-5",
        "birth_date" => "PID-7",
        "accession" => "OBR-18",
        "study_uid" => "ZDS-1",
        "modality" => "OBR-24",
        "start_date" | "start_time" => "TQ1-7",
        "station_ae" => "OBR-21",
        "code" | "value" | "scheme" | "meaning" => "OBR-4",
        "steps" => "OBR",
        _ if field == "patient.id" => "PID-3",
        _ if field.starts_with("steps") => "OBR-20",
        _ if field.starts_with("procedure.id") => "OBR-19",
        _ => "",
    }
}

fn split<'m, 'a>(message: &'m Parsed<'a>) -> Vec<Group<'m, 'a>> {
    let mut groups: Vec<Group<'m, 'a>> = Vec::new();
    for segment in message.segments() {
        let begins = match segment.name() {
            "ORC" => true,
            // An order may come without ORC in old messages.
            "OBR" => groups.last().is_none_or(|group| group.obr.is_some()),
            _ => false,
        };
        if begins {
            groups.push(Group::default());
        }
        let Some(group) = groups.last_mut() else { continue };
        match segment.name() {
            "ORC" => group.orc = Some(segment),
            "OBR" => group.obr = Some(segment),
            "TQ1" if group.tq1.is_none() => group.tq1 = Some(segment),
            "ZDS" => group.zds = Some(segment),
            "IPC" => group.ipc.push(segment),
            "NTE" => group.notes.push(segment.text(3, 1)),
            _ => {}
        }
    }
    groups
}

impl Group<'_, '_> {
    /// A component of a field of ORC.
    fn orc(&self, field: usize, component: usize) -> String {
        self.orc.map(|orc| orc.text(field, component)).unwrap_or_default()
    }

    /// A component of a field of OBR.
    fn obr(&self, field: usize, component: usize) -> String {
        self.obr.map(|obr| obr.text(field, component)).unwrap_or_default()
    }

    /// When it is to be done: TQ1-7, OBR-36, the fourth component of OBR-27 or of ORC-7.
    fn start(&self) -> (String, String) {
        let timed = self.tq1.map(|timing| timing.text(7, 1)).unwrap_or_default();
        let moment = first([timed, self.obr(36, 1), self.obr(27, 4), self.orc(7, 4)]);
        // The zone is left out: a modality of the hospital has its clock.
        let digits: String = moment.chars().take_while(char::is_ascii_digit).collect();
        let date: String = digits.chars().take(8).collect();
        let time: String = digits.chars().skip(8).take(6).collect();
        let whole = time.len() - time.len() % 2;
        (date, time.chars().take(whole).collect())
    }

    fn priority(&self) -> String {
        let timed = self.tq1.map(|timing| timing.text(9, 1)).unwrap_or_default();
        let word = first([timed, self.obr(27, 6), self.orc(7, 6), self.obr(5, 1)]);
        // HL7 table 0485 to (0040,1003).
        match word.chars().next().map(|c| c.to_ascii_uppercase()) {
            Some('S') => "STAT",
            Some('A') => "HIGH",
            Some('R') => "ROUTINE",
            Some('T' | 'P' | 'C') => "MEDIUM",
            _ => "",
        }
        .to_owned()
    }

    /// Numbers: those of IPC before those of OBR before those of the order.
    fn key(&self) -> OrderKey {
        let ipc = |field| self.ipc.first().map(|ipc| ipc.text(field, 1)).unwrap_or_default();
        let zds = self.zds.map(|zds| zds.text(1, 1)).unwrap_or_default();
        let placer = first([self.orc(2, 1), self.obr(2, 1)]);
        let filler = first([self.orc(3, 1), self.obr(3, 1)]);
        let accession = first([ipc(1), self.obr(18, 1), filler.clone(), placer.clone()]);
        OrderKey {
            study_uid: first([ipc(3), zds]),
            accession,
            procedure: first([ipc(2), self.obr(19, 1)]),
            placer: short(&placer),
            filler: short(&filler),
        }
    }

    fn steps(&self) -> Vec<Step> {
        let (start_date, start_time) = self.start();
        let protocol =
            Code { value: self.obr(4, 4), scheme: self.obr(4, 6), meaning: short(&self.obr(4, 5)) };
        let base = Step {
            id: self.obr(20, 1),
            modality: self.obr(24, 1).to_ascii_uppercase(),
            station_ae: self.obr(21, 1),
            start_date,
            start_time,
            performer: self.obr.map(|obr| staff(&obr, 34)).unwrap_or_default(),
            description: short(&first([self.obr(4, 5), self.obr(4, 2), self.obr(4, 1)])),
            protocol: if protocol.is_empty() { Vec::new() } else { vec![protocol] },
            ..Step::default()
        };
        if self.ipc.is_empty() {
            return vec![base];
        }
        let one = |ipc: &Segment<'_, '_>| {
            let code = Code {
                value: ipc.text(6, 1),
                scheme: ipc.text(6, 3),
                meaning: short(&ipc.text(6, 2)),
            };
            Step {
                id: first([ipc.text(4, 1), base.id.clone()]),
                modality: first([ipc.text(5, 1).to_ascii_uppercase(), base.modality.clone()]),
                station_name: ipc.text(7, 1),
                location: ipc.text(8, 1),
                station_ae: first([ipc.text(9, 1), base.station_ae.clone()]),
                description: first([code.meaning.clone(), base.description.clone()]),
                protocol: if code.is_empty() { base.protocol.clone() } else { vec![code] },
                ..base.clone()
            }
        };
        self.ipc.iter().map(one).collect()
    }
}

fn command(
    group: &Group<'_, '_>,
    patient: &OrderPatient,
    referring: &str,
) -> Result<Command, Fault> {
    let key = group.key();
    let control = group.orc(1, 1).to_ascii_uppercase();
    let new = match control.as_str() {
        // Without ORC an order is new.
        "NW" | "PA" | "CH" | "RO" => true,
        "" if group.orc.is_none() => true,
        "XO" | "XX" | "RP" | "RU" => false,
        "CA" | "OC" => return Ok(Command::Cancel(key)),
        "DC" | "OD" => return Ok(Command::Discontinue(key)),
        "SC" | "SN" | "OE" => return status(group, key),
        "" => return Err(Fault::error(101, "ORC-1", "is missing")),
        _ => {
            let taken = "is an order control that is not taken; NW, XO, CA, DC and SC are";
            return Err(Fault::error(103, "ORC-1", taken));
        }
    };
    if group.obr.is_none() {
        return Err(Fault::error(100, "OBR", "is missing: nothing is ordered"));
    }
    let code = |field| Code {
        value: group.obr(field, 1),
        scheme: group.obr(field, 3),
        meaning: short(&group.obr(field, 2)),
    };
    let requested = if group.obr(44, 1).is_empty() { code(4) } else { code(44) };
    let description = short(&first([requested.meaning.clone(), group.obr(4, 2), group.obr(4, 1)]));
    let comments: Vec<String> = [vec![group.obr(13, 1)], group.notes.clone()]
        .concat()
        .into_iter()
        .filter(|t| !t.is_empty())
        .collect();
    let clean = |c: char| if c == '\\' { '/' } else { c };
    let ordering = group.obr.map(|obr| provider(&obr, 16)).unwrap_or_default();
    let entered = group.orc.map(|orc| provider(&orc, 12)).unwrap_or_default();
    let requesting = first([ordering, entered]);
    let mut patient = patient.clone();
    patient.state = short(&first([group.obr(12, 2), group.obr(12, 1)]));
    let order = Box::new(Order {
        patient,
        accession: key.accession,
        placer: key.placer,
        filler: key.filler,
        referring: first([referring.to_owned(), requesting.clone()]),
        requesting,
        service: short(&first([group.orc(17, 2), group.orc(17, 1)])),
        procedure: Procedure {
            id: key.procedure,
            description,
            code: requested,
            study_uid: key.study_uid,
            priority: group.priority(),
            reason: short(&first([group.obr(31, 2), group.obr(31, 1)])),
            comments: comments.join("\n").chars().map(clean).take(1000).collect(),
            transport: short(&group.obr(30, 1)),
        },
        steps: group.steps(),
    });
    Ok(if new { Command::Put(order) } else { Command::Change(order) })
}

/// A status of ORC-5 (HL7 table 0038).
fn status(group: &Group<'_, '_>, key: OrderKey) -> Result<Command, Fault> {
    let step = group.obr(20, 1);
    let state = match group.orc(5, 1).to_ascii_uppercase().as_str() {
        "SC" => StepState::Scheduled,
        "A" | "AR" => StepState::Arrived,
        "IP" => StepState::Started,
        "CM" => StepState::Completed,
        "CA" => return Ok(Command::Cancel(key)),
        "DC" => return Ok(Command::Discontinue(key)),
        _ => {
            let taken = "is a status that is not taken; SC, A, IP, CM, CA and DC are";
            return Err(Fault::error(103, "ORC-5", taken));
        }
    };
    Ok(Command::Advance(key, step, state))
}

/// The first text that is not empty.
fn first<const N: usize>(texts: [String; N]) -> String {
    texts.into_iter().find(|text| !text.is_empty()).unwrap_or_default()
}
