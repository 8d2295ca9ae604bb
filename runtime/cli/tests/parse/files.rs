//! Configuration files, variables and policies, through the errors that are shown.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use phoenix_cli::config::keys::KEYS;
use phoenix_cli::config::{Config, ConfigError, ConfigFile, Surroundings};
use phoenix_cli::policy;
use phoenix_gateway::policy::FIELDS;

use crate::generate::{Chance, cases};

fn value(chance: &mut Chance) -> String {
    match chance.below(6) {
        0 => format!("{:?}", chance.text()),
        1 => chance.text(),
        2 => format!(
            "\"{}{}\"",
            chance.below(2_000),
            chance.pick(&["KiB", "GiB", "s", "h", ""])
        ),
        3 => chance.below(100_000).to_string(),
        4 => format!(
            "\"{}\"",
            chance.pick(&["auto", "none", "[::1]:0", "0.0.0.0:1", "x:1"])
        ),
        _ => (*chance.pick(&["[1, {a = 2}]", "1979-05-27T07:32:00Z", "-0.5", "true"])).to_owned(),
    }
}

/// A file of lines that are mostly as they should be.
fn file(chance: &mut Chance, names: &[&str]) -> String {
    let mut text = String::new();
    for _ in 0..chance.below(6) {
        let name = if chance.one_in(8) {
            chance.text()
        } else {
            (*chance.pick(names)).to_owned()
        };
        text.push_str(&format!("{name} = {}\n", value(chance)));
    }
    if chance.one_in(2) {
        return chance.harm_text(&text);
    }
    text
}

fn tell(error: &ConfigError) {
    assert!(!error.to_string().is_empty());
    let shown = error.rendered();
    assert!(!shown.is_empty());
    // A terminal is driven by none of it.
    let harmful = |c: char| c != '\n' && c.is_control() || c == '\u{202e}';
    assert!(!shown.contains(harmful), "{shown:?}");
}

fn surroundings(text: &str, environment: Vec<(String, String)>) -> Surroundings {
    Surroundings {
        file: Some(ConfigFile {
            path: PathBuf::from("phoenix.toml"),
            text: text.to_owned(),
        }),
        environment,
    }
}

#[test]
fn any_configuration_is_read_or_refused() {
    let names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    let make = |chance: &mut Chance| {
        let flags: Vec<_> = (0..chance.below(3))
            .map(|_| (*chance.pick(&names), chance.text()))
            .collect();
        (file(chance, &names), flags)
    };
    cases(25, make, |(text, flags)| {
        if let Err(error) = Config::load(&surroundings(text, Vec::new()), flags) {
            tell(&error);
        }
    });
}

#[test]
fn any_environment_is_read_or_refused() {
    let names: Vec<String> = KEYS.iter().map(|key| key.variable()).collect();
    let make = |chance: &mut Chance| {
        let variable = |chance: &mut Chance| {
            let name = match chance.below(4) {
                0 => format!("PHOENIX_{}", chance.text()).into(),
                1 => OsString::from_vec(chance.harm(b"PHOENIX_WORKERS".to_vec())),
                _ => chance.pick(&names).into(),
            };
            let value = match chance.below(3) {
                0 => OsString::from_vec(chance.bytes(12)),
                1 => value(chance).trim_matches('"').into(),
                _ => chance.text().into(),
            };
            (name, value)
        };
        (0..chance.below(4))
            .map(|_| variable(chance))
            .collect::<Vec<_>>()
    };
    cases(15, make, |all| {
        let surroundings = match Surroundings::variables(all.clone()) {
            Ok(environment) => surroundings("", environment),
            Err(error) => return tell(&error),
        };
        let _ = surroundings.unknown_variables();
        if let Err(error) = Config::load(&surroundings, &[]) {
            tell(&error);
        }
    });
}

#[test]
fn any_policy_is_read_or_refused() {
    let names: Vec<&str> = FIELDS.iter().map(|field| field.name).collect();
    cases(
        15,
        |chance| file(chance, &names),
        |text| {
            if let Err(shown) = policy::read("policy.toml", text) {
                assert!(!shown.is_empty());
            }
        },
    );
}

#[test]
fn declarations_are_read_and_what_is_wrong_is_shown_with_its_place() {
    use phoenix_cli::declaration::{read_pipeline, read_saga};

    let orders = r#"
        in-flight = 64
        [[stage]]
        name = "parse"
        to = "parser/main"
        method = "parse"
        retry = { attempts = 5, schedule = "exponential:100ms..10s" }
        on-error = "dead-letter"
    "#;
    let declared = read_pipeline("orders.toml", orders).unwrap();
    assert_eq!(declared.in_flight, Some(64));
    for (from, to, why) in [
        (
            "\"dead-letter\"",
            "\"drop\"",
            "orders.toml:8: unknown variant `drop`, expected one of",
        ),
        (
            "method",
            "handler",
            "orders.toml:6: unknown field `handler`, expected one of `name`",
        ),
        (
            "64",
            "0",
            "orders.toml: in_flight: 0, and it may be 1 to 1024",
        ),
        (
            "parser/main",
            "parser",
            "orders.toml: stage 1 `parse`, to: `parser` is no agent id",
        ),
        ("[[stage]]", "[[stage", "orders.toml:3: "),
    ] {
        let error = read_pipeline("orders.toml", &orders.replace(from, to)).unwrap_err();
        let error = error.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(error.contains(why), "{error}");
    }

    let order = r#"
        timeout-ms = 60_000
        [[step]]
        id = "pay"
        to = "bank/alice"
        method = "withdraw"
        input = { sum = 70 }
        form = "plain"
        undo = { method = "deposit", timeout-ms = 100 }
    "#;
    let declared = read_saga("order.toml", order).unwrap();
    assert_eq!(
        declared.steps[0].input,
        Some(serde_json::json!({"sum": 70}))
    );
    for (from, to, why) in [
        (
            "\"plain\"",
            "\"bare\"",
            "order.toml:8: unknown variant `bare`, expected `step` or `plain`",
        ),
        (
            "timeout-ms = 100",
            "retries = 1",
            "order.toml:9: unknown field `retries`",
        ),
        (
            "60_000",
            "0",
            "order.toml: timeout_ms: 0, and it may be 1 to 86400000",
        ),
    ] {
        let error = read_saga("order.toml", &order.replace(from, to)).unwrap_err();
        let error = error.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn no_declaration_is_a_panic() {
    const NAMES: &[&str] = &[
        "in-flight",
        "stage.name",
        "stage",
        "step",
        "step.undo",
        "timeout-ms",
        "steps",
    ];
    cases(
        25,
        |chance| file(chance, NAMES),
        |text| {
            let _ = phoenix_cli::declaration::read_pipeline("p.toml", text);
            let _ = phoenix_cli::declaration::read_saga("s.toml", text);
        },
    );
}
