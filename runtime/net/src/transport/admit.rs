//! The authority's side of joining.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use phoenix_core::Member;
use quinn::Connection;

use super::Shared;
use super::hello::Close;
use super::link::{Link, Lost};
use crate::http2::{Asking, Http2Link};
use crate::identity::{
    Admission, Authority, JoinAnswer, JoinRequest, MAX_JOIN_REQUEST, NotAdmitted,
};
use crate::quic::QuicLink;
use crate::wire::VERSION;

/// Answers a joiner over QUIC and lets it close the connection.
pub(super) async fn over_quic(shared: &Arc<Shared>, connection: Connection) {
    let exchange = async {
        let (mut send, mut receive) = connection.accept_bi().await.map_err(|_| Lost)?;
        let request = receive.read_to_end(MAX_JOIN_REQUEST).await;
        let request = request.map_err(|_| Lost)?.into();
        match admit(shared, connection.remote_address(), request).await {
            Ok((answer, joined)) => {
                let sent = send.write_all(&answer.encode()).await;
                sent.map_err(|_| Lost)?;
                send.finish().map_err(|_| Lost)?;
                shared.joined(joined);
                connection.closed().await;
            }
            Err(close) => shared.refuse(&Link::Quic(QuicLink::new(connection.clone())), &close),
        }
        Ok::<(), Lost>(())
    };
    // A joiner that goes away asks again.
    let _ = exchange.await;
}

/// Answers a joiner over HTTP/2 and lets it close the connection.
pub(super) async fn over_http2(shared: &Arc<Shared>, link: Http2Link, mut asking: Asking) {
    let exchange = async {
        let request = asking.request(MAX_JOIN_REQUEST).await?;
        match admit(shared, link.remote_address(), request).await {
            Ok((answer, joined)) => {
                asking.answer(answer.encode())?;
                shared.joined(joined);
            }
            Err(close) => {
                shared.note_refusal(link.remote_address(), &close);
                asking.refuse(&close)?;
            }
        }
        link.ended().await;
        Ok::<(), Lost>(())
    };
    // A joiner that goes away asks again.
    let _ = exchange.await;
}

/// The answer to a request to join, and the member that it makes; or why there is none.
async fn admit(
    shared: &Arc<Shared>,
    address: SocketAddr,
    request: Bytes,
) -> Result<(JoinAnswer, Option<Member>), Close> {
    let authority = shared.authority.clone().ok_or(Close::NoAuthority)?;
    let request = JoinRequest::decode(request).map_err(Close::Malformed)?;
    let reachable = reachable(&request.address, address.ip());
    // Books are synced to disk before a certificate leaves.
    let done = tokio::task::spawn_blocking(move || answer(&authority, &request, &reachable));
    let (answer, joined) = done.await.map_err(|_| Close::Failed)?;
    if !matches!(answer, JoinAnswer::Admitted { .. }) {
        shared.refused.add(1);
        tracing::warn!(%address, ?answer, "a node was not let in");
    }
    Ok((answer, joined))
}

/// The address others reach the joiner at: where it says only on which port it
/// listens, the host is the one it came from.
fn reachable(address: &str, ip: std::net::IpAddr) -> String {
    match address.parse::<std::net::SocketAddr>() {
        Ok(address) if address.ip().is_unspecified() => {
            std::net::SocketAddr::new(ip, address.port()).to_string()
        }
        _ => address.to_owned(),
    }
}

fn answer(
    authority: &Authority,
    request: &JoinRequest,
    address: &str,
) -> (JoinAnswer, Option<Member>) {
    if request.version != u32::from(VERSION) {
        return (
            JoinAnswer::Version {
                authority: u32::from(VERSION),
            },
            None,
        );
    }
    match authority.admit(&request.secret, &request.certificate_request, address) {
        Ok(admission) => {
            let joined = admission.new.then(|| Member {
                node: admission.node,
                address: address.to_owned(),
            });
            (admitted(admission), joined)
        }
        Err(error) => {
            let answer = match error {
                NotAdmitted::WrongSecret => JoinAnswer::WrongSecret,
                NotAdmitted::Expired => JoinAnswer::Expired,
                NotAdmitted::Used(by) => JoinAnswer::Used { by },
                NotAdmitted::BadRequest
                | NotAdmitted::BadAddress(_)
                | NotAdmitted::Authority(_) => JoinAnswer::Refused {
                    why: error.to_string(),
                },
            };
            (answer, None)
        }
    }
}

fn admitted(admission: Admission) -> JoinAnswer {
    JoinAnswer::Admitted {
        node: admission.node,
        cluster: Bytes::copy_from_slice(&admission.cluster.0),
        certificate: Bytes::copy_from_slice(&admission.certificate),
        authority: Bytes::copy_from_slice(&admission.authority),
        members: admission.members,
    }
}
