//! Connections to a node: opened when needed, kept while idle.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::ClientError;
use crate::api::Problem;
use crate::token::Token;

/// Idle connections that are kept; more are closed.
const MAX_IDLE: usize = 32;
/// Largest answer that is read, in bytes.
const MAX_ANSWER: usize = 512 << 20;
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a node may take to answer unless a request allows more: more than
/// its own limit, so that its word comes first.
pub(super) const PATIENCE: Duration = Duration::from_secs(150);

type Sender = SendRequest<Full<Bytes>>;

/// An answer that is no problem.
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

pub(super) struct Connections {
    address: SocketAddr,
    token: Token,
    patience: Duration,
    idle: Mutex<Vec<Sender>>,
}

impl Connections {
    pub(super) fn new(address: SocketAddr, token: Token) -> Self {
        Self {
            address,
            token,
            patience: PATIENCE,
            idle: Mutex::new(Vec::new()),
        }
    }

    pub(super) fn with_patience(&self, patience: Duration) -> Self {
        Self {
            patience,
            ..Self::new(self.address, self.token.clone())
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// Sends a request and reads its answer, for which the node has `patience`.
    pub(super) async fn exchange(
        &self,
        mut request: Request<Full<Bytes>>,
        patience: Duration,
    ) -> Result<Answered, ClientError> {
        self.sign(request.headers_mut())?;
        tokio::time::timeout(patience, self.answer(request))
            .await
            .unwrap_or_else(|_| Err(self.lost(format!("no answer within {patience:?}"))))
    }

    fn sign(&self, headers: &mut HeaderMap) -> Result<(), ClientError> {
        let value = |text: String| {
            HeaderValue::from_str(&text).map_err(|error| ClientError::NotANode {
                address: self.address,
                reason: error.to_string(),
            })
        };
        headers.insert(HOST, value(self.address.to_string())?);
        let mut token = value(format!("Bearer {}", self.token.as_str()))?;
        token.set_sensitive(true);
        headers.insert(AUTHORIZATION, token);
        Ok(())
    }

    async fn answer(&self, request: Request<Full<Bytes>>) -> Result<Answered, ClientError> {
        let (sender, response) = self.send(request).await?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER)
            .collect()
            .await
            .map_err(|error| self.lost(error.to_string()))?
            .to_bytes();
        self.keep(sender);
        if parts.status.is_success() {
            return Ok(Answered {
                status: parts.status,
                headers: parts.headers,
                body,
            });
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Err(ClientError::Refused(Box::new(problem))),
            Err(_) => Err(ClientError::BadAnswer {
                address: self.address,
                reason: format!("status {} without a problem document", parts.status),
            }),
        }
    }

    /// A kept connection may turn out to be closed; as long as nothing of the
    /// request was sent, it is sent on another one.
    async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Sender, hyper::Response<hyper::body::Incoming>), ClientError> {
        while let Some(mut sender) = self.take() {
            if sender.ready().await.is_err() {
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((sender, response)),
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(self.lost(failed.into_error().to_string())),
                },
            }
        }
        let mut sender = self.connect().await?;
        match sender.try_send_request(request).await {
            Ok(response) => Ok((sender, response)),
            Err(mut failed) => {
                let unsent = failed.take_message().is_some();
                let error = failed.into_error();
                if unsent || error.is_parse() {
                    Err(ClientError::NotANode {
                        address: self.address,
                        reason: error.to_string(),
                    })
                } else {
                    Err(self.lost(error.to_string()))
                }
            }
        }
    }

    async fn connect(&self) -> Result<Sender, ClientError> {
        let failed = |source| ClientError::NotReachable {
            address: self.address,
            source,
        };
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(self.address))
            .await
            .map_err(|_| failed(std::io::ErrorKind::TimedOut.into()))?
            .map_err(failed)?;
        // A slower connection is better than none.
        let _ = stream.set_nodelay(true);
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream))
                .await
                .map_err(|error| ClientError::NotANode {
                    address: self.address,
                    reason: error.to_string(),
                })?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a node's API ended early");
            }
        });
        Ok(sender)
    }

    fn take(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.pop()
    }

    fn keep(&self, sender: Sender) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if !sender.is_closed() && idle.len() < MAX_IDLE {
            idle.push(sender);
        }
    }

    fn lost(&self, reason: String) -> ClientError {
        ClientError::Lost {
            address: self.address,
            reason,
        }
    }
}
