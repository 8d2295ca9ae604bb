//! `#[derive(AgentError)]` and `#[derive(RemoteError)]`.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::{Attribute, Data, DeriveInput, Field, Fields, LitStr, Token};

use crate::model::Errors;
use crate::types::plain;

/// One variant of an enum, or a whole struct.
struct Variant<'a> {
    /// `Self::Overdrawn` or `Self`.
    path: TokenStream,
    fields: &'a Fields,
    code: String,
    message: Message,
    /// The field marked `#[from]`.
    from: Option<&'a Field>,
}

enum Message {
    /// `#[error("…")]`
    Text(LitStr),
    /// `#[error(transparent)]`: all of the field's own failure.
    Transparent,
}

/// Expands `#[derive(RemoteError)]`.
pub(crate) fn expand_remote(item: TokenStream) -> syn::Result<TokenStream> {
    let item = parse(item)?;
    let name = &item.ident;
    let variants = variants(&item)?;
    // Those that have codes of their own before those that pass on another's.
    let (others, own): (Vec<_>, Vec<_>) = variants
        .iter()
        .partition(|variant| matches!(variant.message, Message::Transparent));
    let readings = own.into_iter().chain(others).map(Variant::reading);
    Ok(quote! {
        #[automatically_derived]
        impl ::phoenix_sdk::RemoteError for #name {
            fn from_failure(
                failure: &::phoenix_sdk::Failure,
            ) -> ::std::option::Option<Self> {
                #(#readings)*
                ::std::option::Option::None
            }
        }
    })
}

fn parse(item: TokenStream) -> syn::Result<DeriveInput> {
    let item: DeriveInput = syn::parse2(item)?;
    if item.generics.params.is_empty() {
        return Ok(item);
    }
    Err(syn::Error::new_spanned(
        &item.generics,
        "an agent's error cannot be generic: its caller reads it by one type",
    ))
}

/// Expands `#[derive(AgentError)]`.
pub(crate) fn expand(item: TokenStream) -> syn::Result<TokenStream> {
    let item = parse(item)?;
    let variants = variants(&item)?;
    let name = &item.ident;
    let displays = variants.iter().map(Variant::display);
    let failures = variants.iter().map(Variant::failure);
    let froms = variants.iter().filter_map(|variant| variant.from(name));
    Ok(quote! {
        #[automatically_derived]
        #[allow(unused_variables, reason = "a message need not mention every field")]
        impl ::std::fmt::Display for #name {
            fn fmt(&self, formatter: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                match self { #(#displays)* }
            }
        }

        #[automatically_derived]
        impl ::std::error::Error for #name {}

        #[automatically_derived]
        impl ::phoenix_sdk::AgentError for #name {
            fn into_failure(self) -> ::phoenix_sdk::Failure {
                let message = ::std::string::ToString::to_string(&self);
                match self { #(#failures)* }
            }
        }

        #[automatically_derived]
        impl ::std::convert::From<#name> for ::phoenix_sdk::Failure {
            fn from(error: #name) -> Self {
                ::phoenix_sdk::AgentError::into_failure(error)
            }
        }

        #(#froms)*
    })
}

fn variants(item: &DeriveInput) -> syn::Result<Vec<Variant<'_>>> {
    let mut errors = Errors::default();
    let found = match &item.data {
        Data::Enum(data) => data
            .variants
            .iter()
            .filter_map(|variant| {
                let ident = &variant.ident;
                let read =
                    Variant::read(quote!(Self::#ident), ident, &variant.attrs, &variant.fields);
                errors.collect(read)
            })
            .collect(),
        Data::Struct(data) => {
            let read = Variant::read(quote!(Self), &item.ident, &item.attrs, &data.fields);
            errors.collect(read).into_iter().collect()
        }
        Data::Union(data) => {
            errors.push(syn::Error::new_spanned(
                data.union_token,
                "an agent's error is an enum or a struct",
            ));
            Vec::new()
        }
    };
    errors.finish(found)
}

impl<'a> Variant<'a> {
    fn read(
        path: TokenStream,
        ident: &Ident,
        attributes: &[Attribute],
        fields: &'a Fields,
    ) -> syn::Result<Self> {
        let mut message = None;
        let mut code = None;
        for attribute in attributes {
            if attribute.path().is_ident("error") {
                message = Some(Message::read(attribute, fields)?);
            } else if attribute.path().is_ident("code") {
                code = Some(attribute.parse_args::<LitStr>()?.value());
            }
        }
        let Some(message) = message else {
            return Err(syn::Error::new(
                ident.span(),
                format!("what should the caller read? Write `#[error(\"…\")]` above `{ident}`"),
            ));
        };
        let is_from = |field: &&Field| field.attrs.iter().any(|it| it.path().is_ident("from"));
        let from = fields.iter().find(is_from);
        if let Some(field) = from
            && fields.len() != 1
        {
            return Err(syn::Error::new_spanned(
                field,
                "`#[from]` is for a variant with that one field",
            ));
        }
        Ok(Self {
            path,
            fields,
            code: code.unwrap_or_else(|| kebab(&plain(ident))),
            message,
            from,
        })
    }

    /// The variables its fields are bound to.
    fn bindings(&self) -> Vec<Ident> {
        let bind = |(at, field): (usize, &Field)| match &field.ident {
            Some(ident) => ident.clone(),
            None => format_ident!("_{at}", span = Span::call_site()),
        };
        self.fields.iter().enumerate().map(bind).collect()
    }

    fn pattern(&self) -> TokenStream {
        let (path, bindings) = (&self.path, self.bindings());
        match self.fields {
            Fields::Unit => path.clone(),
            Fields::Named(_) => quote!(#path { #(#bindings),* }),
            Fields::Unnamed(_) => quote!(#path(#(#bindings),*)),
        }
    }

    fn display(&self) -> TokenStream {
        let pattern = self.pattern();
        match &self.message {
            Message::Text(text) => quote!(#pattern => ::std::write!(formatter, #text),),
            Message::Transparent => quote!(#pattern => ::std::fmt::Display::fmt(_0, formatter),),
        }
    }

    fn failure(&self) -> TokenStream {
        let (pattern, code, bindings) = (self.pattern(), &self.code, self.bindings());
        if let Message::Transparent = self.message {
            return quote!(#pattern => ::phoenix_sdk::AgentError::into_failure(_0),);
        }
        let plain = quote!(::phoenix_sdk::Failure::new(#code, message));
        if self.from.is_some() || bindings.is_empty() {
            let path = &self.path;
            return quote!(#path { .. } => #plain,);
        }
        let details = match (self.fields, bindings.as_slice()) {
            (Fields::Unnamed(_), [one]) => quote!(with_details(&#one)),
            (Fields::Unnamed(_), several) => quote!(with_details(&(#(&#several),*))),
            _ => return self.named_details(&plain),
        };
        quote!(#pattern => #plain.#details,)
    }

    /// Gives the variant back from the function if the failure is it.
    fn reading(&self) -> TokenStream {
        let (path, code) = (&self.path, &self.code);
        let types: Vec<_> = self.fields.iter().map(|field| &field.ty).collect();
        if let (Message::Transparent, [ty]) = (&self.message, types.as_slice()) {
            return quote! {
                if let ::std::option::Option::Some(inner) =
                    <#ty as ::phoenix_sdk::RemoteError>::from_failure(failure)
                {
                    return ::std::option::Option::Some(#path(inner));
                }
            };
        }
        if self.from.is_some() {
            // What it carries is not sent.
            return TokenStream::new();
        }
        let (pattern, bindings) = (self.pattern(), self.bindings());
        let (carried, taken, declared) = match (self.fields, bindings.as_slice()) {
            (_, []) => {
                return quote! {
                    if failure.code() == #code {
                        return ::std::option::Option::Some(#path {});
                    }
                };
            }
            (Fields::Unnamed(_), [one]) => (quote!(#(#types)*), quote!(#one), TokenStream::new()),
            (Fields::Unnamed(_), several) => (
                quote!((#(#types),*)),
                quote!((#(#several),*)),
                TokenStream::new(),
            ),
            (_, several) => (
                quote!(Details),
                quote!(Details { #(#several),* }),
                quote! {
                    #[derive(::phoenix_sdk::__private::serde::Deserialize)]
                    #[serde(crate = "::phoenix_sdk::__private::serde")]
                    struct Details { #(#several: #types),* }
                },
            ),
        };
        quote! {
            if failure.code() == #code {
                #declared
                if let ::std::result::Result::Ok(#taken) = failure.details_as::<#carried>() {
                    return ::std::option::Option::Some(#pattern);
                }
            }
        }
    }

    /// Named fields are a map, so that a program reads them by their names.
    fn named_details(&self, plain: &TokenStream) -> TokenStream {
        let (pattern, bindings) = (self.pattern(), self.bindings());
        let types = self.fields.iter().map(|field| &field.ty);
        quote! {
            #pattern => {
                #[derive(::phoenix_sdk::__private::serde::Serialize)]
                #[serde(crate = "::phoenix_sdk::__private::serde")]
                struct Details { #(#bindings: #types),* }
                #plain.with_details(&Details { #(#bindings),* })
            }
        }
    }

    fn from(&self, name: &Ident) -> Option<TokenStream> {
        let (field, path) = (self.from?, &self.path);
        let ty = &field.ty;
        let made = match &field.ident {
            Some(ident) => quote!(#path { #ident: source }),
            None => quote!(#path(source)),
        };
        Some(quote! {
            #[automatically_derived]
            impl ::std::convert::From<#ty> for #name {
                fn from(source: #ty) -> Self { #made }
            }
        })
    }
}

impl Message {
    fn read(attribute: &Attribute, fields: &Fields) -> syn::Result<Self> {
        let arguments = attribute.meta.require_list()?.tokens.clone();
        if arguments.to_string() == "transparent" {
            return match fields {
                Fields::Unnamed(fields) if fields.unnamed.len() == 1 => Ok(Self::Transparent),
                _ => Err(syn::Error::new_spanned(
                    attribute,
                    "`transparent` passes on the one unnamed field: write `Variant(Inner)`",
                )),
            };
        }
        let read = |input: syn::parse::ParseStream<'_>| {
            let text: LitStr = input.parse()?;
            if input.peek(Token![,]) {
                return Err(input.error(
                    "write the fields into the text, as in \"there is no account {name}\"",
                ));
            }
            Ok(text)
        };
        let text = syn::parse::Parser::parse2(read, arguments.into_token_stream())?;
        let named = LitStr::new(&name_positions(&text.value()), text.span());
        Ok(Self::Text(named))
    }
}

/// `{0}` written as `{_0}`, the variable that field is bound to.
fn name_positions(text: &str) -> String {
    let mut named = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        named.push(character);
        if character != '{' {
            continue;
        }
        match rest.peek() {
            Some('{') => named.extend(rest.next()),
            Some(digit) if digit.is_ascii_digit() => named.push('_'),
            _ => {}
        }
    }
    named
}

/// `NotFound`, and `NotFoundError`, as `not-found`.
fn kebab(name: &str) -> String {
    let name = match name.strip_suffix("Error") {
        Some(stem) if !stem.is_empty() => stem,
        _ => name,
    };
    let mut kebab = String::with_capacity(name.len() + 4);
    for character in name.chars() {
        if character.is_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.extend(character.to_lowercase());
    }
    kebab
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_kebab_case() {
        assert_eq!(kebab("NotFound"), "not-found");
        assert_eq!(kebab("BankError"), "bank");
        assert_eq!(kebab("Error"), "error");
    }

    #[test]
    fn positions_become_names() {
        assert_eq!(name_positions("{0} of {1:?}"), "{_0} of {_1:?}");
        assert_eq!(name_positions("{{0}} {name}"), "{{0}} {name}");
    }
}
