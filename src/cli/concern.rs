//! Which settings concern which command. Each is defined once, in [`Settings`]; a command shows those
//! that it uses and refuses the others, which the file and the environment may hold all the same.

use std::collections::BTreeSet;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, CommandFactory};

use crate::config::Settings;

/// Where the archive is, and the log: of every command that opens it.
const ARCHIVE: &[&str] = &[
    "data",
    "database",
    "database_connections",
    "store",
    "spool",
    "indexed_attributes",
    "log",
    "log_format",
];
/// How objects are read that come in.
const READING: &[&str] = &["unlabelled_charset", "source_charsets"];
/// What is let in.
const ADMISSION: &[&str] =
    &["spool_memory", "max_object", "duplicates", "sop_classes", "settle_after"];
/// How peers are called.
const CALLING: &[&str] = &[
    "aet",
    "max_pdu",
    "tls_cert",
    "tls_key",
    "dimse_tls_cert",
    "dimse_tls_key",
    "log",
    "log_format",
];
/// Where destinations are registered.
const INDEX: &[&str] = &["data", "database", "database_connections"];
/// What `doctor` looks at beside the archive.
const NODE: &[&str] = &[
    "http",
    "dimse",
    "dimse_tls",
    "tls_cert",
    "tls_key",
    "dimse_tls_cert",
    "dimse_tls_key",
    "dimse_tls_client_ca",
    "viewer",
];
/// Who is let in.
const PEERS: &[&str] =
    &["aet", "check_called_aet", "calling_aets", "unknown_peers", "dimse_identity"];

/// The settings that a command uses, in groups; `None` for all.
fn groups(command: &str) -> Option<&'static [&'static [&'static str]]> {
    match command {
        "serve" => None,
        "import" => Some(&[ARCHIVE, READING, ADMISSION]),
        "rebuild" | "export" => Some(&[ARCHIVE, READING]),
        "delete" => Some(&[ARCHIVE, &["delete_grace"]]),
        "doctor" => Some(&[ARCHIVE, NODE, PEERS]),
        "audit" => Some(&[ARCHIVE, &["aet"]]),
        "restore" | "sweep" | "migrate" | "user" | "tenant" | "token" | "route" => Some(&[ARCHIVE]),
        "peer" => Some(&[ARCHIVE, CALLING]),
        "send" | "echo" | "find" | "move" | "get" | "commit" => Some(&[CALLING, INDEX]),
        _ => Some(&[]),
    }
}

fn concerns(command: &str, setting: &str) -> bool {
    groups(command).is_none_or(|groups| groups.iter().any(|group| group.contains(&setting)))
}

/// The command line as `A` describes it, with every command showing only its settings.
pub(super) fn command<A: CommandFactory>() -> Command {
    let settings = settings();
    // In front of the command they are understood too; there they only fill the page.
    let command = A::command().mut_args(|arg| {
        let is_setting = settings.iter().any(|setting| setting.get_id() == arg.get_id());
        if is_setting { arg.hide(true) } else { arg }
    });
    command.mut_subcommands(|sub| {
        let name = sub.get_name().to_owned();
        sub.args(settings.iter().map(|setting| {
            let hidden = !concerns(&name, setting.get_id().as_str());
            setting.clone().hide(hidden).help_heading("Settings")
        }))
    })
}

/// Refuses settings that do not concern the command.
pub(super) fn check(command: &mut Command, matches: &ArgMatches) -> Result<(), clap::Error> {
    let Some((name, matches)) = matches.subcommand() else { return Ok(()) };
    let given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let settings = settings();
    let wrong = settings.iter().find(|setting| {
        let id = setting.get_id().as_str();
        given(id) && !concerns(name, id)
    });
    let Some(wrong) = wrong else { return Ok(()) };
    let flag = wrong.get_long().unwrap_or_default();
    let users: Vec<&str> = command
        .get_subcommands()
        .map(Command::get_name)
        .filter(|other| concerns(other, wrong.get_id().as_str()))
        .collect();
    let text = format!(
        "--{flag} does not concern `qianli {name}`; it is a setting of {}",
        users.join(", ")
    );
    Err(command.error(ErrorKind::UnknownArgument, text))
}

/// The names that settings have in the environment.
pub(super) fn variables() -> BTreeSet<String> {
    let settings = settings();
    let own = settings.iter().filter_map(|setting| setting.get_env()?.to_str());
    let others = ["QIANLI_CONFIG", super::peers::PASSCODE, super::peers::TOKEN];
    own.chain(others).map(str::to_owned).collect()
}

/// Every setting as an argument.
fn settings() -> Vec<clap::Arg> {
    Settings::augment_args(Command::new("settings")).get_arguments().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::super::Arguments;
    use super::*;

    #[test]
    fn groups_name_settings_that_exist() {
        let settings = settings();
        for group in [ARCHIVE, READING, ADMISSION, CALLING, INDEX, NODE, PEERS, &["delete_grace"]] {
            for name in group {
                assert!(settings.iter().any(|one| one.get_id() == *name), "{name}");
            }
        }
        for sub in command::<Arguments>().get_subcommands() {
            let name = sub.get_name();
            let named = groups(name).is_none_or(|groups| !groups.is_empty());
            assert!(named || name == "conformance", "which settings concern {name}?");
        }
        command::<Arguments>().debug_assert();
    }

    #[test]
    fn commands_refuse_what_does_not_concern_them() {
        let run = |line: &str| {
            let mut command = command::<Arguments>();
            let matches = command.try_get_matches_from_mut(line.split(' ')).unwrap();
            check(&mut command, &matches).map_err(|error| error.to_string())
        };
        assert!(run("qianli serve --http 127.0.0.1:0 --data d").is_ok());
        assert!(run("qianli --data d sweep --grace 1h").is_ok());
        let refused = run("qianli sweep --http 127.0.0.1:0").unwrap_err();
        assert!(refused.contains("--http") && refused.contains("serve, doctor"), "{refused}");
        assert!(run("qianli --http 127.0.0.1:0 sweep").is_err());
        assert!(run("qianli echo A@h:1 --store s3://b").is_err());
    }
}
