use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use super::keys::KEYS;
use super::*;

fn surroundings(file: &str, environment: &[(&str, &str)]) -> Surroundings {
    Surroundings {
        file: (!file.is_empty()).then(|| ConfigFile {
            path: PathBuf::from("phoenix.toml"),
            text: file.to_owned(),
        }),
        environment: environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

fn refused(file: &str) -> String {
    Config::load(&surroundings(file, &[]), &[])
        .unwrap_err()
        .to_string()
}

#[test]
fn without_anything_the_defaults_hold() {
    let config = Config::load(&Surroundings::default(), &[]).unwrap();
    assert_eq!(config.data, PathBuf::from("phoenix-data"));
    assert_eq!(config.api.to_string(), "127.0.0.1:7400");
    assert_eq!(config.workers, None);
}

#[test]
fn the_defaults_in_the_table_are_the_defaults() {
    let spelled = KEYS
        .iter()
        .filter(|key| !["join", "advertise"].contains(&key.name))
        .map(|key| (key.name, key.default.to_owned()))
        .collect::<Vec<_>>();
    let config = Config::load(&Surroundings::default(), &spelled).unwrap();
    let chosen = Config {
        listen_default: false,
        api_default: false,
        ..Config::default()
    };
    assert_eq!(format!("{config:?}"), format!("{chosen:?}"));
}

#[test]
fn the_last_source_wins() {
    let file = "workers = 2\ndrain-timeout = \"5s\"\nlog = \"debug\"\n";
    let environment = [("PHOENIX_WORKERS", "3"), ("PHOENIX_LOG", "warn")];
    let flags = [("workers", "4".to_owned())];
    let config = Config::load(&surroundings(file, &environment), &flags).unwrap();
    assert_eq!(config.workers, Some(4));
    assert_eq!(config.log, "warn");
    assert_eq!(config.drain_timeout, Duration::from_secs(5));
}

#[test]
fn a_wrong_value_that_is_not_used_does_not_stop_anything() {
    let flags = [("workers", "4".to_owned())];
    assert!(Config::load(&surroundings("workers = \"x\"", &[]), &flags).is_ok());
}

#[test]
fn errors_name_place_key_value_and_form() {
    assert_eq!(
        refused("\nworkers = \"many\""),
        "phoenix.toml:2: `workers` is `many`: it must be a number from 1 to 256, or auto for one a core"
    );
    assert_eq!(
        refused("drain-timeout = 30"),
        "phoenix.toml:1: `drain-timeout` is `30`: it must be a span of time from 0 to 1h, such as 30s"
    );
    assert_eq!(
        refused("api = [1]"),
        "phoenix.toml:1: `api` is a list: it must be a loopback address and port, such as \
         127.0.0.1:7400 or [::1]:0"
    );
    let error = Config::load(&surroundings("", &[("PHOENIX_API", "0.0.0.0:80")]), &[]);
    assert_eq!(
        error.unwrap_err().to_string(),
        "PHOENIX_API is `0.0.0.0:80`: `api` must be a loopback address and port, such as \
         127.0.0.1:7400 or [::1]:0"
    );
    let error = Config::load(
        &Surroundings::default(),
        &[("log-format", "xml".to_owned())],
    );
    assert_eq!(
        error.unwrap_err().to_string(),
        "--log-format is `xml`: it must be human or json"
    );
}

/// The parser of directives takes a place behind a space for one in front of it,
/// and panics where that is within a letter.
#[test]
fn directives_of_the_log_are_ascii() {
    for directives in ["info, net\u{9f41a}=debug", " \u{9f41a}[a]", "\u{e9}"] {
        let error = refused(&format!("log = \"{directives}\"\n"));
        assert!(error.contains("or tracing's directives"), "{error}");
    }
}

#[test]
fn a_misspelt_key_is_recognised() {
    let error = Config::load(&surroundings("worker = 2", &[]), &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "phoenix.toml:1: there is no key `worker`"
    );
    assert_eq!(error.suggestion(), Some("did you mean `workers`?"));
    let unknown = surroundings("", &[("PHOENIX_WORKER", "2"), ("PHOENIX_CONFIG", "x")]);
    assert_eq!(
        unknown.unknown_variables(),
        [(
            "PHOENIX_WORKER".to_owned(),
            Some("PHOENIX_WORKERS".to_owned())
        )]
    );
}

#[test]
fn an_address_for_everybody_needs_one_to_be_told() {
    let error = Config::load(&surroundings("listen = \"0.0.0.0:7401\"", &[]), &[]).unwrap_err();
    assert!(error.suggestion().unwrap().contains("advertise"));
    let file = "listen = \"[::]:7401\"\nadvertise = \"node.example:7401\"";
    assert!(Config::load(&surroundings(file, &[]), &[]).is_ok());
}

#[test]
fn what_is_accepted_is_what_is_said_to_be() {
    let load = |key: &keys::Key, value: &str| {
        // Room for the largest of bodies, so that no other limit is met.
        let room = "api-max-buffered = \"64GiB\"";
        let set = [(key.name, value.to_owned())];
        Config::load(&surroundings(room, &[]), &set).map_err(|error| error.to_string())
    };
    let mut ranges = 0;
    for key in &KEYS {
        let Some((low, high)) = key.accepted.split_once("from ").and_then(|(_, range)| {
            let (low, rest) = range.split_once(" to ")?;
            Some((low, rest.split([',', ' ']).next()?))
        }) else {
            continue;
        };
        ranges += 1;
        for edge in [low, high] {
            // The smallest room is less than what fits into it by default.
            if (key.name, edge) != ("api-max-buffered", "1MiB") {
                load(key, edge).unwrap();
            }
        }
        let digits = high.trim_end_matches(char::is_alphabetic);
        let above = high.replace(digits, &(digits.parse::<u64>().unwrap() + 1).to_string());
        let error = load(key, &above).unwrap_err();
        assert!(error.contains(&format!("from {low} to {high}")), "{error}");
        if !["0", "1"].contains(&low) {
            let unit = low.trim_start_matches(|c: char| c.is_ascii_digit());
            assert!(load(key, &format!("0{unit}")).is_err(), "{}", key.name);
        }
    }
    assert_eq!(ranges, 18, "a range is written `from LOW to HIGH`");
}

#[test]
fn one_body_fits_into_the_room_for_all() {
    let error = refused("api-max-buffered = \"32MiB\"");
    assert_eq!(
        error,
        "phoenix.toml:1: `api-max-buffered` is `32MiB`: it must be no less than \
         `api-max-component`, which is 64MiB"
    );
    let error = refused("api-max-component = \"300MiB\"");
    assert_eq!(
        error,
        "phoenix.toml:1: `api-max-component` is `300MiB`: it must be no more than \
         `api-max-buffered`, which is 256MiB"
    );
    let error = refused("api-max-body = \"1GiB\"");
    assert!(error.contains("`api-max-buffered`"), "{error}");
    let file = "api-max-component = \"32MiB\"\napi-max-buffered = \"32MiB\"";
    assert!(Config::load(&surroundings(file, &[]), &[]).is_ok());
}

#[test]
fn mistakes_are_shown_where_they_are() {
    let shown = |file: &str| {
        let error = Config::load(&surroundings(file, &[]), &[]).unwrap_err();
        error.rendered()
    };
    let text = shown("# words\nworkers = \"ä\u{202e}\u{9b}\"\n");
    assert!(text.contains("[phoenix.toml:2:11]"), "{text}");
    assert!(!text.contains(['\u{202e}', '\u{9b}']), "{text:?}");
    assert!(!shown("join = \"my token\"").contains("my token"));
}

#[test]
fn a_join_token_is_shown_nowhere() {
    let file = surroundings("join = \"my token\"", &[]);
    assert!(
        !Config::load(&file, &[])
            .unwrap_err()
            .to_string()
            .contains("my token")
    );
    let config = Config::load(&surroundings("join = \"secret\"", &[]), &[]).unwrap();
    assert!(!format!("{config:?}").contains("secret"));
}

#[test]
fn every_key_is_documented_as_it_is() {
    let text = include_str!("../../../../docs/config.md");
    for key in &KEYS {
        let row = format!(
            "| `{}` | `{}` | {} | {} |",
            key.name, key.default, key.accepted, key.about
        );
        assert!(text.contains(&row), "docs/config.md lacks:\n{row}");
    }
    assert_eq!(
        text.lines().filter(|line| line.starts_with("| `")).count(),
        KEYS.len()
    );
}

proptest! {
    #[test]
    fn any_value_is_taken_or_refused(key in 0..KEYS.len(), value: String) {
        if let Err(error) = Config::load(&Surroundings::default(), &[(KEYS[key].name, value)]) {
            prop_assert!(!error.rendered().is_empty());
        }
    }
}
