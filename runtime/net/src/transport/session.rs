//! One session at work: from `connected` to `disconnected`.
//!
//! A session is carried by one or more connections, its links. Each class of
//! messages is one string of bytes each way, cut into segments; a segment is a
//! stream of a link. It begins with the class, one byte, and its number, four,
//! little-endian, from 0 on; its end says that the string goes on in the next
//! one. So a class can be moved to another link while it is in use, by whoever
//! sends and without asking: the receiver reads segment after segment, whatever
//! comes first. Nothing is lost or overtaken by that, and nobody is told.
//!
//! A link that ends before everything on it has arrived ends the session: what
//! was under way is lost, and the next session begins with empty hands.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use phoenix_core::Protocol;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::hello::{Close, Verdict, Wish};
use super::inbound::Frames;
use super::judge::{Judgement, Standing, judge};
use super::keep::{self, View};
use super::link::{Link, Lost, Receiving};
use super::lookout::Lookout;
use super::outbound::{Class, FrameWriter};
use super::peer::{Established, Peer};
use super::supervise::until_closing;
use super::{Shared, datagrams};
use crate::formats::Offer;
use crate::quic::QuicLink;
use crate::select::{Carrier, Consistency, Distance, Reliability, Traffic};

/// Chunks read from a stream at once.
const CHUNKS: usize = 32;

/// Having read this many bytes, the connection may have to tell the peer that
/// there is room again. The task that does so must not be left behind a handler.
const YIELD_FROM: usize = 16 << 10;

/// Most links of a session, such as are being left included.
const LINKS: usize = 4;

/// Bytes a segment begins with.
const SEGMENT: usize = 5;

/// How long after a stream its link may end. One that lives on has lost a stream.
const GRACE: Duration = Duration::from_secs(1);

/// Why a session ended.
pub(super) enum SessionEnd {
    /// The transport closes.
    Closing,
    /// A connection takes its place.
    Replaced(Box<Established>),
    /// A link is gone, or had to go.
    Lost,
}

/// Why one of a session's tasks ended.
pub(super) enum TaskEnd {
    /// The peer has all that was written, and nothing more will be.
    Written,
    /// Its link is gone, which the link's own task tells.
    Lost,
    /// The link of that number has ended, or nothing needs it any more.
    Ended(usize),
    /// The session must go.
    Close(Close),
}

/// What a session knows of the peer.
#[derive(Clone, Copy)]
pub(super) struct Theirs {
    /// How often it has started.
    pub(super) boot: u64,
    /// What frames it reads.
    pub(super) offer: Offer,
}

/// A class's bytes, from the beginning of a segment on.
type Segment = (u32, Receiving);

/// Runs the session that `first` begins, until its end; nothing of it is left then.
pub(super) async fn run(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    id: u64,
    first: Link,
    theirs: Theirs,
    offers: &mut mpsc::Receiver<Established>,
) -> SessionEnd {
    let mut session = Session::new(shared, peer, id, theirs);
    session.add(first);
    let (end, close) = session.serve(offers).await;
    session.end(&close).await;
    end
}

struct Session<'a> {
    shared: &'a Arc<Shared>,
    peer: &'a Arc<Peer>,
    id: u64,
    boot: u64,
    began: Instant,
    tasks: JoinSet<TaskEnd>,
    links: Vec<(usize, Link)>,
    /// The number of the next link.
    number: usize,
    /// Which link carries each class, and how its writer learns of it.
    places: [(usize, mpsc::Sender<Link>); Class::ALL.len()],
    /// Where each class's reader gets its segments.
    segments: [mpsc::Sender<Segment>; Class::ALL.len()],
    view: watch::Sender<View>,
    /// Tasks that do not end by themselves.
    endless: Vec<AbortHandle>,
    /// Writers of datagrams.
    datagram_writers: usize,
    /// Bulk's bytes when they last were others, and when that was.
    bulk: ((u64, u64), Instant),
    /// Bulk has not used the link it had to itself for long.
    bulk_rests: bool,
}

impl<'a> Session<'a> {
    fn new(shared: &'a Arc<Shared>, peer: &'a Arc<Peer>, id: u64, theirs: Theirs) -> Self {
        let mut tasks = JoinSet::new();
        // No link has this number.
        let nowhere = usize::MAX;
        let places = Class::ALL.map(|class| {
            let (place, places) = mpsc::channel(LINKS);
            let writer = Writer {
                shared: Arc::clone(shared),
                peer: Arc::clone(peer),
                class,
                offer: theirs.offer,
            };
            tasks.spawn(writer.run(places));
            (nowhere, place)
        });
        let segments = Class::ALL.map(|_| {
            let (segment, segments) = mpsc::channel(LINKS);
            tasks.spawn(read(Arc::clone(shared), Arc::clone(peer), segments));
            segment
        });
        let view = watch::Sender::new(View::default());
        let watched = view.subscribe();
        let keep = keep::keep(Arc::clone(shared), Arc::clone(peer), id, watched);
        let endless = vec![tasks.spawn(keep)];
        Self {
            shared,
            peer,
            id,
            boot: theirs.boot,
            began: Instant::now(),
            tasks,
            links: Vec::new(),
            number: 0,
            places,
            segments,
            view,
            endless,
            datagram_writers: 0,
            bulk: ((0, 0), Instant::now()),
            bulk_rests: false,
        }
    }

    /// A link joins.
    fn add(&mut self, link: Link) {
        let number = self.number;
        self.number += 1;
        self.peer.counters.connections.add(1);
        let segments = self.segments.clone();
        self.tasks.spawn(serve_link(number, link.clone(), segments));
        if let Link::Quic(quic) = &link {
            self.peer.quic().works(Instant::now());
            self.add_datagrams(quic);
        }
        self.bulk_rests = false;
        self.bulk.1 = Instant::now();
        self.links.push((number, link));
        self.place();
    }

    fn add_datagrams(&mut self, quic: &QuicLink) {
        let connection = quic.connection();
        let room = datagrams::room(connection);
        if room == 0 || !self.shared.protocols.datagrams {
            return;
        }
        self.peer.open_datagrams(room);
        let (peer, connection) = (Arc::clone(self.peer), connection.clone());
        let reader = datagrams::read(Arc::clone(self.shared), peer.clone(), connection.clone());
        self.tasks.spawn(reader);
        self.tasks.spawn(datagrams::write(peer, connection));
        self.datagram_writers += 1;
    }

    /// Gives each class the link that the table says, and leaves links without one.
    fn place(&mut self) {
        let distance = self.distance();
        for class in Class::ALL {
            let traffic = Traffic {
                distance,
                size: class.size(),
                consistency: Consistency::Strong,
                reliability: Reliability::AtLeastOnce,
            };
            let rests = class == Class::Bulk && self.bulk_rests && self.has(Protocol::Quic);
            let stands = |carrier| {
                let rests = rests && carrier == Carrier::Http2Stream;
                !rests && self.carrying(class, carrier).is_some()
            };
            let carrier = traffic.carrier(stands);
            let found = carrier.and_then(|carrier| self.carrying(class, carrier));
            let Some((number, link)) = found.cloned() else {
                continue;
            };
            let Some((place, mover)) = self.places.get_mut(class as usize) else {
                continue;
            };
            if *place != number && mover.try_send(link).is_ok() {
                *place = number;
            }
        }
        for (number, link) in &self.links {
            if !self.places.iter().any(|(place, _)| place == number) {
                link.leave();
            }
        }
        self.show();
    }

    /// The link that `carrier` stands for, if the class is on it or can be.
    fn carrying(&self, class: Class, carrier: Carrier) -> Option<&(usize, Link)> {
        let protocol = match carrier {
            Carrier::QuicStream => Protocol::Quic,
            Carrier::Http2Stream => Protocol::Http2,
            Carrier::Process | Carrier::QuicDatagram => return None,
        };
        let place = self.places.get(class as usize).map(|(place, _)| *place);
        self.links.iter().find(|(number, link)| {
            link.protocol() == protocol && (place == Some(*number) || link.may_open(class))
        })
    }

    fn has(&self, protocol: Protocol) -> bool {
        let mut links = self.links.iter();
        links.any(|(_, link)| link.protocol() == protocol)
    }

    fn distance(&self) -> Distance {
        let quic = self.links.iter().find_map(|(_, link)| match link {
            Link::Quic(_) => Some(link),
            Link::Http2(_) => None,
        });
        match quic.or(self.links.first().map(|(_, link)| link)) {
            Some(link) => link.distance(),
            None => Distance::Near,
        }
    }

    /// Tells those who look what carries what.
    fn show(&self) {
        let link_of = |class: Class| {
            let (place, _) = self.places.get(class as usize)?;
            let link = self.links.iter().find(|(number, _)| number == place)?;
            Some(link.1.clone())
        };
        self.peer.carried_by(Class::ALL.map(link_of));
        self.peer.set_distance(self.distance());
        let quic = self.links.iter().find_map(|(_, link)| match link {
            Link::Quic(quic) => Some(quic.clone()),
            Link::Http2(_) => None,
        });
        let http2 = self.has(Protocol::Http2);
        self.view.send_replace(View { quic, http2 });
    }

    /// Works until the session must end.
    async fn serve(&mut self, offers: &mut mpsc::Receiver<Established>) -> (SessionEnd, Close) {
        let closing = self.shared.closing.subscribe();
        let look = (self.shared.limits.bulk_idle / 4).max(Duration::from_millis(1));
        let mut ticks = tokio::time::interval(look);
        loop {
            tokio::select! {
                Some(task) = self.tasks.join_next() => match task {
                    Ok(TaskEnd::Written) => {}
                    Ok(TaskEnd::Lost) => self.expect_the_end(),
                    Ok(TaskEnd::Ended(number)) => if !self.part_with(number) {
                        return (SessionEnd::Lost, Close::SessionLost);
                    },
                    Ok(TaskEnd::Close(close)) => return (SessionEnd::Lost, close),
                    Err(error) => {
                        tracing::error!(peer = %self.peer.node, %error, "serving a peer failed");
                        return (SessionEnd::Lost, Close::Failed);
                    }
                },
                Some(offer) = offers.recv() => match self.judge(&offer) {
                    Judgement::Join => self.join(offer).await,
                    Judgement::Replace => {
                        self.note_silence(&offer);
                        return (SessionEnd::Replaced(Box::new(offer)), Close::Superseded);
                    }
                    Judgement::Refuse(close) => offer.link.close(&close),
                },
                _ = ticks.tick() => self.rest_bulk(),
                () = until_closing(closing.clone()) => {
                    self.finish().await;
                    return (SessionEnd::Closing, Close::Closing);
                }
            }
        }
    }

    /// A stream is gone. If its link is not, the session must go all the same.
    fn expect_the_end(&mut self) {
        let waiting = self.tasks.spawn(async {
            tokio::time::sleep(GRACE).await;
            TaskEnd::Close(Close::Stream)
        });
        self.endless.push(waiting);
    }

    /// A link has ended; whether the session can go on without it.
    fn part_with(&mut self, number: usize) -> bool {
        let Some(at) = self.links.iter().position(|(known, _)| *known == number) else {
            return true;
        };
        let (_, link) = self.links.remove(at);
        let complete = link.is_complete();
        if complete {
            link.close(&Close::Unused);
            tracing::debug!(peer = %self.peer.node, protocol = %link.protocol(), "a connection was left");
            self.place();
        } else {
            let why = link.end().map(|end| end.to_string()).unwrap_or_default();
            tracing::info!(peer = %self.peer.node, protocol = %link.protocol(), why, "disconnected");
            self.peer.set_last_end(why);
        }
        complete
    }

    /// The peer hears nothing of us over QUIC, and so replaces the session.
    fn note_silence(&self, offer: &Established) {
        let silent = matches!(offer.wish, Wish::Replace { .. })
            && offer.link.protocol() == Protocol::Http2
            && self.has(Protocol::Quic);
        if silent && !self.peer.quic().is_distrusted(Instant::now()) {
            let why = "QUIC fell silent at the other node".to_owned();
            let lasted = self.began.elapsed();
            let mut quic = self.peer.quic();
            quic.fell_silent(Instant::now(), lasted, why);
        }
    }

    fn judge(&self, offer: &Established) -> Judgement {
        let standing = Standing {
            session: self.id,
            boot: self.boot,
            young: self.began.elapsed() <= self.shared.limits.handshake_timeout,
            crowded: self.has(offer.link.protocol()),
            full: self.links.len() >= LINKS,
        };
        judge(&standing, offer.hello.boot, offer.wish, offer.verdict)
    }

    /// Lets an offered connection join.
    async fn join(&mut self, mut offer: Established) {
        if offer.verdict.is_none() && Verdict::Join(self.id).send(&mut offer.intro).await.is_err() {
            return;
        }
        let protocol = offer.link.protocol();
        tracing::info!(peer = %self.peer.node, %protocol, "another connection joins");
        offer.link.begin(offer.intro);
        self.add(offer.link);
    }

    /// Takes bulk back to where everything else is if it has been quiet for long.
    fn rest_bulk(&mut self) {
        let moved = self.peer.queue(Class::Bulk).moved();
        if moved != self.bulk.0 {
            self.bulk = (moved, Instant::now());
        } else if !self.bulk_rests && self.bulk.1.elapsed() >= self.shared.limits.bulk_idle {
            self.bulk_rests = true;
            self.place();
        }
    }

    /// Lets the writers send what waits, for a bounded time.
    async fn finish(&mut self) {
        self.peer.finish();
        let mut writers = Class::ALL.len() + self.datagram_writers;
        let tasks = &mut self.tasks;
        let finished = async {
            while writers > 0 {
                match tasks.join_next().await {
                    Some(Ok(TaskEnd::Written)) => writers -= 1,
                    // A link that was being left may end; one that is gone ends it all.
                    Some(Ok(TaskEnd::Ended(_))) => {}
                    Some(_) | None => break,
                }
            }
        };
        let limit = self.shared.limits.close_timeout;
        if tokio::time::timeout(limit, finished).await.is_err() {
            tracing::warn!(peer = %self.peer.node, "closing before everything was sent");
        }
    }

    async fn end(self, close: &Close) {
        if let Close::Malformed(error) = close {
            self.shared.malformed.add(1);
            tracing::warn!(peer = %self.peer.node, %error, "malformed frame; closing the connection");
        }
        if *close != Close::SessionLost {
            self.peer.set_last_end(close.to_string());
        }
        for (_, link) in &self.links {
            link.close(close);
        }
        self.peer.close();
        let Self {
            mut tasks,
            places,
            segments,
            endless,
            ..
        } = self;
        for task in endless {
            task.abort();
        }
        // Readers and writers end where no more segments come.
        drop((places, segments));
        // What came before the end is handed over, and a handler at work is waited
        // for: nothing is received after `disconnected`.
        while tasks.join_next().await.is_some() {}
    }
}

/// Takes the streams that the peer opens on a link, and tells of its end.
async fn serve_link(
    number: usize,
    link: Link,
    segments: [mpsc::Sender<Segment>; Class::ALL.len()],
) -> TaskEnd {
    let mut beginnings = JoinSet::new();
    loop {
        tokio::select! {
            stream = link.accept() => match stream {
                Ok(stream) if beginnings.len() < Class::ALL.len() => {
                    beginnings.spawn(begin(stream));
                }
                Ok(_) => return TaskEnd::Close(Close::Stream),
                Err(_) => {
                    link.ended().await;
                    return TaskEnd::Ended(number);
                }
            },
            Some(begun) = beginnings.join_next() => {
                let Ok(Some((class, segment, stream))) = begun else {
                    // It has no beginning: nothing is to come on it.
                    continue;
                };
                let reader = Class::from_number(class)
                    .and_then(|class| segments.get(class as usize));
                let taken = reader.is_some_and(|reader| reader.try_send((segment, stream)).is_ok());
                if !taken {
                    return TaskEnd::Close(Close::Stream);
                }
            }
            () = link.completed() => return TaskEnd::Ended(number),
            _ = link.ended() => return TaskEnd::Ended(number),
        }
    }
}

/// Reads how a segment begins: class and number.
async fn begin(mut stream: Receiving) -> Option<(u8, u32, Receiving)> {
    let mut head = [0; SEGMENT];
    stream.read_exact(&mut head).await.ok()?;
    let [class, number @ ..] = head;
    Some((class, u32::from_le_bytes(number), stream))
}

/// Sends what waits in a class's queue, over one link after the other.
struct Writer {
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    class: Class,
    offer: Offer,
}

impl Writer {
    async fn run(self, mut places: mpsc::Receiver<Link>) -> TaskEnd {
        let queue = self.peer.queue(self.class);
        let mut left = JoinSet::new();
        let mut next = places.recv().await;
        let mut number: u32 = 0;
        let mut items = Vec::new();
        while let Some(link) = next.take() {
            let Ok(mut stream) = link.open(self.class).await else {
                // It was left before it was begun with, or is gone.
                next = places.recv().await;
                continue;
            };
            let mut head = vec![self.class as u8];
            head.extend_from_slice(&number.to_le_bytes());
            if stream.write(&mut [head.into()]).await.is_err() {
                return TaskEnd::Lost;
            }
            number = number.wrapping_add(1);
            let mut frames = self.frames(&link);
            loop {
                tokio::select! {
                    taken = queue.take(&mut items) => match taken {
                        Some(taken) => {
                            let mut chunks = frames.write(&mut items);
                            let bytes = chunks.iter().map(Bytes::len).sum();
                            self.peer.counters.sent_bytes.add(bytes);
                            if stream.write(&mut chunks).await.is_err() {
                                return TaskEnd::Lost;
                            }
                            queue.written(taken);
                        }
                        None => break,
                    },
                    place = places.recv() => {
                        next = place;
                        break;
                    }
                }
            }
            if stream.finish().is_err() {
                return TaskEnd::Lost;
            }
            left.spawn(stream.delivered());
            while left.try_join_next().is_some() {}
        }
        while let Some(delivered) = left.join_next().await {
            if !matches!(delivered, Ok(Ok(()))) {
                return TaskEnd::Lost;
            }
        }
        TaskEnd::Written
    }

    /// How frames are written over a link.
    fn frames(&self, link: &Link) -> FrameWriter {
        let packing = self
            .shared
            .packing(self.class, link.distance(), &self.offer);
        FrameWriter::new(&packing, self.shared.limits.frame_bytes)
    }
}

/// Hands over a class's messages, segment after segment.
async fn read(
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    mut segments: mpsc::Receiver<Segment>,
) -> TaskEnd {
    let mut frames = Frames::new(shared.limits.frame_bytes);
    let mut early: Vec<Segment> = Vec::new();
    let mut next = 0;
    loop {
        let at = early.iter().position(|(number, _)| *number == next);
        let stream = match at {
            Some(at) => early.swap_remove(at).1,
            None => match segments.recv().await {
                Some((number, stream)) if number == next => stream,
                Some(segment) if early.len() < LINKS => {
                    early.push(segment);
                    continue;
                }
                Some(_) => return TaskEnd::Close(Close::Stream),
                None => return TaskEnd::Lost,
            },
        };
        if let Err(end) = read_segment(&shared, &peer, stream, &mut frames).await {
            return end;
        }
        next = next.wrapping_add(1);
    }
}

async fn read_segment(
    shared: &Arc<Shared>,
    peer: &Peer,
    mut stream: Receiving,
    frames: &mut Frames,
) -> Result<(), TaskEnd> {
    let mut chunks: [Bytes; CHUNKS] = std::array::from_fn(|_| Bytes::new());
    let mut lookout = Lookout::new(shared.limits.lookout);
    loop {
        // What was read before was moved out of the chunks.
        let read = async {
            let count = stream.read(&mut chunks).await?;
            let read = chunks.iter().take(count.unwrap_or(0));
            Ok::<_, Lost>((count, read.map(Bytes::len).sum::<usize>()))
        };
        let size = |read: &Result<(_, usize), Lost>| read.as_ref().map_or(0, |(_, bytes)| *bytes);
        let read = lookout.wait(read, size).await;
        let count = match read.map(|(count, _)| count) {
            Ok(Some(count)) => count,
            Ok(None) => return Ok(()),
            Err(_) => return Err(TaskEnd::Lost),
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
            shared.received(peer.node, messages);
        }
        if let Some(error) = malformed {
            return Err(TaskEnd::Close(Close::Malformed(error)));
        }
    }
}
