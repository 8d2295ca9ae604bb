//! The API's token: whoever can read the file may operate the node.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use data_encoding::BASE64URL_NOPAD;

/// Random bytes in a token.
const TOKEN_BYTES: usize = 32;
/// Most of a token file that is read, in bytes.
const MAX_FILE: u64 = 1 << 10;

/// A secret that opens the API: 32 random bytes, as 43 characters of base64url.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// Why a token could not be had.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file could not be read or written.
    #[error("cannot {action} the API's token in {}", path.display())]
    File {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{} does not hold an API token", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
    },
    /// The system has no random bytes.
    #[error("the system gives no random bytes for the API's token: {0}")]
    Random(String),
}

impl Token {
    /// A new one.
    pub fn random() -> Result<Self, TokenError> {
        let mut bytes = [0; TOKEN_BYTES];
        getrandom::fill(&mut bytes).map_err(|error| TokenError::Random(error.to_string()))?;
        Ok(Self(BASE64URL_NOPAD.encode(&bytes)))
    }

    /// The token that `text` is.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        (bytes.len() == TOKEN_BYTES).then(|| Self(text.to_owned()))
    }

    /// The token in `path`.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(MAX_FILE).read_to_string(&mut text))
            .map_err(|source| TokenError::File {
                action: "read",
                path: path.to_owned(),
                source,
            })?;
        Self::parse(&text).ok_or_else(|| TokenError::Malformed {
            path: path.to_owned(),
        })
    }

    /// The token in `path`, so that scripts keep theirs over a restart; a new
    /// one is written there if there is none, or if others could read it.
    pub fn read_or_create(path: &Path) -> Result<Self, TokenError> {
        match Self::read(path) {
            Ok(token) if is_private(path) => return Ok(token),
            Ok(_) => tracing::warn!(
                path = %path.display(),
                "others could read the API's token: it is replaced by a new one"
            ),
            Err(TokenError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(TokenError::Malformed { .. }) => tracing::warn!(
                path = %path.display(),
                "the file holds no API token: it is replaced by a new one"
            ),
            Err(error) => return Err(error),
        }
        let token = Self::random()?;
        write_private(path, token.as_str()).map_err(|source| TokenError::File {
            action: "write",
            path: path.to_owned(),
            source,
        })?;
        Ok(token)
    }

    /// The token as it travels.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// A secret stays out of logs.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(unix)]
fn is_private(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o077 == 0)
}

#[cfg(not(unix))]
fn is_private(_: &Path) -> bool {
    true
}

/// Writes a file that only its owner can read, whole or not at all.
pub(crate) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let partial = path.with_extension("partial");
    match fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = File::options();
    // Created here and nowhere else: never somebody else's file or link.
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(&partial)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(&partial, path)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_private_and_lasts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.token");
        let token = Token::read_or_create(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(Token::read_or_create(&path).unwrap(), token);
        assert_eq!(Token::read(&path).unwrap(), token);
    }

    #[test]
    fn a_token_others_could_read_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.token");
        let token = Token::read_or_create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_ne!(Token::read_or_create(&path).unwrap(), token);
        assert!(is_private(&path));
    }

    #[test]
    fn what_is_no_token_is_not_taken_for_one() {
        for bad in ["", "secret", "AAAA", &"A".repeat(44), &"é".repeat(43)] {
            assert_eq!(Token::parse(bad), None);
        }
        assert_eq!(format!("{:?}", Token::random().unwrap()), "Token(…)");
    }
}
