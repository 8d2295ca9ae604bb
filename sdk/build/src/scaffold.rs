//! A new agent's crate, which builds and passes its own test.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Longest name of an agent's crate: what a kind's name may have, in bytes.
pub const SCAFFOLD_NAME_MAX: usize = 64;

/// The toolchain a new crate asks for, the one this crate was tested with.
const CHANNEL: &str = "1.99.1";

const FILES: [(&str, &str); 4] = [
    ("Cargo.toml", include_str!("../template/Cargo.toml.in")),
    ("src/lib.rs", include_str!("../template/lib.rs.in")),
    (
        "rust-toolchain.toml",
        include_str!("../template/rust-toolchain.toml.in"),
    ),
    (".gitignore", include_str!("../template/gitignore.in")),
];

/// What was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scaffold {
    /// The crate's directory.
    pub dir: PathBuf,
    /// Its files, relative to the directory.
    pub files: Vec<PathBuf>,
    /// Where its SDK comes from.
    pub sdk: ScaffoldedSdk,
}

/// Where a new crate's SDK comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScaffoldedSdk {
    /// A directory.
    Path(PathBuf),
    /// The registry, in this version.
    Version(&'static str),
}

/// Why no crate was created. Nothing has been left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScaffoldError {
    /// The name cannot be that of a crate and of a kind of agents.
    #[error("`{name}` cannot be an agent's name: {why}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        why: String,
        /// A name that would do.
        instead: Option<String>,
    },
    /// There is something of that name already.
    #[error("{} is there already", dir.display())]
    Exists {
        /// What is there.
        dir: PathBuf,
    },
    /// The path given for the SDK holds no SDK.
    #[error("there is no phoenix-sdk at {}", path.display())]
    NoSdk {
        /// The path.
        path: PathBuf,
    },
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl ScaffoldError {
    /// What to do about it, for a person, where something can be said.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Name {
                instead: Some(name),
                ..
            } => format!("`{name}` would do"),
            Self::Name { instead: None, .. } => {
                "take a word such as `counter` or `order-book`".into()
            }
            Self::Exists { .. } => "choose another name, or remove it first".into(),
            Self::NoSdk { .. } => {
                "give the directory of the SDK's Cargo.toml, `sdk/rust` in Phoenix's source".into()
            }
            Self::Write { .. } => return None,
        })
    }
}

/// Creates the crate `name` in the directory `parent`. Its SDK is the one in
/// the directory `sdk`, or else the one this crate was built beside if that is
/// still there, or else the registry's of this version.
pub fn scaffold(parent: &Path, name: &str, sdk: Option<&Path>) -> Result<Scaffold, ScaffoldError> {
    check_name(name)?;
    let dir = parent.join(name);
    // Not followed: a link that leads nowhere is something too.
    if dir.symlink_metadata().is_ok() {
        return Err(ScaffoldError::Exists { dir });
    }
    let sdk = find_sdk(sdk)?;
    // Written aside and renamed, so that there is a whole crate or none.
    let aside = parent.join(format!(".{name}.{}", std::process::id()));
    let written = write_all(&aside, name, &sdk).and_then(|()| {
        fs::rename(&aside, &dir).map_err(|source| ScaffoldError::Write {
            path: dir.clone(),
            source,
        })
    });
    if let Err(error) = written {
        let _ = fs::remove_dir_all(&aside);
        return Err(error);
    }
    Ok(Scaffold {
        dir,
        files: FILES.iter().map(|(file, _)| PathBuf::from(file)).collect(),
        sdk,
    })
}

fn write_all(dir: &Path, name: &str, sdk: &ScaffoldedSdk) -> Result<(), ScaffoldError> {
    let dependency = match sdk {
        // As a TOML basic string: JSON escapes the same characters the same way.
        ScaffoldedSdk::Path(path) => {
            let path = serde_json::Value::from(path.to_string_lossy());
            format!("{{ path = {path} }}")
        }
        ScaffoldedSdk::Version(version) => format!("\"{version}\""),
    };
    let ty = type_name(name);
    for (file, template) in FILES {
        let path = dir.join(file);
        let text = template
            .replace("@name@", name)
            .replace("@Type@", &ty)
            .replace("@sdk@", &dependency)
            .replace("@channel@", CHANNEL);
        let write = || {
            fs::create_dir_all(path.parent().unwrap_or(dir))?;
            fs::write(&path, text)
        };
        write().map_err(|source| ScaffoldError::Write {
            path: path.clone(),
            source,
        })?;
    }
    Ok(())
}

fn find_sdk(given: Option<&Path>) -> Result<ScaffoldedSdk, ScaffoldError> {
    if let Some(given) = given {
        let found = [given.to_owned(), given.join("sdk/rust")]
            .into_iter()
            .find(|dir| is_sdk(dir))
            .and_then(|dir| dir.canonicalize().ok());
        return found
            .map(ScaffoldedSdk::Path)
            .ok_or_else(|| ScaffoldError::NoSdk {
                path: given.to_owned(),
            });
    }
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("rust");
    Ok(if is_sdk(&beside) {
        ScaffoldedSdk::Path(beside)
    } else {
        ScaffoldedSdk::Version(env!("CARGO_PKG_VERSION"))
    })
}

fn is_sdk(dir: &Path) -> bool {
    fs::read_to_string(dir.join("Cargo.toml"))
        .is_ok_and(|text| text.lines().any(|line| line == "name = \"phoenix-sdk\""))
}

/// Names that a crate cannot have, or a kind of agents.
const TAKEN: [&str; 9] = [
    "alloc",
    "client",
    "core",
    "phoenix-sdk",
    "phoenix_sdk",
    "proc-macro",
    "proc_macro",
    "std",
    "sys",
];

/// What `cargo new` refuses too. Text, as no line of a table is worth a look.
const KEYWORDS: &str = "abstract as async await become box break const continue crate do dyn else \
    enum extern false final fn for gen if impl in let loop macro match mod move mut override priv \
    pub ref return self static struct super test trait true try type typeof union unsafe unsized \
    use virtual where while yield";

fn check_name(name: &str) -> Result<(), ScaffoldError> {
    let refuse = |why: &str| {
        // Shown in an error, so no more of it than fits a line.
        let shown: String = name.chars().take(80).flat_map(char::escape_debug).collect();
        Err(ScaffoldError::Name {
            name: shown,
            why: why.to_owned(),
            instead: instead_of(name),
        })
    };
    if name.is_empty() {
        return refuse("it is empty");
    }
    if name.len() > SCAFFOLD_NAME_MAX {
        return refuse("it is longer than 64 bytes");
    }
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        return refuse("it must begin with a letter from a to z");
    }
    if !name.bytes().all(is_name_byte) {
        return refuse("it may have only a-z, 0-9, - and _");
    }
    if KEYWORDS.split(' ').any(|keyword| keyword == name) {
        return refuse("it is a keyword of Rust");
    }
    if TAKEN.contains(&name) {
        return refuse("the name is taken");
    }
    Ok(())
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
}

/// A good name near a bad one: `MyAgent` gives `my-agent`.
fn instead_of(name: &str) -> Option<String> {
    let mut better = String::new();
    let mut after_small = false;
    for character in name.chars() {
        if character.is_ascii_alphanumeric() {
            if character.is_ascii_uppercase() && after_small {
                better.push('-');
            }
            better.push(character.to_ascii_lowercase());
        } else if !better.is_empty() && !better.ends_with('-') {
            better.push('-');
        }
        after_small = character.is_ascii_lowercase() || character.is_ascii_digit();
    }
    let better: String = better
        .trim_start_matches(|c: char| !c.is_ascii_lowercase())
        .chars()
        .take(SCAFFOLD_NAME_MAX)
        .collect();
    let better = better.trim_end_matches('-').to_owned();
    (better != name && !better.is_empty() && check_name(&better).is_ok()).then_some(better)
}

/// The struct of the agent `order-book`: `OrderBook`.
fn type_name(name: &str) -> String {
    let mut ty = String::new();
    for word in name.split(['-', '_']) {
        let mut characters = word.chars();
        if let Some(first) = characters.next() {
            ty.push(first.to_ascii_uppercase());
            ty.push_str(characters.as_str());
        }
    }
    // These the crate uses under their own names.
    const USED: [&str; 14] = [
        "AgentError",
        "Ask",
        "AskError",
        "BTreeMap",
        "Context",
        "Default",
        "Duration",
        "Failure",
        "Level",
        "Ok",
        "Request",
        "State",
        "String",
        "Timestamp",
    ];
    if USED.contains(&ty.as_str()) {
        ty.push_str("Agent");
    }
    ty
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_become_types() {
        for (name, ty) in [
            ("counter", "Counter"),
            ("order-book", "OrderBook"),
            ("a_1", "A1"),
            ("context", "ContextAgent"),
        ] {
            check_name(name).unwrap();
            assert_eq!(type_name(name), ty);
        }
    }

    #[test]
    fn bad_names_are_explained_and_mended() {
        let cases = [
            ("", "empty", None),
            ("MyAgent", "begin with", Some("my-agent")),
            ("1st", "begin with", Some("st")),
            ("über", "begin with", Some("ber")),
            ("order book", "only a-z", Some("order-book")),
            ("../escape", "begin with", Some("escape")),
            ("a/b", "only a-z", Some("a-b")),
            ("match", "keyword", None),
            ("sys", "taken", None),
            ("std", "taken", None),
        ];
        for (name, says, better) in cases {
            match check_name(name).unwrap_err() {
                ScaffoldError::Name { why, instead, .. } => {
                    assert!(why.contains(says), "{name}: {why}");
                    assert_eq!(instead.as_deref(), better, "{name}");
                }
                other => panic!("{other}"),
            }
        }
        assert!(check_name(&"a".repeat(64)).is_ok());
        assert!(check_name(&"a".repeat(65)).is_err());
    }

    #[test]
    fn the_toolchain_is_the_one_this_crate_is_built_with() {
        let own = fs::read_to_string(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../rust-toolchain.toml"
        ))
        .unwrap();
        assert!(own.contains(&format!("channel = \"{CHANNEL}\"")), "{own}");
    }

    #[test]
    fn what_is_there_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("mine");
        fs::create_dir(&dir).unwrap();
        let error = scaffold(parent.path(), "mine", None).unwrap_err();
        assert!(matches!(error, ScaffoldError::Exists { .. }), "{error}");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    }

    #[test]
    fn a_place_without_an_sdk_is_refused_and_nothing_is_left() {
        let parent = tempfile::tempdir().unwrap();
        let error = scaffold(parent.path(), "mine", Some(parent.path())).unwrap_err();
        assert!(matches!(error, ScaffoldError::NoSdk { .. }), "{error}");
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_place_that_cannot_be_written_leaves_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let nowhere = parent.path().join("not/there");
        // The parent is created along the way; a file in its place cannot be.
        fs::create_dir(parent.path().join("not")).unwrap();
        fs::write(&nowhere, "").unwrap();
        let error = scaffold(&nowhere, "mine", None).unwrap_err();
        assert!(matches!(error, ScaffoldError::Write { .. }), "{error}");
        assert_eq!(fs::read_to_string(&nowhere).unwrap(), "");
    }
}
