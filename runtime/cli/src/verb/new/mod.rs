//! `phoenix new`

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use phoenix_core::KindName;

use crate::error::{CliError, Exit};
use crate::output::Output;

/// Arguments of `phoenix new`.
#[derive(Debug, clap::Args)]
pub(crate) struct NewArgs {
    /// The agent's name: its kind, its crate, its directory
    name: String,
    /// Where to create it [default: a directory of that name here]
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// The directory of the crate phoenix-sdk [default: that of the source tree around, or
    /// of the one this program was built from]
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,
}

/// What is created, with `{name}`, `{struct}`, `{sdk}` and `{channel}` filled in.
const FILES: [(&str, &str); 4] = [
    ("Cargo.toml", include_str!("template/Cargo.toml.in")),
    (
        "rust-toolchain.toml",
        include_str!("template/rust-toolchain.toml.in"),
    ),
    (".gitignore", include_str!("template/gitignore.in")),
    ("src/lib.rs", include_str!("template/lib.rs.in")),
];

/// The toolchain Phoenix is built with, which is known to build its SDK.
const TOOLCHAIN: &str = include_str!("../../../../../rust-toolchain.toml");

/// Names that a crate or a struct cannot have.
const RESERVED: [&str; 10] = [
    "self",
    "super",
    "crate",
    "core",
    "std",
    "test",
    "client",
    "sys",
    "phoenix-sdk",
    "phoenix",
];

pub(crate) fn run(args: &NewArgs, json: bool) -> Result<ExitCode, CliError> {
    let name = name(&args.name)?;
    let dir = args.path.clone().unwrap_or_else(|| PathBuf::from(&name));
    let sdk = sdk(args.sdk.as_deref())?;
    create(&dir, &name, &sdk)?;
    let mut out = Output::new();
    if json {
        out.json(&serde_json::json!({ "name": name, "path": dir.display().to_string() }))?;
    } else {
        let shown = dir.display();
        out.line(&format!("{name} is created in {shown}"))?;
        out.line(&format!("test it:   cd {shown} && cargo test"))?;
        out.line(&format!("build it:  phoenix build {shown}"))?;
    }
    out.flush()?;
    Ok(Exit::Ok.into())
}

/// A name that is a kind's and a crate's.
fn name(text: &str) -> Result<String, CliError> {
    let kind = KindName::new(text).map_err(|error| {
        CliError::usage(error).help("a name such as `counter` or `order-book` works")
    })?;
    let name = kind.as_str();
    let taken = RESERVED.contains(&name) || is_keyword(name);
    if taken || name.ends_with(['-', '_']) {
        return Err(
            CliError::usage(format!("`{name}` cannot be the name of a Rust crate"))
                .help("choose another one, such as `counter` or `order-book`"),
        );
    }
    Ok(name.to_owned())
}

fn is_keyword(name: &str) -> bool {
    const KEYWORDS: &str = "abstract as async await become box break const continue do dyn else \
        enum extern false final fn for gen if impl in let loop macro match mod move mut override \
        priv pub ref return static struct trait true try type typeof unsafe unsized use virtual \
        where while yield";
    KEYWORDS.split_whitespace().any(|keyword| keyword == name)
}

/// The SDK's directory: the one named, the one of the source tree around the
/// working directory, or the one of the tree this program was built from.
fn sdk(named: Option<&Path>) -> Result<PathBuf, CliError> {
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk/rust");
    let found = match named {
        Some(dir) => is_sdk(dir).then(|| dir.to_owned()),
        None => around().or_else(|| is_sdk(&built_from).then_some(built_from)),
    };
    let missing = || match named {
        Some(dir) => CliError::usage(format!("{} is not the crate phoenix-sdk", dir.display())),
        None => CliError::failed("the crate phoenix-sdk is not to be found"),
    };
    let dir = found.ok_or_else(|| {
        missing().help("give its directory, `sdk/rust` of Phoenix' source tree, with `--sdk DIR`")
    })?;
    fs::canonicalize(&dir)
        .map_err(|error| CliError::failed(format!("cannot use {}: {error}", dir.display())))
}

fn around() -> Option<PathBuf> {
    let here = std::env::current_dir().ok()?;
    here.ancestors()
        .map(|dir| dir.join("sdk/rust"))
        .find(|dir| is_sdk(dir))
}

fn is_sdk(dir: &Path) -> bool {
    fs::read_to_string(dir.join("Cargo.toml")).is_ok_and(|text| {
        text.lines()
            .any(|line| line.trim() == "name = \"phoenix-sdk\"")
    })
}

/// Creates the crate; nothing that is there is overwritten.
fn create(dir: &Path, name: &str, sdk: &Path) -> Result<(), CliError> {
    let failed = |path: &Path, error: &std::io::Error| {
        CliError::failed(format!("cannot create {}: {error}", path.display()))
    };
    let sdk = sdk.to_str().ok_or_else(|| {
        CliError::failed("the path of phoenix-sdk is not UTF-8").help("use `--sdk DIR`")
    })?;
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent).map_err(|error| failed(parent, &error))?;
    }
    fs::create_dir(dir).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => CliError::failed(format!("{} is there already", dir.display()))
            .help("choose another place with `--path DIR`"),
        _ => failed(dir, &error),
    })?;
    for (file, template) in FILES {
        let path = dir.join(file);
        let text = fill(template, name, sdk);
        let parent = path.parent().unwrap_or(dir);
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&path, text))
            .map_err(|error| failed(&path, &error))?;
    }
    Ok(())
}

fn fill(template: &str, name: &str, sdk: &str) -> String {
    // A TOML literal would end at a quote; a basic string needs these two escaped.
    let sdk = sdk.replace('\\', "\\\\").replace('"', "\\\"");
    template
        .replace("{name}", name)
        .replace("{struct}", &struct_name(name))
        .replace("{channel}", channel())
        .replace("{sdk}", &sdk)
}

fn channel() -> &'static str {
    TOOLCHAIN
        .lines()
        .find_map(|line| line.strip_prefix("channel = ")?.trim().strip_prefix('"'))
        .and_then(|rest| rest.split('"').next())
        .unwrap_or("stable")
}

/// `order-book` as `OrderBook`.
fn struct_name(name: &str) -> String {
    name.split(['-', '_'])
        .flat_map(|word| {
            let mut letters = word.chars();
            letters
                .next()
                .map(|first| first.to_ascii_uppercase())
                .into_iter()
                .chain(letters)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kinds_and_crates() {
        assert_eq!(name("order-book").unwrap(), "order-book");
        assert_eq!(struct_name("order-book_2"), "OrderBook2");
        for bad in ["", "Counter", "1st", "match", "std", "a b", "../x", "x-"] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_crate_is_created_once() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("deep/order-book");
        create(&dir, "order-book", Path::new("/sdk \"x\"")).unwrap();
        let manifest = fs::read_to_string(dir.join("Cargo.toml")).unwrap();
        let parsed: toml::Table = manifest.parse().unwrap();
        assert_eq!(parsed["package"]["name"].as_str(), Some("order-book"));
        assert_eq!(
            parsed["dependencies"]["phoenix-sdk"]["path"].as_str(),
            Some("/sdk \"x\"")
        );
        let toolchain = fs::read_to_string(dir.join("rust-toolchain.toml")).unwrap();
        let parsed: toml::Table = toolchain.parse().unwrap();
        let channel = parsed["toolchain"]["channel"].as_str().unwrap();
        assert!(channel.starts_with("1."), "{channel}");
        let again = create(&dir, "order-book", Path::new("/sdk")).unwrap_err();
        assert!(again.to_string().contains("is there already"));
    }
}
