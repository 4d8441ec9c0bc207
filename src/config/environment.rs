//! Variables of the environment that look like settings and are none.

use std::collections::BTreeSet;

/// What begins like this is of our scripts and tests, or set by an orchestrator for a service named
/// `qianli` (the links of Docker and Kubernetes), and no slip.
const NOT_OURS: [&str; 10] = [
    "QIANLI_TEST_",
    "QIANLI_BENCH_",
    "QIANLI_KILL_",
    "QIANLI_REQUIRE_",
    "QIANLI_ARTIFACTS",
    "QIANLI_BIN",
    "QIANLI_CACHE",
    "QIANLI_CORPUS",
    "QIANLI_PORT",
    "QIANLI_SERVICE_",
];

/// Letters that may be wrong in a name for which another is suggested.
const SLIPS: usize = 4;

/// Says of every variable that is no setting what it may have been meant to be. `known` are the names
/// of all settings, `present` those of the environment.
pub fn unknown_variables<'a>(
    known: &BTreeSet<String>,
    present: impl IntoIterator<Item = &'a str>,
) -> Vec<String> {
    let mut said = Vec::new();
    for name in present {
        let ours = name.starts_with("QIANLI_") && !NOT_OURS.iter().any(|p| name.starts_with(p));
        if !ours || known.contains(name) {
            continue;
        }
        let near = known.iter().map(|one| (distance(one, name), one)).min();
        said.push(match near {
            Some((slips, one)) if slips <= SLIPS => {
                format!("{name} is no setting and is ignored; did you mean {one}?")
            }
            _ => format!("{name} is no setting and is ignored; `qianli serve --help` names all"),
        });
    }
    said
}

/// Letters to add, take out or change to make one word of another (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, letter) in from.bytes().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        for (cell, other) in row.iter_mut().skip(1).zip(to.bytes()) {
            let changed = diagonal + usize::from(letter != other);
            diagonal = *cell;
            left = changed.min(left + 1).min(diagonal + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_named_with_what_was_meant() {
        let known: BTreeSet<String> =
            ["QIANLI_STORE", "QIANLI_SPOOL", "QIANLI_MAX_OBJECT"].map(str::to_owned).into();
        let said = |name: &str| unknown_variables(&known, [name]).join("");
        assert!(said("QIANLI_MAX_OBJEKT").contains("did you mean QIANLI_MAX_OBJECT?"));
        assert!(said("QIANLI_STROE").contains("did you mean QIANLI_STORE?"));
        assert!(said("QIANLI_SOMETHING_ELSE").contains("--help"));
        for fine in ["QIANLI_STORE", "QIANLI_TEST_S3", "QIANLI_PORT_8080_TCP", "PATH", "AWS_REGION"]
        {
            assert_eq!(said(fine), "", "{fine}");
        }
    }

    #[test]
    fn distances_count_letters() {
        for (from, to, expected) in [
            ("", "", 0),
            ("", "ab", 2),
            ("store", "stroe", 2),
            ("kitten", "sitting", 3),
            ("a", "", 1),
        ] {
            assert_eq!(distance(from, to), expected, "{from} {to}");
        }
    }
}
