//! What `#[agent]` writes.

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{ItemImpl, LitByteStr};

use crate::model::{Access, Agent, Argument, By, Handler, Init, Parameter, argument_name};
use crate::requests;
use crate::types::{Place, plain, without_self};

/// Expands the attribute. The author's functions stay in place even where there
/// are errors, so that one mistake does not bring a dozen others.
pub(crate) fn agent(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let exports = match exports(attributes) {
        Ok(exports) => exports,
        Err(error) => {
            let error = error.into_compile_error();
            return quote!(#error #item);
        }
    };
    let mut block: ItemImpl = match syn::parse2(item.clone()) {
        Ok(block) => block,
        Err(_) => {
            let error = syn::Error::new_spanned(
                &item,
                "`#[agent]` goes above the `impl` block whose methods are the handlers",
            )
            .into_compile_error();
            return quote!(#error #item);
        }
    };
    let read = Agent::read(&mut block);
    match read.and_then(|agent| generate(&agent, exports)) {
        Ok(generated) => quote!(#block #generated),
        Err(error) => {
            let error = error.into_compile_error();
            quote!(#block #error)
        }
    }
}

/// Whether the component's entry is exported: `#[agent(export = false)]` says no.
fn exports(attributes: TokenStream) -> syn::Result<bool> {
    let mut exports = true;
    let parser = syn::meta::parser(|meta| {
        if !meta.path.is_ident("export") {
            return Err(meta.error("`#[agent]` knows `export = false` and nothing else"));
        }
        exports = meta.value()?.parse::<syn::LitBool>()?.value;
        Ok(())
    });
    syn::parse::Parser::parse2(parser, attributes)?;
    Ok(exports)
}

fn generate(agent: &Agent, exports: bool) -> syn::Result<TokenStream> {
    let ty = &agent.ty;
    let table = agent.handlers.iter().map(|handler| {
        let (cfgs, entry) = (&handler.cfgs, entry(handler));
        quote!(#(#cfgs)* #entry)
    });
    let init = init(agent);
    let arms = agent.handlers.iter().map(|handler| arm(agent, handler));
    let bounced = agent
        .bounced
        .as_ref()
        .map(|handler| bounced(agent, handler));
    let export = exports.then(|| export(agent));
    let requests = requests::of_agent(agent)?;
    Ok(quote! {
        #[automatically_derived]
        impl ::phoenix_sdk::__private::Agent for #ty {
            const HANDLERS: &'static [::phoenix_sdk::__private::Handler] = &[#(#table),*];

            #init

            #[inline]
            fn dispatch(
                call: &mut ::phoenix_sdk::__private::Call<'_, '_, Self>,
            ) -> ::phoenix_sdk::__private::Done {
                #[allow(unused_imports, reason = "which of the two is used depends on what handlers return")]
                use ::phoenix_sdk::__private::{EndsInResult as _, EndsInValue as _};
                match call.method().as_bytes() {
                    #(#arms)*
                    _ => call.unknown_method(<Self as ::phoenix_sdk::__private::Agent>::HANDLERS),
                }
            }

            #bounced
        }
        // A private agent has no other use in a native build.
        const _: () = ::phoenix_sdk::__private::used::<#ty>();
        #requests
        #export
    })
}

fn entry(handler: &Handler) -> TokenStream {
    let name = plain(&handler.ident);
    let (signature, interleave) = (&handler.signature, handler.interleave);
    quote! {
        ::phoenix_sdk::__private::Handler {
            name: #name,
            signature: #signature,
            interleave: #interleave,
        }
    }
}

fn init(agent: &Agent) -> TokenStream {
    let ty = &agent.ty;
    let body = match &agent.init {
        None => {
            // At the type's span, where a missing `Default` is to be mended.
            let default =
                quote_spanned!(Place::of(ty).start()=> <#ty as ::std::default::Default>::default());
            quote! {
                start.no_config("default()")?;
                ::std::result::Result::Ok(#default)
            }
        }
        Some(init) => init_by_author(agent, init),
    };
    quote! {
        #[allow(unused_mut, reason = "only an `#[init]` with a context changes it")]
        fn init(
            mut start: ::phoenix_sdk::__private::Start<'_, '_>,
        ) -> ::std::result::Result<Self, ::phoenix_sdk::Failure> {
            #body
        }
    }
}

fn init_by_author(agent: &Agent, init: &Init) -> TokenStream {
    let (ty, ident, signature) = (&agent.ty, &init.ident, &init.signature);
    let config = format_ident!("config", span = Span::mixed_site());
    let mut read = quote!(start.no_config(#signature)?;);
    let mut passed = Vec::new();
    for parameter in &init.parameters {
        match parameter {
            Parameter::Context => passed.push(quote!(start.context())),
            Parameter::Argument(argument) => {
                let owned = owned_type(argument);
                read = quote_spanned!(Place::of(&argument.ty).start()=>
                    let #config = start.config::<#owned>(#signature)?;
                );
                passed.push(lend(argument, &config));
            }
        }
    }
    let made = format_ident!("made", span = Span::mixed_site());
    quote! {
        #[allow(unused_imports, reason = "which of the two is used depends on what `#[init]` returns")]
        use ::phoenix_sdk::__private::{EndsInResult as _, EndsInValue as _};
        #read
        let #made = <#ty>::#ident(#(#passed),*);
        (&#made).ending().start(#made)
    }
}

/// The arm that runs one handler.
fn arm(agent: &Agent, handler: &Handler) -> TokenStream {
    let (cfgs, entry) = (&handler.cfgs, entry(handler));
    // A pattern of bytes is compared in place, a text by a call.
    let name = LitByteStr::new(plain(&handler.ident).as_bytes(), Span::call_site());
    let body = if handler.waits {
        waiting(agent, handler)
    } else {
        immediate(agent, handler)
    };
    quote! {
        #(#cfgs)*
        #name => {
            const HANDLER: &::phoenix_sdk::__private::Handler = &#entry;
            #body
        }
    }
}

/// What takes messages that came back.
fn bounced(agent: &Agent, handler: &Handler) -> TokenStream {
    let (cfgs, entry) = (&handler.cfgs, entry(handler));
    // No message carries the argument: it is at hand.
    let read = handler.arguments().map(|argument| {
        let local = local(argument);
        quote!(let #local = bounced;)
    });
    let body = run(agent, handler, &quote!(#(#read)*));
    quote! {
        #(#cfgs)*
        fn bounced(
            call: &mut ::phoenix_sdk::__private::Call<'_, '_, Self>,
            bounced: ::phoenix_sdk::Bounced,
        ) -> ::phoenix_sdk::__private::Done {
            #[allow(unused_imports, reason = "which of the two is used depends on what it returns")]
            use ::phoenix_sdk::__private::{EndsInResult as _, EndsInValue as _};
            const HANDLER: &::phoenix_sdk::__private::Handler = &#entry;
            #body
        }
    }
}

fn immediate(agent: &Agent, handler: &Handler) -> TokenStream {
    run(agent, handler, &arguments(agent, handler, Lifetime::Frame))
}

/// Runs a handler that does not wait, its arguments read by `read`.
fn run(agent: &Agent, handler: &Handler, read: &TokenStream) -> TokenStream {
    let this = format_ident!("this", span = Span::mixed_site());
    let (made, value) = value_of(handler);
    let (take, lent) = match handler.access {
        Access::Write => (
            quote!(let Some(mut #this) = call.write(HANDLER)),
            quote!(&mut #this),
        ),
        Access::Read | Access::State => {
            (quote!(let Some(#this) = call.read(HANDLER)), quote!(&#this))
        }
    };
    let call = invoke(agent, handler, &lent, &quote!(call.context()));
    let end = quote_spanned!(result_place(handler).start()=> (&#value).ending().call(call, HANDLER, #value));
    quote! {
        #take else {
            return ::phoenix_sdk::__private::Done::Deferred;
        };
        #read
        let #made = (#call,);
        #end
    }
}

fn waiting(agent: &Agent, handler: &Handler) -> TokenStream {
    let ty = &agent.ty;
    let this = format_ident!("this", span = Span::mixed_site());
    let (made, value) = value_of(handler);
    let context = format_ident!("context", span = Span::mixed_site());
    let state = format_ident!("state", span = Span::mixed_site());
    let ending = format_ident!("ending", span = Span::mixed_site());
    let (hold, lent) = match handler.access {
        Access::Write => (
            quote!(let mut #this = #state.hold_mut();),
            quote!(&mut #this),
        ),
        Access::Read => (quote!(let #this = #state.hold();), quote!(&#this)),
        Access::State => (TokenStream::new(), quote!(#state)),
    };
    let read = arguments(agent, handler, Lifetime::Owned);
    let call = invoke(agent, handler, &lent, &quote!(&mut #context));
    let end =
        quote_spanned!(result_place(handler).start()=> (&#value).ending().finish(#ending, #value));
    quote! {
        if !call.may_begin(HANDLER) {
            return ::phoenix_sdk::__private::Done::Deferred;
        }
        #read
        call.begin(
            HANDLER,
            #[allow(unused_mut, unused_variables, reason = "not every handler wants a context")]
            move |
                #state: ::phoenix_sdk::State<#ty>,
                mut #context: ::phoenix_sdk::Context,
                #ending: ::phoenix_sdk::__private::Ending,
            | ::std::boxed::Box::pin(async move {
                #hold
                let #made = (#call.await,);
                #end
            }),
        )
    }
}

/// Where an error about the answer's type belongs.
fn result_place(handler: &Handler) -> Place {
    match &handler.output {
        syn::ReturnType::Default => Place::of(&handler.ident),
        syn::ReturnType::Type(_, ty) => Place::of(ty),
    }
}

/// What a handler returned: a variable, a tuple of one, and its field. The field
/// begins and ends where the type does, so that an error about the one points at
/// the whole of the other.
fn value_of(handler: &Handler) -> (Ident, TokenStream) {
    let place = result_place(handler);
    let made = Ident::new("made", place.start_mixed());
    let mut field = Literal::u8_unsuffixed(0);
    field.set_span(place.end_mixed());
    let value = quote_spanned!(place.start_mixed()=> #made.#field);
    (made, value)
}

fn invoke(
    agent: &Agent,
    handler: &Handler,
    this: &TokenStream,
    context: &TokenStream,
) -> TokenStream {
    let (ty, ident) = (&agent.ty, &handler.ident);
    let passed = handler.parameters.iter().map(|parameter| match parameter {
        Parameter::Context => context.clone(),
        Parameter::Argument(argument) => lend(argument, &local(argument)),
    });
    quote!(<#ty>::#ident(#this, #(#passed),*))
}

/// The variable an argument is read into. Its hygiene keeps it from the author's names.
fn local(argument: &Argument) -> Ident {
    Ident::new(
        &format!("argument_{}", plain(&argument.name)),
        Span::mixed_site(),
    )
}

fn lend(argument: &Argument, local: &Ident) -> TokenStream {
    match argument.by {
        By::Value => local.to_token_stream(),
        By::Text | By::Reference => quote!(&#local),
    }
}

fn owned_type(argument: &Argument) -> TokenStream {
    match argument.by {
        By::Text => quote_spanned!(Place::of(&argument.ty).start()=> ::std::string::String),
        By::Value | By::Reference => argument.ty.to_token_stream(),
    }
}

/// How long arguments live.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lifetime {
    /// As long as the frame: texts borrow from it.
    Frame,
    /// As long as the handler, which may outlive the frame.
    Owned,
}

/// Reads the arguments into variables, or leaves the dispatch with what was wrong.
fn arguments(agent: &Agent, handler: &Handler, lifetime: Lifetime) -> TokenStream {
    let arguments: Vec<&Argument> = handler.arguments().collect();
    let read = match arguments.as_slice() {
        [] => quote!(call.no_argument(HANDLER)),
        [argument] => one(argument, lifetime),
        several => return record(agent, several, lifetime),
    };
    let locals = arguments.iter().map(|argument| local(argument));
    let pattern = match arguments.as_slice() {
        [] => quote!(()),
        _ => quote!(#(#locals)*),
    };
    quote! {
        let #pattern = match #read {
            ::std::result::Result::Ok(value) => value,
            ::std::result::Result::Err(done) => return done,
        };
    }
}

fn one(argument: &Argument, lifetime: Lifetime) -> TokenStream {
    let name = argument_name(&argument.name);
    let span = Place::of(&argument.ty).start();
    if argument.by == By::Text && lifetime == Lifetime::Frame {
        return quote_spanned!(span=> call.text(HANDLER, #name));
    }
    let ty = owned_type(argument);
    quote_spanned!(span=> call.argument::<#ty>(HANDLER, #name))
}

/// Several arguments are a struct of their own, which serde reads from a list and
/// from a map alike.
fn record(agent: &Agent, several: &[&Argument], lifetime: Lifetime) -> TokenStream {
    let agent_ty = agent.ty.to_token_stream();
    let borrows = lifetime == Lifetime::Frame && several.iter().any(|it| it.by == By::Text);
    let fields = several.iter().map(|argument| {
        let (field, name) = (local(argument), argument_name(&argument.name));
        if argument.by == By::Text && lifetime == Lifetime::Frame {
            return quote! {
                #[serde(rename = #name, borrow)]
                #field: ::phoenix_sdk::__private::Text<'frame>
            };
        }
        let ty = without_self(owned_type(argument), &agent_ty);
        quote! {
            #[serde(rename = #name)]
            #field: #ty
        }
    });
    let locals: Vec<Ident> = several.iter().map(|argument| local(argument)).collect();
    let unwrapped = several
        .iter()
        .filter(|it| it.by == By::Text && lifetime == Lifetime::Frame)
        .map(|argument| {
            let local = local(argument);
            quote!(let #local = #local.0;)
        });
    let generics = borrows.then(|| quote!(<'frame>));
    quote! {
        #[derive(::phoenix_sdk::__private::serde::Deserialize)]
        #[serde(crate = "::phoenix_sdk::__private::serde")]
        struct Arguments #generics { #(#fields),* }
        let Arguments { #(#locals),* } = match call.arguments::<Arguments>(HANDLER) {
            ::std::result::Result::Ok(value) => value,
            ::std::result::Result::Err(done) => return done,
        };
        #(#unwrapped)*
    }
}

/// The contract's export, in components only.
fn export(agent: &Agent) -> TokenStream {
    let ty = &agent.ty;
    quote! {
        #[cfg(target_family = "wasm")]
        const _: () = {
            ::std::thread_local! {
                static SLOT: ::phoenix_sdk::__private::Slot<#ty> =
                    const { ::phoenix_sdk::__private::Slot::new() };
            }
            struct Component;
            impl ::phoenix_sdk::__private::bindings::Guest for Component {
                fn turns(frame: ::std::vec::Vec<u8>) -> ::std::vec::Vec<u8> {
                    ::phoenix_sdk::__private::Slot::turns(&SLOT, frame)
                }
            }
            ::phoenix_sdk::__private::export!(Component);
        };
    }
}
