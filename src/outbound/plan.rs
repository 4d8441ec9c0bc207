//! What is proposed to a destination for a list of objects, and what of it an object is sent in. Pure.

use std::collections::{BTreeMap, HashSet};

use qianli_dimse::ProposedContext;
use qianli_model::destination::Destination;
use qianli_model::{SopClassUid, TransferSyntax};

use super::Item;

/// Most presentation contexts of one association (PS3.8 9.3.2.2: odd numbers up to 255).
const MOST_CONTEXTS: usize = 128;

/// An abstract syntax in one transfer syntax. Each is proposed as a context of its own, so that the
/// choice is ours.
pub(super) type Proposal = (SopClassUid, &'static str);

/// Objects that go over the same associations.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lane {
    /// What is proposed.
    pub(super) proposals: Vec<Proposal>,
    /// Which objects, by their place in the list, in its order.
    pub(super) objects: Vec<usize>,
}

/// The transfer syntaxes that an object may be sent in, the best first.
pub(super) fn candidates(
    stored: TransferSyntax,
    to: &Destination,
    can_send: impl Fn(TransferSyntax, TransferSyntax) -> bool,
) -> Vec<TransferSyntax> {
    let wanted = to.syntaxes.as_slice();
    let mut all = Vec::with_capacity(wanted.len() + 3);
    // Of several that are wanted, the stored one costs nothing.
    if wanted.contains(&stored) {
        all.push(stored);
    }
    all.extend_from_slice(wanted);
    if !to.only_these || wanted.is_empty() {
        all.extend([stored, TransferSyntax::EXPLICIT_LITTLE, TransferSyntax::IMPLICIT_LITTLE]);
    }
    let mut seen = HashSet::new();
    all.retain(|syntax| seen.insert(syntax.uid()) && can_send(stored, *syntax));
    all
}

/// Spreads objects over as few kinds of associations as there are numbers for contexts.
pub(super) fn lanes(
    items: &[Item],
    to: &Destination,
    can_send: impl Fn(TransferSyntax, TransferSyntax) -> bool,
) -> Vec<Lane> {
    let mut needed: BTreeMap<&SopClassUid, Vec<&'static str>> = BTreeMap::new();
    let mut asked = HashSet::new();
    for item in items {
        if !asked.insert((&item.sop_class, item.syntax.uid())) {
            continue;
        }
        let syntaxes = needed.entry(&item.sop_class).or_default();
        for syntax in candidates(item.syntax, to, &can_send) {
            if !syntaxes.contains(&syntax.uid()) {
                syntaxes.push(syntax.uid());
            }
        }
    }
    let mut lanes: Vec<Lane> = Vec::new();
    let mut lane_of: BTreeMap<&SopClassUid, usize> = BTreeMap::new();
    for (class, syntaxes) in needed {
        let count = syntaxes.len().min(MOST_CONTEXTS);
        let fits = |lane: &Lane| lane.proposals.len() + count <= MOST_CONTEXTS;
        let index = lanes.iter().position(fits).unwrap_or_else(|| {
            lanes.push(Lane::default());
            lanes.len() - 1
        });
        if let Some(lane) = lanes.get_mut(index) {
            lane.proposals.extend(syntaxes.iter().take(count).map(|uid| (class.clone(), *uid)));
        }
        lane_of.insert(class, index);
    }
    for (at, item) in items.iter().enumerate() {
        let lane = lane_of.get(&item.sop_class).and_then(|index| lanes.get_mut(*index));
        if let Some(lane) = lane {
            lane.objects.push(at);
        }
    }
    lanes
}

/// The presentation contexts of proposals.
pub(super) fn contexts(proposals: &[Proposal]) -> Vec<ProposedContext> {
    proposals
        .iter()
        .filter_map(|(class, uid)| {
            let syntax = TransferSyntax::from_uid(uid)?;
            Some(ProposedContext::new(class.as_str(), [syntax]))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use qianli_model::{AeTitle, SopInstanceUid};

    use super::*;

    const JPEG: &str = "1.2.840.10008.1.2.4.70";
    const RLE: &str = "1.2.840.10008.1.2.5";

    fn syntax(uid: &str) -> TransferSyntax {
        TransferSyntax::from_uid(uid).unwrap()
    }

    fn to(syntaxes: &[&str], only_these: bool) -> Destination {
        let title = AeTitle::parse("PACS").unwrap();
        let syntaxes = syntaxes.iter().map(|uid| syntax(uid)).collect();
        Destination { syntaxes, only_these, ..Destination::new(title, "h:104") }
    }

    fn item(class: &str, stored: &str) -> Item {
        Item {
            sop_class: SopClassUid::parse(class).unwrap(),
            sop_instance: SopInstanceUid::parse("1.2.3").unwrap(),
            syntax: syntax(stored),
        }
    }

    #[track_caller]
    fn check(stored: &str, to: &Destination, expected: &[&str]) {
        let found = candidates(syntax(stored), to, qianli_archive::can_convert);
        assert_eq!(found.iter().map(|one| one.uid()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_stored_syntax_stays_unless_something_else_is_wanted() {
        let (explicit, implicit) = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2");
        check(JPEG, &to(&[], false), &[JPEG, explicit, implicit]);
        check(explicit, &to(&[], false), &[explicit, implicit]);
        check(JPEG, &to(&[RLE], false), &[RLE, JPEG, explicit, implicit]);
        check(JPEG, &to(&[RLE, JPEG], false), &[JPEG, RLE, explicit, implicit]);
        check(JPEG, &to(&[implicit], true), &[implicit]);
        // A video stays what it is, and goes nowhere else.
        check("1.2.840.10008.1.2.4.102", &to(&[], false), &["1.2.840.10008.1.2.4.102"]);
        check("1.2.840.10008.1.2.4.102", &to(&[implicit], true), &[]);
    }

    #[test]
    fn more_contexts_than_numbers_become_several_associations() {
        let items: Vec<Item> = (0..100)
            .flat_map(|n| {
                let class = format!("1.2.840.99.{n}");
                [item(&class, JPEG), item(&class, "1.2.840.10008.1.2.1")]
            })
            .collect();
        let lanes = lanes(&items, &to(&[], false), qianli_archive::can_convert);
        assert_eq!(lanes.len(), 3);
        let mut objects: Vec<usize> = Vec::new();
        for lane in &lanes {
            assert!(lane.proposals.len() <= 128, "{}", lane.proposals.len());
            let distinct: HashSet<_> = lane.proposals.iter().collect();
            assert_eq!(distinct.len(), lane.proposals.len());
            for at in &lane.objects {
                let item = &items[*at];
                let proposal = (item.sop_class.clone(), item.syntax.uid());
                assert!(lane.proposals.contains(&proposal));
            }
            objects.extend(&lane.objects);
        }
        objects.sort_unstable();
        assert_eq!(objects, (0..200).collect::<Vec<_>>());
    }
}
