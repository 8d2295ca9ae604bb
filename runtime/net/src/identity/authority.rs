//! The cluster's authority: signs certificates, numbers nodes, hands out tokens.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use parking_lot::Mutex;
use phoenix_core::{Member, NodeId};
use rcgen::{CertificateSigningRequestParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};

use super::token::{SECRET, sha256};
use super::{
    ClusterId, FILE_VERSION, FileError, Fingerprint, Identity, IdentityError, JoinToken, KEY_FILE,
    MemberEntry, NODE_FILE, Parts, certificate, files, is_address, read_key, to_json,
};

/// The file with the authority's certificate and books.
const AUTHORITY_FILE: &str = "authority.json";
/// The file with the authority's private key.
const AUTHORITY_KEY_FILE: &str = "authority.key";
/// The node that holds the authority.
const FIRST: NodeId = NodeId(1);
/// Most tokens that are out at a time, used ones counted until they expire.
const MAX_TOKENS: usize = 1_000;
/// Longest a token may be valid: 30 days.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Why the authority could not be made, opened, or do its work.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// There is one already, or the directory belongs to a node that joined.
    #[error("{} holds a node already: use another data directory, or remove this one", .0.display())]
    Exists(PathBuf),
    /// Reading or writing failed.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Keys or certificates could not be made.
    #[error("cannot make a key or certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The system has no randomness.
    #[error("the system gives no random numbers")]
    NoRandomness,
    /// Too many tokens are out.
    #[error("{MAX_TOKENS} tokens are out already: wait until some expire")]
    TooManyTokens,
    /// The address would not fit or cannot be reached.
    #[error("`{0}` is no address to join: write host:port, at most 255 bytes")]
    BadAddress(String),
    /// The span is of no use.
    #[error("a token is valid for 1 second to 30 days")]
    BadSpan,
}

impl From<FileError> for AuthorityError {
    fn from(error: FileError) -> Self {
        Self::Identity(error.into())
    }
}

/// Why a node was not admitted.
#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    /// The secret is of no token that is out.
    #[error("the authority knows no such token")]
    WrongSecret,
    /// The token has expired.
    #[error("the token has expired")]
    Expired,
    /// The token was used, by another node.
    #[error("the token was used already, by {0}")]
    Used(NodeId),
    /// The request for a certificate is no good.
    #[error("the request for a certificate is malformed")]
    BadRequest,
    /// Where it says it listens is no address.
    #[error("`{0}` is no address: write host:port, at most 255 bytes")]
    BadAddress(String),
    /// The authority is at fault.
    #[error("the authority failed: {0}")]
    Authority(#[from] AuthorityError),
}

/// What a node gets that was admitted.
pub(crate) struct Admission {
    pub(crate) node: NodeId,
    pub(crate) cluster: ClusterId,
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) authority: CertificateDer<'static>,
    /// All members, the new one among them.
    pub(crate) members: Vec<Member>,
    /// Whether it was admitted just now, not before.
    pub(crate) new: bool,
}

/// The authority of a cluster, kept in its first node's data directory.
pub struct Authority {
    directory: PathBuf,
    cluster: ClusterId,
    certificate: CertificateDer<'static>,
    key: KeyPair,
    books: Mutex<Books>,
}

/// What changes.
#[derive(Clone, Serialize, Deserialize)]
struct Books {
    /// The number the next node gets. Never goes back: numbers are not used again.
    next_node: u32,
    members: Vec<MemberEntry>,
    tokens: Vec<TokenEntry>,
}

/// A token that is out.
#[derive(Clone, Serialize, Deserialize)]
struct TokenEntry {
    /// SHA-256 of its secret, hexadecimal.
    secret: String,
    /// Seconds since 1970-01-01 UTC.
    expires: u64,
    /// Who used it.
    used: Option<Use>,
}

/// By whom a token was used. The same node may ask again: it may not have heard the answer.
#[derive(Clone, Serialize, Deserialize)]
struct Use {
    node: u32,
    /// SHA-256 of its public key, hexadecimal.
    key: String,
}

/// [`AUTHORITY_FILE`].
#[derive(Serialize, Deserialize)]
struct AuthorityFile {
    version: u32,
    cluster: String,
    certificate: String,
    books: Books,
}

impl Authority {
    /// Makes a cluster: its authority and its first node, in `directory`, which
    /// becomes private to this user.
    pub fn create(directory: &Path) -> Result<Self, AuthorityError> {
        let holds_node = [AUTHORITY_FILE, NODE_FILE]
            .iter()
            .any(|name| directory.join(name).exists());
        if holds_node {
            return Err(AuthorityError::Exists(directory.to_owned()));
        }
        files::private_directory(directory)?;
        let mut cluster = [0; 16];
        random(&mut cluster)?;
        let cluster = ClusterId(cluster);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        files::write_private(
            directory,
            AUTHORITY_KEY_FILE,
            key.serialize_pem().as_bytes(),
        )?;
        let authority = Self {
            certificate: certificate::authority(cluster, &key)?,
            directory: directory.to_owned(),
            cluster,
            key,
            books: Mutex::new(Books {
                next_node: FIRST.0 + 1,
                members: Vec::new(),
                tokens: Vec::new(),
            }),
        };
        authority.write(&authority.books.lock())?;
        authority.ensure_first_node()?;
        Ok(authority)
    }

    /// The authority kept in `directory`; `None` if that holds none.
    pub fn open(directory: &Path) -> Result<Option<Self>, AuthorityError> {
        let Some(text) = files::read(directory, AUTHORITY_FILE)? else {
            return Ok(None);
        };
        let damaged = |name: &str, why: String| {
            AuthorityError::Identity(IdentityError::Damaged {
                path: directory.join(name),
                why,
            })
        };
        let file: AuthorityFile = serde_json::from_str(&text)
            .map_err(|error| damaged(AUTHORITY_FILE, error.to_string()))?;
        if file.version != FILE_VERSION {
            let why = format!("its version is {}", file.version);
            return Err(damaged(AUTHORITY_FILE, why));
        }
        let cluster = ClusterId::parse(&file.cluster)
            .ok_or_else(|| damaged(AUTHORITY_FILE, "bad cluster id".to_owned()))?;
        let certificate = CertificateDer::from_pem_slice(file.certificate.as_bytes())
            .map_err(|error| damaged(AUTHORITY_FILE, error.to_string()))?;
        let key = files::read(directory, AUTHORITY_KEY_FILE)?
            .ok_or_else(|| damaged(AUTHORITY_KEY_FILE, "it is missing".to_owned()))?;
        let key = KeyPair::from_pem(&key)
            .map_err(|error| damaged(AUTHORITY_KEY_FILE, error.to_string()))?;
        let authority = Self {
            directory: directory.to_owned(),
            cluster,
            certificate,
            key,
            books: Mutex::new(file.books),
        };
        authority.ensure_first_node()?;
        Ok(Some(authority))
    }

    /// The cluster's id.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// What a joiner knows the authority by.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    /// All members that were ever admitted, as far as their addresses are known.
    pub fn members(&self) -> Vec<Member> {
        let books = self.books.lock();
        books.members.iter().map(MemberEntry::member).collect()
    }

    /// Keeps the address of a member, for those who join later.
    pub fn record(&self, member: &Member) -> Result<(), AuthorityError> {
        let mut books = self.books.lock();
        let mut next = books.clone();
        if next.record(member) {
            self.write(&next)?;
            *books = next;
        }
        Ok(())
    }

    /// A token with which one node can join by way of `address`, where this node
    /// listens, until `valid_for` from now.
    pub fn issue_token(
        &self,
        address: &str,
        valid_for: Duration,
    ) -> Result<JoinToken, AuthorityError> {
        if !is_address(address) {
            return Err(AuthorityError::BadAddress(shown(address)));
        }
        if valid_for < Duration::from_secs(1) || valid_for > LONGEST {
            return Err(AuthorityError::BadSpan);
        }
        let mut secret = [0; SECRET];
        random(&mut secret)?;
        let expires = now() + valid_for.as_secs();
        let mut books = self.books.lock();
        let mut next = books.clone();
        next.forget_expired();
        if next.tokens.len() >= MAX_TOKENS {
            return Err(AuthorityError::TooManyTokens);
        }
        next.tokens.push(TokenEntry {
            secret: HEXLOWER.encode(&JoinToken::secret_hash(&secret)),
            expires,
            used: None,
        });
        self.write(&next)?;
        *books = next;
        Ok(JoinToken {
            address: address.to_owned(),
            fingerprint: self.fingerprint(),
            secret,
            expires: UNIX_EPOCH + Duration::from_secs(expires),
        })
    }

    /// Admits whoever knows the secret of a token that is out, and signs a
    /// certificate for the key of `request`, a PKCS #10 request in DER.
    pub(crate) fn admit(
        &self,
        secret: &[u8],
        request: &[u8],
        address: &str,
    ) -> Result<Admission, NotAdmitted> {
        let hash = HEXLOWER.encode(&JoinToken::secret_hash(secret));
        let mut books = self.books.lock();
        // Whoever does not know a secret gets no further than this line.
        let entry = books.tokens.iter().find(|entry| entry.secret == hash);
        let entry = entry.ok_or(NotAdmitted::WrongSecret)?.clone();
        if entry.expires <= now() {
            return Err(NotAdmitted::Expired);
        }
        // All members will hear it.
        if !is_address(address) {
            return Err(NotAdmitted::BadAddress(shown(address)));
        }
        let request =
            CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request))
                .map_err(|_| NotAdmitted::BadRequest)?;
        if request.public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(NotAdmitted::BadRequest);
        }
        let key = HEXLOWER.encode(&sha256(rcgen::PublicKeyData::der_bytes(
            &request.public_key,
        )));
        let mut next = books.clone();
        let (node, new) = match &entry.used {
            Some(used) if used.key == key => (NodeId(used.node), false),
            Some(used) => return Err(NotAdmitted::Used(NodeId(used.node))),
            None => (next.take_token(&hash, &key), true),
        };
        next.record(&Member {
            node,
            address: address.to_owned(),
        });
        let certificate = certificate::node(
            node,
            self.cluster,
            false,
            &request.public_key,
            &self.certificate,
            &self.key,
        )
        .map_err(AuthorityError::from)?;
        self.write(&next)?;
        *books = next;
        Ok(Admission {
            node,
            cluster: self.cluster,
            certificate,
            authority: self.certificate.clone(),
            members: books.members.iter().map(MemberEntry::member).collect(),
            new,
        })
    }

    /// Makes the first node's identity if it is not there: the last step of
    /// [`Authority::create`], repeated if that was interrupted.
    fn ensure_first_node(&self) -> Result<(), AuthorityError> {
        if self.directory.join(NODE_FILE).exists() {
            return Ok(());
        }
        let key = node_key(&self.directory)?;
        let parts = Parts {
            directory: self.directory.clone(),
            node: FIRST,
            cluster: self.cluster,
            certificate: certificate::node(
                FIRST,
                self.cluster,
                true,
                &key,
                &self.certificate,
                &self.key,
            )?,
            authority: self.certificate.clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
            members: Mutex::new(Vec::new()),
        };
        Identity::new(parts).write(&[])?;
        Ok(())
    }

    fn write(&self, books: &Books) -> Result<(), AuthorityError> {
        let file = AuthorityFile {
            version: FILE_VERSION,
            cluster: self.cluster.to_string(),
            certificate: certificate::to_pem(&self.certificate),
            books: books.clone(),
        };
        files::write_private(&self.directory, AUTHORITY_FILE, &to_json(&file))?;
        Ok(())
    }
}

impl Books {
    fn forget_expired(&mut self) {
        let now = now();
        self.tokens.retain(|entry| entry.expires > now);
    }

    /// Marks a token used and numbers the node that used it.
    fn take_token(&mut self, secret: &str, key: &str) -> NodeId {
        let node = self.next_node;
        self.next_node = self.next_node.saturating_add(1);
        for entry in self
            .tokens
            .iter_mut()
            .filter(|entry| entry.secret == secret)
        {
            entry.used = Some(Use {
                node,
                key: key.to_owned(),
            });
        }
        NodeId(node)
    }

    /// Keeps a member's address; whether that was news.
    fn record(&mut self, member: &Member) -> bool {
        match self
            .members
            .iter_mut()
            .find(|entry| entry.node == member.node.0)
        {
            Some(entry) if entry.address == member.address => false,
            Some(entry) => {
                entry.address.clone_from(&member.address);
                true
            }
            None => {
                self.members.push(MemberEntry::of(member));
                true
            }
        }
    }
}

/// The node's key in `directory`, made if there is none.
pub(super) fn node_key(directory: &Path) -> Result<KeyPair, AuthorityError> {
    if let Some(key) = read_key(directory)? {
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256)?;
        return Ok(key);
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    files::write_private(directory, KEY_FILE, key.serialize_pem().as_bytes())?;
    Ok(key)
}

fn random(bytes: &mut [u8]) -> Result<(), AuthorityError> {
    aws_lc_rs::rand::fill(bytes).map_err(|_| AuthorityError::NoRandomness)
}

/// A text that is no address, fit to be shown.
fn shown(address: &str) -> String {
    address
        .chars()
        .take(80)
        .flat_map(char::escape_debug)
        .collect()
}

/// Seconds since 1970-01-01 UTC.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
