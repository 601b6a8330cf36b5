//! Whether an item is a function that an attribute can call. The compiler checks the types; this checks what would
//! otherwise end in an error that speaks of generated code.

use std::iter::Peekable;

use proc_macro::{Delimiter, Group, Ident, Span, TokenStream, TokenTree, token_stream};

/// What is wrong, and where.
pub(crate) struct Complaint {
    pub(crate) span: Span,
    pub(crate) problem: &'static str,
}

type Tokens = Peekable<token_stream::IntoIter>;

/// The name of the function that `item` is.
pub(crate) fn check(item: TokenStream) -> Result<Ident, Complaint> {
    let mut tokens = item.into_iter().peekable();
    skip_attributes(&mut tokens);
    skip_visibility(&mut tokens);
    keyword_fn(&mut tokens)?;
    let name = match tokens.next() {
        Some(TokenTree::Ident(name)) => name,
        other => return Err(complaint(other.as_ref(), "it goes on a function")),
    };
    match tokens.next() {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis => check_parameters(&group)?,
        other => return Err(complaint(other.as_ref(), "the function cannot have type parameters or lifetimes")),
    }
    Ok(name)
}

fn keyword_fn(tokens: &mut Tokens) -> Result<(), Complaint> {
    let token = tokens.next();
    let problem = match token.as_ref().map(ToString::to_string).as_deref() {
        Some("fn") => return Ok(()),
        Some("async") => "the function cannot be `async`; what it calls on the call waits by itself",
        Some("unsafe" | "const" | "extern") if !matches!(tokens.peek(), Some(TokenTree::Punct(_))) => {
            "the function must be an ordinary one, without `unsafe`, `const` or `extern`"
        }
        _ => "it goes on a function",
    };
    Err(complaint(token.as_ref(), problem))
}

fn check_parameters(group: &Group) -> Result<(), Complaint> {
    const ONE: &str = "the function takes exactly one parameter";
    let refuse = |problem| Err(Complaint { span: group.span(), problem });
    let mut tokens = group.stream().into_iter().peekable();
    skip_attributes(&mut tokens);
    let mut name = 0_usize;
    // The pattern: all up to the colon. `self` has none.
    loop {
        match tokens.next() {
            None if name == 0 => return refuse(ONE),
            None => return refuse("the function cannot be a method; it stands by itself"),
            Some(TokenTree::Punct(colon)) if colon.as_char() == ':' => break,
            Some(_) => name += 1,
        }
    }
    match tokens.next() {
        Some(TokenTree::Punct(and)) if and.as_char() == '&' => {}
        _ => return refuse("the function takes its parameter by reference"),
    }
    if matches!(tokens.peek(), Some(TokenTree::Ident(word)) if word.to_string() == "mut") {
        return refuse("the function takes its parameter by shared reference, without `mut`");
    }
    match has_a_second(tokens) {
        true => refuse(ONE),
        false => Ok(()),
    }
}

/// Whether a comma at the top is followed by anything.
fn has_a_second(tokens: Tokens) -> bool {
    let mut depth = 0_i32;
    let mut after_comma = false;
    for token in tokens {
        if after_comma {
            return true;
        }
        if let TokenTree::Punct(punct) = token {
            match punct.as_char() {
                '<' => depth = depth.saturating_add(1),
                '>' => depth = depth.saturating_sub(1),
                ',' if depth == 0 => after_comma = true,
                _ => {}
            }
        }
    }
    false
}

fn skip_attributes(tokens: &mut Tokens) {
    while matches!(tokens.peek(), Some(TokenTree::Punct(hash)) if hash.as_char() == '#') {
        tokens.next();
        tokens.next();
    }
}

fn skip_visibility(tokens: &mut Tokens) {
    if !matches!(tokens.peek(), Some(TokenTree::Ident(word)) if word.to_string() == "pub") {
        return;
    }
    tokens.next();
    if matches!(tokens.peek(), Some(TokenTree::Group(_))) {
        tokens.next();
    }
}

fn complaint(token: Option<&TokenTree>, problem: &'static str) -> Complaint {
    Complaint { span: token.map_or_else(Span::call_site, TokenTree::span), problem }
}
