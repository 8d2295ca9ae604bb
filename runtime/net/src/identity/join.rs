//! Joining a cluster: from a token to an identity.
//!
//! The joiner connects to the authority, knows it by the fingerprint in the
//! token, and sends the token's secret with a request for a certificate. Its
//! private key never leaves it. It keeps the key first and its certificate last,
//! so that a join that was interrupted can be repeated with the same token.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use phoenix_core::{Member, NodeId};
use quinn::{ConnectionError, Endpoint};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use tokio::time::Instant;

use super::authority::{AuthorityError, node_key};
use super::{
    AUTHORITY_NAME, ClusterId, Fingerprint, Identity, IdentityError, JoinToken, Parts, files,
};
use crate::tls::Stranger;
use crate::transport::{Failed, first_that_works};
use crate::wire::codec::{Wire, choice, record};
use crate::wire::{Input, Malformed, Output, VERSION};
use crate::{http2, quic};

/// ALPN of a connection to join.
pub(crate) const JOIN_PROTOCOL: &[u8] = b"phoenix-join";
/// Longest request, bytes. Whoever sends one is not known yet.
pub(crate) const MAX_JOIN_REQUEST: usize = 16 << 10;
/// Longest answer, bytes: it has all members.
const MAX_JOIN_ANSWER: usize = 1 << 20;
/// How long joining may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long QUIC alone is tried before HTTP/2 is tried beside it. To ask twice
/// does no harm: the same key gets the same number.
const HEAD_START: Duration = Duration::from_millis(500);

/// Why joining failed. Nothing was changed that keeps it from being tried again.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The data directory has an identity.
    #[error("{} belongs to {node} of a cluster already: start it without a token, or use another data directory", .directory.display())]
    AlreadyMember {
        /// The directory.
        directory: PathBuf,
        /// Which node it is.
        node: NodeId,
    },
    /// Nobody answers.
    #[error(
        "no answer from the authority at {address} ({why}): check that its node runs and that UDP or TCP gets through to it"
    )]
    Unreachable {
        /// Where.
        address: String,
        /// What happened.
        why: String,
    },
    /// Somebody else answers.
    #[error(
        "the node at {address} is of another cluster: its authority is {found}, the token's is {expected}"
    )]
    WrongAuthority {
        /// Where.
        address: String,
        /// What the token says.
        expected: Fingerprint,
        /// What is there.
        found: Fingerprint,
    },
    /// A node answers that cannot let others in.
    #[error(
        "the node at {address} does not hold the cluster's authority: make a token with `phoenix token` at the cluster's first node"
    )]
    NotTheAuthority {
        /// Where.
        address: String,
    },
    /// The authority knows no such token.
    #[error("the authority does not know this token: make a new one with `phoenix token`")]
    WrongSecret,
    /// The token has expired.
    #[error("the token has expired: make a new one with `phoenix token`")]
    Expired,
    /// The token was used.
    #[error(
        "the token was used already, by {by}: make a new one with `phoenix token`, one for each node"
    )]
    Used {
        /// By which node.
        by: NodeId,
    },
    /// The versions differ.
    #[error(
        "the cluster speaks protocol {authority}, this node {VERSION}: use the same version of Phoenix on all nodes"
    )]
    Version {
        /// What the authority speaks.
        authority: u32,
    },
    /// The authority refused for another reason.
    #[error("the authority refuses: {0}")]
    Refused(String),
    /// The identity could not be kept.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A key could not be made.
    #[error(transparent)]
    Key(#[from] AuthorityError),
    /// The system does not let us.
    #[error("cannot open a socket: {0}")]
    Socket(std::io::Error),
}

/// What a joiner sends.
pub(crate) struct JoinRequest {
    pub(crate) version: u32,
    pub(crate) secret: Bytes,
    /// PKCS #10, DER.
    pub(crate) certificate_request: Bytes,
    /// Where it will listen.
    pub(crate) address: String,
}

record!(JoinRequest {
    version,
    secret,
    certificate_request,
    address
});

/// What the authority answers.
#[derive(Debug)]
pub(crate) enum JoinAnswer {
    Admitted {
        node: NodeId,
        cluster: Bytes,
        certificate: Bytes,
        authority: Bytes,
        members: Vec<Member>,
    },
    WrongSecret,
    Expired,
    Used {
        by: NodeId,
    },
    Version {
        authority: u32,
    },
    Refused {
        why: String,
    },
}

choice!(JoinAnswer as "an answer to joining" {
    0 => Admitted { node, cluster, certificate, authority, members },
    1 => WrongSecret,
    2 => Expired,
    3 => Used { by },
    4 => Version { authority },
    5 => Refused { why },
});

fn encode(message: &impl Wire) -> Bytes {
    let mut out = Output::new();
    message.put(&mut out);
    out.into_bytes()
}

impl JoinRequest {
    pub(crate) fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        // A later version's request may be longer; the version comes first and is checked.
        Self::get(&mut Input::new(bytes))
    }
}

impl JoinAnswer {
    pub(crate) fn encode(&self) -> Bytes {
        encode(self)
    }
}

/// Joins the cluster of `token` and keeps the new identity in `directory`, which
/// becomes private to this user. `listen_address` is the `host:port` at which
/// others will reach this node. Blocks, 5 seconds at most.
pub fn join(
    token: &JoinToken,
    directory: &Path,
    listen_address: &str,
) -> Result<Identity, JoinError> {
    if let Some(identity) = Identity::open(directory)? {
        return Err(JoinError::AlreadyMember {
            directory: directory.to_owned(),
            node: identity.node(),
        });
    }
    files::private_directory(directory).map_err(IdentityError::from)?;
    let key = node_key(directory)?;
    let request = CertificateParams::default()
        .serialize_request(&key)
        .map_err(AuthorityError::from)?;
    let request = JoinRequest {
        version: u32::from(VERSION),
        secret: Bytes::copy_from_slice(&token.secret),
        certificate_request: Bytes::copy_from_slice(request.der()),
        address: listen_address.to_owned(),
    };
    // A thread and a runtime of its own: this may be called from anywhere.
    let answer = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(JoinError::Socket)?;
            runtime.block_on(ask(token, &request))
        });
        asking
            .join()
            .unwrap_or_else(|_| Err(unreachable(token, "asking failed")))
    })?;
    accept(answer, directory, &key)
}

fn unreachable(token: &JoinToken, why: impl ToString) -> JoinError {
    JoinError::Unreachable {
        address: token.address.clone(),
        why: why.to_string(),
    }
}

fn accept(answer: JoinAnswer, directory: &Path, key: &KeyPair) -> Result<Identity, JoinError> {
    let (node, cluster, certificate, authority, members) = match answer {
        JoinAnswer::Admitted {
            node,
            cluster,
            certificate,
            authority,
            members,
        } => (node, cluster, certificate, authority, members),
        JoinAnswer::WrongSecret => return Err(JoinError::WrongSecret),
        JoinAnswer::Expired => return Err(JoinError::Expired),
        JoinAnswer::Used { by } => return Err(JoinError::Used { by }),
        JoinAnswer::Version { authority } => return Err(JoinError::Version { authority }),
        JoinAnswer::Refused { why } => return Err(JoinError::Refused(why)),
    };
    let cluster = (*cluster)
        .try_into()
        .map(ClusterId)
        .map_err(|_| JoinError::Refused("its answer makes no sense".to_owned()))?;
    let identity = Identity::new(Parts {
        directory: directory.to_owned(),
        node,
        cluster,
        certificate: CertificateDer::from(certificate.to_vec()),
        authority: CertificateDer::from(authority.to_vec()),
        key: PrivatePkcs8KeyDer::from(key.serialize_der()),
        members: Mutex::new(members.clone()),
    });
    identity.write(&members)?;
    Ok(identity)
}

async fn ask(token: &JoinToken, request: &JoinRequest) -> Result<JoinAnswer, JoinError> {
    let silent = || unreachable(token, "it took too long");
    let deadline = Instant::now() + PATIENCE;
    let addresses = tokio::time::timeout(PATIENCE, tokio::net::lookup_host(&token.address))
        .await
        .map_err(|_| silent())?
        .map_err(|error| unreachable(token, error))?;
    let attempt = |address| async move {
        match ask_at(token, request, address).await {
            Err(error @ JoinError::Unreachable { .. }) => Err(error),
            // Somebody is there: what another address says is of no interest.
            other => Ok(other),
        }
    };
    first_that_works(addresses, deadline, attempt)
        .await
        .map_err(|failed| match failed {
            Failed::NoAddress => unreachable(token, "the name has no address"),
            Failed::Attempt(error) => error,
            Failed::Silent => silent(),
        })?
}

/// Asks at one address, over whatever gets through.
async fn ask_at(
    token: &JoinToken,
    request: &JoinRequest,
    address: SocketAddr,
) -> Result<JoinAnswer, JoinError> {
    let mut quic = pin!(ask_over_quic(token, request, address));
    let mut http2 = pin!(async {
        tokio::time::sleep(HEAD_START).await;
        ask_over_http2(token, request, address).await
    });
    tokio::select! {
        answer = &mut quic => match answer {
            Err(JoinError::Unreachable { .. }) => http2.await,
            answer => answer,
        },
        answer = &mut http2 => match answer {
            Err(JoinError::Unreachable { .. }) => quic.await,
            answer => answer,
        },
    }
}

async fn ask_over_quic(
    token: &JoinToken,
    request: &JoinRequest,
    address: SocketAddr,
) -> Result<JoinAnswer, JoinError> {
    let any = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let found = Arc::new(Mutex::new(None));
    let config = quic::joiner_config(token.fingerprint, Arc::clone(&found))
        .map_err(|error| JoinError::Refused(error.to_string()))?;
    let endpoint = Endpoint::client(any).map_err(JoinError::Socket)?;
    let asked = async {
        let connection = endpoint
            .connect_with(config, address, AUTHORITY_NAME)
            .map_err(|error| unreachable(token, error))?
            .await
            .map_err(|error| refusal(token, &error))?;
        let exchange = async {
            let (mut send, mut receive) = connection.open_bi().await.ok()?;
            send.write_all(&encode(request)).await.ok()?;
            send.finish().ok()?;
            receive.read_to_end(MAX_JOIN_ANSWER).await.ok()
        };
        let Some(answer) = exchange.await else {
            return Err(refusal(token, &connection.closed().await));
        };
        connection.close(0_u32.into(), b"thank you");
        decode(answer.into())
    }
    .await;
    endpoint.wait_idle().await;
    unless_stranger(token, &found, asked)
}

async fn ask_over_http2(
    token: &JoinToken,
    request: &JoinRequest,
    address: SocketAddr,
) -> Result<JoinAnswer, JoinError> {
    let found = Arc::new(Mutex::new(None));
    let refused = |error: &dyn std::fmt::Display| JoinError::Refused(error.to_string());
    let config = http2::joiner_config(token.fingerprint, Arc::clone(&found))
        .map_err(|error| refused(&error))?;
    let name = ServerName::try_from(AUTHORITY_NAME).map_err(|error| refused(&error))?;
    let request = encode(request);
    let asked = match http2::ask(config, address, name, request, MAX_JOIN_ANSWER).await {
        Ok(Ok(answer)) => decode(answer),
        Ok(Err(why)) => Err(JoinError::Refused(why)),
        Err(error) => Err(unreachable(token, error)),
    };
    unless_stranger(token, &found, asked)
}

fn decode(answer: Bytes) -> Result<JoinAnswer, JoinError> {
    JoinAnswer::get(&mut Input::new(answer))
        .map_err(|malformed| JoinError::Refused(format!("its answer is malformed: {malformed}")))
}

/// What was asked for, unless somebody else was found there.
fn unless_stranger(
    token: &JoinToken,
    found: &Mutex<Option<Stranger>>,
    asked: Result<JoinAnswer, JoinError>,
) -> Result<JoinAnswer, JoinError> {
    let other = found.lock().take();
    match other {
        Some(Stranger::OfAuthority(found)) => Err(JoinError::WrongAuthority {
            address: token.address.clone(),
            expected: token.fingerprint,
            found,
        }),
        Some(Stranger::OtherNode) => Err(JoinError::NotTheAuthority {
            address: token.address.clone(),
        }),
        None => asked,
    }
}

fn refusal(token: &JoinToken, error: &ConnectionError) -> JoinError {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            let reason = String::from_utf8_lossy(&close.reason);
            let shown = reason.chars().take(300).flat_map(char::escape_debug);
            JoinError::Refused(shown.collect())
        }
        other => unreachable(token, other),
    }
}
