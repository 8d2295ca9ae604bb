//! Flow policies that operators attached, on disk: one file, `flow`.

mod format;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use phoenix_core::flow::AttachedFlows;

use crate::files;
pub(crate) use format::Fields;

/// Largest file that is read back, 16 MiB.
const MAX_FILE: u64 = 16 << 20;

/// Why the policies cannot be kept or read back.
#[derive(Debug, thiserror::Error)]
pub enum FlowStoreError {
    /// The file cannot be read or written. What was there before is there still.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's word for it.
        source: io::Error,
    },
    /// The file is not what was written.
    #[error("{path} is damaged: {what}. Delete it and attach the policies again")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

/// The attached policies below a data directory.
#[derive(Debug)]
pub struct FlowStore {
    path: PathBuf,
}

impl FlowStore {
    /// Those of this data directory.
    pub fn new(data_dir: &Path) -> Self {
        Self {
            path: data_dir.join("flow"),
        }
    }

    /// What is kept; nothing where nothing ever was.
    pub fn load(&self) -> Result<AttachedFlows, FlowStoreError> {
        let failed = |source| FlowStoreError::Io {
            action: "read",
            path: self.path.clone(),
            source,
        };
        let damaged = |what: String| FlowStoreError::Damaged {
            path: self.path.clone(),
            what,
        };
        let length = match fs::metadata(&self.path) {
            Ok(found) => found.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(AttachedFlows::default());
            }
            Err(error) => return Err(failed(error)),
        };
        if length > MAX_FILE {
            return Err(damaged(format!("it has {length} bytes")));
        }
        let bytes = fs::read(&self.path).map_err(failed)?;
        format::decode(&bytes).map_err(damaged)
    }

    /// Keeps these, durably, in place of what was kept.
    pub fn save(&self, flows: &AttachedFlows) -> Result<(), FlowStoreError> {
        files::replace(&self.path, &format::encode(flows)).map_err(|source| FlowStoreError::Io {
            action: "write",
            path: self.path.clone(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use phoenix_core::flow::{AttachedFlow, FlowField, FlowFields, FlowValue};

    use super::*;

    fn flows() -> AttachedFlows {
        let mut fields = FlowFields::default();
        for (name, value) in [
            ("rate.amount", FlowValue::Number(7)),
            ("shared.name", FlowValue::Text("payments".to_owned())),
            ("shared.amount", FlowValue::Number(100)),
        ] {
            assert!(fields.set(FlowField::named(name).unwrap(), value));
        }
        let policy = std::sync::Arc::new(fields.build().unwrap());
        let list = ["agent:counter/a", "node:node-2", "topic:orders.eu"].map(|target| {
            let (target, policy) = (target.parse().unwrap(), policy.clone());
            AttachedFlow { target, policy }
        });
        AttachedFlows {
            version: 9,
            list: list.into(),
        }
    }

    #[test]
    fn what_is_kept_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let store = FlowStore::new(dir.path());
        assert_eq!(store.load().unwrap(), AttachedFlows::default());
        store.save(&flows()).unwrap();
        assert_eq!(FlowStore::new(dir.path()).load().unwrap(), flows());
    }

    #[test]
    fn damage_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let store = FlowStore::new(dir.path());
        store.save(&flows()).unwrap();
        let path = dir.path().join("flow");
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x20;
            fs::write(&path, &bytes).unwrap();
            let error = store.load().unwrap_err().to_string();
            assert!(error.contains("flow is damaged"), "{at}: {error}");
            fs::write(&path, &whole[..at]).unwrap();
            assert!(store.load().is_err(), "cut off at {at}");
        }
    }
}
