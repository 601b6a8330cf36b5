//! One number of a batch, and what is refused before anybody is called.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use voxtra_core::verbs::BatchRow;

/// The most numbers in one batch. They are held in memory while it runs, some 300 bytes each.
pub const MAX_ROWS: usize = 100_000;

/// The longest number. E.164 has 15 digits; prefixes of a PBX come before them.
const MAX_NUMBER_CHARS: usize = 32;

/// The longest caller id.
const MAX_CALLER_ID_CHARS: usize = 80;

/// The longest name of a handler or of a key of metadata.
const MAX_NAME_CHARS: usize = 64;

/// The longest value of metadata.
const MAX_VALUE_BYTES: usize = 1_024;

/// The most keys of metadata in a row.
pub(super) const MAX_METADATA: usize = 64;

/// How much of a refused number is shown.
const SHOWN_CHARS: usize = 40;

/// A number to be called, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Digits, `*` and `#`, with or without a `+` before them.
    pub number: String,
    /// What is shown to who is called; empty: the batch's.
    pub caller_id: String,
    /// Who takes the call; empty: the batch's target.
    pub handler: String,
    /// The call's metadata.
    pub metadata: Vec<(String, String)>,
}

/// A row that is not called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRow {
    /// Where it begins in the file, from 1; in a list, its place from 1.
    pub line: u64,
    /// The number as it was written, shortened, without control characters.
    pub number: String,
    /// Why, and what to do; one sentence.
    pub reason: String,
}

/// What the tenant allows. Each gives a sentence when it refuses.
#[derive(Clone, Copy)]
pub struct RowRules<'a> {
    /// Whether the number fits the tenant's dial patterns.
    pub number: &'a dyn Fn(&str) -> Result<(), String>,
    /// Whether there is a handler of that name.
    pub handler: &'a dyn Fn(&str) -> Result<(), String>,
}

impl RowRules<'_> {
    /// Every number and every handler.
    pub const ANY: RowRules<'static> = RowRules { number: &|_| Ok(()), handler: &|_| Ok(()) };
}

/// A row before it is checked.
#[derive(Default)]
pub(super) struct Draft<'a> {
    pub(super) number: &'a str,
    pub(super) caller_id: &'a str,
    pub(super) handler: &'a str,
    pub(super) metadata: Vec<(String, String)>,
}

/// Takes rows one after the other; the second of two with one number is refused.
pub(super) struct Intake<'a> {
    rules: RowRules<'a>,
    /// Where each number came first.
    seen: HashMap<String, u64>,
    pub(super) rows: Vec<Row>,
    pub(super) refused: Vec<RefusedRow>,
}

impl<'a> Intake<'a> {
    pub(super) fn new(rules: RowRules<'a>) -> Self {
        Self { rules, seen: HashMap::new(), rows: Vec::new(), refused: Vec::new() }
    }

    /// Both, the taken and the refused.
    pub(super) fn len(&self) -> usize {
        self.rows.len() + self.refused.len()
    }

    pub(super) fn take(&mut self, line: u64, draft: Draft<'_>) {
        let as_written = draft.number;
        match self.check(line, draft) {
            Ok(row) => self.rows.push(row),
            Err(reason) => self.refuse(line, as_written, reason),
        }
    }

    pub(super) fn refuse(&mut self, line: u64, number: &str, reason: String) {
        self.refused.push(RefusedRow { line, number: shown(number), reason });
    }

    fn check(&mut self, line: u64, draft: Draft<'_>) -> Result<Row, String> {
        let number = number(draft.number)?;
        (self.rules.number)(&number)?;
        caller_id(draft.caller_id)?;
        if !draft.handler.is_empty() {
            name(draft.handler).map_err(|why| format!("the handler's name {why}"))?;
            (self.rules.handler)(draft.handler)?;
        }
        for (key, value) in &draft.metadata {
            metadata(key, value)?;
        }
        match self.seen.entry(number.clone()) {
            Entry::Occupied(first) => {
                return Err(format!("the number is the same as in line {}; it is called once", first.get()));
            }
            Entry::Vacant(free) => free.insert(line),
        };
        Ok(Row {
            number,
            caller_id: draft.caller_id.to_owned(),
            handler: draft.handler.to_owned(),
            metadata: draft.metadata,
        })
    }
}

/// Checks a handler's own list as a file's rows are checked.
pub(super) fn from_list(list: Vec<BatchRow>, rules: RowRules<'_>) -> (Vec<Row>, Vec<RefusedRow>) {
    let mut intake = Intake::new(rules);
    for (row, line) in list.into_iter().zip(1..) {
        if row.metadata.len() > MAX_METADATA {
            intake.refuse(line, &row.number, format!("the row has more than {MAX_METADATA} keys of metadata"));
            continue;
        }
        intake.take(line, Draft { number: &row.number, metadata: row.metadata, ..Draft::default() });
    }
    (intake.rows, intake.refused)
}

/// The number without what people write between its digits.
fn number(written: &str) -> Result<String, String> {
    let plain: String = written.chars().filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')' | '/')).collect();
    let dialled = plain.strip_prefix('+').unwrap_or(&plain);
    if dialled.is_empty() {
        return Err("the row has no number".to_owned());
    }
    if !dialled.chars().all(|c| c.is_ascii_digit() || matches!(c, '*' | '#')) {
        return Err(format!(
            "{:?} is not a number: digits, * and # with or without a + before them are dialled, nothing else",
            shown(written)
        ));
    }
    if plain.len() > MAX_NUMBER_CHARS {
        return Err(format!("the number is longer than {MAX_NUMBER_CHARS} characters"));
    }
    Ok(plain)
}

/// Refuses what a caller id may not hold: it ends up in a SIP header.
pub(super) fn caller_id(text: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " +*#_.-<>".contains(c);
    match text.len() <= MAX_CALLER_ID_CHARS && text.chars().all(allowed) {
        true => Ok(()),
        false => Err(format!(
            "the caller id {:?} may hold at most {MAX_CALLER_ID_CHARS} ASCII letters, digits, spaces and + * # _ . - < >",
            shown(text)
        )),
    }
}

/// Refuses what is no name of a handler, a key or a variable; what follows "the name".
pub(super) fn name(text: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    match !text.is_empty() && text.len() <= MAX_NAME_CHARS && text.chars().all(allowed) {
        true => Ok(()),
        false => Err(format!("{:?} may hold 1 to {MAX_NAME_CHARS} ASCII letters, digits, - _ and .", shown(text))),
    }
}

fn metadata(key: &str, value: &str) -> Result<(), String> {
    name(key).map_err(|why| format!("the key of metadata {why}"))?;
    self::value(value).map_err(|why| format!("the value of {key} {why}"))
}

/// Refuses what a PBX would act on; what follows "the value of NAME".
pub(super) fn value(text: &str) -> Result<(), String> {
    if text.len() > MAX_VALUE_BYTES {
        return Err(format!("is longer than {MAX_VALUE_BYTES} bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err("has a line break or another control character".to_owned());
    }
    if text.contains("${") || text.contains("$[") {
        return Err("has ${ or $[, which the dialplan would evaluate".to_owned());
    }
    Ok(())
}

/// Refuses what is no context or extension of a dialplan.
pub(super) fn place(text: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.+*#".contains(c);
    match text.len() <= MAX_NAME_CHARS && text.chars().all(allowed) {
        true => Ok(()),
        false => Err(format!("{:?} is no context or extension of a dialplan", shown(text))),
    }
}

fn shown(text: &str) -> String {
    let short: String = text.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS).collect();
    if text.chars().count() > SHOWN_CHARS { short + "…" } else { short }
}
