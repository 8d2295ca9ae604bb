//! A volume in memory that fails when it is told to, and loses power.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use phoenix_store::journal::{Volume, VolumeFile};

const SECTOR: usize = 512;

#[derive(Clone, Default)]
struct Inode {
    /// What is read.
    content: Vec<u8>,
    /// What survives.
    synced: Vec<u8>,
}

type Names = BTreeMap<String, usize>;

#[derive(Default)]
struct Inner {
    inodes: Vec<Inode>,
    names: Names,
    /// The names as they were after each change since the last sync of the volume.
    history: Vec<Names>,
    operations: u64,
    /// From the operation after this many on everything fails.
    dead_at: Option<u64>,
    /// Syncs of files fail from the one after this many on.
    sync_fails_at: Option<u64>,
    syncs: u64,
    /// Bytes that all files may have.
    capacity: Option<usize>,
    /// How many bytes a write takes at most, so that it has to go on.
    short: Option<usize>,
    /// The next write takes so many bytes and then fails.
    torn: Option<usize>,
}

impl Inner {
    fn operate(&mut self) -> io::Result<()> {
        self.operations += 1;
        if self.dead_at.is_some_and(|at| self.operations > at) {
            return Err(io::Error::other("the disk is gone"));
        }
        Ok(())
    }

    fn renamed(&mut self, change: impl FnOnce(&mut Names)) {
        if self.history.is_empty() {
            let before = self.names.clone();
            self.history.push(before);
        }
        change(&mut self.names);
        let after = self.names.clone();
        self.history.push(after);
    }

    fn id(&self, name: &str) -> io::Result<usize> {
        let found = self.names.get(name).copied();
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn taken(&self) -> usize {
        let named = self.names.values();
        named.map(|id| self.inodes[*id].content.len()).sum()
    }
}

#[derive(Clone, Default)]
pub(crate) struct FaultyVolume {
    inner: Arc<Mutex<Inner>>,
    /// Syncs wait while this is held.
    pub(crate) stall: Arc<Mutex<()>>,
}

impl FaultyVolume {
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

    pub(crate) fn set_short(&self, bytes: Option<usize>) {
        self.inner.lock().short = bytes;
    }

    /// The next write takes so many bytes, and fails.
    pub(crate) fn tear_next(&self, bytes: usize) {
        self.inner.lock().torn = Some(bytes);
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.inner.lock().syncs
    }

    pub(crate) fn taken(&self) -> usize {
        self.inner.lock().taken()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.inner.lock().names.keys().cloned().collect()
    }

    pub(crate) fn get(&self, name: &str) -> Vec<u8> {
        let inner = self.inner.lock();
        inner.inodes[inner.id(name).unwrap()].content.clone()
    }

    /// A copy of it, healthy, with another file in the place of one, or without it.
    pub(crate) fn with(&self, name: &str, content: Option<Vec<u8>>) -> Self {
        let inner = self.inner.lock();
        let mut copy = Inner::default();
        for (other, id) in &inner.names {
            let content = if other == name {
                match &content {
                    Some(content) => content.clone(),
                    None => continue,
                }
            } else {
                inner.inodes[*id].content.clone()
            };
            copy.names.insert(other.clone(), copy.inodes.len());
            copy.inodes.push(Inode {
                synced: content.clone(),
                content,
            });
        }
        Self {
            inner: Arc::new(Mutex::new(copy)),
            stall: Arc::default(),
        }
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
            stall: Arc::default(),
        }
    }

    /// What is there after a loss of power. Of each sector that was not synced `pick`
    /// (a number below its argument) decides whether it is the old or the new one, and
    /// of the names which change was the last.
    pub(crate) fn after_power_loss(&self, mut pick: impl FnMut(usize) -> usize) -> Self {
        let inner = self.inner.lock();
        let names = match inner.history.len() {
            0 => inner.names.clone(),
            changes => inner.history[pick(changes)].clone(),
        };
        let mut inodes = inner.inodes.clone();
        for id in names.values() {
            let Inode { content, synced } = &mut inodes[*id];
            // The length of a file that was made and not synced is there or is not.
            if synced.len() != content.len() && pick(2) == 0 {
                content.truncate(synced.len());
            }
            synced.resize(content.len(), 0);
            for (new, old) in content.chunks_mut(SECTOR).zip(synced.chunks(SECTOR)) {
                if new != old && pick(2) == 0 {
                    new.copy_from_slice(old);
                }
            }
            *synced = content.clone();
        }
        Self {
            inner: Arc::new(Mutex::new(Inner {
                inodes,
                names,
                ..Inner::default()
            })),
            stall: Arc::default(),
        }
    }
}

impl Volume for FaultyVolume {
    fn place(&self) -> String {
        "the faulty volume".to_owned()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.lock().operate()?;
        Ok(self.names())
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn VolumeFile>> {
        let mut inner = self.inner.lock();
        inner.operate()?;
        let length = usize::try_from(length).unwrap();
        if inner
            .capacity
            .is_some_and(|all| inner.taken() + length > all)
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let id = inner.inodes.len();
        inner.inodes.push(Inode {
            content: vec![0; length],
            synced: Vec::new(),
        });
        inner.renamed(|names| _ = names.insert(name.to_owned(), id));
        drop(inner);
        let volume = self.clone();
        Ok(Arc::new(FaultyFile { volume, id }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn VolumeFile>> {
        let mut inner = self.inner.lock();
        inner.operate()?;
        let id = inner.id(name)?;
        drop(inner);
        let volume = self.clone();
        Ok(Arc::new(FaultyFile { volume, id }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.operate()?;
        let id = inner.id(from)?;
        inner.renamed(|names| {
            names.remove(from);
            names.insert(to.to_owned(), id);
        });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.operate()?;
        inner.id(name)?;
        inner.renamed(|names| _ = names.remove(name));
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
    volume: FaultyVolume,
    id: usize,
}

impl VolumeFile for FaultyFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.volume.inner.lock().inodes[self.id].content.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let inner = self.volume.inner.lock();
        let content = &inner.inodes[self.id].content;
        let from = usize::try_from(offset).unwrap().min(content.len());
        let count = buffer.len().min(content.len() - from);
        buffer[..count].copy_from_slice(&content[from..from + count]);
        Ok(count)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let mut inner = self.volume.inner.lock();
        inner.operate()?;
        let offset = usize::try_from(offset).unwrap();
        let torn = inner.torn.take();
        let most = torn.or(inner.short).unwrap_or(usize::MAX);
        let count = bytes.len().min(most);
        inner.inodes[self.id].content[offset..offset + count].copy_from_slice(&bytes[..count]);
        if torn.is_some() {
            return Err(io::Error::other("the write was torn"));
        }
        Ok(count)
    }

    fn clear_from(&self, offset: u64) -> io::Result<()> {
        let mut inner = self.volume.inner.lock();
        inner.operate()?;
        let inode = &mut inner.inodes[self.id];
        inode.content[usize::try_from(offset).unwrap()..].fill(0);
        inode.synced = inode.content.clone();
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        drop(self.volume.stall.lock());
        let mut inner = self.volume.inner.lock();
        inner.operate()?;
        inner.syncs += 1;
        if inner.sync_fails_at.is_some_and(|at| inner.syncs > at) {
            return Err(io::Error::other("the sync failed"));
        }
        let inode = &mut inner.inodes[self.id];
        inode.synced = inode.content.clone();
        Ok(())
    }
}
