//! The demo's nodes: processes on loopback, their data in one directory.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::api::{Api, Endpoint};
use super::error::DemoError;
use super::process::Process;

/// A request to kill a node and start it again.
pub(super) struct Kill {
    /// Which, counted from 0.
    pub(super) node: usize,
    /// Who is told of the new one, and how long there was none.
    pub(super) done: oneshot::Sender<(Endpoint, Duration)>,
}

/// The nodes, and the directory they live in, which goes when they do.
#[derive(Debug)]
pub(super) struct Nodes {
    // Dropped, and so killed, before the directory is removed.
    processes: Vec<Process>,
    kills: (mpsc::Sender<Kill>, mpsc::Receiver<Kill>),
    directory: Option<TempDir>,
    keep: bool,
}

impl Nodes {
    /// None yet.
    pub(super) fn new(keep: bool) -> Result<Self, DemoError> {
        let directory = tempfile::Builder::new()
            .prefix("phoenix-demo-")
            .tempdir()
            .map_err(|source| DemoError::Directory {
                directory: std::env::temp_dir().display().to_string(),
                source,
            })?;
        Ok(Self {
            processes: Vec::new(),
            kills: mpsc::channel(1),
            directory: Some(directory),
            keep,
        })
    }

    /// Starts `count` of them, one after the other, so that they are numbered
    /// in order. The first one makes the cluster, the others join it.
    pub(super) async fn start(&mut self, count: u32) -> Result<Api, DemoError> {
        let program = std::env::current_exe().map_err(DemoError::Runtime)?;
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for number in 1..=count as usize {
            let token = match endpoints.first() {
                Some(first) => Some(first.join_token().await?),
                None => None,
            };
            let directory = self.directory();
            let process = Process::start(&program, &directory, number, token.as_deref())?;
            self.processes.push(process);
            if let Some(process) = self.processes.last_mut() {
                endpoints.push(process.ready(Endpoint::open).await?);
            }
        }
        Api::new(endpoints, self.kills.0.clone()).await
    }

    /// Kills nodes and starts them again when that is asked for, until one of them ends
    /// by itself, or does not start.
    pub(super) async fn watch(&mut self) -> Result<Infallible, DemoError> {
        loop {
            let ends = self.processes.iter_mut();
            let ends = ends.map(|process| Box::pin(process.end())).collect();
            let kill = tokio::select! {
                died = first(ends) => return Err(died.into()),
                kill = self.kills.1.recv() => kill,
            };
            let Some(Kill { node, done }) = kill else {
                continue;
            };
            let since = Instant::now();
            let endpoint = self.start_again(node).await?;
            // Whoever asked may have given up.
            let _ = done.send((endpoint, since.elapsed()));
        }
    }

    async fn start_again(&mut self, node: usize) -> Result<Endpoint, DemoError> {
        let program = std::env::current_exe().map_err(DemoError::Runtime)?;
        let directory = self.directory();
        let Some(process) = self.processes.get_mut(node) else {
            return Err(DemoError::Request {
                what: "no node is killed".into(),
                text: format!("there is no node {}", node + 1),
            });
        };
        process.kill().await?;
        *process = Process::start(&program, &directory, node + 1, None)?;
        Ok(process.ready(Endpoint::open).await?)
    }

    /// Stops all of them at once.
    pub(super) async fn stop(&mut self) {
        let mut stops = JoinSet::new();
        for mut process in self.processes.drain(..) {
            stops.spawn_local(async move { process.stop().await });
        }
        while stops.join_next().await.is_some() {}
    }

    /// Removes the directory, or leaves it and says where it is.
    pub(super) fn leave(&mut self) -> Option<PathBuf> {
        let directory = self.directory.take()?;
        self.keep.then(|| directory.keep())
    }

    fn directory(&self) -> PathBuf {
        self.directory
            .as_ref()
            .map_or_else(std::env::temp_dir, |directory| directory.path().into())
    }
}

/// The first of several futures to end.
async fn first<F: Future + Unpin>(mut futures: Vec<F>) -> F::Output {
    std::future::poll_fn(|context| {
        for future in &mut futures {
            let polled = std::pin::Pin::new(future).poll(context);
            if polled.is_ready() {
                return polled;
            }
        }
        std::task::Poll::Pending
    })
    .await
}
