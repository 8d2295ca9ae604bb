//! The demo's nodes: processes on loopback, their data in one directory.

use std::path::PathBuf;

use tempfile::TempDir;
use tokio::task::JoinSet;

use super::api::{Api, Endpoint};
use super::error::DemoError;
use super::process::{Process, ProcessError};

/// The nodes, and the directory they live in, which goes when they do.
#[derive(Debug)]
pub(super) struct Nodes {
    // Dropped, and so killed, before the directory is removed.
    processes: Vec<Process>,
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
        Api::new(endpoints).await
    }

    /// Waits until one of them ends by itself.
    pub(super) async fn end(&mut self) -> ProcessError {
        let ends = self
            .processes
            .iter_mut()
            .map(|process| Box::pin(process.end()));
        first(ends.collect()).await
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
