//! One connection at work: two streams each way, until it ends.

use std::sync::Arc;

use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Shared;
use super::hello::{Close, shown};
use super::inbound::Frames;
use super::outbound::Class;
use super::peer::{Established, Peer, until_closing};
use super::tuning::STREAMS;

/// Chunks read from a stream at once.
const CHUNKS: usize = 32;

/// Having read this many bytes, QUIC may have to tell the peer that there is
/// room again. The task that does so must not be left behind a handler.
const YIELD_FROM: usize = 16 << 10;

/// Why a link ended.
pub(super) enum LinkEnd {
    /// The transport closes.
    Closing,
    /// Another connection takes its place.
    Replaced(Box<Established>),
    /// The connection is gone.
    Lost,
}

/// Why one of a link's tasks ended.
enum TaskEnd {
    /// The peer has all that was written, and nothing more will be.
    Written,
    /// The peer writes nothing more to this stream.
    Read,
    /// The connection is gone.
    Lost,
    /// The connection must go.
    Close(Close),
}

/// Serves the connection until it ends; nothing of it is left then.
pub(super) async fn run(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    connection: &Connection,
    boot: u64,
    offers: &mut mpsc::Receiver<Established>,
) -> LinkEnd {
    let mut tasks = JoinSet::new();
    for class in Class::ALL {
        tasks.spawn(write(Arc::clone(peer), connection.clone(), class));
    }
    let closing = shared.closing.subscribe();
    let began = Instant::now();
    let mut streams = 0;
    let (end, close) = loop {
        tokio::select! {
            stream = connection.accept_uni() => match stream {
                Ok(stream) if streams < STREAMS => {
                    streams += 1;
                    tasks.spawn(read(Arc::clone(shared), Arc::clone(peer), stream));
                }
                Ok(_) => break (LinkEnd::Lost, Close::Stream),
                Err(error) => {
                    tracing::info!(peer = %peer.node, error = shown(&error), "disconnected");
                    break (LinkEnd::Lost, Close::Closing);
                }
            },
            Some(task) = tasks.join_next() => match task {
                Ok(TaskEnd::Written | TaskEnd::Read | TaskEnd::Lost) => {}
                Ok(TaskEnd::Close(close)) => break (LinkEnd::Lost, close),
                Err(error) => {
                    tracing::error!(peer = %peer.node, %error, "serving a peer failed");
                    break (LinkEnd::Lost, Close::Failed);
                }
            },
            Some(offer) = offers.recv() => {
                let young = began.elapsed() <= shared.limits.handshake_timeout;
                if replaces(&offer, boot, young) {
                    break (LinkEnd::Replaced(Box::new(offer)), Close::Superseded);
                }
                Close::Duplicate.close(&offer.connection);
            }
            () = until_closing(closing.clone()) => {
                finish(shared, peer, connection, &mut tasks).await;
                break (LinkEnd::Closing, Close::Closing);
            }
        }
    };
    if let Close::Malformed(error) = &close {
        shared.malformed.add(1);
        tracing::warn!(peer = %peer.node, %error, "malformed frame; closing the connection");
    }
    peer.set_last_end(match connection.close_reason() {
        Some(error) => shown(&error),
        None => close.to_string(),
    });
    close.close(connection);
    for class in Class::ALL {
        peer.queue(class).close();
    }
    // A handler at work is waited for: nothing is received after `disconnected`.
    while tasks.join_next().await.is_some() {}
    end
}

/// Whether a new connection takes the place of one that stands. What the other
/// side decided does. What is for us to decide does if the old one is dead: the
/// peer restarted, or dialled, which it does only while it has none. Both may
/// have dialled at once, though, and a dial takes no longer than a handshake may:
/// so long after the beginning it proves nothing.
fn replaces(offer: &Established, boot: u64, young: bool) -> bool {
    offer.undecided.is_none() || offer.hello.boot > boot || !young
}

/// Lets the writers send what waits, for a bounded time.
async fn finish(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    connection: &Connection,
    tasks: &mut JoinSet<TaskEnd>,
) {
    for class in Class::ALL {
        peer.queue(class).finish();
    }
    let mut writers = Class::ALL.len();
    let finished = async {
        while writers > 0 {
            match tasks.join_next().await {
                Some(Ok(TaskEnd::Written)) => writers -= 1,
                Some(_) => {}
                None => break,
            }
        }
    };
    tokio::select! {
        () = finished => {}
        _ = connection.closed() => {}
        () = tokio::time::sleep(shared.limits.close_timeout) => {
            tracing::warn!(peer = %peer.node, "closing before everything was sent");
        }
    }
}

async fn write(peer: Arc<Peer>, connection: Connection, class: Class) -> TaskEnd {
    let Ok(stream) = connection.open_uni().await else {
        return TaskEnd::Lost;
    };
    match write_all(&peer, stream, class).await {
        Ok(()) => TaskEnd::Written,
        Err(_) => TaskEnd::Lost,
    }
}

async fn write_all(
    peer: &Peer,
    mut stream: SendStream,
    class: Class,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // Small messages go before bulk that waits for the network.
    stream.set_priority(match class {
        Class::Ordered => 1,
        Class::Bulk => 0,
    })?;
    stream.write_all(&[class as u8]).await?;
    let queue = peer.queue(class);
    while let Some(mut chunks) = queue.take().await {
        let bytes = chunks.iter().map(Bytes::len).sum();
        stream.write_all_chunks(&mut chunks).await?;
        queue.written(bytes);
    }
    stream.finish()?;
    // Resolves when the peer has everything.
    stream.stopped().await?;
    Ok(())
}

async fn read(shared: Arc<Shared>, peer: Arc<Peer>, mut stream: RecvStream) -> TaskEnd {
    let mut class = [0];
    if stream.read_exact(&mut class).await.is_err() {
        return TaskEnd::Lost;
    }
    let [class] = class;
    if !Class::ALL.iter().any(|known| *known as u8 == class) {
        return TaskEnd::Close(Close::Stream);
    }
    let mut frames = Frames::new(shared.limits.frame_bytes);
    let mut chunks: [Bytes; CHUNKS] = std::array::from_fn(|_| Bytes::new());
    loop {
        let count = match stream.read_chunks(&mut chunks).await {
            Ok(Some(count)) => count,
            Ok(None) => return TaskEnd::Read,
            Err(_) => return TaskEnd::Lost,
        };
        let mut messages = Vec::new();
        let mut bytes = 0;
        let mut malformed = None;
        for chunk in chunks.iter_mut().take(count) {
            bytes += chunk.len();
            if let Err(error) = frames.push(std::mem::take(chunk), &mut messages) {
                malformed = Some(error);
                break;
            }
        }
        peer.counters.received_bytes.add(bytes);
        peer.counters.received_messages.add(messages.len());
        if bytes >= YIELD_FROM {
            tokio::task::yield_now().await;
        }
        if !messages.is_empty() {
            shared.tell(|events| events.received(peer.node, messages));
        }
        if let Some(error) = malformed {
            return TaskEnd::Close(Close::Malformed(error));
        }
    }
}
