//! No argument and no file makes the program panic.
//!
//! `PHOENIX_FUZZ_CASES=100000 cargo test --release -p phoenix --test parse` is
//! the long form; without the variable a small sample is tried.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

use std::ffi::OsString;
use std::path::PathBuf;

use phoenix_cli::config::{Config, ConfigFile, Surroundings, keys::KEYS, toml_file};
use phoenix_cli::{args, payload};
use proptest::prelude::*;
use proptest::test_runner::Config as Cases;

/// Cases of each test unless `PHOENIX_FUZZ_CASES` says otherwise.
const CASES: u32 = 300;

fn cases() -> Cases {
    let asked = std::env::var("PHOENIX_FUZZ_CASES").ok();
    Cases::with_cases(asked.and_then(|text| text.parse().ok()).unwrap_or(CASES))
}

/// Every verb and flag there is, so that combinations go deep.
fn words() -> Vec<String> {
    let command = args::command();
    let mut words = vec!["counter/a", "-", "--", "5", "@x", "5s", "a=b", "node-1", ""]
        .into_iter()
        .map(ToOwned::to_owned)
        .collect::<Vec<_>>();
    let commands = std::iter::once(&command).chain(command.get_subcommands());
    for command in commands {
        words.push(command.get_name().to_owned());
        words.extend(
            command
                .get_arguments()
                .filter_map(|argument| argument.get_long())
                .map(|long| format!("--{long}")),
        );
    }
    words
}

fn argument() -> impl Strategy<Value = OsString> {
    prop_oneof![
        6 => prop::sample::select(words()).prop_map(OsString::from),
        1 => any::<String>().prop_map(OsString::from),
        1 => "--?[a-z]{1,8}(=.{0,8})?".prop_map(OsString::from),
        1 => prop::collection::vec(any::<u8>(), 0..12).prop_map(bytes),
    ]
}

#[cfg(unix)]
fn bytes(bytes: Vec<u8>) -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes)
}

#[cfg(not(unix))]
fn bytes(bytes: Vec<u8>) -> OsString {
    String::from_utf8_lossy(&bytes).into_owned().into()
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>().prop_map(|text| format!("{text:?}")),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| number.to_string()),
        "[0-9]{1,20}([kKmMgG]i?[bB]|ms|s|m|h|d)".prop_map(|text| format!("\"{text}\"")),
        "[a-z0-9.:\\[\\]-]{0,20}".prop_map(|text| format!("\"{text}\"")),
        Just("[1, {a = 2}]".to_owned()),
        Just("1979-05-27T07:32:00Z".to_owned()),
    ]
}

fn config_file() -> impl Strategy<Value = String> {
    let names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    let line = prop_oneof![
        8 => (prop::sample::select(names), value()).prop_map(|(key, value)| format!("{key} = {value}")),
        1 => "\\PC{0,30}",
        1 => "[a-z.\"\\[\\]-]{1,12}( = )?[0-9a-z\"']{0,8}",
    ];
    prop::collection::vec(line, 0..8).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_arguments_are_read_or_refused(rest in prop::collection::vec(argument(), 0..8)) {
        let all = std::iter::once(OsString::from("phoenix")).chain(rest);
        if let Err(refused) = args::parse(all) {
            let _ = refused.render().to_string();
        }
    }

    #[test]
    fn any_configuration_is_read_or_refused(
        text in config_file(),
        variables in prop::collection::vec(("PHOENIX_[A-Z_]{1,12}", any::<String>()), 0..3),
    ) {
        let surroundings = Surroundings {
            file: Some(ConfigFile { path: PathBuf::from("phoenix.toml"), text: text.clone() }),
            environment: variables,
        };
        if let Err(error) = Config::load(&surroundings, &[]) {
            prop_assert!(!error.to_string().is_empty());
        }
        let _ = surroundings.unknown_variables();
        let _ = toml_file::entries(&text);
    }

    #[test]
    fn any_payload_is_read_or_refused(text: String, bytes: Vec<u8>) {
        let _ = payload::meaning(&text);
        let _ = payload::of_bytes(bytes);
    }
}
