//! HTTP/2 over TLS over TCP, for networks that let nothing else through, and for
//! bulk over a distance.
//!
//! The dialler is the client. It makes three requests, whose bodies, and those
//! of the answers, stay open for as long as the connection lasts: one to
//! introduce itself, which goes on as the control stream, and one for each
//! class of messages. So each class has a stream each way, and what one of them
//! cannot take does not hold up the other. What a stream may have under way is
//! HTTP/2's flow control: a receiver makes room as it works off what came.
//!
//! TCP tells nobody that the other side has read anything. So each side says on
//! its control stream when it has read a class's stream to the end, and says why
//! it closes, which HTTP/2 itself has no words for.
//!
//! Start with [`connect`] and [`accept`]; `link` is a connection at work, and
//! `driver` the task that moves its bytes.

mod driver;
mod io;
mod link;
mod stream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::uri::Scheme;
use http::{Method, Request, Response, StatusCode, Uri};
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::identity::{Fingerprint, Identity};
use crate::tls::{self, Stranger, TlsError};
use crate::transport::{Class, Close, Lost, TransportLimits, shown};
use driver::Life;
use io::Io;
pub(crate) use link::Http2Link;
pub(crate) use stream::{Http2Receiving, Http2Sending};

/// ALPN of HTTP/2 over TLS (RFC 9113, 3.2).
const ALPN: &[u8] = b"h2";

/// Classes of messages.
const CLASSES: usize = Class::ALL.len();

/// Streams of a connection: control, and one for each class.
const STREAMS: u32 = 3;

const _: () = assert!(STREAMS as usize == 1 + CLASSES);

/// Where a peer introduces itself, and where its classes' streams are.
const CONTROL_PATH: &str = "/phoenix/peer/control";
const CLASS_PATHS: [&str; CLASSES] = ["/phoenix/peer/ordered", "/phoenix/peer/bulk"];
/// Where a node asks to be let into the cluster.
const JOIN_PATH: &str = "/phoenix/join";

/// Bytes of one stream under way. The system's own windows go up to about as
/// much, so that a long path is filled.
const STREAM_WINDOW: u32 = 8 << 20;

/// Bytes of a connection under way. The streams' windows are what bounds it. The
/// library takes half of this for the bookkeeping of frames that are small and
/// not read yet, and ends the connection beyond that: a handler that is held up
/// for long must not look like an attack.
const CONNECTION_WINDOW: u32 = 128 << 20;

/// Bytes of one frame: a small message waits for no more than this of bulk.
const FRAME: u32 = 64 << 10;

/// Bytes of a stream that wait to be written to the socket.
const SEND_BUFFER: usize = 512 << 10;

/// Bytes of a request's headers.
const HEADERS: u32 = 4 << 10;

/// How long a closed connection has to bring out what it still has to say.
pub(crate) const FAREWELL: Duration = Duration::from_millis(100);

/// HTTP/2's configurations.
pub(crate) struct Http2Configs {
    connector: TlsConnector,
    acceptor: TlsAcceptor,
    timing: Timing,
}

/// When a connection shows that it lives, and when it is dead.
#[derive(Clone, Copy, Debug)]
struct Timing {
    keep_alive: Duration,
    idle_timeout: Duration,
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Http2Error {
    #[error("{0}")]
    Tcp(std::io::Error),
    #[error("TLS: {0}")]
    Tls(std::io::Error),
    #[error("the other side does not speak HTTP/2")]
    Alpn,
    #[error("HTTP/2: {0}")]
    Http(#[from] h2::Error),
    #[error("the connection is gone")]
    Lost(#[from] Lost),
}

/// Somebody who connected, and what it wants.
pub(crate) enum Visitor {
    /// A peer, about to introduce itself.
    Peer(Http2Link, Http2Receiving),
    /// A node that asks to be let in.
    Joiner(Http2Link, Asking),
}

impl Http2Error {
    /// Whether one side did not accept the other's certificate.
    pub(crate) fn is_refusal(&self) -> bool {
        let Self::Tls(error) = self else {
            return false;
        };
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        matches!(
            inner,
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_))
        )
    }
}

impl Http2Configs {
    pub(crate) fn new(identity: &Identity, limits: &TransportLimits) -> Result<Self, TlsError> {
        Ok(Self {
            connector: Arc::new(tls::client(identity, &[ALPN])?).into(),
            acceptor: Arc::new(tls::server(identity, &[ALPN])?).into(),
            timing: Timing::of(limits),
        })
    }
}

impl Timing {
    fn of(limits: &TransportLimits) -> Self {
        Self {
            keep_alive: limits.keep_alive,
            idle_timeout: limits.idle_timeout,
        }
    }
}

/// The TLS of a joiner; see [`ask`].
pub(crate) fn joiner_config(
    expected: Fingerprint,
    found: Arc<Mutex<Option<Stranger>>>,
) -> Result<rustls::ClientConfig, TlsError> {
    tls::joiner(expected, found, &[ALPN])
}

/// Connects to the node of that name. `alive` is held until nothing of the
/// connection is left. Must be called within a runtime.
pub(crate) async fn connect(
    configs: &Http2Configs,
    address: SocketAddr,
    name: ServerName<'static>,
    alive: mpsc::Sender<()>,
) -> Result<(Http2Link, Http2Receiving), Http2Error> {
    let (link, client) =
        Client::connect(&configs.connector, configs.timing, address, name, alive).await?;
    let (answer, control) = client.open(CONTROL_PATH).await?;
    link.set_control(control);
    for (class, path) in Class::ALL.into_iter().zip(CLASS_PATHS) {
        let (answer, stream) = client.open(path).await?;
        link.add_stream(class, stream, async { body(answer.await.ok()?) });
    }
    let answer = body(answer.await?).ok_or(Lost)?;
    Ok((link, Http2Receiving::new(answer)))
}

/// For [`crate::identity::join`]: asks the node of that name to be let in, as TLS
/// makes sure of it. The answer, of at most so many bytes, or why there is none.
pub(crate) async fn ask(
    config: rustls::ClientConfig,
    address: SocketAddr,
    name: ServerName<'static>,
    request: Bytes,
    most: usize,
) -> Result<Result<Bytes, String>, Http2Error> {
    let timing = Timing::of(&TransportLimits::default());
    // Nobody waits for the end of the connection.
    let (alive, _) = mpsc::channel(1);
    let connector = Arc::new(config).into();
    let (_link, client) = Client::connect(&connector, timing, address, name, alive).await?;
    let (answer, mut stream) = client.open(JOIN_PATH).await?;
    stream.send_data(request, true)?;
    let (head, body) = answer.await?.into_parts();
    let body = Http2Receiving::new(body).read_to_end(most).await?;
    Ok(match head.status {
        StatusCode::OK => Ok(body),
        _ => Err(shown(&body)),
    })
}

/// The client's side of a connection.
struct Client {
    authority: String,
    requests: SendRequest<Bytes>,
}

impl Client {
    async fn connect(
        connector: &TlsConnector,
        timing: Timing,
        address: SocketAddr,
        name: ServerName<'static>,
        alive: mpsc::Sender<()>,
    ) -> Result<(Http2Link, Self), Http2Error> {
        let tcp = TcpStream::connect(address).await.map_err(Http2Error::Tcp)?;
        let authority = name.to_str().into_owned();
        let io = Io::connect(connector, tcp, name).await?;
        let link = Http2Link::new(address, io.certificates());
        let life = Life::new(timing, io.heard(), alive);
        let (requests, connection) = client_builder().handshake(io).await?;
        driver::spawn_client(link.inner(), connection, life);
        Ok((
            link,
            Self {
                authority,
                requests,
            },
        ))
    }

    /// Makes a request, whose body is open.
    async fn open(&self, path: &str) -> Result<(ResponseFuture, SendStream<Bytes>), Http2Error> {
        let uri = Uri::builder()
            .scheme(Scheme::HTTPS)
            .authority(self.authority.as_str())
            .path_and_query(path)
            .build();
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        // A name that is in a certificate is one in an address, too.
        *request.uri_mut() = uri.map_err(|_| Lost)?;
        let mut requests = self.requests.clone().ready().await?;
        Ok(requests.send_request(request, false)?)
    }
}

/// Takes a connection, up to what its first request says. `alive` is held until
/// nothing of the connection is left. Must be called within a runtime.
pub(crate) async fn accept(
    configs: &Http2Configs,
    tcp: TcpStream,
    address: SocketAddr,
    alive: mpsc::Sender<()>,
) -> Result<Visitor, Http2Error> {
    let io = Io::accept(&configs.acceptor, tcp).await?;
    let link = Http2Link::new(address, io.certificates());
    let life = Life::new(configs.timing, io.heard(), alive);
    let connection = server_builder().handshake(io).await?;
    let (requests, mut accepted) = mpsc::channel(STREAMS as usize);
    driver::spawn_server(link.inner(), connection, requests, life);
    let first = accepted.recv().await.ok_or(Lost)?;
    if is_to(&first.0, JOIN_PATH) {
        let (request, respond) = first;
        let request = Http2Receiving::new(request.into_body());
        return Ok(Visitor::Joiner(link, Asking { request, respond }));
    }
    if !is_to(&first.0, CONTROL_PATH) {
        refuse(first.1);
        return Err(Lost.into());
    }
    let (control, answer) = take(first)?;
    link.set_control(answer);
    for (class, path) in Class::ALL.into_iter().zip(CLASS_PATHS) {
        let next = accepted.recv().await.ok_or(Lost)?;
        if !is_to(&next.0, path) {
            refuse(next.1);
            return Err(Lost.into());
        }
        let (incoming, outgoing) = take(next)?;
        link.add_stream(class, outgoing, async { Some(incoming) });
    }
    Ok(Visitor::Peer(link, Http2Receiving::new(control)))
}

/// A node's request to be let in.
pub(crate) struct Asking {
    request: Http2Receiving,
    respond: SendResponse<Bytes>,
}

impl Asking {
    /// What it says, if that is at most so many bytes.
    pub(crate) async fn request(&mut self, most: usize) -> Result<Bytes, Lost> {
        self.request.read_to_end(most).await
    }

    pub(crate) fn answer(self, answer: Bytes) -> Result<(), Lost> {
        self.respond(StatusCode::OK, answer)
    }

    /// Says why it gets no answer.
    pub(crate) fn refuse(self, why: &Close) -> Result<(), Lost> {
        self.respond(StatusCode::FORBIDDEN, why.to_string().into())
    }

    fn respond(mut self, status: StatusCode, body: Bytes) -> Result<(), Lost> {
        let mut head = Response::new(());
        *head.status_mut() = status;
        let stream = self.respond.send_response(head, false);
        let sent = stream.and_then(|mut stream| stream.send_data(body, true));
        sent.map_err(|_| Lost)
    }
}

/// What a request or an answer is, with where to answer it.
type Accepted = (Request<RecvStream>, SendResponse<Bytes>);

fn is_to(request: &Request<RecvStream>, path: &str) -> bool {
    request.method() == Method::POST && request.uri().path() == path
}

/// Answers a request at once; both bodies are open.
fn take((request, mut respond): Accepted) -> Result<(RecvStream, SendStream<Bytes>), h2::Error> {
    let answer = respond.send_response(Response::new(()), false)?;
    Ok((request.into_body(), answer))
}

/// Says that nothing is there.
fn refuse(mut respond: SendResponse<Bytes>) {
    let mut answer = Response::new(());
    *answer.status_mut() = StatusCode::NOT_FOUND;
    // One that is gone needs no answer.
    let _ = respond.send_response(answer, true);
}

fn body(answer: Response<RecvStream>) -> Option<RecvStream> {
    (answer.status() == StatusCode::OK).then(|| answer.into_body())
}

fn client_builder() -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_header_list_size(HEADERS)
        .max_send_buffer_size(SEND_BUFFER);
    builder
}

/// Strangers have the connection's window that HTTP/2 begins with, 64 KiB for all
/// their streams; see [`Http2Link::trust`].
fn server_builder() -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .max_concurrent_streams(STREAMS)
        .max_frame_size(FRAME)
        .max_header_list_size(HEADERS)
        .max_send_buffer_size(SEND_BUFFER);
    builder
}
