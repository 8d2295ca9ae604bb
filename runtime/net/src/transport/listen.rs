//! Listening: UDP for QUIC and TCP for HTTP/2, on the same number.

use std::io;
use std::net::SocketAddr;

use super::config::Protocols;
use crate::quic;

/// Numbers that are tried if any will do: one that is free for UDP may be taken for TCP.
const TRIES: usize = 16;

/// Connections that the system holds until they are taken.
const BACKLOG: i32 = 128;

/// What a transport listens on, and where that is.
pub(super) struct Sockets {
    pub(super) udp: Option<std::net::UdpSocket>,
    pub(super) tcp: Option<std::net::TcpListener>,
    pub(super) address: SocketAddr,
}

/// Listens at `address` for what is spoken.
pub(super) fn listen(address: SocketAddr, protocols: Protocols) -> io::Result<Sockets> {
    let any = address.port() == 0 && protocols.quic && protocols.http2;
    let mut tries = if any { TRIES } else { 1 };
    loop {
        tries -= 1;
        match listen_once(address, protocols) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
            done => return done,
        }
    }
}

fn listen_once(address: SocketAddr, protocols: Protocols) -> io::Result<Sockets> {
    let mut bound = address;
    let udp = protocols.quic.then(|| quic::udp(address)).transpose()?;
    if let Some(udp) = &udp {
        bound = udp.local_addr()?;
    }
    let tcp = protocols.http2.then(|| tcp(bound)).transpose()?;
    if let Some(tcp) = &tcp {
        bound = tcp.local_addr()?;
    }
    Ok(Sockets {
        udp,
        tcp,
        address: bound,
    })
}

fn tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    // Connections of a life before, which the system still remembers, do not
    // keep a node that has restarted from its own number.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: &str = "127.0.0.1:0";

    fn on(address: SocketAddr, quic: bool, http2: bool) -> io::Result<Sockets> {
        let protocols = Protocols {
            quic,
            datagrams: false,
            http2,
        };
        listen(address, protocols)
    }

    #[test]
    fn both_have_the_same_number() {
        let sockets = on(ANY.parse().unwrap(), true, true).unwrap();
        let udp = sockets.udp.unwrap().local_addr().unwrap();
        let tcp = sockets.tcp.unwrap().local_addr().unwrap();
        assert_eq!((udp, tcp), (sockets.address, sockets.address));
        assert_ne!(sockets.address.port(), 0);
    }

    #[test]
    fn only_what_is_spoken_is_listened_for() {
        for (quic, http2) in [(true, false), (false, true)] {
            let sockets = on(ANY.parse().unwrap(), quic, http2).unwrap();
            assert_eq!(sockets.udp.is_some(), quic);
            assert_eq!(sockets.tcp.is_some(), http2);
            assert_ne!(sockets.address.port(), 0);
        }
    }

    #[test]
    fn a_number_that_is_taken_for_either_is_taken() {
        let any = ANY.parse().unwrap();
        for (quic, http2) in [(true, false), (false, true)] {
            let holder = on(any, quic, http2).unwrap();
            let refused = on(holder.address, true, true).err().unwrap();
            assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        }
    }
}
