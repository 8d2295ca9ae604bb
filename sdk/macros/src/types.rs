//! Questions about types that can be answered by how they are written.

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{GenericArgument, PathArguments, PathSegment, ReturnType, Type};

/// The last segment of a path type, such as `Result<u64, Failure>` of `std::result::Result<…>`.
pub(crate) fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match strip(ty) {
        Type::Path(path) if path.qself.is_none() => path.path.segments.last(),
        _ => None,
    }
}

/// The type inside parentheses and invisible groups.
pub(crate) fn strip(ty: &Type) -> &Type {
    match ty {
        Type::Paren(inner) => strip(&inner.elem),
        Type::Group(inner) => strip(&inner.elem),
        _ => ty,
    }
}

/// Whether it is `&mut Context`.
pub(crate) fn is_context_reference(ty: &Type) -> bool {
    match strip(ty) {
        Type::Reference(reference) => {
            reference.mutability.is_some() && is_named(&reference.elem, "Context")
        }
        _ => false,
    }
}

/// Whether its last segment is `name`.
pub(crate) fn is_named(ty: &Type, name: &str) -> bool {
    last_segment(ty).is_some_and(|segment| segment.ident == name)
}

/// What the caller of a function reads: its return type, seen through `Result`.
/// `Result` counts by name, so an alias must be called that too.
pub(crate) fn output(output: &ReturnType) -> syn::Result<TokenStream> {
    let ReturnType::Type(_, ty) = output else {
        return Ok(quote!(()));
    };
    owned(match last_segment(ty) {
        Some(segment) if segment.ident == "Result" => first_argument(segment).unwrap_or(ty),
        _ => ty,
    })
}

fn first_argument(segment: &PathSegment) -> Option<&Type> {
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else {
        return None;
    };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

/// The owned form of an answer's type: what the asker reads.
fn owned(ty: &Type) -> syn::Result<TokenStream> {
    match strip(ty) {
        Type::Reference(reference) => {
            let target = &reference.elem;
            refuse_borrows(target, RETURN_BORROWS)?;
            Ok(quote!(<#target as ::std::borrow::ToOwned>::Owned))
        }
        Type::ImplTrait(_) => Err(syn::Error::new_spanned(
            ty,
            "an answer's type must have a name: callers read it by that type",
        )),
        _ => {
            refuse_borrows(ty, RETURN_BORROWS)?;
            Ok(ty.to_token_stream())
        }
    }
}

const RETURN_BORROWS: &str = "an answer cannot borrow inside another type: return owned values, such as `Vec<String>` for `Vec<&str>`";

/// Refuses references and lifetimes anywhere in a type.
pub(crate) fn refuse_borrows(ty: &Type, why: &str) -> syn::Result<()> {
    if borrows(ty.to_token_stream()) {
        return Err(syn::Error::new_spanned(ty, why));
    }
    Ok(())
}

fn borrows(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Punct(punct) => matches!(punct.as_char(), '&' | '\''),
        TokenTree::Group(group) => borrows(group.stream()),
        _ => false,
    })
}

/// `Self` replaced by the agent's name, for places outside its `impl`.
pub(crate) fn without_self(tokens: TokenStream, agent: &TokenStream) -> TokenStream {
    tokens
        .into_iter()
        .flat_map(|token| match token {
            TokenTree::Ident(ident) if ident == "Self" => agent.clone(),
            TokenTree::Group(group) => {
                let mut inner = Group::new(group.delimiter(), without_self(group.stream(), agent));
                inner.set_span(group.span());
                TokenTree::Group(inner).into()
            }
            other => other.into(),
        })
        .collect()
}

/// An identifier without `r#`.
pub(crate) fn plain(ident: &Ident) -> String {
    let text = ident.to_string();
    text.strip_prefix("r#").unwrap_or(&text).to_owned()
}

/// Names resolve as the macro's own; errors point at `span`.
pub(crate) fn at(span: Span) -> Span {
    Span::call_site().located_at(span)
}
