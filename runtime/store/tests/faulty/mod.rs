//! A disk in memory that fails when it is told to, and loses power.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use phoenix_store::disk::{Disk, DiskFile};

const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
struct Inode {
    content: Vec<u8>,
    synced: usize,
}

type Names = BTreeMap<String, usize>;

#[derive(Debug, Default)]
struct Inner {
    inodes: Vec<Inode>,
    names: Names,
    /// The names as they were after each change since the last sync of the disk.
    history: Vec<Names>,
    operations: u64,
    /// From this operation on everything fails.
    dead_at: Option<u64>,
    /// Syncs of files fail from this one on.
    sync_fails_at: Option<u64>,
    syncs: u64,
    /// Bytes that all files may have.
    capacity: Option<usize>,
}

impl Inner {
    fn operate(&mut self) -> io::Result<()> {
        self.operations += 1;
        if self.dead_at.is_some_and(|at| self.operations > at) {
            return Err(io::Error::other("the disk is gone"));
        }
        Ok(())
    }

    fn renamed(&mut self) {
        let names = self.names.clone();
        self.history.push(names);
    }

    fn id(&self, name: &str) -> io::Result<usize> {
        let found = self.names.get(name).copied();
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Called before each sync of a file; may wait.
type BeforeSync = Arc<dyn Fn() + Send + Sync>;

#[derive(Clone, Default)]
pub(crate) struct FaultyDisk {
    inner: Arc<Mutex<Inner>>,
    before_sync: Arc<Mutex<Option<BeforeSync>>>,
}

#[allow(dead_code, reason = "each test file uses its own part of it")]
impl FaultyDisk {
    /// From the operation after `operations` more on everything fails.
    pub(crate) fn die_after(&self, operations: u64) {
        let mut inner = self.inner.lock();
        inner.dead_at = Some(inner.operations + operations);
    }

    pub(crate) fn fail_syncs_after(&self, syncs: u64) {
        let mut inner = self.inner.lock();
        inner.sync_fails_at = Some(inner.syncs + syncs);
    }

    pub(crate) fn set_capacity(&self, bytes: Option<usize>) {
        self.inner.lock().capacity = bytes;
    }

    pub(crate) fn before_sync(&self, hook: impl Fn() + Send + Sync + 'static) {
        *self.before_sync.lock() = Some(Arc::new(hook));
    }

    pub(crate) fn operations(&self) -> u64 {
        self.inner.lock().operations
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.inner.lock().syncs
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.inner.lock().names.keys().cloned().collect()
    }

    pub(crate) fn get(&self, name: &str) -> Vec<u8> {
        self.read(name).unwrap()
    }

    /// Puts a file there, durably.
    pub(crate) fn put(&self, name: &str, content: &[u8]) {
        let mut inner = self.inner.lock();
        let id = inner.inodes.len();
        inner.inodes.push(Inode {
            content: content.to_vec(),
            synced: content.len(),
        });
        inner.names.insert(name.to_owned(), id);
        inner.history.clear();
    }

    /// What is there after the process was killed: all that was written, durable or not.
    pub(crate) fn after_kill(&self) -> Self {
        let inner = self.inner.lock();
        Self {
            inner: Arc::new(Mutex::new(Inner {
                inodes: inner.inodes.clone(),
                names: inner.names.clone(),
                history: inner.history.clone(),
                ..Inner::default()
            })),
            before_sync: Arc::default(),
        }
    }

    /// What is on the disk after a loss of power. Of what was not synced, `pick`
    /// (a number below its argument) decides what is left.
    pub(crate) fn after_power_loss(&self, mut pick: impl FnMut(usize) -> usize) -> Self {
        let inner = self.inner.lock();
        let mut inodes = inner.inodes.clone();
        for inode in &mut inodes {
            let unsynced = inode.content.len() - inode.synced;
            let kept = inode.synced + pick(unsynced + 1);
            inode.content.truncate(kept);
            // A sector that was not written reads as zeros, where something was
            // written beyond it.
            let mut start = inode.synced;
            while start < kept {
                let end = (start / SECTOR + 1) * SECTOR;
                let end = end.min(kept);
                if pick(4) == 0 {
                    inode.content[start..end].fill(0);
                }
                start = end;
            }
            inode.synced = inode.content.len();
        }
        // Changes of names reach the disk in order.
        let names = match inner.history.len() {
            0 => inner.names.clone(),
            changes => inner.history[pick(changes)].clone(),
        };
        Self {
            inner: Arc::new(Mutex::new(Inner {
                inodes,
                names,
                ..Inner::default()
            })),
            before_sync: Arc::default(),
        }
    }
}

impl Disk for FaultyDisk {
    fn place(&self) -> String {
        "the faulty disk".to_owned()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let inner = self.inner.lock();
        let id = inner.id(name)?;
        Ok(inner.inodes[id].content.clone())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut inner = self.inner.lock();
        inner.operate()?;
        if inner.history.is_empty() {
            inner.renamed();
        }
        let id = inner.inodes.len();
        inner.inodes.push(Inode::default());
        inner.names.insert(name.to_owned(), id);
        inner.renamed();
        drop(inner);
        Ok(Box::new(FaultyFile {
            disk: self.clone(),
            id,
        }))
    }

    fn append_to(&self, name: &str, length: u64) -> io::Result<Box<dyn DiskFile>> {
        let mut inner = self.inner.lock();
        inner.operate()?;
        let id = inner.id(name)?;
        let length = usize::try_from(length).unwrap();
        let inode = &mut inner.inodes[id];
        // As on a real disk, what is there is not durable for having been opened.
        if inode.content.len() != length {
            inode.content.resize(length, 0);
            inode.synced = length;
        }
        drop(inner);
        Ok(Box::new(FaultyFile {
            disk: self.clone(),
            id,
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.operate()?;
        if inner.history.is_empty() {
            inner.renamed();
        }
        let id = inner.id(from)?;
        inner.names.remove(from);
        inner.names.insert(to.to_owned(), id);
        inner.renamed();
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.operate()?;
        if inner.history.is_empty() {
            inner.renamed();
        }
        inner.id(name)?;
        inner.names.remove(name);
        inner.renamed();
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.operate()?;
        inner.history.clear();
        Ok(())
    }
}

struct FaultyFile {
    disk: FaultyDisk,
    id: usize,
}

impl DiskFile for FaultyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.disk.inner.lock();
        inner.operate()?;
        let named = inner
            .names
            .values()
            .map(|id| inner.inodes[*id].content.len());
        let taken: usize = named.sum();
        let room = inner
            .capacity
            .map_or(usize::MAX, |all| all.saturating_sub(taken));
        let fits = bytes.len().min(room);
        let content = &mut inner.inodes[self.id].content;
        content.extend_from_slice(&bytes[..fits]);
        if fits < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let hook = self.disk.before_sync.lock().clone();
        if let Some(hook) = hook {
            hook();
        }
        let mut inner = self.disk.inner.lock();
        inner.operate()?;
        inner.syncs += 1;
        if inner.sync_fails_at.is_some_and(|at| inner.syncs > at) {
            return Err(io::Error::other("the sync failed"));
        }
        let inode = &mut inner.inodes[self.id];
        inode.synced = inode.content.len();
        Ok(())
    }
}
