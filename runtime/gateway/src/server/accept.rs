//! Connections: accepting them, bounding them, letting them end.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::Limits;

/// The smallest read buffer hyper takes, in bytes.
const MIN_BUFFER: usize = 8 << 10;
/// How long accepting rests after the system refused, as it does when it has
/// no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long clients may take to hear that what they wait for is not awaited.
const LAST_WORD: Duration = Duration::from_secs(1);

/// The task that accepts connections.
pub(super) struct Server {
    close: oneshot::Sender<Duration>,
    task: JoinHandle<bool>,
}

impl Server {
    /// `cut` is set when requests under way must end.
    pub(super) fn start(
        listener: TcpListener,
        router: Router,
        limits: &Limits,
        cut: watch::Sender<bool>,
    ) -> Self {
        let (close, closed) = oneshot::channel();
        let task = tokio::spawn(Connections::new(router, limits).run(listener, closed, cut));
        Self { close, task }
    }

    pub(super) async fn close(self, grace: Duration) -> bool {
        let _ = self.close.send(grace);
        self.task.await.unwrap_or(false)
    }
}

struct Connections {
    http: http1::Builder,
    router: Router,
    room: Arc<Semaphore>,
    graceful: GracefulShutdown,
    open: JoinSet<()>,
}

impl Connections {
    fn new(router: Router, limits: &Limits) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_headers(limits.max_headers)
            .max_header_size(limits.max_header_bytes)
            .max_buf_size(limits.max_header_bytes.max(MIN_BUFFER));
        Self {
            http,
            router,
            room: Arc::new(Semaphore::new(limits.max_connections)),
            graceful: GracefulShutdown::new(),
            open: JoinSet::new(),
        }
    }

    /// Serves until told to close; true if every connection ended by itself.
    async fn run(
        mut self,
        listener: TcpListener,
        mut closed: oneshot::Receiver<Duration>,
        cut: watch::Sender<bool>,
    ) -> bool {
        let grace = loop {
            tokio::select! {
                grace = &mut closed => break grace.unwrap_or_default(),
                stream = self.accept(&listener) => match stream {
                    Ok(stream) => self.serve(stream),
                    Err(error) => {
                        tracing::warn!(%error, "the API cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
            while self.open.try_join_next().is_some() {}
        };
        drop(listener);
        let mut all = std::pin::pin!(self.graceful.shutdown());
        let mut ended = tokio::time::timeout(grace, &mut all).await.is_ok();
        if !ended {
            cut.send_replace(true);
            ended = tokio::time::timeout(LAST_WORD, all).await.is_ok();
        }
        self.open.shutdown().await;
        ended
    }

    /// Waits for room, then for a connection: what finds no room waits in the
    /// system's own queue.
    async fn accept(&self, listener: &TcpListener) -> std::io::Result<TcpStream> {
        // The permit is taken again, without waiting, when the connection is served.
        drop(self.room.acquire().await);
        let (stream, _) = listener.accept().await?;
        // A slower connection is better than none.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    fn serve(&mut self, stream: TcpStream) {
        // Only this task takes permits, so there is one: see `accept`.
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
            return;
        };
        let service = TowerToHyperService::new(self.router.clone());
        let connection = self.http.serve_connection(TokioIo::new(stream), service);
        let connection = self.graceful.watch(connection);
        self.open.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an API connection ended early");
            }
            drop(permit);
        });
    }
}
