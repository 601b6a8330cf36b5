//! What an attribute puts beside its function.

use proc_macro::{Group, Ident, Literal, Span, TokenStream, TokenTree};

use crate::signature::{self, Complaint};

/// One of the attributes.
pub(crate) struct Attribute {
    name: &'static str,
    /// The form that its function has.
    form: &'static str,
    /// The export. Beside a component, on the author's own machine, only the types are checked: its symbols would be in
    /// the way of tests there.
    export: &'static str,
}

/// Stands for the function in [`Attribute::export`].
const FUNCTION: &str = "THE_FUNCTION";

pub(crate) const HANDLER: Attribute = Attribute {
    name: "handler",
    form: "fn handle(call: &Call) -> Result<()>",
    export: "
        const _: () = {
            use ::voxtra_sdk::__private as sdk;
            struct Component;
            impl sdk::handler::Guest for Component {
                fn handle(
                    call: sdk::handler::Call,
                ) -> ::core::result::Result<(), ::std::string::String> {
                    sdk::run_handler(call, THE_FUNCTION)
                }
            }
            #[cfg(target_arch = \"wasm32\")]
            sdk::export_handler!(Component with_types_in ::voxtra_sdk::__private::handler);
            #[cfg(not(target_arch = \"wasm32\"))]
            const _: fn(sdk::handler::Call) -> ::core::result::Result<(), ::std::string::String> =
                <Component as sdk::handler::Guest>::handle;
        };
    ",
};

pub(crate) const ON_HANGUP: Attribute = Attribute {
    name: "on_hangup",
    form: "fn ended(call: &EndedCall)",
    export: "
        const _: () = {
            use ::voxtra_sdk::__private as sdk;
            struct Component;
            impl sdk::hook::exports::voxtra::call::hangup_hook::Guest for Component {
                fn on_hangup(call: sdk::hook::exports::voxtra::call::hangup_hook::EndedCall) {
                    sdk::run_hook(call, THE_FUNCTION)
                }
            }
            #[cfg(target_arch = \"wasm32\")]
            sdk::export_hangup_hook!(Component with_types_in ::voxtra_sdk::__private::hook);
            #[cfg(not(target_arch = \"wasm32\"))]
            const _: fn(sdk::hook::exports::voxtra::call::hangup_hook::EndedCall) =
                <Component as sdk::hook::exports::voxtra::call::hangup_hook::Guest>::on_hangup;
        };
    ",
};

pub(crate) const ROUTER: Attribute = Attribute {
    name: "router",
    form: "fn route(call: &CallInfo) -> Result<Option<Decision>>",
    export: "
        const _: () = {
            use ::voxtra_sdk::__private as sdk;
            use ::core::{option::Option, result::Result};
            use ::std::string::String;
            struct Component;
            impl sdk::router::Guest for Component {
                fn route(call: sdk::router::CallInfo) -> Result<Option<sdk::router::Decision>, String> {
                    sdk::run_router(call, THE_FUNCTION)
                }
            }
            #[cfg(target_arch = \"wasm32\")]
            sdk::export_router!(Component with_types_in ::voxtra_sdk::__private::router);
            #[cfg(not(target_arch = \"wasm32\"))]
            const _: fn(sdk::router::CallInfo) -> Result<Option<sdk::router::Decision>, String> =
                <Component as sdk::router::Guest>::route;
        };
    ",
};

pub(crate) const FILTER: Attribute = Attribute {
    name: "filter",
    form: "fn filter(event: &OutgoingEvent) -> Result<Verdict>",
    export: "
        const _: () = {
            use ::voxtra_sdk::__private as sdk;
            use ::core::result::Result;
            use ::std::string::String;
            struct Component;
            impl sdk::filter::Guest for Component {
                fn filter(event: sdk::filter::OutgoingEvent) -> Result<sdk::filter::Verdict, String> {
                    sdk::run_filter(event, THE_FUNCTION)
                }
            }
            #[cfg(target_arch = \"wasm32\")]
            sdk::export_filter!(Component with_types_in ::voxtra_sdk::__private::filter);
            #[cfg(not(target_arch = \"wasm32\"))]
            const _: fn(sdk::filter::OutgoingEvent) -> Result<sdk::filter::Verdict, String> =
                <Component as sdk::filter::Guest>::filter;
        };
    ",
};

/// The function, unchanged, and behind it the export or what is wrong.
pub(crate) fn attribute(attribute: &Attribute, arguments: TokenStream, item: TokenStream) -> TokenStream {
    let beside = match check(arguments, item.clone()) {
        Ok(name) => export(attribute, &name),
        Err(Complaint { span, problem }) => {
            let Attribute { name, form, .. } = attribute;
            compile_error(span, &format!("#[{name}]: {problem}: `{form}`"))
        }
    };
    let mut expansion = item;
    expansion.extend(beside);
    expansion
}

fn check(arguments: TokenStream, item: TokenStream) -> Result<Ident, Complaint> {
    if let Some(argument) = arguments.into_iter().next() {
        return Err(Complaint { span: argument.span(), problem: "the attribute takes no arguments" });
    }
    signature::check(item)
}

fn export(attribute: &Attribute, name: &Ident) -> TokenStream {
    match attribute.export.parse() {
        Ok(tokens) => with_function(tokens, name),
        // Reached only if the text above were not Rust.
        Err(error) => compile_error(Span::call_site(), &error.to_string()),
    }
}

/// Puts the function's own name, with its place in the source, where the template has its placeholder: what the compiler
/// says of its types then points at it.
fn with_function(tokens: TokenStream, name: &Ident) -> TokenStream {
    let replace = |token| match token {
        TokenTree::Ident(ident) if ident.to_string() == FUNCTION => TokenTree::Ident(name.clone()),
        TokenTree::Group(group) => {
            let mut replaced = Group::new(group.delimiter(), with_function(group.stream(), name));
            replaced.set_span(group.span());
            TokenTree::Group(replaced)
        }
        other => other,
    };
    tokens.into_iter().map(replace).collect()
}

fn compile_error(span: Span, message: &str) -> TokenStream {
    let message = TokenStream::from(TokenTree::Literal(Literal::string(message)));
    let call = "::core::compile_error!".parse().unwrap_or_else(|_| TokenStream::new());
    let argument = TokenTree::Group(Group::new(proc_macro::Delimiter::Brace, message));
    call.into_iter()
        .chain([argument])
        .map(|mut token: TokenTree| {
            token.set_span(span);
            token
        })
        .collect()
}
