//! Why a request to a node failed.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::api::Problem;
use crate::token::TokenError;

/// Why a request to a node failed, and with it whether anything was done.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No running node has said where it is. Nothing was done.
    #[error("no node is running in this data directory: cannot read {}", path.display())]
    NoAddress {
        /// The file a running node writes.
        path: PathBuf,
        /// Why it was not read.
        source: io::Error,
    },
    /// The file with the address holds something else. Nothing was done.
    #[error("{} does not hold an address", path.display())]
    BadAddress {
        /// Which file.
        path: PathBuf,
    },
    /// There is no token to be had. Nothing was done.
    #[error(transparent)]
    Token(TokenError),
    /// Nothing listens there. Nothing was done.
    #[error("no node answers at {address}")]
    NotReachable {
        /// Where it was tried.
        address: SocketAddr,
        /// Why it failed.
        source: io::Error,
    },
    /// What listens there speaks no HTTP, or ended before it had the request.
    /// Nothing was done.
    #[error("what listens at {address} is no node: {reason}")]
    NotANode {
        /// Where it was tried.
        address: SocketAddr,
        /// What went wrong.
        reason: String,
    },
    /// The node refused, or failed. The problem's code says whether anything was done.
    #[error("{}", .0.detail)]
    Refused(Box<Problem>),
    /// The node was heard no more after it had the request, which may or may
    /// not have been carried out.
    #[error("the node at {address} went silent after it had the request: {reason}")]
    Lost {
        /// Where the node was.
        address: SocketAddr,
        /// What went wrong.
        reason: String,
    },
    /// The answer makes no sense. The request may have been carried out.
    #[error("the answer of the node at {address} cannot be read: {reason}")]
    BadAnswer {
        /// Where the node is.
        address: SocketAddr,
        /// What is wrong with it.
        reason: String,
    },
}

impl ClientError {
    /// What to do about it, where something can be said.
    pub fn suggestion(&self) -> Option<String> {
        Some(match self {
            Self::NoAddress { .. } => {
                "is the node running? Start one with `phoenix node`, or say where its data \
                 directory is with `--data DIR`"
                    .to_owned()
            }
            Self::NotReachable { .. } => {
                "is the node running? Start one with `phoenix node`; it writes its address to \
                 `api.address` in its data directory"
                    .to_owned()
            }
            Self::NotANode { .. } | Self::BadAddress { .. } => {
                "give the address of a node's API with `--node-api ADDR`".to_owned()
            }
            Self::Token(_) => {
                "only the user who runs the node may read its token; say where its data directory \
                 is with `--data DIR`"
                    .to_owned()
            }
            Self::Refused(problem) => return problem.suggestion.clone(),
            Self::Lost { .. } => {
                "look at what it did before you repeat it; the node's log says more".to_owned()
            }
            Self::BadAnswer { .. } => "use a `phoenix` of the node's own version".to_owned(),
        })
    }

    /// The problem's code, if the node gave one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(problem) => Some(&problem.code),
            _ => None,
        }
    }

    /// Whether the request may have been carried out, or may yet be.
    pub fn is_unknown(&self) -> bool {
        match self {
            Self::Lost { .. } | Self::BadAnswer { .. } => true,
            Self::Refused(problem) => problem.code == "unknown",
            _ => false,
        }
    }

    /// Whether there was no node to ask.
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::NoAddress { .. }
                | Self::BadAddress { .. }
                | Self::NotReachable { .. }
                | Self::NotANode { .. }
                | Self::Token(_)
        )
    }
}
