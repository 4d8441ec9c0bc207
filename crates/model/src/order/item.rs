//! A scheduled step as an item of the modality worklist: the return keys of PS3.4 table K.6-1 that an
//! order has, as a DICOM JSON object.

use serde_json::{Map, Value, json};

use super::{Code, Order, Step};
use crate::tag::Tag;

/// Everything that is known of one step of an order. `None` when there is no such step.
pub fn worklist_item(order: &Order, step: usize) -> Option<Map<String, Value>> {
    let step = order.steps.get(step)?;
    let mut item = Item::default();
    item.text("00080050", "SH", &order.accession);
    item.name("00080090", &order.referring);
    item.items("00081110", Vec::new());
    item.items("00081120", Vec::new());
    let patient = &order.patient;
    item.name("00100010", &patient.name);
    item.text("00100020", "LO", &patient.id);
    item.text("00100021", "LO", &patient.issuer);
    item.text("00100030", "DA", &patient.birth_date);
    item.text("00100040", "CS", &patient.sex);
    item.text("00101020", "DS", &patient.size);
    item.text("00101030", "DS", &patient.weight);
    item.text("00102000", "LO", &patient.alerts);
    item.text("00102110", "LO", &patient.allergies);
    let pregnancy: Option<u16> = patient.pregnancy.parse().ok();
    item.set("001021C0", "US", pregnancy.map(Value::from));
    let procedure = &order.procedure;
    item.text("0020000D", "UI", &procedure.study_uid);
    item.name("00321032", &order.requesting);
    item.text("00321033", "LO", &order.service);
    item.text("00321060", "LO", &procedure.description);
    item.codes("00321064", std::slice::from_ref(&procedure.code));
    item.text("00380010", "LO", &patient.admission);
    item.text("00380050", "LO", &patient.needs);
    item.text("00380300", "LO", &patient.location);
    item.text("00380500", "LO", &patient.state);
    item.items("00400100", vec![scheduled(step)]);
    item.text("00401001", "SH", &procedure.id);
    item.text("00401002", "LO", &procedure.reason);
    item.text("00401003", "SH", &procedure.priority);
    item.text("00401004", "LO", &procedure.transport);
    item.text("00401400", "LT", &procedure.comments);
    item.text("00402016", "LO", &order.placer);
    item.text("00402017", "LO", &order.filler);
    item.text("00403001", "LO", "");
    Some(item.0)
}

fn scheduled(step: &Step) -> Map<String, Value> {
    let mut item = Item::default();
    item.text("00080060", "CS", &step.modality);
    item.text("00321070", "LO", &step.contrast);
    item.text("00400001", "AE", &step.station_ae);
    item.text("00400002", "DA", &step.start_date);
    item.text("00400003", "TM", &step.start_time);
    item.name("00400006", &step.performer);
    item.text("00400007", "LO", &step.description);
    item.codes("00400008", &step.protocol);
    item.text("00400009", "SH", &step.id);
    item.text("00400010", "SH", &step.station_name);
    item.text("00400011", "SH", &step.location);
    item.text("00400012", "LO", &step.medication);
    item.text("00400020", "CS", step.status.as_str());
    item.0
}

#[derive(Default)]
struct Item(Map<String, Value>);

impl Item {
    fn set(&mut self, tag: &str, vr: &str, value: Option<Value>) {
        let element = match value {
            Some(value) => json!({"vr": vr, "Value": [value]}),
            None => json!({ "vr": vr }),
        };
        self.0.insert(tag.to_owned(), element);
    }

    fn text(&mut self, tag: &str, vr: &str, text: &str) {
        self.set(tag, vr, (!text.is_empty()).then(|| text.into()));
    }

    fn name(&mut self, tag: &str, name: &str) {
        let groups = crate::name::groups(name);
        let groups: Map<String, Value> = [
            ("Alphabetic", groups.alphabetic),
            ("Ideographic", groups.ideographic),
            ("Phonetic", groups.phonetic),
        ]
        .into_iter()
        .filter(|(_, group)| !group.is_empty())
        .map(|(key, group)| (key.to_owned(), group.into()))
        .collect();
        self.set(tag, "PN", (!groups.is_empty()).then_some(Value::Object(groups)));
    }

    fn items(&mut self, tag: &str, items: Vec<Map<String, Value>>) {
        let items: Vec<Value> = items.into_iter().map(Value::Object).collect();
        self.0.insert(tag.to_owned(), json!({"vr": "SQ", "Value": items}));
    }

    fn codes(&mut self, tag: &str, codes: &[Code]) {
        let one = |code: &Code| {
            let mut item = Self::default();
            item.text("00080100", "SH", &code.value);
            item.text("00080102", "SH", &code.scheme);
            item.text("00080104", "LO", &code.meaning);
            item.0
        };
        self.items(tag, codes.iter().filter(|code| !code.is_empty()).map(one).collect());
    }
}

/// Of an item what an identifier asks for (PS3.4 K.4.1.1.3): its keys, those of a sequence by the
/// keys of its item, all of it where the sequence is empty. What is not known comes back empty.
pub fn answer_to(asked: &Map<String, Value>, known: &Map<String, Value>) -> Map<String, Value> {
    let mut answer = Map::new();
    for (name, key) in asked {
        let Some(tag) = Tag::from_hex(name) else { continue };
        if tag.is_group_length() || tag.is_private() {
            continue;
        }
        let Some(found) = known.get(name) else {
            let vr = key.get("vr").cloned().unwrap_or_else(|| "UN".into());
            answer.insert(name.clone(), json!({ "vr": vr }));
            continue;
        };
        let keys = key.get("Value").and_then(Value::as_array).and_then(|items| items.first());
        let keys = keys.and_then(Value::as_object).filter(|keys| !keys.is_empty());
        let items = found.get("Value").and_then(Value::as_array);
        let is_sequence = found.get("vr").and_then(Value::as_str) == Some("SQ");
        let element = match (is_sequence, keys, items) {
            (true, Some(keys), Some(items)) => {
                let items: Vec<Value> = items
                    .iter()
                    .filter_map(Value::as_object)
                    .map(|item| Value::Object(answer_to(keys, item)))
                    .collect();
                json!({"vr": "SQ", "Value": items})
            }
            _ => found.clone(),
        };
        answer.insert(name.clone(), element);
    }
    answer
}
