//! The UDP socket, as QUIC uses it.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};

/// Most bytes of packets that the system takes by one call: an IPv4 datagram
/// less its headers, although the call makes several datagrams of them.
const MOST_BYTES: usize = 65_507;

/// Sends in parts what is too much for one call. QUIC hands over up to ten
/// packets at once, whatever their size; the system refuses the whole of more
/// than [`MOST_BYTES`], and the library takes that for a probe of the path's
/// MTU and loses all of them without a word.
#[derive(Debug)]
pub(super) struct Socket {
    inner: Arc<dyn AsyncUdpSocket>,
}

impl Socket {
    /// Must be called within a runtime.
    pub(super) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        Ok(Self {
            inner: TokioRuntime.wrap_udp_socket(socket)?,
        })
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let packet = match transmit.segment_size {
            Some(bytes) if bytes > 0 && transmit.contents.len() > MOST_BYTES => bytes,
            _ => return self.inner.try_send(transmit),
        };
        let part = (MOST_BYTES / packet).max(1) * packet;
        for (number, contents) in transmit.contents.chunks(part).enumerate() {
            let sent = self.inner.try_send(&Transmit {
                destination: transmit.destination,
                ecn: transmit.ecn,
                contents,
                segment_size: transmit.segment_size,
                src_ip: transmit.src_ip,
            });
            match sent {
                // To be tried again later is the whole or nothing. With a buffer
                // that never takes the whole, that would be for ever: the rest is
                // lost instead, and sent again as lost packets are.
                Err(error) if number > 0 && error.kind() == io::ErrorKind::WouldBlock => break,
                sent => sent?,
            }
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(context, buffers, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;
    use crate::quic::tuning::{LOOPBACK_MTU, MOST_MTU, SOCKET_BUFFER};

    /// Most packets that QUIC hands over at once.
    const PACKETS: usize = 10;

    #[test]
    fn as_many_packets_as_quic_sends_at_once_arrive() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _context = runtime.enter();
        for bytes in [1_200, MOST_MTU, LOOPBACK_MTU].map(usize::from) {
            let sender = Socket::new(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
            // Where the system takes packets one by one, so does QUIC.
            let packets = PACKETS.min(sender.max_transmit_segments());
            let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
            let buffer = socket2::SockRef::from(&receiver);
            buffer.set_recv_buffer_size(SOCKET_BUFFER).unwrap();
            let patience = Duration::from_secs(60);
            receiver.set_read_timeout(Some(patience)).unwrap();
            let packet = |number: usize| vec![u8::try_from(number).unwrap(); bytes];
            let contents: Vec<u8> = (0..packets).flat_map(packet).collect();
            let transmit = Transmit {
                destination: receiver.local_addr().unwrap(),
                ecn: None,
                contents: &contents,
                segment_size: Some(bytes),
                src_ip: None,
            };
            let sender = Arc::new(sender);
            let mut poller = Arc::clone(&sender).create_io_poller();
            let writable = std::future::poll_fn(|context| poller.as_mut().poll_writable(context));
            runtime.block_on(writable).unwrap();
            sender.try_send(&transmit).unwrap();
            let mut received = vec![0; 1 << 16];
            for number in 0..packets {
                let length = receiver.recv(&mut received).unwrap();
                assert!(received[..length] == packet(number), "packet {number}");
            }
        }
    }
}
