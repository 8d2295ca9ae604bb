//! Functions that make typed requests.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::{FnArg, Ident, ItemTrait, Lifetime, Pat, TraitItem, Type};

use crate::model::{Agent, By, Errors};
use crate::types::{
    failure, is_context_reference, output, plain, refuse_borrows, strip, without_self,
};

/// One function that makes a request.
struct Constructor {
    attributes: Vec<syn::Attribute>,
    ident: Ident,
    arguments: Vec<(Ident, TokenStream)>,
    /// Whether an argument borrows for `'a`.
    borrows: bool,
    answer: TokenStream,
    failure: TokenStream,
}

/// The request functions beside an agent.
pub(crate) fn of_agent(agent: &Agent) -> syn::Result<TokenStream> {
    let name = format_ident!("{}Requests", agent.name);
    let ty = agent.ty.to_token_stream();
    let doc = format!(
        "Requests to [`{}`] agents, one function a handler.",
        agent.name
    );
    let mut functions = Vec::new();
    for handler in &agent.handlers {
        let mut attributes = handler.cfgs.clone();
        attributes.extend(handler.docs.iter().cloned());
        let arguments = handler.arguments().map(|argument| {
            let bare = &argument.ty;
            let passed = match argument.by {
                By::Value => bare.to_token_stream(),
                By::Text | By::Reference => quote!(&'a #bare),
            };
            (argument.name.clone(), without_self(passed, &ty))
        });
        let constructor = Constructor {
            attributes,
            ident: handler.ident.clone(),
            arguments: arguments.collect(),
            borrows: handler.arguments().any(|it| it.by != By::Value),
            answer: without_self(output(&handler.output)?, &ty),
            failure: without_self(failure(&handler.output), &ty),
        };
        functions.push(constructor.write());
    }
    Ok(quote! {
        #[doc = #doc]
        #[derive(Debug)]
        #[allow(dead_code, unreachable_pub, reason = "for whoever calls this agent")]
        pub struct #name;

        #[allow(
            dead_code,
            missing_docs,
            private_interfaces,
            unreachable_pub,
            reason = "for whoever calls this agent, and only as visible as its types"
        )]
        impl #name {
            #(#functions)*
        }
    })
}

impl Constructor {
    fn write(&self) -> TokenStream {
        let Self {
            attributes,
            ident,
            answer,
            failure,
            ..
        } = self;
        let method = plain(ident);
        let names: Vec<&Ident> = self.arguments.iter().map(|(name, _)| name).collect();
        let types: Vec<&TokenStream> = self.arguments.iter().map(|(_, ty)| ty).collect();
        let (carried, value) = match (names.as_slice(), types.as_slice()) {
            ([name], [ty]) => (quote!(#ty), quote!(#name)),
            _ => (quote!((#(#types),*)), quote!((#(#names),*))),
        };
        let generics = self.borrows.then(|| quote!(<'a>));
        let doc = attributes
            .iter()
            .all(|attribute| !attribute.path().is_ident("doc"))
            .then(|| {
                let doc = format!("A request for `{method}`.");
                quote!(#[doc = #doc])
            });
        quote! {
            #doc
            #(#attributes)*
            pub fn #ident #generics(#(#names: #types),*) -> ::phoenix_sdk::Request<#carried, #answer, #failure> {
                ::phoenix_sdk::Request::new(#method, #value).returns().fails_with()
            }
        }
    }
}

/// Expands `#[requests]`.
pub(crate) fn expand(attributes: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    if !attributes.is_empty() {
        return Err(syn::Error::new_spanned(
            attributes,
            "`#[requests]` takes no options",
        ));
    }
    let item: ItemTrait = syn::parse2(item).map_err(|error| {
        syn::Error::new(
            error.span(),
            format!("`#[requests]` goes above a trait that lists an agent's handlers: {error}"),
        )
    })?;
    let mut errors = Errors::default();
    if !item.generics.params.is_empty() {
        errors.push(syn::Error::new_spanned(
            &item.generics,
            "requests cannot be generic: a message does not say which types it carries",
        ));
    }
    let mut functions = Vec::new();
    for item in &item.items {
        if let Some(constructor) = errors.collect(constructor(item)) {
            functions.push(constructor.write());
        }
    }
    let (attributes, visibility, name) = (&item.attrs, &item.vis, &item.ident);
    errors.finish(quote! {
        #(#attributes)*
        #[derive(Debug)]
        #visibility struct #name;

        #[allow(dead_code, missing_docs, reason = "an agent need not call all of another's handlers")]
        impl #name {
            #(#functions)*
        }
    })
}

fn constructor(item: &TraitItem) -> syn::Result<Constructor> {
    let TraitItem::Fn(function) = item else {
        return Err(syn::Error::new_spanned(
            item,
            "a trait of requests has functions only",
        ));
    };
    let signature = &function.sig;
    if let Some(body) = &function.default {
        return Err(syn::Error::new_spanned(
            body,
            "a request has no body: the other agent has it",
        ));
    }
    if !signature.generics.params.is_empty() {
        return Err(syn::Error::new_spanned(
            &signature.generics,
            "requests cannot be generic: a message does not say which types it carries",
        ));
    }
    let mut arguments = Vec::new();
    let mut borrows = false;
    for input in &signature.inputs {
        // Accepted so that the handlers' own signatures can be pasted.
        let FnArg::Typed(input) = input else { continue };
        if is_context_reference(&input.ty) {
            continue;
        }
        let Pat::Ident(name) = &*input.pat else {
            return Err(syn::Error::new_spanned(
                &input.pat,
                "give the argument a name",
            ));
        };
        let ty = lent(&input.ty, &mut borrows)?;
        arguments.push((name.ident.clone(), ty));
    }
    Ok(Constructor {
        attributes: function.attrs.clone(),
        ident: signature.ident.clone(),
        arguments,
        borrows,
        answer: output(&signature.output)?,
        failure: failure(&signature.output),
    })
}

/// An argument's type with its reference, if it is one, living for `'a`.
fn lent(ty: &Type, borrows: &mut bool) -> syn::Result<TokenStream> {
    const OWNED: &str = "an argument cannot borrow inside another type";
    match strip(ty) {
        Type::Reference(reference) => {
            *borrows = true;
            refuse_borrows(&reference.elem, OWNED)?;
            let mut reference = reference.clone();
            reference.lifetime = Some(Lifetime::new("'a", proc_macro2::Span::call_site()));
            Ok(reference.to_token_stream())
        }
        ty => {
            refuse_borrows(ty, OWNED)?;
            Ok(ty.to_token_stream())
        }
    }
}
