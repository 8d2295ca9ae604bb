//! Join tokens: one line that lets one node into a cluster, once.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64URL_NOPAD;

use super::MAX_ADDRESS;

/// What every token begins with.
const PREFIX: &str = "phx1_";
/// What tokens of every version begin with.
const FAMILY: &str = "phx";
/// Bytes of the checksum.
const CHECKSUM: usize = 4;
/// Bytes of a token's secret.
pub(crate) const SECRET: usize = 16;

/// Lets one node join a cluster, once, until it expires.
///
/// Its text is `phx1_` and URL-safe Base64 of: the expiry in seconds since
/// 1970-01-01 UTC (8 bytes, big-endian), the SHA-256 of the authority's
/// certificate (32), the secret (16), the authority's address (UTF-8), and the
/// first 4 bytes of the SHA-256 of all that.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// `host:port` where the authority listens.
    pub address: String,
    /// SHA-256 of the authority's certificate.
    pub fingerprint: Fingerprint,
    /// Known to the authority and to whoever has the token.
    pub(crate) secret: [u8; SECRET],
    /// From when on it is of no use.
    pub expires: SystemTime,
}

/// Why a text is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// It looks like something else.
    #[error("this is no join token: one begins with {PREFIX} and is printed by `phoenix token`")]
    NotAToken,
    /// It is from another version of Phoenix.
    #[error(
        "this token is of another version of Phoenix: make one with `phoenix token` there, and use the same version here"
    )]
    Version,
    /// A character was lost or changed.
    #[error(
        "this token is damaged: a character is missing, extra or changed. Copy the whole line that `phoenix token` printed"
    )]
    Damaged,
}

impl JoinToken {
    /// Reads a token's text; white space around it does not matter.
    pub fn parse(text: &str) -> Result<Self, BadToken> {
        let text = text.trim();
        let Some(body) = text.strip_prefix(PREFIX) else {
            let other = text
                .strip_prefix(FAMILY)
                .and_then(|rest| rest.split_once('_'))
                .is_some_and(|(version, _)| version.bytes().all(|b| b.is_ascii_digit()));
            return Err(if other {
                BadToken::Version
            } else {
                BadToken::NotAToken
            });
        };
        let longest = (8 + 32 + SECRET + MAX_ADDRESS + CHECKSUM) * 4 / 3 + 4;
        if body.len() > longest {
            return Err(BadToken::Damaged);
        }
        let bytes = BASE64URL_NOPAD
            .decode(body.as_bytes())
            .map_err(|_| BadToken::Damaged)?;
        Self::from_bytes(&bytes).ok_or(BadToken::Damaged)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (content, sum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM)?)?;
        if checksum(content) != sum {
            return None;
        }
        let (expires, rest) = content.split_first_chunk::<8>()?;
        let (fingerprint, rest) = rest.split_first_chunk::<32>()?;
        let (secret, address) = rest.split_first_chunk::<SECRET>()?;
        Some(Self {
            address: std::str::from_utf8(address).ok()?.to_owned(),
            fingerprint: Fingerprint(*fingerprint),
            secret: *secret,
            expires: UNIX_EPOCH.checked_add(Duration::from_secs(u64::from_be_bytes(*expires)))?,
        })
    }

    /// What the authority keeps of the secret.
    pub(crate) fn secret_hash(secret: &[u8]) -> [u8; 32] {
        sha256(secret)
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expires = self
            .expires
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let mut bytes = Vec::with_capacity(8 + 32 + SECRET + self.address.len() + CHECKSUM);
        bytes.extend_from_slice(&expires.to_be_bytes());
        bytes.extend_from_slice(&self.fingerprint.0);
        bytes.extend_from_slice(&self.secret);
        bytes.extend_from_slice(self.address.as_bytes());
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum);
        write!(f, "{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes))
    }
}

impl FromStr for JoinToken {
    type Err = BadToken;
    fn from_str(text: &str) -> Result<Self, BadToken> {
        Self::parse(text)
    }
}

// The secret stays out of logs.
impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("address", &self.address)
            .field("fingerprint", &self.fingerprint)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// SHA-256 of a certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    pub(crate) fn of(certificate: &[u8]) -> Self {
        Self(sha256(certificate))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn checksum(content: &[u8]) -> [u8; CHECKSUM] {
    let mut sum = [0; CHECKSUM];
    for (to, from) in sum.iter_mut().zip(sha256(content)) {
        *to = from;
    }
    sum
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    for (to, from) in hash.iter_mut().zip(digest(&SHA256, bytes).as_ref()) {
        *to = *from;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        JoinToken {
            address: "node-1.example:7000".to_owned(),
            fingerprint: Fingerprint([7; 32]),
            secret: [9; SECRET],
            expires: UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        }
    }

    #[test]
    fn a_token_is_one_line_of_url_safe_text() {
        let text = token().to_string();
        assert!(
            text.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        );
        assert_eq!(JoinToken::parse(&format!("  {text}\n")), Ok(token()));
    }

    #[test]
    fn every_typo_is_noticed() {
        let text = token().to_string();
        for index in PREFIX.len()..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(
                JoinToken::parse(&changed),
                Err(BadToken::Damaged),
                "at {index}"
            );
            let mut shorter = text.clone();
            shorter.remove(index);
            assert_eq!(
                JoinToken::parse(&shorter),
                Err(BadToken::Damaged),
                "without {index}"
            );
        }
    }

    #[test]
    fn other_texts_are_told_apart() {
        assert_eq!(JoinToken::parse("hello"), Err(BadToken::NotAToken));
        assert_eq!(JoinToken::parse(""), Err(BadToken::NotAToken));
        assert_eq!(JoinToken::parse("phx2_abc"), Err(BadToken::Version));
        assert_eq!(
            JoinToken::parse(&format!("{PREFIX}{}", "A".repeat(9_999))),
            Err(BadToken::Damaged)
        );
    }

    #[test]
    fn the_secret_is_not_in_the_debug_form() {
        let shown = format!("{:?}", token());
        assert!(
            !shown.contains("9, 9") && !shown.contains("0909"),
            "{shown}"
        );
    }
}
