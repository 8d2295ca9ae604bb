//! What `#[agent]` understands of an `impl` block, and what it refuses.

use proc_macro2::Ident;
use quote::ToTokens;
use syn::{
    Attribute, FnArg, ImplItem, ImplItemFn, ItemImpl, Pat, PatType, Path, PathArguments, Receiver,
    ReceiverKind, ReturnType, Signature, Type,
};

use crate::types::{is_context_reference, is_named, last_segment, plain, refuse_borrows, strip};

/// An `impl` block as an agent.
pub(crate) struct Agent {
    /// The last segment of its type.
    pub(crate) name: Ident,
    pub(crate) ty: Type,
    pub(crate) init: Option<Init>,
    /// The one marked `#[bounced]`.
    pub(crate) bounced: Option<Handler>,
    pub(crate) handlers: Vec<Handler>,
}

/// The function marked `#[init]`.
pub(crate) struct Init {
    pub(crate) ident: Ident,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) signature: String,
}

/// A method that messages can name.
pub(crate) struct Handler {
    pub(crate) ident: Ident,
    /// `#[cfg]` and `#[doc]`, for what is generated from it.
    pub(crate) cfgs: Vec<Attribute>,
    pub(crate) docs: Vec<Attribute>,
    pub(crate) access: Access,
    pub(crate) waits: bool,
    pub(crate) interleave: bool,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) output: ReturnType,
    /// `add(by: u64) -> u64`, for error messages.
    pub(crate) signature: String,
}

/// How a handler takes the agent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// `&self`
    Read,
    /// `&mut self`
    Write,
    /// `this: State<Self>`
    State,
}

/// What comes after `self`.
pub(crate) enum Parameter {
    /// `ctx: &mut Context`
    Context,
    Argument(Box<Argument>),
}

pub(crate) struct Argument {
    pub(crate) name: Ident,
    pub(crate) ty: Type,
    pub(crate) by: By,
}

/// How an argument is passed on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// As it is.
    Value,
    /// `&str`
    Text,
    /// `&T`: the value is read and lent. `ty` is then `T`.
    Reference,
}

impl Agent {
    /// Reads the block and takes the SDK's own attributes out of it.
    pub(crate) fn read(block: &mut ItemImpl) -> syn::Result<Self> {
        let name = agent_name(block)?;
        let mut agent = Self {
            name,
            ty: (*block.self_ty).clone(),
            init: None,
            bounced: None,
            handlers: Vec::new(),
        };
        let mut errors = Errors::default();
        for item in &mut block.items {
            if let ImplItem::Fn(function) = item {
                let marks = Marks::take(function);
                errors.collect(marks.and_then(|marks| agent.add(function, marks)));
            }
        }
        if errors.is_empty() && agent.handlers.is_empty() {
            errors.push(syn::Error::new_spanned(
                &block.self_ty,
                "this agent has no handlers: write methods with `&self` or `&mut self` in this block",
            ));
        }
        errors.finish(agent)
    }

    fn add(&mut self, function: &ImplItemFn, marks: Marks) -> syn::Result<()> {
        let signature = &function.sig;
        if marks.skip {
            return Ok(());
        }
        if marks.init {
            if let Some(first) = &self.init {
                return Err(syn::Error::new(
                    signature.ident.span(),
                    format!("an agent has one `#[init]`, and that is `{}`", first.ident),
                ));
            }
            self.init = Some(Init::read(signature)?);
            return Ok(());
        }
        if let Some(path) = &marks.bounced {
            if let Some(first) = &self.bounced {
                return Err(syn::Error::new(
                    signature.ident.span(),
                    format!(
                        "an agent has one `#[bounced]`, and that is `{}`",
                        first.ident
                    ),
                ));
            }
            self.bounced = Some(Handler::read_bounced(function, &marks, path)?);
            return Ok(());
        }
        let is_handler = signature.receiver().is_some() || first_is_state(signature);
        if !is_handler {
            if let Some(path) = marks.interleave {
                return Err(syn::Error::new_spanned(
                    path,
                    "`#[interleave]` is for handlers, and this function has no `self`",
                ));
            }
            return Ok(());
        }
        self.handlers.push(Handler::read(function, &marks)?);
        Ok(())
    }
}

fn agent_name(block: &ItemImpl) -> syn::Result<Ident> {
    if let Some((path, _)) = &block.trait_ {
        return Err(syn::Error::new_spanned(
            path,
            "`#[agent]` goes above `impl Name { … }`: a trait's methods cannot be handlers",
        ));
    }
    if !block.generics.params.is_empty() {
        return Err(syn::Error::new_spanned(
            &block.generics,
            "an agent cannot be generic: one component has one agent of one type",
        ));
    }
    match last_segment(&block.self_ty) {
        Some(segment) if segment.arguments.is_none() => Ok(segment.ident.clone()),
        _ => Err(syn::Error::new_spanned(
            &block.self_ty,
            "an agent is a struct or an enum without generics, named plainly: `impl Counter { … }`",
        )),
    }
}

/// The SDK's attributes on one function.
#[derive(Default)]
struct Marks {
    skip: bool,
    init: bool,
    bounced: Option<Path>,
    interleave: Option<Path>,
}

impl Marks {
    fn take(function: &mut ImplItemFn) -> syn::Result<Self> {
        let mut marks = Self::default();
        let mut errors = Errors::default();
        function.attrs.retain(|attribute| {
            let path = attribute.path();
            let known = ["skip", "init", "bounced", "interleave"]
                .into_iter()
                .find(|name| path.is_ident(name));
            let Some(name) = known else { return true };
            if let Err(error) = attribute.meta.require_path_only() {
                errors.push(error);
            }
            match name {
                "skip" => marks.skip = true,
                "init" => marks.init = true,
                "bounced" => marks.bounced = Some(path.clone()),
                _ => marks.interleave = Some(path.clone()),
            }
            false
        });
        if (marks.skip || marks.init) && marks.interleave.is_some() || marks.skip && marks.init {
            errors.push(syn::Error::new(
                function.sig.ident.span(),
                "`#[skip]`, `#[init]` and `#[interleave]` exclude each other",
            ));
        }
        if let Some(path) = marks.bounced.as_ref().filter(|_| marks.skip || marks.init) {
            errors.push(syn::Error::new_spanned(
                path,
                "`#[bounced]` marks a handler, which `#[skip]` and `#[init]` say it is not",
            ));
        }
        errors.finish(marks)
    }
}

impl Init {
    fn read(signature: &Signature) -> syn::Result<Self> {
        refuse_qualifiers(signature)?;
        if let Some(receiver) = signature.receiver() {
            return Err(syn::Error::new_spanned(
                receiver,
                "`#[init]` makes the agent, so there is no `self` yet: write `fn init(config: Config) -> Self`",
            ));
        }
        if let Some(token) = &signature.asyncness {
            return Err(syn::Error::new_spanned(
                token,
                "`#[init]` cannot wait: set a timer in it, and ask from that timer's handler",
            ));
        }
        if matches!(signature.output, ReturnType::Default) {
            return Err(syn::Error::new_spanned(
                signature,
                "`#[init]` must return `Self` or `Result<Self, E>`",
            ));
        }
        let parameters = parameters(signature.inputs.iter())?;
        let mut configs = arguments(&parameters);
        configs.next();
        if let Some(second) = configs.next() {
            return Err(syn::Error::new(
                second.name.span(),
                "`#[init]` takes one configuration: put the values into a struct",
            ));
        }
        drop(configs);
        Ok(Self {
            ident: signature.ident.clone(),
            signature: shown(&signature.ident, &parameters, None),
            parameters,
        })
    }
}

impl Handler {
    fn read(function: &ImplItemFn, marks: &Marks) -> syn::Result<Self> {
        let signature = &function.sig;
        refuse_qualifiers(signature)?;
        let waits = signature.asyncness.is_some();
        let access = access(signature)?;
        if access == Access::State && !waits {
            return Err(syn::Error::new_spanned(
                signature.inputs.first(),
                "`State<Self>` is for `async` handlers; one that does not wait takes `&self` or `&mut self`",
            ));
        }
        if let Some(path) = &marks.interleave
            && waits
            && access != Access::State
        {
            return Err(syn::Error::new_spanned(path, INTERLEAVE_HOLDS));
        }
        let parameters = parameters(signature.inputs.iter().skip(1))?;
        let by_name = |name: &str| {
            let wanted = |attribute: &&Attribute| attribute.path().is_ident(name);
            function.attrs.iter().filter(wanted).cloned().collect()
        };
        Ok(Self {
            ident: signature.ident.clone(),
            cfgs: by_name("cfg"),
            docs: by_name("doc"),
            access,
            waits,
            interleave: marks.interleave.is_some(),
            signature: shown(&signature.ident, &parameters, Some(&signature.output)),
            parameters,
            output: signature.output.clone(),
        })
    }

    /// The one of messages that came back.
    fn read_bounced(function: &ImplItemFn, marks: &Marks, path: &Path) -> syn::Result<Self> {
        let signature = &function.sig;
        if let Some(token) = &signature.asyncness {
            return Err(syn::Error::new_spanned(
                token,
                "`#[bounced]` cannot wait: set a timer in it, and ask from that timer's handler",
            ));
        }
        if signature.receiver().is_none() {
            return Err(syn::Error::new_spanned(path, BOUNCED_FORM));
        }
        let handler = Self::read(function, marks)?;
        let is_bounced = |it: &Argument| it.by == By::Value && is_named(&it.ty, "Bounced");
        let mut arguments = handler.arguments();
        let fits = arguments.next().is_some_and(is_bounced) && arguments.next().is_none();
        drop(arguments);
        if fits {
            Ok(handler)
        } else {
            Err(syn::Error::new_spanned(&signature.inputs, BOUNCED_FORM))
        }
    }

    pub(crate) fn arguments(&self) -> impl Iterator<Item = &Argument> {
        arguments(&self.parameters)
    }
}

const BOUNCED_FORM: &str = "`#[bounced]` takes the message that came back: write `fn came_back(&mut self, bounced: Bounced)`, with a context if you like";

const INTERLEAVE_HOLDS: &str = "an `async` handler with `self` holds the agent until it is done, so no other can run between its awaits. \
     Take `this: State<Self>` instead, and look at the agent in steps: `this.with(|it| …)`, `this.with_mut(|it| …)`";

pub(crate) fn arguments(parameters: &[Parameter]) -> impl Iterator<Item = &Argument> {
    parameters.iter().filter_map(|parameter| match parameter {
        Parameter::Argument(argument) => Some(&**argument),
        Parameter::Context => None,
    })
}

fn access(signature: &Signature) -> syn::Result<Access> {
    let Some(receiver) = signature.receiver() else {
        return Ok(Access::State);
    };
    match &receiver.kind {
        ReceiverKind::Reference(_, None, None) => Ok(Access::Read),
        ReceiverKind::Reference(_, None, Some(_)) => Ok(Access::Write),
        _ => Err(refuse_receiver(receiver)),
    }
}

fn refuse_receiver(receiver: &Receiver) -> syn::Error {
    syn::Error::new_spanned(
        receiver,
        "a handler takes `&self` or `&mut self`: the agent lives on after it",
    )
}

/// Whether the first parameter is `this: State<Self>`.
fn first_is_state(signature: &Signature) -> bool {
    let Some(FnArg::Typed(first)) = signature.inputs.first() else {
        return false;
    };
    let of_self = |segment: &syn::PathSegment| match &segment.arguments {
        PathArguments::AngleBracketed(of) => {
            let of = of.args.to_token_stream().to_string();
            of == "Self"
        }
        _ => false,
    };
    last_segment(&first.ty).is_some_and(|segment| segment.ident == "State" && of_self(segment))
}

fn refuse_qualifiers(signature: &Signature) -> syn::Result<()> {
    if !signature.generics.params.is_empty() {
        return Err(syn::Error::new_spanned(
            &signature.generics,
            "a handler cannot be generic: a message says which method, not which types",
        ));
    }
    if let Some(token) = &signature.constness {
        return Err(syn::Error::new_spanned(
            token,
            "a handler cannot be `const`",
        ));
    }
    if let Some(abi) = &signature.abi {
        return Err(syn::Error::new_spanned(abi, "a handler cannot be `extern`"));
    }
    let safety = signature.safety.to_token_stream();
    if !safety.is_empty() {
        return Err(syn::Error::new_spanned(
            safety,
            "a handler cannot be `unsafe`: messages call it",
        ));
    }
    Ok(())
}

fn parameters<'a>(inputs: impl Iterator<Item = &'a FnArg>) -> syn::Result<Vec<Parameter>> {
    let mut errors = Errors::default();
    let mut found = Vec::new();
    let mut has_context = false;
    for input in inputs {
        let FnArg::Typed(input) = input else { continue };
        let Some(parameter) = errors.collect(parameter(input)) else {
            continue;
        };
        if matches!(parameter, Parameter::Context) && std::mem::replace(&mut has_context, true) {
            errors.push(syn::Error::new_spanned(input, "one `Context` is enough"));
        }
        found.push(parameter);
    }
    errors.finish(found)
}

fn parameter(input: &PatType) -> syn::Result<Parameter> {
    if is_context_reference(&input.ty) {
        return Ok(Parameter::Context);
    }
    if is_named(&input.ty, "Context") {
        return Err(syn::Error::new_spanned(
            &input.ty,
            "a handler's context is `&mut Context`",
        ));
    }
    let Pat::Ident(name) = &*input.pat else {
        return Err(syn::Error::new_spanned(
            &input.pat,
            "give the argument a name: messages may pass arguments by name",
        ));
    };
    let (ty, by) = argument_type(&input.ty)?;
    Ok(Parameter::Argument(Box::new(Argument {
        name: name.ident.clone(),
        ty,
        by,
    })))
}

fn argument_type(ty: &Type) -> syn::Result<(Type, By)> {
    match strip(ty) {
        Type::Reference(reference) => {
            if reference.mutability.is_some() {
                return Err(syn::Error::new_spanned(
                    ty,
                    "an argument comes from a message, so there is nobody to see it change: take it by value",
                ));
            }
            if reference.lifetime.is_some() {
                return Err(syn::Error::new_spanned(
                    ty,
                    "an argument lives only as long as its message: leave the lifetime out",
                ));
            }
            let target = strip(&reference.elem);
            refuse_borrows(target, ARGUMENT_BORROWS)?;
            match target {
                Type::Path(path) if path.path.is_ident("str") => Ok((target.clone(), By::Text)),
                Type::Slice(slice) => {
                    let element = &slice.elem;
                    let list = syn::parse_quote!(::std::vec::Vec<#element>);
                    Ok((list, By::Reference))
                }
                _ => Ok((target.clone(), By::Reference)),
            }
        }
        Type::ImplTrait(_) => Err(syn::Error::new_spanned(
            ty,
            "an argument's type must have a name: a message does not say which type it carries",
        )),
        _ => {
            refuse_borrows(ty, ARGUMENT_BORROWS)?;
            Ok((ty.clone(), By::Value))
        }
    }
}

const ARGUMENT_BORROWS: &str = "an argument cannot borrow inside another type: take owned values, such as `Vec<String>` for `Vec<&str>`";

/// `add(by: u64) -> u64`, spaced as people write it.
fn shown(ident: &Ident, parameters: &[Parameter], output: Option<&ReturnType>) -> String {
    let arguments: Vec<String> = arguments(parameters)
        .map(|argument| {
            let reference = if argument.by == By::Value { "" } else { "&" };
            let name = argument_name(&argument.name);
            format!("{name}: {reference}{}", spaced(&argument.ty))
        })
        .collect();
    let output = match output {
        Some(ReturnType::Type(_, ty)) => format!(" -> {}", spaced(ty)),
        _ => String::new(),
    };
    format!("{}({}){output}", plain(ident), arguments.join(", "))
}

/// The name a message passes an argument by.
pub(crate) fn argument_name(ident: &Ident) -> String {
    let name = plain(ident);
    match name.trim_start_matches('_') {
        "" => name,
        trimmed => trimmed.to_owned(),
    }
}

fn spaced(ty: &Type) -> String {
    let mut text = ty.to_token_stream().to_string();
    for (loose, tight) in [
        (" :: ", "::"),
        (" < ", "<"),
        ("< ", "<"),
        (" >", ">"),
        (" ,", ","),
        ("& ", "&"),
        ("( ", "("),
        (" )", ")"),
    ] {
        text = text.replace(loose, tight);
    }
    text
}

/// Errors found so far, so that an author sees all of them at once.
#[derive(Default)]
pub(crate) struct Errors(Option<syn::Error>);

impl Errors {
    pub(crate) fn push(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            None => self.0 = Some(error),
        }
    }

    pub(crate) fn collect<T>(&mut self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn finish<T>(self, value: T) -> syn::Result<T> {
        self.0.map_or(Ok(value), Err)
    }
}
