//! The attributes of `phoenix-sdk`. Use and read about them through that crate:
//! what they expand to names its paths.
//!
//! `#[agent]` reads an `impl` block into a model ([`model`], one file a concern),
//! refuses what cannot work with an error at the place that is wrong, and writes
//! the dispatch, the typed requests and the component's export from the model
//! ([`expand`]). It leaves the author's functions as they are.

use proc_macro::TokenStream;

mod errors;
mod expand;
mod model;
mod requests;
mod types;

/// Makes the methods of an `impl` block an agent's handlers.
#[proc_macro_attribute]
pub fn agent(attributes: TokenStream, item: TokenStream) -> TokenStream {
    expand::agent(attributes.into(), item.into()).into()
}

/// Turns a trait that lists another agent's handlers into functions that make
/// requests for them.
#[proc_macro_attribute]
pub fn requests(attributes: TokenStream, item: TokenStream) -> TokenStream {
    requests::expand(attributes.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Makes the error of a handler one that whoever asks can read back.
#[proc_macro_derive(RemoteError, attributes(error, code, from))]
pub fn remote_error(item: TokenStream) -> TokenStream {
    errors::expand_remote(item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Makes an enum or a struct the error of a handler.
#[proc_macro_derive(AgentError, attributes(error, code, from))]
pub fn agent_error(item: TokenStream) -> TokenStream {
    errors::expand(item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
