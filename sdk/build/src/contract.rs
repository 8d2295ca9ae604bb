//! Which world a component exports, by its exports alone.

use wasmparser::{Encoding, Parser, Payload};

/// The interface a typed agent exports, without its version.
const HANDLER: &str = "phoenix:agent/handler";

/// The version of the contract this crate was built with.
const VERSION: &str = "0.1.0";

/// The function a framed agent exports.
const TURNS: &str = "turns";

/// The world of the contract that a component exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// `agent`: one call a message.
    Typed,
    /// `agent-framed`: one call for many messages, what the SDK makes.
    Framed,
}

/// Why bytes are no agent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// The bytes are not WebAssembly, or broken.
    #[error("not a WebAssembly component: {0}")]
    Broken(String),
    /// A core module, not a component.
    #[error("a core module, not a component: it was not built for wasm32-wasip2")]
    CoreModule,
    /// The contract in another version.
    #[error("it exports `{found}` where `{HANDLER}@{VERSION}` is spoken")]
    Version {
        /// The export.
        found: String,
    },
    /// Neither world is exported.
    #[error(
        "it exports neither `{TURNS}` nor `{HANDLER}@{VERSION}`, only {}",
        listed(exports)
    )]
    NoExport {
        /// What it exports instead.
        exports: Vec<String>,
    },
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "nothing".into(),
        names => names.join(", "),
    }
}

impl World {
    /// Looks at a component's exports. This is a convenience for authors; a
    /// node checks the types as well.
    pub fn of(bytes: &[u8]) -> Result<Self, Misfit> {
        let exports = exports(bytes)?;
        let spoken = format!("{HANDLER}@{VERSION}");
        if exports.iter().any(|name| name == TURNS) {
            return Ok(Self::Framed);
        }
        if exports.contains(&spoken) {
            return Ok(Self::Typed);
        }
        match exports
            .iter()
            .find(|name| name.split('@').next() == Some(HANDLER))
        {
            Some(found) => Err(Misfit::Version {
                found: found.clone(),
            }),
            None => Err(Misfit::NoExport { exports }),
        }
    }
}

/// The names the outermost component exports.
fn exports(bytes: &[u8]) -> Result<Vec<String>, Misfit> {
    let broken = |error: wasmparser::BinaryReaderError| Misfit::Broken(error.to_string());
    let mut names = Vec::new();
    let mut depth = 0u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(broken)? {
            Payload::Version { encoding, .. } => {
                depth += 1;
                if depth == 1 && encoding == Encoding::Module {
                    return Err(Misfit::CoreModule);
                }
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    names.push(export.map_err(broken)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(wat: &str) -> Result<World, Misfit> {
        World::of(&wat::parse_str(wat).unwrap())
    }

    #[test]
    fn both_worlds_are_told_apart() {
        let framed = r#"(component
            (import "f" (func $f))
            (component $inner (import "g" (func $g)) (export "hidden" (func $g)))
            (export "turns" (func $f)))"#;
        assert_eq!(world(framed), Ok(World::Framed));
        let typed = r#"(component
            (instance $i)
            (export "phoenix:agent/handler@0.1.0" (instance $i)))"#;
        assert_eq!(world(typed), Ok(World::Typed));
    }

    #[test]
    fn an_export_of_a_nested_component_does_not_count() {
        let nested = r#"(component
            (component (import "f" (func $f)) (export "turns" (func $f))))"#;
        assert_eq!(
            world(nested),
            Err(Misfit::NoExport {
                exports: Vec::new()
            })
        );
    }

    #[test]
    fn what_is_no_agent_is_named() {
        assert!(matches!(World::of(b"hello"), Err(Misfit::Broken(_))));
        assert_eq!(world("(module)"), Err(Misfit::CoreModule));
        let old =
            r#"(component (instance $i) (export "phoenix:agent/handler@0.0.9" (instance $i)))"#;
        assert_eq!(
            world(old),
            Err(Misfit::Version {
                found: "phoenix:agent/handler@0.0.9".into()
            })
        );
        let other = r#"(component (import "f" (func $f)) (export "run" (func $f)))"#;
        let message = world(other).unwrap_err().to_string();
        assert!(message.ends_with("only run"), "{message}");
    }
}
