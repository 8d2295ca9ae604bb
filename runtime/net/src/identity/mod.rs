//! Who a node is, and how it comes to be one of a cluster.
//!
//! The first node makes the cluster's [`Authority`]: a key and a certificate
//! that sign the certificates of all nodes. A node's certificate carries its
//! number and its cluster as a name, so a connection shows who is at its other
//! end, and nobody can be anybody else. A further node is let in by a
//! [`JoinToken`]; see [`join`].
//!
//! Certificates are valid from 2025-01-01 to 2125-01-01: within a cluster a node
//! is shut out by its members, not by a date, and a clock that is wrong must
//! not split a cluster.

mod authority;
mod certificate;
mod files;
mod join;
mod token;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use parking_lot::Mutex;
use phoenix_core::{Member, NodeId};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};

pub(crate) use authority::Admission;
pub use authority::{Authority, AuthorityError, NotAdmitted};
pub(crate) use certificate::{AUTHORITY_NAME, node_name};
pub use files::FileError;
pub(crate) use join::{JOIN_PROTOCOL, JoinAnswer, JoinRequest, MAX_JOIN_REQUEST};
pub use join::{JoinError, join};
pub(crate) use token::sha256;
pub use token::{BadToken, Fingerprint, JoinToken};

/// The file with a node's certificate and what it knows of its cluster.
const NODE_FILE: &str = "node.json";
/// The file with a node's private key.
const KEY_FILE: &str = "node.key";
/// Version of both.
const FILE_VERSION: u32 = 1;

/// A cluster, named at random by its authority.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClusterId(pub [u8; 16]);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl ClusterId {
    fn parse(text: &str) -> Option<Self> {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

/// Why an identity could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file is there and makes no sense.
    #[error("{path} is damaged ({why}): restore it from a backup, or remove the data directory and join the cluster anew", path = path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// A node's proof of who it is, and whom it knew last.
#[derive(Clone)]
pub struct Identity {
    parts: Arc<Parts>,
}

struct Parts {
    directory: PathBuf,
    node: NodeId,
    cluster: ClusterId,
    certificate: CertificateDer<'static>,
    authority: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
    members: Mutex<Vec<Member>>,
}

/// [`NODE_FILE`].
#[derive(Serialize, Deserialize)]
struct NodeFile {
    version: u32,
    node: u32,
    cluster: String,
    certificate: String,
    authority: String,
    members: Vec<MemberEntry>,
}

/// A member, in files.
#[derive(Clone, Serialize, Deserialize)]
struct MemberEntry {
    node: u32,
    address: String,
}

impl MemberEntry {
    fn of(member: &Member) -> Self {
        Self {
            node: member.node.0,
            address: member.address.clone(),
        }
    }

    fn member(&self) -> Member {
        Member {
            node: NodeId(self.node),
            address: self.address.clone(),
        }
    }
}

impl Identity {
    /// The identity kept in `directory`; `None` if that holds none.
    pub fn open(directory: &Path) -> Result<Option<Self>, IdentityError> {
        let Some(text) = files::read(directory, NODE_FILE)? else {
            return Ok(None);
        };
        let damaged = |why: String| IdentityError::Damaged {
            path: directory.join(NODE_FILE),
            why,
        };
        let file: NodeFile =
            serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        if file.version != FILE_VERSION {
            return Err(damaged(format!("its version is {}", file.version)));
        }
        let cluster =
            ClusterId::parse(&file.cluster).ok_or_else(|| damaged("bad cluster id".to_owned()))?;
        let certificate = |text: &str| {
            CertificateDer::from_pem_slice(text.as_bytes())
                .map_err(|error| damaged(format!("a certificate: {error}")))
        };
        let Some(key) = read_key(directory)? else {
            return Err(damaged(format!("{KEY_FILE} beside it is missing")));
        };
        Ok(Some(Self::new(Parts {
            directory: directory.to_owned(),
            node: NodeId(file.node),
            cluster,
            certificate: certificate(&file.certificate)?,
            authority: certificate(&file.authority)?,
            key,
            members: Mutex::new(file.members.iter().map(MemberEntry::member).collect()),
        })))
    }

    fn new(parts: Parts) -> Self {
        Self {
            parts: Arc::new(parts),
        }
    }

    /// Which node this is.
    pub fn node(&self) -> NodeId {
        self.parts.node
    }

    /// Of which cluster.
    pub fn cluster(&self) -> ClusterId {
        self.parts.cluster
    }

    /// The members it knew last, itself among them.
    pub fn members(&self) -> Vec<Member> {
        self.parts.members.lock().clone()
    }

    /// Remembers these members for the next start.
    pub fn set_members(&self, members: Vec<Member>) -> Result<(), IdentityError> {
        let mut known = self.parts.members.lock();
        if *known != members {
            self.write(&members)?;
            *known = members;
        }
        Ok(())
    }

    /// The directory it is kept in.
    pub fn directory(&self) -> &Path {
        &self.parts.directory
    }

    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.parts.certificate.clone()
    }

    pub(crate) fn authority_certificate(&self) -> CertificateDer<'static> {
        self.parts.authority.clone()
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.parts.key.clone_key())
    }

    /// A secret that only this node knows and that stays the same, for one `purpose`.
    pub(crate) fn derived_secret(&self, purpose: &str) -> [u8; 32] {
        let mut input = purpose.as_bytes().to_vec();
        input.push(0);
        input.extend_from_slice(self.parts.key.secret_pkcs8_der());
        sha256(&input)
    }

    fn write(&self, members: &[Member]) -> Result<(), IdentityError> {
        let parts = &*self.parts;
        let file = NodeFile {
            version: FILE_VERSION,
            node: parts.node.0,
            cluster: parts.cluster.to_string(),
            certificate: certificate::to_pem(&parts.certificate),
            authority: certificate::to_pem(&parts.authority),
            members: members.iter().map(MemberEntry::of).collect(),
        };
        files::write_private(&parts.directory, NODE_FILE, &to_json(&file))?;
        Ok(())
    }
}

// The key stays out of logs.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("node", &self.parts.node)
            .field("cluster", &self.parts.cluster)
            .finish_non_exhaustive()
    }
}

/// The node's key in `directory`, if there is one.
fn read_key(directory: &Path) -> Result<Option<PrivatePkcs8KeyDer<'static>>, IdentityError> {
    let Some(text) = files::read(directory, KEY_FILE)? else {
        return Ok(None);
    };
    PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes())
        .map(Some)
        .map_err(|error| IdentityError::Damaged {
            path: directory.join(KEY_FILE),
            why: error.to_string(),
        })
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    // Strings, numbers and lists of them: nothing that could fail to be written.
    serde_json::to_vec_pretty(value).unwrap_or_default()
}

/// Longest `host:port`, bytes.
const MAX_ADDRESS: usize = 255;

/// Whether a text has the form `host:port`. The host is not looked up.
pub(crate) fn is_address(text: &str) -> bool {
    let bad = |c: char| c.is_whitespace() || c.is_control();
    text.len() <= MAX_ADDRESS
        && !text.chars().any(bad)
        && text
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}
