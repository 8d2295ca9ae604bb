//! A new agent's crate, which builds and passes its own test.

mod name;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use name::{check_name, type_name};

/// Longest name of an agent's crate: what a kind's name may have, in bytes.
pub const SCAFFOLD_NAME_MAX: usize = 64;

/// The toolchain Phoenix is built with, which is known to build its SDK.
const TOOLCHAIN: &str = include_str!("../../../../rust-toolchain.toml");

const FILES: [(&str, &str); 4] = [
    ("Cargo.toml", include_str!("../../template/Cargo.toml.in")),
    ("src/lib.rs", include_str!("../../template/lib.rs.in")),
    (
        "rust-toolchain.toml",
        include_str!("../../template/rust-toolchain.toml.in"),
    ),
    (".gitignore", include_str!("../../template/gitignore.in")),
];

/// What was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scaffold {
    /// The crate's directory.
    pub dir: PathBuf,
    /// Its files, relative to the directory.
    pub files: Vec<PathBuf>,
    /// The directory of its SDK.
    pub sdk: PathBuf,
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
    /// No path was given, and no SDK was found.
    #[error("the crate phoenix-sdk is not to be found")]
    SdkUnknown,
    /// A manifest is UTF-8, and the SDK's path is not.
    #[error("the path of phoenix-sdk, {}, is not UTF-8", path.display())]
    SdkPath {
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
            Self::Exists { .. } => "choose another name or place, or remove it first".into(),
            Self::NoSdk { .. } | Self::SdkUnknown | Self::SdkPath { .. } => {
                "give the directory of the SDK's Cargo.toml, `sdk/rust` in Phoenix's source".into()
            }
            Self::Write { .. } => return None,
        })
    }
}

/// Creates the crate `name` as the directory `dir`, and the directories above
/// it that are missing. Its SDK is the one in the directory `sdk`, or else that
/// of the source tree around the working directory, or else the one this crate
/// was built beside.
pub fn scaffold(name: &str, dir: &Path, sdk: Option<&Path>) -> Result<Scaffold, ScaffoldError> {
    check_name(name)?;
    // Not followed: a link that leads nowhere is something too.
    if dir.symlink_metadata().is_ok() {
        return Err(ScaffoldError::Exists {
            dir: dir.to_owned(),
        });
    }
    let sdk = find_sdk(sdk)?;
    let text = sdk
        .to_str()
        .ok_or_else(|| ScaffoldError::SdkPath { path: sdk.clone() })?;
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let missing: Vec<&Path> = parent.ancestors().take_while(|dir| !dir.exists()).collect();
    if let Err(error) = create(parent, dir, name, text) {
        // Only what was created here, and only while nobody else has used it.
        for dir in missing {
            let _ = fs::remove_dir(dir);
        }
        return Err(error);
    }
    Ok(Scaffold {
        dir: dir.to_owned(),
        files: FILES.iter().map(|(file, _)| PathBuf::from(file)).collect(),
        sdk,
    })
}

/// Writes the crate aside and renames it, so that there is a whole one or none.
fn create(parent: &Path, dir: &Path, name: &str, sdk: &str) -> Result<(), ScaffoldError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source| ScaffoldError::Write { path, source }
    };
    fs::create_dir_all(parent).map_err(failed(parent))?;
    let aside = parent.join(format!(".{name}.{}", std::process::id()));
    let written =
        write_all(&aside, name, sdk).and_then(|()| fs::rename(&aside, dir).map_err(failed(dir)));
    if written.is_err() {
        let _ = fs::remove_dir_all(&aside);
    }
    written
}

fn write_all(dir: &Path, name: &str, sdk: &str) -> Result<(), ScaffoldError> {
    // As a TOML basic string: JSON escapes the same characters the same way.
    let sdk = serde_json::Value::from(sdk).to_string();
    let ty = type_name(name);
    for (file, template) in FILES {
        let path = dir.join(file);
        let text = template
            .replace("@name@", name)
            .replace("@Type@", &ty)
            .replace("@channel@", channel())
            // Last: a path may hold anything.
            .replace("@sdk@", &sdk);
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

fn channel() -> &'static str {
    TOOLCHAIN
        .lines()
        .find_map(|line| line.strip_prefix("channel = \"")?.split('"').next())
        .unwrap_or("stable")
}

fn find_sdk(given: Option<&Path>) -> Result<PathBuf, ScaffoldError> {
    let Some(given) = given else {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("rust");
        return around()
            .or_else(|| is_sdk(&beside).then_some(beside))
            .ok_or(ScaffoldError::SdkUnknown);
    };
    [given.to_owned(), given.join("sdk/rust")]
        .into_iter()
        .find(|dir| is_sdk(dir))
        .and_then(|dir| dir.canonicalize().ok())
        .ok_or_else(|| ScaffoldError::NoSdk {
            path: given.to_owned(),
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str, dir: &Path) -> Result<Scaffold, ScaffoldError> {
        scaffold(name, dir, None)
    }

    #[test]
    fn the_toolchain_is_the_one_this_crate_is_built_with() {
        let own = include_str!("../../../../rust-toolchain.toml");
        assert!(
            own.contains(&format!("channel = \"{}\"", channel())),
            "{own}"
        );
        let parent = tempfile::tempdir().unwrap();
        let made = made("mine", &parent.path().join("mine")).unwrap();
        let text = fs::read_to_string(made.dir.join("rust-toolchain.toml")).unwrap();
        assert!(
            text.contains(&format!("channel = \"{}\"", channel())),
            "{text}"
        );
    }

    #[test]
    fn a_place_may_be_deep_and_have_another_name() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("not/there/yet");
        let made = made("order-book", &dir).unwrap();
        let mut expected: Vec<_> = made.files.iter().map(|file| dir.join(file)).collect();
        expected.retain(|file| !file.is_file());
        assert_eq!(expected, Vec::<PathBuf>::new());
        let manifest = fs::read_to_string(dir.join("Cargo.toml")).unwrap();
        assert!(manifest.contains("name = \"order-book\""), "{manifest}");
        // Nothing else lies beside it.
        assert_eq!(fs::read_dir(dir.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_path_with_quotes_is_written_as_toml() {
        let parent = tempfile::tempdir().unwrap();
        let sdk = parent.path().join("an \"sdk\" \\ of @name@");
        fs::create_dir(&sdk).unwrap();
        fs::write(
            sdk.join("Cargo.toml"),
            "[package]\nname = \"phoenix-sdk\"\n",
        )
        .unwrap();
        let dir = parent.path().join("mine");
        let made = scaffold("mine", &dir, Some(&sdk)).unwrap();
        assert_eq!(made.sdk, sdk.canonicalize().unwrap());
        let manifest = fs::read_to_string(dir.join("Cargo.toml")).unwrap();
        let written = r#"an \"sdk\" \\ of @name@" }"#;
        assert!(manifest.contains(written), "{manifest}");
    }

    #[test]
    fn what_is_there_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("mine");
        fs::create_dir(&dir).unwrap();
        let error = made("mine", &dir).unwrap_err();
        assert!(matches!(error, ScaffoldError::Exists { .. }), "{error}");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    }

    #[test]
    fn a_place_without_an_sdk_is_refused_and_nothing_is_left() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("deep/mine");
        let error = scaffold("mine", &dir, Some(parent.path())).unwrap_err();
        assert!(matches!(error, ScaffoldError::NoSdk { .. }), "{error}");
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_place_that_cannot_be_written_leaves_nothing() {
        let parent = tempfile::tempdir().unwrap();
        // Where a directory should be created is a file.
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        let error = made("mine", &file.join("mine")).unwrap_err();
        assert!(matches!(error, ScaffoldError::Write { .. }), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "");
        // And a name too long for a file cannot be renamed to, when all else is written.
        let dir = parent.path().join("deep").join("x".repeat(300));
        let error = made("mine", &dir).unwrap_err();
        assert!(matches!(error, ScaffoldError::Write { .. }), "{error}");
        assert!(!parent.path().join("deep").exists());
    }
}
