//! quinn alone: two endpoints on loopback, one connection that stands, and on it
//! a transfer of so many bytes that wakes a bare instance at the other end, an echo,
//! or a stream of so many bytes one way.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use quinn::{ClientConfig, Connection, Endpoint, ServerConfig, TransportConfig, VarInt};
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::runtime::Runtime;

use crate::cores::Cores;
use crate::peers::bare::Bare;

/// Bytes that may be under way, so that flow control holds nothing up.
const WINDOW: u32 = 16 << 20;
/// Longest transfer, bytes.
const MAX_TRANSFER: usize = 64 << 20;

/// A standing connection and the instance at its other end.
pub(crate) struct Quic {
    runtime: Runtime,
    connection: Connection,
    bytes: Vec<u8>,
    _client: Endpoint,
}

impl Quic {
    /// Connects two endpoints. Whatever arrives wakes an instance of `component`
    /// with a call of `method`.
    pub(crate) fn new(component: &[u8], method: &'static str) -> anyhow::Result<Self> {
        let bare = Arc::new(Bare::new(component)?);
        let (runtime, connection, client) = connect(|server| serve(server, bare, method))?;
        Ok(Self {
            runtime,
            connection,
            bytes: Vec::new(),
            _client: client,
        })
    }

    /// Sends `count` bytes and waits until the instance they woke has answered.
    pub(crate) fn transfer(&mut self, count: usize) -> anyhow::Result<Duration> {
        anyhow::ensure!(count <= MAX_TRANSFER, "{count} bytes are too many");
        self.bytes.resize(count, 7);
        let begun = Instant::now();
        self.runtime.block_on(async {
            let (mut send, mut receive) = self.connection.open_bi().await?;
            send.write_all(&self.bytes).await?;
            send.finish()?;
            let answer = receive.read_to_end(1_024).await?;
            anyhow::ensure!(!answer.is_empty(), "the other end did not wake");
            Ok(())
        })?;
        Ok(begun.elapsed())
    }
}

/// A standing connection whose other end reads and answers, and no more.
pub(crate) struct Line {
    runtime: Runtime,
    connection: Connection,
    _client: Endpoint,
    /// What the other end runs on, if not on the same, and where both run.
    _other: Option<(Runtime, Cores)>,
}

impl Line {
    /// Both ends on one runtime. A thread that has sent finds the answer's packets
    /// there already when it looks for the next ones: it never has to wake.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let (runtime, connection, client) = connect(answer)?;
        Ok(Self {
            runtime,
            connection,
            _client: client,
            _other: None,
        })
    }

    /// Each end on a runtime and a core of its own, as two nodes are.
    pub(crate) fn apart() -> anyhow::Result<Self> {
        let (cores, other, runtime) = Cores::apart(runtime, |_| runtime())?;
        let (server, client) = endpoints(&other, &runtime)?;
        let address = server.local_addr()?;
        other.spawn(answer(server));
        let connection = dial(&runtime, &client, address)?;
        Ok(Self {
            runtime,
            connection,
            _client: client,
            _other: Some((other, cores)),
        })
    }

    /// Sends `bytes` and waits until as many have come back, so many times.
    pub(crate) fn echo(&self, bytes: usize, times: u32) -> anyhow::Result<Duration> {
        let connection = self.connection.clone();
        // On the runtime's own thread, where nothing else has to be woken.
        self.spawned(async move {
            let (mut send, mut receive) = connection.open_bi().await?;
            let mut buffer = vec![7; bytes];
            let begun = Instant::now();
            for _ in 0..times {
                send.write_all(&buffer).await?;
                receive.read_exact(&mut buffer).await?;
            }
            let span = begun.elapsed();
            send.finish()?;
            Ok(span)
        })
    }

    /// Sends `bytes` one way, and waits until all have come.
    pub(crate) fn stream(&self, bytes: usize) -> anyhow::Result<Duration> {
        let connection = self.connection.clone();
        let chunk = Bytes::from(vec![7; CHUNK]);
        self.spawned(async move {
            let mut send = connection.open_uni().await?;
            let begun = Instant::now();
            let mut left = bytes;
            while left > 0 {
                let part = chunk.slice(..left.min(CHUNK));
                left -= part.len();
                send.write_chunk(part).await?;
            }
            send.finish()?;
            // The other end says so once it has read everything.
            let mut told = connection.accept_uni().await?;
            let count = told.read_to_end(8).await?;
            anyhow::ensure!(count == (bytes as u64).to_le_bytes(), "bytes are missing");
            Ok(begun.elapsed())
        })
    }

    fn spawned(
        &self,
        work: impl Future<Output = anyhow::Result<Duration>> + Send + 'static,
    ) -> anyhow::Result<Duration> {
        self.runtime.block_on(self.runtime.spawn(work))?
    }
}

/// Bytes written at once.
const CHUNK: usize = 64 << 10;

/// Chunks read at once.
const CHUNKS: usize = 32;

/// Echoes what comes on streams both ways, and counts what comes one way.
async fn answer(endpoint: Endpoint) -> anyhow::Result<()> {
    let connection = endpoint.accept().await.context("closed")?.await?;
    loop {
        tokio::select! {
            streams = connection.accept_bi() => {
                let (mut send, mut receive) = streams?;
                while let Some(chunk) = receive.read_chunk(CHUNK, true).await? {
                    send.write_chunk(chunk.bytes).await?;
                }
                send.finish()?;
            }
            stream = connection.accept_uni() => {
                let mut receive = stream?;
                let mut count = 0;
                let mut chunks: [Bytes; CHUNKS] = std::array::from_fn(|_| Bytes::new());
                while let Some(read) = receive.read_chunks(&mut chunks).await? {
                    count += chunks.iter().take(read).map(|chunk| chunk.len() as u64).sum::<u64>();
                }
                let mut send = connection.open_uni().await?;
                send.write_all(&count.to_le_bytes()).await?;
                send.finish()?;
            }
        }
    }
}

/// A runtime, and a connection on it to an endpoint that is served.
fn connect<F>(serve: impl FnOnce(Endpoint) -> F) -> anyhow::Result<(Runtime, Connection, Endpoint)>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let runtime = runtime()?;
    let (server, client) = endpoints(&runtime, &runtime)?;
    let address = server.local_addr()?;
    runtime.spawn(serve(server));
    let connection = dial(&runtime, &client, address)?;
    Ok((runtime, connection, client))
}

fn runtime() -> anyhow::Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?)
}

fn dial(runtime: &Runtime, client: &Endpoint, address: SocketAddr) -> anyhow::Result<Connection> {
    runtime.block_on(async {
        client
            .connect(address, "localhost")?
            .await
            .context("no connection")
    })
}

/// Takes transfers until the connection ends.
async fn serve(endpoint: Endpoint, bare: Arc<Bare>, method: &'static str) -> anyhow::Result<()> {
    let connection = endpoint.accept().await.context("closed")?.await?;
    loop {
        let (mut send, mut receive) = connection.accept_bi().await?;
        receive.read_to_end(MAX_TRANSFER).await?;
        let answer = bare
            .instance("blob/a")?
            .call(method, &rmp_serde::to_vec(&())?)?;
        send.write_all(&answer).await?;
        send.finish()?;
    }
}

/// A server and a client on loopback, each on its runtime, the client trusting the
/// server's certificate alone.
fn endpoints(served: &Runtime, own: &Runtime) -> anyhow::Result<(Endpoint, Endpoint)> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let certificate = made.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())?;
    server.alpn_protocols = vec![b"bench".to_vec()];
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate)?;
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"bench".to_vec()];

    let mut transport = TransportConfig::default();
    transport
        .stream_receive_window(VarInt::from_u32(WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(u64::from(WINDOW))
        .keep_alive_interval(Some(Duration::from_secs(1)));
    let transport = Arc::new(transport);
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut server = ServerConfig::with_crypto(Arc::new(
        quinn::crypto::rustls::QuicServerConfig::try_from(server)?,
    ));
    server.transport_config(transport.clone());
    let mut client = ClientConfig::new(Arc::new(
        quinn::crypto::rustls::QuicClientConfig::try_from(client)?,
    ));
    client.transport_config(transport);
    let mut endpoint = {
        let _entered = own.enter();
        Endpoint::client(anywhere)?
    };
    endpoint.set_default_client_config(client);
    let _entered = served.enter();
    Ok((Endpoint::server(server, anywhere)?, endpoint))
}
