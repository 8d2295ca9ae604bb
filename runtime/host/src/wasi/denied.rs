//! Files and sockets: there so that ordinary components link, and denied.
//!
//! Every function is answered by its type: one that can fail says that access
//! is denied, one that lists gives nothing. Nothing that a method could be
//! called on is ever given out, except the network itself, which is good for
//! nothing.

use wasmtime::component::types::{ComponentItem, Type};
use wasmtime::component::{Component, Linker, Resource, ResourceAny, ResourceType, Val};
use wasmtime::{Engine, StoreContextMut};

use crate::state::State;

/// Marks handles of files, sockets and the like; there are none.
struct Denied;

/// What the handle of the network stands for.
const NETWORK: u32 = 3;

/// The names under which interfaces say that something is not allowed.
const REFUSALS: [&str; 3] = ["access-denied", "access", "not-supported"];

/// Resources that interfaces of files and sockets only mention.
const OF_IO: [&str; 4] = ["input-stream", "output-stream", "pollable", "error"];

/// Whether `import` is an interface of files or sockets.
pub(crate) fn is_denied(import: &str) -> bool {
    let known = import.starts_with("wasi:filesystem/") || import.starts_with("wasi:sockets/");
    known && import.contains("@0.2.")
}

/// Defines what `component` imports of files and sockets, under the names it uses.
pub(crate) fn add_to_linker(
    linker: &mut Linker<State>,
    engine: &Engine,
    component: &Component,
) -> wasmtime::Result<()> {
    for (interface, item) in component.component_type().imports(engine) {
        let ComponentItem::ComponentInstance(instance) = item.ty else {
            continue;
        };
        if !is_denied(interface) {
            continue;
        }
        let mut to = linker.instance(interface)?;
        for (name, item) in instance.exports(engine) {
            match item.ty {
                // Streams and pollables are those of wasi:io, known already.
                ComponentItem::Resource(_) if OF_IO.contains(&name) => {}
                ComponentItem::Resource(_) => {
                    to.resource(name, ResourceType::host::<Denied>(), |_, _| Ok(()))?;
                }
                ComponentItem::ComponentFunc(_) => {
                    let full = format!("{interface}.{name}");
                    to.func_new(name, move |store, ty, _, results| {
                        if let Some(slot) = results.first_mut() {
                            *slot = refusal(store, ty.results().next().as_ref(), &full)?;
                        }
                        Ok(())
                    })?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn refusal(
    store: StoreContextMut<'_, State>,
    result: Option<&Type>,
    name: &str,
) -> wasmtime::Result<Val> {
    match result {
        Some(Type::List(_)) => Ok(Val::List(Vec::new())),
        Some(Type::Option(_)) => Ok(Val::Option(None)),
        Some(Type::Own(_)) if name.contains("instance-network") => {
            let network = Resource::<Denied>::new_own(NETWORK);
            Ok(Val::Resource(ResourceAny::try_from_resource(
                network, store,
            )?))
        }
        Some(Type::Result(result)) => {
            let code = match result.err() {
                Some(Type::Enum(codes)) => REFUSALS
                    .into_iter()
                    .find(|refusal| codes.names().any(|code| code == *refusal)),
                _ => None,
            };
            match code {
                Some(code) => Ok(Val::Result(Err(Some(Box::new(Val::Enum(code.into())))))),
                None => Err(denied(name)),
            }
        }
        _ => Err(denied(name)),
    }
}

fn denied(name: &str) -> wasmtime::Error {
    wasmtime::format_err!("{name} is denied: agents have no files and no network")
}
