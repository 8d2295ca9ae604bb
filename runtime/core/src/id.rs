//! Names and numbers that identify things.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

/// An agent's address, `kind/key`, as in `counter/alice`.
///
/// The kind is 1 to 64 of `a-z 0-9 - _`, beginning with a letter; the key is 1
/// to 255 bytes of UTF-8 without control characters. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AgentId {
    text: Arc<str>,
}

/// Why a text is no agent id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAgentId {
    /// There is no `/`.
    #[error("`{0}` is no agent id: write kind/key, as in counter/alice")]
    NoKey(String),
    /// The part before the `/` is no kind.
    #[error(
        "`{0}` is no kind: use 1 to 64 of a-z, 0-9, - and _, beginning with a letter, as in counter"
    )]
    Kind(String),
    /// A kind of this name would have agents that pass as senders that are none.
    #[error(
        "no kind may be called `{0}`, as {0}/NAME is what agents see of senders that are no agents: \
         use another name, 1 to 64 of a-z, 0-9, - and _, beginning with a letter, as in counter"
    )]
    Sender(String),
    /// The part after the `/` is no key.
    #[error("the key of `{0}` must be 1 to 255 bytes without control characters")]
    Key(String),
}

/// Longest kind, in bytes.
const MAX_KIND: usize = 64;
/// Longest key, in bytes.
const MAX_KEY: usize = 255;
/// Longest id, in bytes.
pub(crate) const MAX_ID: usize = MAX_KIND + 1 + MAX_KEY;

impl AgentId {
    /// Checks `text` and makes it an id.
    pub fn new(text: &str) -> Result<Self, BadAgentId> {
        Self::check(text)?;
        Ok(Self { text: text.into() })
    }

    /// Checks that `text` is an id.
    pub fn check(text: &str) -> Result<(), BadAgentId> {
        let Some((kind, key)) = text.split_once('/') else {
            return Err(BadAgentId::NoKey(shown(text)));
        };
        if !is_kind(kind) {
            return Err(BadAgentId::Kind(shown(kind)));
        }
        if key.is_empty() || key.len() > MAX_KEY || key.chars().any(char::is_control) {
            return Err(BadAgentId::Key(shown(text)));
        }
        Ok(())
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The part before the slash.
    pub fn kind(&self) -> &str {
        self.text.split_once('/').map_or("", |(kind, _)| kind)
    }

    /// The part after the slash.
    pub fn key(&self) -> &str {
        self.text.split_once('/').map_or("", |(_, key)| key)
    }

    /// A hash that every node computes alike: it places agents on workers and nodes.
    pub fn placement_hash(&self) -> u64 {
        // FNV-1a with a final mix: stable across versions, good enough to spread.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in self.text.as_bytes() {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        hash ^= hash >> 32;
        hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^ (hash >> 29)
    }
}

// An id hashes as its text does, so that tables can be searched with a `&str`.
impl Hash for AgentId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Borrow<str> for AgentId {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl FromStr for AgentId {
    type Err = BadAgentId;
    fn from_str(text: &str) -> Result<Self, BadAgentId> {
        Self::new(text)
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What stands in front of the slash where a sender is no agent: an outside client
/// (`client/ID`) or the system (`sys/NAME`). What agents let those do they would let
/// agents of such a kind do.
const SENDERS: [&str; 2] = ["client", "sys"];

/// The name of a kind: 1 to 64 of `a-z 0-9 - _`, beginning with a letter, and not
/// `client` or `sys`, which stand for senders that are no agents.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KindName(Arc<str>);

impl KindName {
    /// Checks `text` and makes it a kind's name.
    pub fn new(text: &str) -> Result<Self, BadAgentId> {
        if !is_kind(text) {
            return Err(BadAgentId::Kind(shown(text)));
        }
        if SENDERS.contains(&text) {
            return Err(BadAgentId::Sender(text.to_owned()));
        }
        Ok(Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for KindName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KindName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `text` has the form of a kind's name.
pub(crate) fn is_kind(text: &str) -> bool {
    text.len() <= MAX_KIND
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

/// `text` as it may stand in an error: escaped and at most 80 characters.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}

/// An outside client, `client/ID` to the agents it talks to: 1 to 64 of
/// `a-z A-Z 0-9 - _ .`, chosen at random by the client.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(Arc<str>);

impl ClientId {
    /// Checks `text` and makes it a client's id.
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        fits.then(|| Self(text.into()))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A node of the cluster; the authority counts them from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node-{}", self.0)
    }
}

impl FromStr for NodeId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        text.strip_prefix("node-")
            .unwrap_or(text)
            .parse()
            .map(NodeId)
            .map_err(|_| format!("`{}` is no node: write node-2 or 2", shown(text)))
    }
}

/// One life of an agent's memory. Greater than every earlier one of that agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Incarnation {
    /// The directory's generation of the agent when the memory was made.
    pub generation: u64,
    /// How often the node had started.
    pub boot: u64,
    /// How many memories the node had made since.
    pub count: u64,
}

impl Incarnation {
    /// Whether a memory made under this may be that of the agent whose present life began
    /// under generation `life`: see [`crate::directory::Ownership::life`].
    pub fn counts_since(self, life: u64) -> bool {
        self.generation >= life
    }
}

/// Who may commit for an agent. Compared generation first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch {
    /// Raised by the directory at every move.
    pub generation: u64,
    /// The owner's boot counter (a Raft term, where there is Raft).
    pub term: u64,
}

/// One attempt to move one agent; random, so that a repeated request is known as the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MigrationId(pub u128);

impl fmt::Display for MigrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for MigrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// BLAKE3 of some bytes: names components and seals snapshots.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{}` is no digest: 64 hexadecimal digits", shown(text));
        if text.len() != 64 || !text.is_ascii() {
            return Err(bad());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| bad())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| bad())?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_a_kind_and_a_key() {
        let id = AgentId::new("visitor/2001:db8::1/64").unwrap();
        assert_eq!(
            (id.kind(), id.key()),
            ("visitor", "2001:db8::1/64"),
            "only the first slash divides"
        );
    }

    #[test]
    fn bad_ids_are_named() {
        for bad in [
            "",
            "counter",
            "/a",
            "counter/",
            "Counter/a",
            "1c/a",
            "c/a\nb",
        ] {
            AgentId::new(bad).unwrap_err();
        }
        let long = format!("c/{}", "k".repeat(256));
        AgentId::new(&long).unwrap_err();
    }

    #[test]
    fn digests_round_trip_as_text() {
        let digest = Digest::of(b"phoenix");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        "zz".parse::<Digest>().unwrap_err();
        "é".repeat(32).parse::<Digest>().unwrap_err();
    }

    #[test]
    fn no_kind_is_called_as_senders_are_that_are_no_agents() {
        for name in ["client", "sys"] {
            let refused = KindName::new(name).unwrap_err();
            assert_eq!(refused, BadAgentId::Sender(name.to_owned()));
            let text = refused.to_string();
            assert!(text.contains(&format!("`{name}`")), "{text}");
            assert!(text.contains("use another name"), "{text}");
        }
        for name in ["clients", "client-1", "system", "sys_", "topic"] {
            assert_eq!(KindName::new(name).unwrap().as_str(), name);
        }
    }
}
