//! An HTTP/2 connection at work: its streams, and what its control stream says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::timeout;

use super::stream::{Http2Receiving, Http2Sending};
use super::{CLASSES, FAREWELL};
use crate::transport::{Class, Close, End, Lost, shown};

/// Records of the control stream, after the introduction: a byte says which.
mod record {
    /// The connection is closed: a code, the length of a text and the text, each
    /// number in two bytes, little-endian.
    pub(super) const CLOSE: u8 = 0;
    /// The stream of a class, in one byte, was read to its end.
    pub(super) const READ: u8 = 3;
}

/// Longest text that says why a connection is closed, bytes.
const MAX_REASON: u16 = 1_024;

/// An HTTP/2 connection. Clones are the same one; it ends when the last is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Http2Link(Arc<Handle>);

/// Ends the connection with the last link.
#[derive(Debug)]
struct Handle(Arc<Inner>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.set_end(End::Here("closed".to_owned()));
    }
}

/// What links, their streams and the driver share.
#[derive(Debug)]
pub(super) struct Inner {
    address: SocketAddr,
    certificates: Vec<CertificateDer<'static>>,
    control: Mutex<Control>,
    /// Of each class, until it is used.
    outgoing: Mutex<[Option<SendStream<Bytes>>; CLASSES]>,
    incoming: tokio::sync::Mutex<mpsc::Receiver<(Class, RecvStream)>>,
    arrive: mpsc::Sender<(Class, RecvStream)>,
    state: watch::Sender<State>,
    pub(super) trusted: Notify,
    /// Microseconds; 0 before it was measured.
    round_trip: AtomicU64,
}

/// Where records go. The stream is kept for as long as the connection: the library
/// throws away what a stream that nobody holds still has to send.
#[derive(Debug, Default)]
struct Control {
    stream: Option<SendStream<Bytes>>,
    /// Nothing more is said.
    closed: bool,
}

impl Control {
    /// Says something, for the last time if `last`. It is short: nothing waits for room.
    fn say(&mut self, bytes: Bytes, last: bool) -> Result<(), Lost> {
        let stream = self.stream.as_mut().filter(|_| !self.closed).ok_or(Lost)?;
        self.closed = last;
        stream.send_data(bytes, last).map_err(|_| Lost)
    }
}

/// How far the streams are.
#[derive(Debug, Default)]
struct State {
    /// The other side has read ours to the end.
    confirmed: [bool; CLASSES],
    /// We have read the other side's to the end.
    read: [bool; CLASSES],
    /// The introduction is over, and somebody reads records.
    begun: bool,
    /// How the connection ended, if its last records were not read yet.
    broken: Option<End>,
    end: Option<End>,
}

impl Inner {
    /// Notes why the connection ended, if no reason is known. What the other side
    /// says is a better one than that the connection broke.
    pub(super) fn set_end(&self, end: End) {
        self.state.send_if_modified(|state| {
            let better = match (&state.end, &end) {
                (None, _) | (Some(End::Broken(_)), End::There(_)) => true,
                (Some(_), _) => false,
            };
            if better {
                state.end = Some(end);
            }
            better
        });
    }

    /// The connection has ended. Records that came before are read first: they say
    /// what arrived, and why it ends.
    pub(super) fn set_broken(&self, end: End) {
        self.state.send_modify(|state| {
            if state.begun {
                state.broken = Some(end);
            } else if state.end.is_none() {
                state.end = Some(end);
            }
        });
    }

    pub(super) fn end(&self) -> Option<End> {
        self.state.borrow().end.clone()
    }

    pub(super) async fn ended(&self) -> End {
        let mut state = self.state.subscribe();
        let ended = state.wait_for(|state| state.end.is_some()).await;
        let end = ended.ok().and_then(|state| state.end.clone());
        // The sender is here: it does not go away.
        end.unwrap_or(End::Silent)
    }

    pub(super) fn set_round_trip(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.round_trip.store(micros.max(1), Ordering::Relaxed);
    }
}

impl Http2Link {
    pub(super) fn new(address: SocketAddr, certificates: Vec<CertificateDer<'static>>) -> Self {
        let (arrive, incoming) = mpsc::channel(CLASSES);
        Self(Arc::new(Handle(Arc::new(Inner {
            address,
            certificates,
            control: Mutex::default(),
            outgoing: Mutex::default(),
            incoming: tokio::sync::Mutex::new(incoming),
            arrive,
            state: watch::Sender::default(),
            trusted: Notify::new(),
            round_trip: AtomicU64::new(0),
        }))))
    }

    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.0.0
    }

    pub(super) fn set_control(&self, stream: SendStream<Bytes>) {
        self.inner().control.lock().stream = Some(stream);
    }

    /// A class's stream: where to send, and what will say from where it comes.
    pub(super) fn add_stream(
        &self,
        class: Class,
        outgoing: SendStream<Bytes>,
        incoming: impl Future<Output = Option<RecvStream>> + Send + 'static,
    ) {
        if let Some(slot) = self.inner().outgoing.lock().get_mut(class as usize) {
            *slot = Some(outgoing);
        }
        let inner = Arc::clone(self.inner());
        tokio::spawn(async move {
            let arrived = tokio::select! {
                arrived = incoming => arrived,
                _ = inner.ended() => None,
            };
            match arrived {
                // There is room for one of each class.
                Some(stream) => drop(inner.arrive.try_send((class, stream))),
                None => inner.set_end(End::Broken("the other side refused a stream".to_owned())),
            }
        });
    }

    pub(crate) fn remote_address(&self) -> SocketAddr {
        self.inner().address
    }

    pub(crate) fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.inner().certificates
    }

    pub(crate) fn round_trip(&self) -> Option<Duration> {
        match self.inner().round_trip.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Duration::from_micros(micros)),
        }
    }

    /// Gives the other side the room of a peer.
    pub(crate) fn trust(&self) {
        self.inner().trusted.notify_one();
    }

    /// Says something on the control stream.
    pub(crate) fn say(&self, bytes: Bytes) -> Result<(), Lost> {
        self.inner().control.lock().say(bytes, false)
    }

    /// Waits for what the other side says next, unless that is why it closes.
    pub(crate) async fn listen(&self, control: &mut Http2Receiving) -> Result<(), Lost> {
        match control.peek().await? {
            Some(record::CLOSE) => {
                let end = close_record(control).await?;
                self.inner().set_end(end);
                Err(Lost)
            }
            Some(_) => Ok(()),
            None => Err(Lost),
        }
    }

    /// The introduction is over: what comes now on the control stream is records.
    pub(crate) fn begin(&self, control: Http2Receiving) {
        self.inner().state.send_modify(|state| state.begun = true);
        tokio::spawn(records(Arc::clone(self.inner()), control));
    }

    pub(crate) fn close(&self, close: &Close) {
        let text = close.to_string();
        let mut bytes = vec![record::CLOSE];
        bytes.extend_from_slice(&close.code().to_le_bytes());
        let length = u16::try_from(text.len()).unwrap_or(MAX_REASON);
        let length = length.min(MAX_REASON);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend(text.bytes().take(usize::from(length)));
        // Whom it does not reach finds out by itself.
        let _ = self.inner().control.lock().say(bytes.into(), true);
        self.inner().set_end(End::Here(text));
    }

    pub(crate) fn end(&self) -> Option<End> {
        self.inner().end()
    }

    pub(crate) async fn ended(&self) -> End {
        self.inner().ended().await
    }

    pub(crate) fn open(&self, class: Class) -> Result<Http2Sending, Lost> {
        let mut outgoing = self.inner().outgoing.lock();
        let stream = outgoing.get_mut(class as usize).and_then(Option::take);
        let stream = stream.ok_or(Lost)?;
        Ok(Http2Sending::new(stream, self.clone(), class))
    }

    pub(crate) fn may_open(&self, class: Class) -> bool {
        let outgoing = self.inner().outgoing.lock();
        outgoing.get(class as usize).is_some_and(Option::is_some)
    }

    pub(crate) async fn accept(&self) -> Result<Http2Receiving, Lost> {
        let inner = self.inner();
        let mut incoming = inner.incoming.lock().await;
        tokio::select! {
            arrived = incoming.recv() => {
                let (class, stream) = arrived.ok_or(Lost)?;
                Ok(Http2Receiving::of_class(stream, self.clone(), class))
            }
            _ = inner.ended() => Err(Lost),
        }
    }

    /// Ends the streams that were not used.
    pub(crate) fn leave(&self) {
        for stream in self.inner().outgoing.lock().iter_mut() {
            if let Some(mut stream) = stream.take() {
                // If the connection is gone, so is the stream.
                let _ = stream.send_data(Bytes::new(), true);
            }
        }
    }

    /// Tells the other side that its stream was read to the end.
    pub(super) fn confirm(&self, class: Class) {
        let inner = self.inner();
        // Under one lock with the record: whoever knows of the one knows of the other.
        let mut control = inner.control.lock();
        let record = vec![record::READ, class as u8].into();
        if control.say(record, false).is_ok() {
            note(inner, class as usize, |state| &mut state.read);
        }
    }

    /// Waits until the other side has read the class's stream to the end.
    pub(super) async fn confirmed(&self, class: Class) -> Result<(), Lost> {
        let confirmed = |state: &State| {
            state
                .confirmed
                .get(class as usize)
                .copied()
                .unwrap_or(false)
        };
        let mut state = self.inner().state.subscribe();
        let settled = state
            .wait_for(|state| confirmed(state) || state.end.is_some())
            .await;
        match settled {
            Ok(state) if confirmed(&state) => Ok(()),
            _ => Err(Lost),
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        // See `confirm`.
        let _control = self.inner().control.lock();
        self.inner().state.borrow().is_complete()
    }

    pub(crate) async fn completed(&self) {
        let mut state = self.inner().state.subscribe();
        if state.wait_for(State::is_complete).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl State {
    fn is_complete(&self) -> bool {
        self.confirmed.iter().chain(&self.read).all(|done| *done)
    }
}

fn note(inner: &Inner, class: usize, of: impl FnOnce(&mut State) -> &mut [bool; CLASSES]) {
    inner.state.send_modify(|state| {
        if let Some(done) = of(state).get_mut(class) {
            *done = true;
        }
    });
}

/// Reads the control stream to its end.
async fn records(inner: Arc<Inner>, mut control: Http2Receiving) {
    let reading = async {
        loop {
            match control.peek().await {
                Ok(Some(record::READ)) => {
                    let mut bytes = [0; 2];
                    control.read_exact(&mut bytes).await?;
                    let [_, class] = bytes;
                    note(&inner, usize::from(class), |state| &mut state.confirmed);
                }
                Ok(Some(record::CLOSE)) => return close_record(&mut control).await,
                Ok(Some(found)) => {
                    let why = format!("the other side sent a record {found}, which there is not");
                    return Ok(End::Broken(why));
                }
                Ok(None) | Err(Lost) => return Err(Lost),
            }
        }
    };
    let end = tokio::select! {
        end = reading => end,
        _ = inner.ended() => return,
    };
    match end {
        Ok(end) => inner.set_end(end),
        Err(Lost) => {
            // The driver says why, in no time if the connection is gone.
            let mut state = inner.state.subscribe();
            let broken = state.wait_for(|state| state.broken.is_some());
            let broken = match timeout(FAREWELL, broken).await {
                Ok(Ok(state)) => state.broken.clone(),
                Ok(Err(_)) | Err(_) => None,
            };
            let ended = || End::Broken("the control stream ended".to_owned());
            inner.set_end(broken.unwrap_or_else(ended));
        }
    }
}

/// Reads why the other side closes.
async fn close_record(control: &mut Http2Receiving) -> Result<End, Lost> {
    let mut tag = [0];
    control.read_exact(&mut tag).await?;
    // Codes are for programs; what is shown is the text.
    control.read_u16().await?;
    let length = control.read_u16().await?.min(MAX_REASON);
    let mut text = vec![0; usize::from(length)];
    control.read_exact(&mut text).await?;
    Ok(End::There(shown(&text)))
}
