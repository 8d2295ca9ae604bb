//! Where a node listens for others if its operator left that open.
//!
//! It is the address the configuration has as a default, with two exceptions
//! that let a second node start without being told one: a port that is taken
//! is replaced by a free one, and a node that joins a cluster on other machines
//! listens where those reach it. The port is kept for the next start, because
//! that is where the others look for this node.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::Path;

/// The file with the port of the last start.
const FILE: &str = "listen.port";

/// The addresses to try, best first. `toward` is where another node of the
/// cluster listens, if one is known.
pub(crate) fn candidates(
    default: SocketAddr,
    data_dir: &Path,
    toward: Option<&str>,
) -> Vec<SocketAddr> {
    let ip = toward.and_then(facing).unwrap_or_else(|| default.ip());
    let mut ports = vec![default.port(), 0];
    if let Some(port) = remembered(data_dir) {
        ports.retain(|other| *other != port);
        ports.insert(0, port);
    }
    ports
        .into_iter()
        .map(|port| SocketAddr::new(ip, port))
        .collect()
}

/// Keeps the port for the next start.
pub(crate) fn remember(data_dir: &Path, port: u16) {
    if remembered(data_dir) == Some(port) {
        return;
    }
    if let Err(error) = std::fs::write(data_dir.join(FILE), format!("{port}\n")) {
        tracing::warn!(%error, "the port cannot be kept for the next start");
    }
}

fn remembered(data_dir: &Path) -> Option<u16> {
    let text = std::fs::read_to_string(data_dir.join(FILE)).ok()?;
    text.trim().parse().ok().filter(|port| *port != 0)
}

/// This machine's address towards `other`, unless that is this machine.
fn facing(other: &str) -> Option<IpAddr> {
    let other = other.to_socket_addrs().ok()?.next()?;
    if other.ip().is_loopback() {
        return None;
    }
    own_address(other)
        .inspect_err(|error| tracing::warn!(%other, %error, "there is no way to another node"))
        .ok()
}

fn own_address(other: SocketAddr) -> io::Result<IpAddr> {
    let any: SocketAddr = if other.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0; 8], 0).into()
    };
    let socket = UdpSocket::bind(any)?;
    // Sends nothing: it has the system choose the way.
    socket.connect(other)?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: &str = "127.0.0.1:7401";

    fn shown(data_dir: &Path, toward: Option<&str>) -> Vec<String> {
        let all = candidates(DEFAULT.parse().unwrap(), data_dir, toward);
        all.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_last_port_comes_before_the_default_and_a_free_one() {
        let dir = tempfile::tempdir().unwrap();
        let first = ["127.0.0.1:7401", "127.0.0.1:0"];
        assert_eq!(shown(dir.path(), None), first);
        assert_eq!(shown(dir.path(), Some("127.0.0.1:9")), first);
        remember(dir.path(), 7_401);
        assert_eq!(shown(dir.path(), None), first);
        remember(dir.path(), 50_000);
        let later = ["127.0.0.1:50000", "127.0.0.1:7401", "127.0.0.1:0"];
        assert_eq!(shown(dir.path(), None), later);
        std::fs::write(dir.path().join(FILE), "no port").unwrap();
        assert_eq!(shown(dir.path(), None), first);
    }

    #[test]
    fn a_cluster_elsewhere_is_faced() {
        let dir = tempfile::tempdir().unwrap();
        // An address for documents: nobody has it, and nothing is sent there.
        let elsewhere: SocketAddr = "192.0.2.1:9".parse().unwrap();
        let Ok(own) = own_address(elsewhere) else {
            // This machine has no network.
            return;
        };
        let first = candidates(
            DEFAULT.parse().unwrap(),
            dir.path(),
            Some(&elsewhere.to_string()),
        );
        assert_eq!(first[0], SocketAddr::new(own, 7_401));
    }
}
