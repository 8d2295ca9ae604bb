//! The authority's side of joining.

use std::sync::Arc;

use bytes::Bytes;
use phoenix_core::Member;
use quinn::Connection;

use super::Shared;
use super::hello::Close;
use crate::identity::{
    Admission, Authority, JoinAnswer, JoinRequest, MAX_JOIN_REQUEST, NotAdmitted,
};
use crate::wire::VERSION;

/// Answers a joiner and lets it close the connection.
pub(super) async fn admit(shared: &Arc<Shared>, connection: Connection) {
    let address = connection.remote_address();
    let Some(authority) = shared.authority.clone() else {
        shared.refuse(&connection, &Close::NoAuthority);
        return;
    };
    let Ok((mut send, mut receive)) = connection.accept_bi().await else {
        return;
    };
    let Ok(request) = receive.read_to_end(MAX_JOIN_REQUEST).await else {
        return;
    };
    let ip = address.ip();
    let answer = match JoinRequest::decode(request.into()) {
        Ok(request) => {
            let address = reachable(&request.address, ip);
            // Books are synced to disk before a certificate leaves.
            let done = tokio::task::spawn_blocking(move || answer(&authority, &request, &address));
            done.await.ok()
        }
        Err(malformed) => {
            tracing::debug!(%address, %malformed, "a malformed request to join");
            None
        }
    };
    let Some((answer, joined)) = answer else {
        shared.refuse(&connection, &Close::Failed);
        return;
    };
    if !matches!(answer, JoinAnswer::Admitted { .. }) {
        shared.refused.add(1);
        tracing::warn!(%address, ?answer, "a node was not let in");
    }
    if send.write_all(&answer.encode()).await.is_ok() && send.finish().is_ok() {
        // Told before it connects: the others know it when it comes.
        if let Some(member) = joined {
            tracing::info!(node = %member.node, address = member.address, "a node joined");
            shared.member_changed(member);
        }
        connection.closed().await;
    }
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
