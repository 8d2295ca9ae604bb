//! Records and snapshots of the directory as bytes. Version 1; snapshots that tell
//! which nodes are dead and when lives began are version 3, and those that tell less are
//! still read.
//!
//! A record is the version, a tag and its fields; a snapshot the version, the
//! own node, and counted lists. Integers take as many bytes as they need.

use phoenix_cluster::directory::{Attempt, DirectoryState, Entry, Grave, Phase};
use phoenix_cluster::{DirectoryLimits, Record};
use phoenix_core::{AgentId, MigrationId, NodeId};

use crate::wire::{BadBytes, Reader, put_bytes, put_number};

const VERSION: u8 = 1;
const STATE_VERSION: u8 = 3;
/// That of snapshots that do not tell when lives began.
const LIFELESS_VERSION: u8 = 2;

pub(crate) fn encode_record(record: &Record) -> Vec<u8> {
    let mut out = vec![VERSION, tag(record)];
    if let Some(agent) = record.agent() {
        put_bytes(&mut out, agent.as_str().as_bytes());
    }
    match record {
        Record::Boot { node, boot } | Record::Dead { node, boot } => {
            put_node(&mut out, *node);
            put_number(&mut out, *boot);
        }
        Record::Placed {
            owner, generation, ..
        }
        | Record::Reassigned {
            owner, generation, ..
        } => {
            put_node(&mut out, *owner);
            put_number(&mut out, *generation);
        }
        Record::Moved {
            migration,
            from,
            from_boot,
            to,
            generation,
            ..
        } => {
            put_migration(&mut out, *migration);
            put_node(&mut out, *from);
            put_number(&mut out, *from_boot);
            put_node(&mut out, *to);
            put_number(&mut out, *generation);
        }
        Record::Aborted {
            migration,
            from,
            generation,
            ..
        } => {
            put_migration(&mut out, *migration);
            put_node(&mut out, *from);
            put_number(&mut out, *generation);
        }
        Record::Settled { migration, .. } | Record::Claimed { migration, .. } => {
            put_migration(&mut out, *migration);
        }
        Record::Reclaimed {
            migration,
            generation,
            ..
        } => {
            put_migration(&mut out, *migration);
            put_number(&mut out, *generation);
        }
        Record::Voided { migration, by, .. } => {
            put_migration(&mut out, *migration);
            put_node(&mut out, *by);
        }
        Record::Forgotten { .. } => {}
    }
    out
}

fn tag(record: &Record) -> u8 {
    match record {
        Record::Boot { .. } => 1,
        Record::Placed { .. } => 2,
        Record::Moved { .. } => 3,
        Record::Aborted { .. } => 4,
        Record::Settled { .. } => 5,
        Record::Claimed { .. } => 6,
        Record::Reclaimed { .. } => 7,
        Record::Voided { .. } => 8,
        Record::Forgotten { .. } => 9,
        Record::Dead { .. } => 11,
        Record::Reassigned { .. } => 12,
    }
}

pub(crate) fn decode_record(bytes: &[u8]) -> Result<Record, BadBytes> {
    let mut r = Reader::new(bytes);
    version(&mut r)?;
    let record = match r.byte("the tag")? {
        1 => Record::Boot {
            node: node(&mut r)?,
            boot: r.number("the boot counter")?,
        },
        2 => Record::Placed {
            agent: agent(&mut r)?,
            owner: node(&mut r)?,
            generation: generation(&mut r)?,
        },
        3 => Record::Moved {
            agent: agent(&mut r)?,
            migration: migration(&mut r)?,
            from: node(&mut r)?,
            from_boot: r.number("the source's boot counter")?,
            to: node(&mut r)?,
            generation: generation(&mut r)?,
        },
        4 => Record::Aborted {
            agent: agent(&mut r)?,
            migration: migration(&mut r)?,
            from: node(&mut r)?,
            generation: generation(&mut r)?,
        },
        5 => Record::Settled {
            agent: agent(&mut r)?,
            migration: migration(&mut r)?,
        },
        6 => Record::Claimed {
            agent: agent(&mut r)?,
            migration: migration(&mut r)?,
        },
        7 => Record::Reclaimed {
            agent: agent(&mut r)?,
            migration: migration(&mut r)?,
            generation: generation(&mut r)?,
        },
        8 => Record::Voided {
            agent: agent(&mut r)?,
            migration: migration(&mut r)?,
            by: node(&mut r)?,
        },
        9 => Record::Forgotten {
            agent: agent(&mut r)?,
        },
        11 => Record::Dead {
            node: node(&mut r)?,
            boot: r.number("the boot counter")?,
        },
        12 => Record::Reassigned {
            agent: agent(&mut r)?,
            owner: node(&mut r)?,
            generation: generation(&mut r)?,
        },
        _ => return Err(BadBytes::Value("the tag")),
    };
    r.end()?;
    Ok(record)
}

pub(crate) fn encode_state(own: NodeId, state: &DirectoryState) -> Vec<u8> {
    let mut out = vec![STATE_VERSION];
    put_node(&mut out, own);
    put_number(&mut out, state.floor());
    put_number(&mut out, state.nodes().count() as u64);
    for (node, entry) in state.nodes() {
        put_node(&mut out, node);
        put_number(&mut out, entry.boot);
        out.push(entry.dead.into());
    }
    put_number(&mut out, state.entries().len() as u64);
    for (agent, entry) in state.entries() {
        put_bytes(&mut out, agent.as_str().as_bytes());
        put_node(&mut out, entry.owner);
        put_number(&mut out, entry.generation);
        put_number(&mut out, entry.life);
        put_number(&mut out, entry.attempts.len() as u64);
        for attempt in &entry.attempts {
            put_migration(&mut out, attempt.migration);
            put_node(&mut out, attempt.from);
            put_number(&mut out, attempt.from_boot);
            put_node(&mut out, attempt.to);
            put_number(&mut out, attempt.generation);
            out.push(phase_byte(attempt.phase));
        }
    }
    put_number(&mut out, state.graves().count() as u64);
    for (agent, grave) in state.graves() {
        put_bytes(&mut out, agent.as_str().as_bytes());
        put_node(&mut out, grave.owner);
        put_number(&mut out, grave.generation);
    }
    out
}

pub(crate) fn decode_state(
    bytes: &[u8],
    own: NodeId,
    limits: DirectoryLimits,
) -> Result<DirectoryState, BadBytes> {
    let mut r = Reader::new(bytes);
    let (tells_dead, tells_lives) = match r.byte("the version")? {
        VERSION => (false, false),
        LIFELESS_VERSION => (true, false),
        STATE_VERSION => (true, true),
        _ => return Err(BadBytes::Value("the version")),
    };
    if node(&mut r)? != own {
        return Err(BadBytes::Value("the node whose directory this is"));
    }
    let mut state = DirectoryState::new(own, limits);
    state.load_floor(r.number("the floor")?);
    for _ in 0..r.number("the number of nodes")? {
        let id = node(&mut r)?;
        let boot = r.number("the boot counter")?;
        let dead = match tells_dead
            .then(|| r.byte("whether it is dead"))
            .transpose()?
        {
            None | Some(0) => false,
            Some(1) => true,
            Some(_) => return Err(BadBytes::Value("whether it is dead")),
        };
        state.load_node(id, boot, dead);
    }
    for _ in 0..r.number("the number of entries")? {
        let agent = agent(&mut r)?;
        let mut entry = Entry {
            owner: node(&mut r)?,
            generation: generation(&mut r)?,
            life: 0,
            attempts: Vec::new(),
        };
        if tells_lives {
            entry.life = generation(&mut r)?;
        }
        for _ in 0..r.number("the number of attempts")? {
            entry.attempts.push(Attempt {
                migration: migration(&mut r)?,
                from: node(&mut r)?,
                from_boot: r.number("the source's boot counter")?,
                to: node(&mut r)?,
                generation: generation(&mut r)?,
                phase: phase(r.byte("the phase")?)?,
            });
        }
        state.load_entry(agent, entry);
    }
    for _ in 0..r.number("the number of stopped agents")? {
        let agent = agent(&mut r)?;
        let grave = Grave {
            owner: node(&mut r)?,
            generation: generation(&mut r)?,
        };
        state.load_grave(agent, grave);
    }
    r.end()?;
    Ok(state)
}

fn version(r: &mut Reader<'_>) -> Result<(), BadBytes> {
    match r.byte("the version")? {
        VERSION => Ok(()),
        _ => Err(BadBytes::Value("the version")),
    }
}

fn put_node(out: &mut Vec<u8>, node: NodeId) {
    put_number(out, node.0.into());
}

fn node(r: &mut Reader<'_>) -> Result<NodeId, BadBytes> {
    let number = r.number("a node")?;
    let number = u32::try_from(number).map_err(|_| BadBytes::Range("a node"))?;
    Ok(NodeId(number))
}

fn put_migration(out: &mut Vec<u8>, migration: MigrationId) {
    out.extend_from_slice(&migration.0.to_le_bytes());
}

fn migration(r: &mut Reader<'_>) -> Result<MigrationId, BadBytes> {
    let bytes = r.array("a migration")?;
    Ok(MigrationId(u128::from_le_bytes(bytes)))
}

fn agent(r: &mut Reader<'_>) -> Result<AgentId, BadBytes> {
    let text = std::str::from_utf8(r.bytes("an agent")?).ok();
    text.and_then(|text| AgentId::new(text).ok())
        .ok_or(BadBytes::Value("an agent"))
}

fn generation(r: &mut Reader<'_>) -> Result<u64, BadBytes> {
    r.number("a generation")
}

fn phase_byte(phase: Phase) -> u8 {
    match phase {
        Phase::Moved => 0,
        Phase::Settled => 1,
        Phase::Claimed => 2,
        Phase::Reclaimed => 3,
        Phase::Aborted => 4,
        Phase::Voided => 5,
    }
}

fn phase(byte: u8) -> Result<Phase, BadBytes> {
    Ok(match byte {
        0 => Phase::Moved,
        1 => Phase::Settled,
        2 => Phase::Claimed,
        3 => Phase::Reclaimed,
        4 => Phase::Aborted,
        5 => Phase::Voided,
        _ => return Err(BadBytes::Value("a phase")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_record() -> Vec<Record> {
        let agent = AgentId::new("counter/a").unwrap();
        let migration = MigrationId(u128::MAX - 7);
        let (from, to, generation) = (NodeId(1), NodeId(u32::MAX), 300);
        let agent = || agent.clone();
        vec![
            Record::Boot {
                node: to,
                boot: u64::MAX,
            },
            Record::Placed {
                agent: agent(),
                owner: to,
                generation,
            },
            Record::Moved {
                agent: agent(),
                migration,
                from,
                from_boot: 9,
                to,
                generation,
            },
            Record::Aborted {
                agent: agent(),
                migration,
                from,
                generation,
            },
            Record::Settled {
                agent: agent(),
                migration,
            },
            Record::Claimed {
                agent: agent(),
                migration,
            },
            Record::Reclaimed {
                agent: agent(),
                migration,
                generation,
            },
            Record::Voided {
                agent: agent(),
                migration,
                by: to,
            },
            Record::Forgotten { agent: agent() },
            Record::Dead { node: to, boot: 9 },
            Record::Reassigned {
                agent: agent(),
                owner: to,
                generation,
            },
        ]
    }

    #[test]
    fn records_come_back_and_parts_of_them_do_not() {
        for record in every_record() {
            let bytes = encode_record(&record);
            assert_eq!(decode_record(&bytes), Ok(record.clone()));
            for length in 0..bytes.len() {
                decode_record(&bytes[..length]).unwrap_err();
            }
            let mut longer = bytes.clone();
            longer.push(0);
            decode_record(&longer).unwrap_err();
        }
    }

    #[test]
    fn a_state_comes_back_whole() {
        let own = NodeId(1);
        let limits = DirectoryLimits::default();
        let mut state = DirectoryState::new(own, limits);
        state.load_floor(17);
        state.load_node(NodeId(2), 30, true);
        state.load_node(NodeId(3), 31, false);
        for (number, phase) in (0..6).filter_map(|byte| Some((byte, phase(byte).ok()?))) {
            let entry = Entry {
                owner: NodeId(number.into()),
                generation: 5,
                life: 3,
                attempts: vec![Attempt {
                    migration: MigrationId(number.into()),
                    from: NodeId(7),
                    from_boot: 8,
                    to: NodeId(9),
                    generation: 10,
                    phase,
                }],
            };
            state.load_entry(AgentId::new(&format!("counter/{number}")).unwrap(), entry);
        }
        for key in ["z", "y", "x"] {
            let grave = Grave {
                owner: NodeId(2),
                generation: 40,
            };
            state.load_grave(AgentId::new(&format!("counter/{key}")).unwrap(), grave);
        }
        let bytes = encode_state(own, &state);
        let back = decode_state(&bytes, own, limits).unwrap();
        let sorted = |state: &DirectoryState| {
            let mut all: Vec<_> = state
                .entries()
                .map(|(agent, entry)| (agent.clone(), entry.clone()))
                .collect();
            all.sort_by(|a, b| a.0.cmp(&b.0));
            all
        };
        assert_eq!(sorted(&back), sorted(&state));
        let order: Vec<_> = back
            .graves()
            .map(|(agent, _)| agent.key().to_owned())
            .collect();
        assert_eq!(order, ["z", "y", "x"]);
        assert_eq!(back.floor(), 17);
        let nodes = |state: &DirectoryState| state.nodes().collect::<Vec<_>>();
        assert_eq!(nodes(&back), nodes(&state));
        assert!(back.nodes().any(|(_, entry)| entry.dead));
        decode_state(&bytes, NodeId(2), limits).unwrap_err();
        for length in 0..bytes.len() {
            assert!(
                decode_state(&bytes[..length], own, limits).is_err(),
                "cut to {length}"
            );
        }
    }
}
