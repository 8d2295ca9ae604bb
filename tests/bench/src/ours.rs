//! Our side: nodes in this process, spoken to through their control port.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use phoenix_core::control::{Control, ControlError, Request, Response};
use phoenix_core::{
    AgentId, ClientId, ContentType, KindName, KindPolicy, Millis, NodeId, Payload, Reply,
};
use phoenix_node::{Node, NodeConfig};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

/// Longest anything here may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Requests under way at a time.
const WINDOW: usize = 256;

/// Requests that do not cease.
pub(crate) struct Pest {
    over: Arc<AtomicBool>,
    /// How many there were, once they have ceased.
    times: mpsc::Receiver<u32>,
}

impl Pest {
    /// Ends them once the one under way has ended; how many there were.
    pub(crate) fn end(self) -> anyhow::Result<u32> {
        self.over.store(true, Ordering::Relaxed);
        let times = self.times.recv_timeout(PATIENCE);
        times.context("what pestered the node does not cease")
    }
}

impl Drop for Pest {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Requests of which each is made by the end of the one before.
struct Chain<F> {
    control: Arc<dyn Control>,
    next: Mutex<F>,
    over: Arc<AtomicBool>,
    times: AtomicU32,
    told: mpsc::Sender<u32>,
}

impl<F: FnMut() -> Request + Send + 'static> Chain<F> {
    fn go_on(self: &Arc<Self>) {
        loop {
            if self.over.load(Ordering::Relaxed) {
                // Nobody listens any more if the bench has given up.
                let _ = self.told.send(self.times.load(Ordering::Relaxed));
                return;
            }
            let request = match self.next.lock() {
                Ok(mut next) => next(),
                Err(_) => return,
            };
            // Whether it has ended or this thread has come back from it: who is second
            // goes on, so that requests that end at once do not pile up on the stack.
            let is_second = Arc::new(AtomicBool::new(false));
            let (chain, ended) = (self.clone(), is_second.clone());
            self.control.submit(
                request,
                Box::new(move |_| {
                    chain.times.fetch_add(1, Ordering::Relaxed);
                    if ended.swap(true, Ordering::AcqRel) {
                        chain.go_on();
                    }
                }),
            );
            if !is_second.swap(true, Ordering::AcqRel) {
                return;
            }
        }
    }
}

/// A call that is made again each time it was answered.
struct Again {
    control: Arc<dyn Control>,
    call: Request,
    left: AtomicU32,
    ended: mpsc::Sender<anyhow::Result<()>>,
}

impl Again {
    fn go_on(self: &Arc<Self>) {
        let again = self.clone();
        self.control.submit(
            self.call.clone(),
            Box::new(move |end| {
                let failure = match end {
                    Ok(Response::Called(Reply::Ok(_))) => None,
                    Ok(other) => Some(anyhow::anyhow!("a call ended as {other:?}")),
                    Err(error) => Some(error.into()),
                };
                if failure.is_none() && again.left.fetch_sub(1, Ordering::Relaxed) > 1 {
                    again.go_on();
                    return;
                }
                // Nobody listens any more if the bench has given up.
                let _ = again.ended.send(failure.map_or(Ok(()), Err));
            }),
        );
    }
}

/// A node and its data directory.
pub(crate) struct Ours {
    control: Arc<dyn Control>,
    node: Node,
    client: ClientId,
    dir: TempDir,
}

impl Ours {
    /// A node by itself, with one worker.
    pub(crate) fn alone() -> anyhow::Result<Self> {
        Self::start(|config| config)
    }

    /// A node by itself, with one worker and `max_resident` agents in memory at most.
    pub(crate) fn crowded(max_resident: u32) -> anyhow::Result<Self> {
        Self::start(|config| NodeConfig {
            max_resident: Some(max_resident),
            ..config
        })
    }

    /// The same, whose sleeping agents may take `memory_budget` bytes of memory.
    pub(crate) fn crowded_within(max_resident: u32, memory_budget: u64) -> anyhow::Result<Self> {
        Self::crowded_in(tempfile::tempdir()?, max_resident, memory_budget)
    }

    /// The same with what an earlier node has left in its data directory.
    pub(crate) fn crowded_in(
        dir: TempDir,
        max_resident: u32,
        memory_budget: u64,
    ) -> anyhow::Result<Self> {
        Self::start_in(dir, |config| NodeConfig {
            max_resident: Some(max_resident),
            memory_budget: Some(memory_budget),
            ..config
        })
    }

    /// Two nodes of one cluster, joined over QUIC on loopback, with one worker each.
    pub(crate) fn pair() -> anyhow::Result<[Self; 2]> {
        let first = Self::first()?;
        let second = first.joined()?;
        Ok([first, second])
    }

    /// The first node of a cluster over QUIC on loopback, with one worker.
    pub(crate) fn first() -> anyhow::Result<Self> {
        Self::start(|config| NodeConfig {
            // Nodes in one process share its address space.
            max_resident: Some(200),
            listen: Some("127.0.0.1:0".to_owned()),
            ..config
        })
    }

    /// Another node like this one, in its cluster and connected to it.
    pub(crate) fn joined(&self) -> anyhow::Result<Self> {
        let valid_for = Millis(60_000);
        let Response::JoinToken(token) = self.request(Request::JoinToken { valid_for })? else {
            bail!("no join token came");
        };
        let second = Self::start(|config| NodeConfig {
            max_resident: Some(200),
            listen: Some("127.0.0.1:0".to_owned()),
            join: Some(token.clone()),
            ..config
        })?;
        let until = Instant::now() + PATIENCE;
        while [self, &second]
            .iter()
            .any(|node| node.node.connected().is_empty())
        {
            anyhow::ensure!(Instant::now() < until, "the nodes do not connect");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(second)
    }

    /// A node like [`Ours::alone`] in the data directory of this one, which ends before
    /// without a word to anybody.
    pub(crate) fn killed_and_started(self) -> anyhow::Result<Self> {
        let Self { node, dir, .. } = self;
        drop(node);
        Self::start_in(dir, |config| config)
    }

    fn start(change: impl Fn(NodeConfig) -> NodeConfig) -> anyhow::Result<Self> {
        Self::start_in(tempfile::tempdir()?, change)
    }

    fn start_in(dir: TempDir, change: impl Fn(NodeConfig) -> NodeConfig) -> anyhow::Result<Self> {
        let config = NodeConfig {
            workers: Some(1),
            ..NodeConfig::alone(dir.path())
        };
        let node = Node::start(change(config))?;
        Ok(Self {
            control: node.control(),
            node,
            client: ClientId::new("bench").context("not a client's name")?,
            dir,
        })
    }

    /// Stops it; what it has left.
    pub(crate) fn stop(self) -> TempDir {
        let Self { node, dir, .. } = self;
        node.stop();
        dir
    }

    /// Bytes of disk its data directory takes.
    pub(crate) fn disk(&self) -> anyhow::Result<u64> {
        let mut bytes = 0;
        let mut directories = vec![self.dir.path().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory)? {
                let entry = entry?;
                let about = entry.metadata()?;
                if about.is_dir() {
                    directories.push(entry.path());
                } else {
                    bytes += std::os::unix::fs::MetadataExt::blocks(&about) * 512;
                }
            }
        }
        Ok(bytes)
    }

    /// One of the node's counters.
    pub(crate) fn counter(&self, name: &str) -> anyhow::Result<u64> {
        let Response::Counters(counters) = self.request(Request::Counters)? else {
            bail!("no counters came");
        };
        let found = counters.iter().find(|(found, _)| found == name);
        let (_, value) = found.with_context(|| format!("nothing is counted as {name}"))?;
        Ok(*value)
    }

    /// Its number.
    pub(crate) fn id(&self) -> NodeId {
        self.node.id()
    }

    /// Carries out one request.
    pub(crate) fn request(&self, request: Request) -> anyhow::Result<Response> {
        let (send, receive) = mpsc::channel();
        self.submit(request, send);
        Ok(receive.recv_timeout(PATIENCE)??)
    }

    /// The same by a thread that does not sleep meanwhile: see [`crate::cores`].
    pub(crate) fn request_wide_awake(&self, request: Request) -> anyhow::Result<Response> {
        let (send, receive) = mpsc::channel();
        self.submit(request, send);
        let until = Instant::now() + PATIENCE;
        loop {
            match receive.try_recv() {
                Ok(end) => return Ok(end?),
                Err(mpsc::TryRecvError::Empty) if Instant::now() < until => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Begins a request; what comes of it is sent to `answer`.
    pub(crate) fn submit(
        &self,
        request: Request,
        answer: mpsc::Sender<Result<Response, ControlError>>,
    ) {
        self.control.submit(
            request,
            Box::new(move |end| {
                // Nobody listens any more if the bench has given up.
                let _ = answer.send(end);
            }),
        );
    }

    /// Carries out many, with some under way at any time.
    pub(crate) fn requests(
        &self,
        requests: impl IntoIterator<Item = Request>,
    ) -> anyhow::Result<()> {
        let (send, receive) = mpsc::channel();
        let mut under_way = 0;
        let landed = || -> anyhow::Result<()> {
            match receive.recv_timeout(PATIENCE)?? {
                Response::Called(Reply::Ok(_)) | Response::Done | Response::Hibernated { .. } => {
                    Ok(())
                }
                other => bail!("a request ended as {other:?}"),
            }
        };
        for request in requests {
            if under_way == WINDOW {
                landed()?;
                under_way -= 1;
            }
            self.submit(request, send.clone());
            under_way += 1;
        }
        for _ in 0..under_way {
            landed()?;
        }
        Ok(())
    }

    /// Carries out each of these calls so many times, one after the other, and all of
    /// them side by side. The next is made where the one before ends.
    pub(crate) fn in_loops(&self, calls: Vec<Request>, times: u32) -> anyhow::Result<()> {
        let (send, receive) = mpsc::channel();
        let count = calls.len();
        for call in calls {
            let again = Arc::new(Again {
                control: self.control.clone(),
                call,
                left: AtomicU32::new(times),
                ended: send.clone(),
            });
            again.go_on();
        }
        for _ in 0..count {
            receive.recv_timeout(PATIENCE)??;
        }
        Ok(())
    }

    /// Makes `component` a kind with the default policy, except that its agents
    /// hibernate after `idle_after` only.
    pub(crate) fn deploy(
        &self,
        kind: &str,
        component: &'static [u8],
        idle_after: Duration,
    ) -> anyhow::Result<()> {
        let policy = KindPolicy {
            idle_after: Millis(u64::try_from(idle_after.as_millis())?),
            ..KindPolicy::default()
        };
        self.deploy_under(kind, component, policy)
    }

    /// Makes `component` a kind under a policy of the row's own.
    pub(crate) fn deploy_under(
        &self,
        kind: &str,
        component: &[u8],
        policy: KindPolicy,
    ) -> anyhow::Result<()> {
        self.request(Request::Deploy {
            kind: KindName::new(kind)?,
            component: component.to_vec().into(),
            policy: Box::new(policy),
        })?;
        Ok(())
    }

    /// Carries out requests one after the other, so long after the end of the one
    /// before, whatever comes of them, on a thread of its own until what is
    /// returned is dropped.
    pub(crate) fn pester(
        &self,
        pause: Duration,
        mut next: impl FnMut() -> Request + Send + 'static,
    ) -> Pest {
        let control = self.control.clone();
        let over = Arc::new(AtomicBool::new(false));
        let (told, times) = mpsc::channel();
        let done = over.clone();
        std::thread::spawn(move || {
            let mut times = 0;
            while !done.load(Ordering::Relaxed) {
                let (send, receive) = mpsc::channel();
                // Nobody listens any more if the bench has given up.
                control.submit(next(), Box::new(move |end| drop(send.send(end))));
                if receive.recv_timeout(PATIENCE).is_err() {
                    return;
                }
                times += 1;
                std::thread::sleep(pause);
            }
            // Likewise.
            let _ = told.send(times);
        });
        Pest { over, times }
    }

    /// The same without a pause. Each request is made where the one before ends, so
    /// that none waits for a thread of the bench's to wake.
    pub(crate) fn flood(&self, next: impl FnMut() -> Request + Send + 'static) -> Pest {
        let over = Arc::new(AtomicBool::new(false));
        let (told, times) = mpsc::channel();
        let chain = Arc::new(Chain {
            control: self.control.clone(),
            next: Mutex::new(next),
            over: over.clone(),
            times: AtomicU32::new(0),
            told,
        });
        chain.go_on();
        Pest { over, times }
    }

    /// The request that asks an agent for `method`.
    pub(crate) fn calling(
        &self,
        agent: &str,
        method: &str,
        arguments: &impl Serialize,
    ) -> anyhow::Result<Request> {
        Ok(Request::Call {
            client: self.client.clone(),
            agent: AgentId::new(agent)?,
            method: method.into(),
            payload: Payload {
                content_type: ContentType::MessagePack,
                bytes: rmp_serde::to_vec(arguments)?.into(),
            },
            timeout: Millis(u64::try_from(PATIENCE.as_millis())?),
            options: None,
        })
    }

    /// Asks an agent and reads its answer.
    pub(crate) fn call<R: DeserializeOwned>(
        &self,
        agent: &str,
        method: &str,
        arguments: &impl Serialize,
    ) -> anyhow::Result<R> {
        match self.request(self.calling(agent, method, arguments)?)? {
            Response::Called(Reply::Ok(payload)) => Ok(rmp_serde::from_slice(&payload.bytes)?),
            other => bail!("{agent} answered {method} with {other:?}"),
        }
    }

    /// Creates an agent on this node.
    pub(crate) fn spawn(&self, agent: &str) -> anyhow::Result<()> {
        let request = Request::Spawn {
            agent: AgentId::new(agent)?,
            config: Payload::default(),
            on: Some(self.id()),
        };
        match self.request(request)? {
            Response::Spawned { .. } => Ok(()),
            other => bail!("spawning ended as {other:?}"),
        }
    }

    /// Puts an agent to sleep; the bytes it takes asleep.
    pub(crate) fn hibernate(&self, agent: &str) -> anyhow::Result<u64> {
        let agent = AgentId::new(agent)?;
        match self.request(Request::Hibernate { agent })? {
            Response::Hibernated { bytes } => Ok(bytes),
            other => bail!("hibernating ended as {other:?}"),
        }
    }

    /// Moves an agent; how long it was frozen, and the bytes shipped.
    pub(crate) fn migrate(&self, agent: &str, to: NodeId) -> anyhow::Result<(Duration, u64)> {
        let agent = AgentId::new(agent)?;
        match self.request(Request::Migrate { agent, to })? {
            Response::Migrated {
                pause_us, bytes, ..
            } => Ok((Duration::from_micros(pause_us), bytes)),
            other => bail!("migrating ended as {other:?}"),
        }
    }

    /// Agents asleep on this node.
    pub(crate) fn hibernated(&self) -> anyhow::Result<u64> {
        let Response::Nodes(nodes) = self.request(Request::Nodes)? else {
            bail!("no list of nodes came");
        };
        Ok(nodes.iter().map(|node| node.hibernated).sum())
    }
}
