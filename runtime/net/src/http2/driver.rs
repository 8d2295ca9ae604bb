//! The task that moves a connection's bytes, asks whether the other side lives,
//! and lets the connection go.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::{Ping, PingPong, Reason, client, server};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout};

use super::io::{Heard, Io};
use super::link::Inner;
use super::{Accepted, CONNECTION_WINDOW, FAREWELL, Timing};
use crate::transport::End;

/// Either side of a connection.
enum Connection {
    Client(client::Connection<Io, Bytes>),
    Server(server::Connection<Io, Bytes>, mpsc::Sender<Accepted>),
}

/// Whether the other side lives.
pub(super) struct Life {
    timing: Timing,
    counted: Heard,
    /// The count when it last was another.
    seen: u64,
    /// When that was.
    heard: Instant,
    /// When the ping that is not answered yet was sent.
    asked: Option<Instant>,
    /// Held until nothing of the connection is left.
    alive: mpsc::Sender<()>,
}

impl Life {
    pub(super) fn new(timing: Timing, counted: Heard, alive: mpsc::Sender<()>) -> Self {
        Self {
            timing,
            counted,
            seen: 0,
            heard: Instant::now(),
            asked: None,
            alive,
        }
    }

    /// Whether nothing came for too long.
    fn is_over(&mut self) -> bool {
        let count = self.counted.load(Ordering::Relaxed);
        if count != self.seen {
            self.seen = count;
            self.heard = Instant::now();
        }
        self.heard.elapsed() > self.timing.idle_timeout
    }

    fn ticks(&self) -> Interval {
        let mut ticks = interval(self.timing.keep_alive.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    }
}

pub(super) fn spawn_client(
    inner: &Arc<Inner>,
    connection: client::Connection<Io, Bytes>,
    life: Life,
) {
    spawn(inner, Connection::Client(connection), life);
}

/// Requests go to `requests`; such as it has no room for are refused.
pub(super) fn spawn_server(
    inner: &Arc<Inner>,
    connection: server::Connection<Io, Bytes>,
    requests: mpsc::Sender<Accepted>,
    life: Life,
) {
    spawn(inner, Connection::Server(connection, requests), life);
}

fn spawn(inner: &Arc<Inner>, connection: Connection, life: Life) {
    let inner = Arc::clone(inner);
    tokio::spawn(drive(inner, connection, life));
}

async fn drive(inner: Arc<Inner>, mut connection: Connection, mut life: Life) {
    let mut pings = connection.pings();
    let mut ticks = life.ticks();
    let mut trusted = false;
    loop {
        tokio::select! {
            end = poll_fn(|context| connection.poll(context)) => {
                inner.set_broken(end);
                return;
            }
            _ = inner.ended() => break,
            () = inner.trusted.notified(), if !trusted => {
                trusted = true;
                connection.trust();
            }
            pong = pong(&mut pings), if life.asked.is_some() => {
                if let (true, Some(asked)) = (pong, life.asked.take()) {
                    inner.set_round_trip(asked.elapsed());
                }
            }
            _ = ticks.tick() => {
                if life.is_over() {
                    inner.set_end(End::Silent);
                    break;
                }
                if life.asked.is_none() && let Some(pings) = &mut pings {
                    let sent = pings.send_ping(Ping::opaque()).is_ok();
                    life.asked = sent.then(Instant::now);
                }
            }
        }
    }
    // Whoever closes has said so last on the control stream. The library has no word
    // for that it went out: the other side, which goes when it has read it, has.
    if let Some(End::Here(_)) = inner.end() {
        let gone = poll_fn(|context| connection.poll(context));
        let _ = timeout(FAREWELL, gone).await;
    }
    drop(life.alive);
}

/// Whether the ping was answered; if not, the connection has another end to tell of.
async fn pong(pings: &mut Option<PingPong>) -> bool {
    match pings {
        Some(pings) => poll_fn(|context| pings.poll_pong(context)).await.is_ok(),
        None => std::future::pending().await,
    }
}

impl Connection {
    fn pings(&mut self) -> Option<PingPong> {
        match self {
            Self::Client(connection) => connection.ping_pong(),
            Self::Server(connection, _) => connection.ping_pong(),
        }
    }

    /// Moves bytes until the end.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        let ended = match self {
            Self::Client(connection) => match Pin::new(connection).poll(context) {
                Poll::Ready(ended) => ended,
                Poll::Pending => return Poll::Pending,
            },
            Self::Server(connection, requests) => loop {
                match connection.poll_accept(context) {
                    Poll::Ready(Some(Ok(request))) => {
                        if let Err(error) = requests.try_send(request) {
                            let (_, mut respond) = error.into_inner();
                            respond.send_reset(Reason::REFUSED_STREAM);
                        }
                    }
                    Poll::Ready(Some(Err(error))) => break Err(error),
                    Poll::Ready(None) => break Ok(()),
                    Poll::Pending => return Poll::Pending,
                }
            },
        };
        Poll::Ready(match ended {
            Ok(()) => End::Broken("the other side closed the connection".to_owned()),
            Err(error) => match error.get_io() {
                // TLS has a farewell of its own, which one that is cut off cannot say.
                Some(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    End::Broken("the connection was cut".to_owned())
                }
                _ => End::Broken(error.to_string()),
            },
        })
    }

    /// The other side is a peer.
    fn trust(&mut self) {
        // A client has trusted it since its certificate was checked.
        if let Self::Server(connection, _) = self {
            connection.set_target_window_size(CONNECTION_WINDOW);
        }
    }
}
