//! The file of attached policies: magic and version, the hash of the rest, and a
//! MessagePack map. A field that a newer version wrote is passed over.

use std::collections::BTreeMap;
use std::sync::Arc;

use phoenix_core::Digest;
use phoenix_core::flow::{
    AttachedFlow, AttachedFlows, FlowField, FlowFields, FlowPolicy, FlowValue, MAX_FLOW_POLICIES,
};
use serde::{Deserialize, Serialize};

const MAGIC: [u8; 8] = *b"PHXFLOW\x01";

#[derive(Serialize, Deserialize)]
struct File {
    version: u64,
    policies: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    target: String,
    policy: Fields,
}

/// A flow policy as it is written: its fields by name; spans are in milliseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Fields(BTreeMap<String, Value>);

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Value {
    Number(u64),
    Text(String),
}

impl From<&FlowPolicy> for Fields {
    fn from(policy: &FlowPolicy) -> Self {
        let fields = FlowFields::of(policy);
        let written = fields.iter().map(|(field, value)| {
            let value = match value {
                FlowValue::Number(number) => Value::Number(*number),
                FlowValue::Text(text) => Value::Text(text.clone()),
            };
            (field.name.to_owned(), value)
        });
        Self(written.collect())
    }
}

impl TryFrom<Fields> for FlowPolicy {
    type Error = String;
    fn try_from(written: Fields) -> Result<Self, String> {
        let mut fields = FlowFields::default();
        for (name, value) in written.0 {
            let Some(field) = FlowField::named(&name) else {
                continue;
            };
            let value = match value {
                Value::Number(number) => FlowValue::Number(number),
                Value::Text(text) => FlowValue::Text(text),
            };
            if !fields.set(field, value) {
                return Err(format!("the value of {name} is of the wrong sort"));
            }
        }
        fields.build().map_err(|bad| bad.to_string())
    }
}

impl Fields {
    /// The policy they make; `None` for no fields.
    pub(crate) fn policy(self) -> Result<Option<Arc<FlowPolicy>>, String> {
        if self.0.is_empty() {
            return Ok(None);
        }
        Ok(Some(Arc::new(self.try_into()?)))
    }
}

pub(super) fn encode(flows: &AttachedFlows) -> Vec<u8> {
    let file = File {
        version: flows.version,
        policies: flows
            .list
            .iter()
            .map(|attached| Entry {
                target: attached.target.to_string(),
                policy: Fields::from(&*attached.policy),
            })
            .collect(),
    };
    // Texts, numbers and lists always have a form in MessagePack.
    let body = rmp_serde::to_vec_named(&file).unwrap_or_default();
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&Digest::of(&body).0);
    out.extend_from_slice(&body);
    out
}

pub(super) fn decode(bytes: &[u8]) -> Result<AttachedFlows, String> {
    let rest = bytes
        .strip_prefix(&MAGIC)
        .ok_or("it is no file of flow policies, or one of a later version")?;
    let (hash, body) = rest.split_first_chunk().ok_or("it is cut off")?;
    if Digest::of(body).0 != *hash {
        return Err("its hash is not that of its content".to_owned());
    }
    let file: File = rmp_serde::from_slice(body).map_err(|error| error.to_string())?;
    if file.policies.len() > MAX_FLOW_POLICIES {
        return Err(format!("it has {} policies", file.policies.len()));
    }
    let list = file
        .policies
        .into_iter()
        .map(|entry| {
            let target = entry
                .target
                .parse()
                .map_err(|bad: phoenix_core::flow::BadFlowTarget| bad.to_string())?;
            Ok(AttachedFlow {
                target,
                policy: Arc::new(entry.policy.try_into()?),
            })
        })
        .collect::<Result<_, String>>()?;
    Ok(AttachedFlows {
        version: file.version,
        list,
    })
}
