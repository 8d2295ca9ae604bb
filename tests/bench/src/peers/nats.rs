//! One NATS server, from Debian's package or any other, that carries messages from
//! one `async-nats` client to another. It is started on a free port of loopback,
//! keeps nothing, and ends with what is measured.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_nats::{Client, ConnectOptions, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::Deserialize;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Longest the server may take to start, or a sample to arrive.
const PATIENCE: Duration = Duration::from_secs(60);
/// What is published on.
const SUBJECT: &str = "bench";

/// A running server with a publisher and a subscriber, each on a connection of its own.
pub(crate) struct Nats {
    runtime: Runtime,
    publisher: Client,
    subscriber: Subscriber,
    // After the clients, which otherwise try to connect again.
    _server: Server,
}

impl Nats {
    /// Starts it for samples of at most `most` messages. The error says in a
    /// sentence why there is none.
    pub(crate) fn start(most: usize) -> Result<Self, String> {
        Self::try_start(most).map_err(|error| {
            format!("NATS does not run here ({error:#}); install the package nats-server")
        })
    }

    fn try_start(most: usize) -> anyhow::Result<Self> {
        let server = Server::start()?;
        let url = server.url()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        // A subscriber that is this far behind loses messages.
        let options = || ConnectOptions::new().subscription_capacity(most);
        let (publisher, subscriber) = runtime.block_on(async {
            let publisher = options().connect(&url).await?;
            let listener = options().connect(&url).await?;
            let subscriber = listener.subscribe(SUBJECT).await?;
            // The server has heard of the subscription before anything is published.
            listener.flush().await?;
            anyhow::Ok((publisher, subscriber))
        })?;
        Ok(Self {
            runtime,
            publisher,
            subscriber,
            _server: server,
        })
    }

    /// Publishes `count` messages of `bytes` each, written whenever the client likes,
    /// and waits until the subscriber has all of them.
    pub(crate) fn publish(&mut self, count: u64, bytes: usize) -> anyhow::Result<Duration> {
        let payload = Bytes::from(vec![7; bytes]);
        let publisher = self.publisher.clone();
        let subscriber = &mut self.subscriber;
        self.runtime.block_on(async {
            let begun = Instant::now();
            let publishing = tokio::spawn(async move {
                for _ in 0..count {
                    publisher.publish(SUBJECT, payload.clone()).await?;
                }
                publisher.flush().await?;
                anyhow::Ok(())
            });
            for at in 0..count {
                let next = tokio::time::timeout(PATIENCE, subscriber.next()).await;
                let message = next.with_context(|| format!("{at} of {count} messages came"))?;
                let message = message.context("the subscription has ended")?;
                anyhow::ensure!(message.payload.len() == bytes, "a message is cut");
            }
            let span = begun.elapsed();
            publishing.await??;
            Ok(span)
        })
    }
}

/// The server's process.
struct Server {
    child: Child,
    /// Where it says which port it has.
    dir: TempDir,
}

/// What it says.
#[derive(Deserialize)]
struct Ports {
    nats: Vec<String>,
}

impl Server {
    fn start() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let child = Command::new("nats-server")
            // A free port.
            .args(["--addr", "127.0.0.1", "--port", "-1", "--ports_file_dir"])
            .arg(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start nats-server")?;
        Ok(Self { child, dir })
    }

    /// Where it listens, once it does.
    fn url(&self) -> anyhow::Result<String> {
        let name = format!("nats-server_{}.ports", self.child.id());
        let until = Instant::now() + PATIENCE;
        loop {
            // It may not be there yet, or not whole.
            let said = std::fs::read(self.dir.path().join(&name)).unwrap_or_default();
            if let Ok(ports) = serde_json::from_slice::<Ports>(&said) {
                let url = ports.nats.into_iter().next();
                return url.context("nats-server listens nowhere");
            }
            anyhow::ensure!(Instant::now() < until, "nats-server does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing is left of it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
