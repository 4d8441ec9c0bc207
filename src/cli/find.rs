//! `qianli find`: a C-FIND query to a DIMSE peer, answers as a line of DICOM JSON each.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context, bail};
use qianli_dimse::scu::FindStep;
use qianli_dimse::{ProposedContext, StatusClass};
use qianli_model::dataset::{Limits, SliceSource};
use qianli_model::{Tag, TransferSyntax, json, tag};

use super::peer::Callee;
use super::say::say;
use crate::config::Config;

/// Study Root Query/Retrieve Information Model - FIND (PS3.4 C.6.2.3).
pub(super) const STUDY_ROOT_FIND: &str = "1.2.840.10008.5.1.4.1.2.2.1";
/// Patient Root Query/Retrieve Information Model - FIND (PS3.4 C.6.1.3).
pub(super) const PATIENT_ROOT_FIND: &str = "1.2.840.10008.5.1.4.1.2.1.1";
/// Query/Retrieve Level.
pub(super) const QUERY_RETRIEVE_LEVEL: Tag = tag::tag(0x0008, 0x0052);

/// The level of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum QueryLevel {
    Patient,
    Study,
    Series,
    Image,
}

/// Arguments of `qianli find`.
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    callee: Callee,
    /// What is asked for.
    #[arg(long, value_enum, default_value = "study")]
    level: QueryLevel,
    /// A key to match or, without a value, to return: PatientName='WANG*', 00080020=20260101-.
    #[arg(short, long = "key", value_name = "KEY[=VALUE]")]
    keys: Vec<String>,
    /// Ask for relational queries (PS3.4 section C.5.1): keys of any level, without those above.
    #[arg(long)]
    relational: bool,
}

/// Queries and prints one JSON object per match.
pub(super) async fn run(config: Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let identifier = identifier(arguments.level, &arguments.keys)?;
    let sop_class = match arguments.level {
        QueryLevel::Patient => PATIENT_ROOT_FIND,
        _ => STUDY_ROOT_FIND,
    };
    let syntax = TransferSyntax::IMPLICIT_LITTLE;
    let mut proposed = ProposedContext::new(sop_class, [syntax]);
    if arguments.relational {
        proposed = proposed.with_extended([1]);
    }
    let reached = arguments.callee.reach(&config).await?;
    let title = &reached.to.title;
    let mut association = reached.connect(&[proposed]).await?;
    let Some(context) = association.context(sop_class, syntax).map(|accepted| accepted.id) else {
        return Err(reached.lacks(sop_class));
    };
    let answered = association.extended(sop_class).and_then(|answer| answer.first());
    if arguments.relational && answered != Some(&1) {
        eprintln!("warning: {title} does not say that it does relational queries");
    }
    let mut found = association.find(context, &identifier).await.context("C-FIND")?;
    let mut matches = 0_u64;
    let end = loop {
        let answer = match found.next().await.context("C-FIND")? {
            FindStep::Match(answer) => answer,
            FindStep::Done(end) => break end,
        };
        let mut source = SliceSource::new(&answer);
        let document = json::document(&mut source, syntax, &Limits::default())
            .context("read an answer of the peer")?;
        say!("{}", String::from_utf8_lossy(&document.json));
        matches += 1;
    };
    association.release().await.context("release the association")?;
    if end.status.class() != StatusClass::Success {
        bail!("the peer ended the query with {}", end.status);
    }
    eprintln!("{matches} match(es)");
    Ok(ExitCode::SUCCESS)
}

/// Encodes the query in Implicit VR Little Endian, UTF-8, elements in the order of their tags.
fn identifier(level: QueryLevel, keys: &[String]) -> anyhow::Result<Vec<u8>> {
    let (word, defaults): (_, &[Tag]) = match level {
        QueryLevel::Patient => ("PATIENT", &[tag::PATIENT_NAME, tag::PATIENT_ID]),
        QueryLevel::Study => (
            "STUDY",
            &[
                tag::PATIENT_NAME,
                tag::PATIENT_ID,
                tag::STUDY_DATE,
                tag::STUDY_DESCRIPTION,
                tag::ACCESSION_NUMBER,
                tag::STUDY_INSTANCE_UID,
            ],
        ),
        QueryLevel::Series => {
            ("SERIES", &[tag::MODALITY, tag::SERIES_DESCRIPTION, tag::SERIES_INSTANCE_UID])
        }
        QueryLevel::Image => ("IMAGE", &[tag::INSTANCE_NUMBER, tag::SOP_INSTANCE_UID]),
    };
    let mut elements: BTreeMap<Tag, String> =
        defaults.iter().map(|tag| (*tag, String::new())).collect();
    elements.insert(tag::SPECIFIC_CHARACTER_SET, "ISO_IR 192".into());
    elements.insert(QUERY_RETRIEVE_LEVEL, word.into());
    for key in keys {
        let (name, value) = key.split_once('=').unwrap_or((key, ""));
        let Some(tag) = Tag::from_keyword_or_hex(name) else {
            bail!("{name:?} is neither a keyword nor eight hexadecimal digits");
        };
        elements.insert(tag, value.to_owned());
    }
    encode(elements)
}

/// Texts in Implicit VR Little Endian.
pub(super) fn encode(elements: BTreeMap<Tag, String>) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for (tag, mut value) in elements {
        let uid = tag == tag::STUDY_INSTANCE_UID
            || tag == tag::SERIES_INSTANCE_UID
            || tag == tag::SOP_INSTANCE_UID;
        if value.len() % 2 == 1 {
            value.push(if uid { '\0' } else { ' ' });
        }
        let length = u32::try_from(value.len()).context("a key's value is too long")?;
        bytes.extend(tag.group.to_le_bytes());
        bytes.extend(tag.element.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes.extend(value.as_bytes());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_in_order_and_even() {
        let bytes = identifier(QueryLevel::Image, &["00100020=ABC".into()]).unwrap();
        let syntax = TransferSyntax::IMPLICIT_LITTLE;
        let mut source = SliceSource::new(&bytes);
        let document = json::document(&mut source, syntax, &Limits::default()).unwrap();
        let text = String::from_utf8(document.json).unwrap();
        assert!(text.contains("\"00080052\":{\"vr\":\"CS\",\"Value\":[\"IMAGE\"]}"), "{text}");
        assert!(text.contains("ABC"), "{text}");
        assert!(text.find("00080052") < text.find("00100020"), "{text}");
        assert!(identifier(QueryLevel::Study, &["Nonsense=1".into()]).is_err());
    }
}
