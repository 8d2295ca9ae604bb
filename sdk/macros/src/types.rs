//! Questions about types that can be answered by how they are written.

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{GenericArgument, Lifetime, PathArguments, PathSegment, ReturnType, Type, parse_quote};

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

/// Whether it is `&mut Context` or `&Context`.
pub(crate) fn is_context_reference(ty: &Type) -> bool {
    match strip(ty) {
        Type::Reference(reference) => is_named(&reference.elem, "Context"),
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

/// The error that the caller of a function may get: that of its `Result`, and any
/// failure where none is named.
pub(crate) fn failure(output: &ReturnType) -> TokenStream {
    let named = match output {
        ReturnType::Type(_, ty) => last_segment(ty)
            .filter(|segment| segment.ident == "Result")
            .and_then(|segment| arguments(segment).nth(1)),
        ReturnType::Default => None,
    };
    named.map_or_else(|| quote!(::phoenix_sdk::Failure), |ty| ty.to_token_stream())
}

fn first_argument(segment: &PathSegment) -> Option<&Type> {
    arguments(segment).next()
}

/// The types among a path's generic arguments.
fn arguments(segment: &PathSegment) -> impl Iterator<Item = &Type> {
    let arguments = match &segment.arguments {
        PathArguments::AngleBracketed(arguments) => Some(arguments.args.iter()),
        _ => None,
    };
    let arguments = arguments.into_iter().flatten();
    arguments.filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

/// The owned form of an answer's type, which is what the asker reads: `String`
/// for `&str`, `Option<Item>` for `Option<&Item>`.
fn owned(ty: &Type) -> syn::Result<TokenStream> {
    let mut ty = ty.clone();
    own(&mut ty)?;
    Ok(ty.into_token_stream())
}

fn own(ty: &mut Type) -> syn::Result<()> {
    match ty {
        Type::Reference(reference) => {
            let mut target = (*reference.elem).clone();
            own(&mut target)?;
            *ty = parse_quote!(<#target as ::std::borrow::ToOwned>::Owned);
            Ok(())
        }
        Type::Path(path) => (path.path.segments.iter_mut())
            .try_for_each(|segment| own_arguments(&mut segment.arguments)),
        Type::Tuple(tuple) => tuple.elems.iter_mut().try_for_each(own),
        Type::Array(array) => own(&mut array.elem),
        Type::Slice(slice) => own(&mut slice.elem),
        Type::Paren(inner) => own(&mut inner.elem),
        Type::Group(inner) => own(&mut inner.elem),
        Type::ImplTrait(_) => Err(syn::Error::new_spanned(
            ty,
            "an answer's type must have a name: callers read it by that type",
        )),
        _ => Ok(()),
    }
}

fn own_arguments(arguments: &mut PathArguments) -> syn::Result<()> {
    let PathArguments::AngleBracketed(arguments) = arguments else {
        return Ok(());
    };
    arguments
        .args
        .iter_mut()
        .try_for_each(|argument| match argument {
            GenericArgument::Type(ty) => own(ty),
            GenericArgument::Lifetime(lifetime) => {
                *lifetime = Lifetime::new("'static", lifetime.span());
                Ok(())
            }
            _ => Ok(()),
        })
}

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

/// Where code stands that was written elsewhere: its first token and its last. Their
/// spans cannot be joined on stable Rust; the compiler joins them itself where an
/// expression begins at the one and ends at the other.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    first: Span,
    last: Span,
}

impl Place {
    pub(crate) fn of(code: &impl ToTokens) -> Self {
        let mut tokens = code.to_token_stream().into_iter();
        let first = tokens.next().map_or_else(Span::call_site, |it| it.span());
        let last = tokens.last().map_or(first, |it| it.span());
        Self { first, last }
    }

    /// Names resolve as the macro's own; errors point here.
    pub(crate) fn start(self) -> Span {
        Span::call_site().located_at(self.first)
    }

    /// As [`start`](Self::start), for names that are nobody else's.
    pub(crate) fn start_mixed(self) -> Span {
        Span::mixed_site().located_at(self.first)
    }

    /// Where what begins at [`start_mixed`](Self::start_mixed) ends.
    pub(crate) fn end_mixed(self) -> Span {
        Span::mixed_site().located_at(self.last)
    }
}
