//! Command lines.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use clap::FromArgMatches;
use phoenix_cli::{args, payload};

use crate::generate::{Chance, cases};

/// Every verb and flag there is, so that combinations go deep.
fn words(command: &clap::Command) -> (Vec<String>, Vec<String>) {
    let flags_of = |command: &clap::Command| {
        let longs = command.get_arguments().filter_map(clap::Arg::get_long);
        longs.map(|long| format!("--{long}")).collect::<Vec<_>>()
    };
    let mut verbs = Vec::new();
    let mut flags = flags_of(command);
    for verb in command.get_subcommands() {
        verbs.push(verb.get_name().to_owned());
        flags.extend(flags_of(verb));
    }
    flags.sort();
    flags.dedup();
    (verbs, flags)
}

const VALUES: [&str; 16] = [
    "counter/a",
    "a",
    "/",
    "-",
    "--",
    "5",
    "@x",
    "5s",
    "a=b",
    "workers=4",
    "node-1",
    "2",
    "",
    "127.0.0.1:0",
    "json",
    "[1]",
];

fn argument(chance: &mut Chance, flags: &[String]) -> OsString {
    match chance.below(9) {
        0..3 => chance.pick(flags).into(),
        3..6 => chance.pick(&VALUES).into(),
        6 => format!("{}={}", chance.pick(flags), chance.text()).into(),
        7 => {
            let flag = chance.pick(flags).clone();
            chance.harm_text(&flag).into()
        }
        _ => OsString::from_vec(chance.bytes(12)),
    }
}

#[test]
fn any_arguments_are_read_or_refused() {
    let mut command = args::command();
    let (verbs, flags) = words(&command);
    let make = |chance: &mut Chance| {
        let mut all = vec![OsString::from("phoenix")];
        if !chance.one_in(8) {
            all.push(chance.pick(&verbs).into());
        }
        all.extend((0..chance.below(7)).map(|_| argument(chance, &flags)));
        all
    };
    cases(25, make, |all| {
        // What `args::parse` does, with a command that is built once.
        let read = command
            .try_get_matches_from_mut(all)
            .and_then(|matches| args::Cli::from_arg_matches(&matches));
        if let Err(refused) = read {
            assert!(!refused.render().to_string().is_empty());
        }
    });
}

#[test]
fn a_command_that_is_built_once_reads_as_a_new_one() {
    let mut command = args::command();
    let (verbs, flags) = words(&command);
    let make = |chance: &mut Chance| {
        let verb = OsString::from(chance.pick(&verbs));
        let rest = (0..chance.below(5)).map(|_| argument(chance, &flags));
        let all = ["phoenix".into(), verb].into_iter().chain(rest);
        all.collect::<Vec<OsString>>()
    };
    cases(1, make, |all| {
        let again = command.try_get_matches_from_mut(all).is_ok();
        let fresh = args::parse(all.clone()).is_ok();
        assert!(again || !fresh, "a new one takes it");
    });
}

#[test]
fn any_payload_is_read_or_refused() {
    let json = r#"{"by": [5, "a", null, 1.5e3], "to": {"x": "\u00e4"}}"#;
    let make = |chance: &mut Chance| match chance.below(3) {
        0 => chance.text().into_bytes(),
        1 => chance.bytes(40),
        _ => chance.harm(json.as_bytes().to_vec()),
    };
    cases(9, make, |bytes| {
        let _ = payload::meaning(&String::from_utf8_lossy(bytes)).map_err(|bad| bad.to_string());
        let _ = payload::of_bytes(bytes.clone());
    });
}
