//! Finding the pages an agent has changed, without touching the others.
//!
//! Each finder yields candidates only: a superset of the changed pages. Whether
//! a page is stored is decided by comparing it with the base, so all finders
//! give the same snapshot.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a page.
pub(crate) const PAGE: usize = 4096;

/// How changed pages are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageFinder {
    /// The `PAGEMAP_SCAN` ioctl, Linux 6.7 and later.
    Scan,
    /// Reading `/proc/self/pagemap`, older Linux.
    Pagemap,
    /// Comparing all of memory with the base; works everywhere, and makes every page resident.
    Compare,
}

/// A finder and what it needs.
#[derive(Debug)]
pub(crate) struct Finder {
    kind: PageFinder,
    pagemap: Option<File>,
    failures: AtomicU64,
}

impl Finder {
    /// The one asked for, or the best there is; never fails, comparing always works.
    pub(crate) fn new(wanted: Option<PageFinder>) -> Self {
        let compare = Self {
            kind: PageFinder::Compare,
            pagemap: None,
            failures: AtomicU64::new(0),
        };
        let kinds = match wanted {
            Some(PageFinder::Compare) => return compare,
            Some(PageFinder::Pagemap) => &[PageFinder::Pagemap][..],
            Some(PageFinder::Scan) => &[PageFinder::Scan][..],
            None => &[PageFinder::Scan, PageFinder::Pagemap][..],
        };
        if host_page_size() != Some(PAGE) {
            return compare;
        }
        let Ok(pagemap) = File::open("/proc/self/pagemap") else {
            return compare;
        };
        let mut finder = Self {
            kind: PageFinder::Compare,
            pagemap: Some(pagemap),
            failures: AtomicU64::new(0),
        };
        // A page that was written just now must be found, or the finder is of no use here.
        let probe = vec![1u8; 4 * PAGE];
        let skip = probe.as_ptr().align_offset(PAGE);
        let Some(page) = probe.get(skip..skip + PAGE) else {
            return compare;
        };
        for kind in kinds {
            finder.kind = *kind;
            let mut found = Vec::new();
            if finder.ask(page, &mut found).is_some() && found == [(0, 1)] {
                return finder;
            }
        }
        compare
    }

    /// Which one it is.
    pub(crate) fn kind(&self) -> PageFinder {
        self.kind
    }

    /// How often it was of no use.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Puts the runs of pages of `memory` that may have changed into `found`,
    /// as (first page, number of pages), ascending. `memory` begins and ends at
    /// a page of the host.
    pub(crate) fn candidates(&self, memory: &[u8], found: &mut Vec<(usize, usize)>) {
        found.clear();
        if self.ask(memory, found).is_none() {
            let compares = self.kind == PageFinder::Compare;
            self.failures
                .fetch_add(u64::from(!compares), Ordering::Relaxed);
            // Whatever the kernel's reason was, comparing everything is always right.
            found.clear();
            found.push((0, memory.len() / PAGE));
        }
    }

    fn ask(&self, memory: &[u8], found: &mut Vec<(usize, usize)>) -> Option<()> {
        match (self.kind, &self.pagemap) {
            (PageFinder::Scan, Some(pagemap)) => scan(pagemap, memory, found),
            (PageFinder::Pagemap, Some(pagemap)) => read(pagemap, memory, found),
            _ => None,
        }
    }
}

fn host_page_size() -> Option<usize> {
    // SAFETY: sysconf reads a constant of the system and touches no memory of ours.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).ok()
}

/// `struct page_region` of linux/fs.h.
#[repr(C)]
#[derive(Clone, Copy)]
struct PageRegion {
    start: u64,
    end: u64,
    categories: u64,
}

/// `struct pm_scan_arg` of linux/fs.h.
#[repr(C)]
struct ScanArgument {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

const IS_WRITTEN: u64 = 1 << 1;
const IS_FILE: u64 = 1 << 2;
const IS_PRESENT: u64 = 1 << 3;
const IS_SWAPPED: u64 = 1 << 4;
const IS_PFNZERO: u64 = 1 << 5;

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: u64 =
    (3 << 30) | ((size_of::<ScanArgument>() as u64) << 16) | ((b'f' as u64) << 8) | 16;

/// Regions the kernel reports at a time.
const REGIONS: usize = 64;

fn scan(pagemap: &File, memory: &[u8], found: &mut Vec<(usize, usize)>) -> Option<()> {
    let base = memory.as_ptr() as u64;
    let end = base + memory.len() as u64;
    let mut regions = [PageRegion {
        start: 0,
        end: 0,
        categories: 0,
    }; REGIONS];
    let mut start = base;
    while start < end {
        let mut argument = ScanArgument {
            size: size_of::<ScanArgument>() as u64,
            flags: 0,
            start,
            end,
            walk_end: 0,
            vec: regions.as_mut_ptr() as u64,
            vec_len: REGIONS as u64,
            max_pages: 0,
            category_inverted: IS_FILE | IS_PFNZERO,
            category_mask: IS_WRITTEN | IS_FILE | IS_PFNZERO,
            // Without it pages that were never touched come back; with PRESENT
            // alone those swapped out are lost.
            category_anyof_mask: IS_PRESENT | IS_SWAPPED,
            return_mask: IS_WRITTEN,
        };
        // SAFETY: the ioctl reads page tables of this process and writes only
        // to `argument` and to `regions`, of which it is told the length; both
        // live until it returns. It changes no page, since no write-protect
        // flag is set.
        let count = unsafe {
            libc::ioctl(
                pagemap.as_raw_fd(),
                PAGEMAP_SCAN as libc::Ioctl,
                &raw mut argument,
            )
        };
        let count = usize::try_from(count).ok()?;
        for region in regions.get(..count)? {
            let first = usize::try_from(region.start.checked_sub(base)?).ok()? / PAGE;
            let last = usize::try_from(region.end.checked_sub(base)?).ok()? / PAGE;
            push(found, first, last.checked_sub(first)?);
        }
        if argument.walk_end <= start {
            return None;
        }
        start = argument.walk_end;
    }
    Some(())
}

/// Bits of an entry of `/proc/self/pagemap`.
const ENTRY_PRESENT: u64 = 1 << 63;
const ENTRY_SWAPPED: u64 = 1 << 62;
const ENTRY_FILE_OR_SHARED: u64 = 1 << 61;

/// Entries read at a time.
const ENTRIES: usize = 512;

fn read(pagemap: &File, memory: &[u8], found: &mut Vec<(usize, usize)>) -> Option<()> {
    let first = memory.as_ptr() as usize / PAGE;
    let count = memory.len() / PAGE;
    let mut buffer = [0u8; ENTRIES * 8];
    let mut at = 0;
    while at < count {
        let wanted = buffer.get_mut(..(count - at).min(ENTRIES) * 8)?;
        pagemap
            .read_exact_at(wanted, (first + at) as u64 * 8)
            .ok()?;
        let (entries, _) = wanted.as_chunks::<8>();
        for (page, entry) in (at..).zip(entries) {
            let entry = u64::from_le_bytes(*entry);
            if entry & (ENTRY_PRESENT | ENTRY_SWAPPED) != 0 && entry & ENTRY_FILE_OR_SHARED == 0 {
                push(found, page, 1);
            }
        }
        at += entries.len();
    }
    Some(())
}

/// Adds a run, joined to the last if it follows it.
fn push(found: &mut Vec<(usize, usize)>, first: usize, count: usize) {
    match found.last_mut() {
        Some((start, len)) if *start + *len == first => *len += count,
        _ => found.push((first, count)),
    }
}
