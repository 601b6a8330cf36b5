//! Reads a TOML table by hand, so that a fault names its key and line, and a key that nothing asked for is refused.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};

use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use crate::problem::Fault;
use crate::suggest;

/// More entries than any list or table here has; a bound for what a file can make the host keep.
pub(crate) const MAX_ENTRIES: usize = 1_000;

/// Longer texts mean something else than a text.
const MAX_TEXT_BYTES: usize = 4 << 10;

/// Tables within tables, in metadata.
const MAX_DEPTH: usize = 16;

/// A parsed file.
pub(crate) struct Document<'i> {
    lines: Lines,
    table: DeTable<'i>,
}

/// Where each line ends.
struct Lines(Vec<usize>);

impl Lines {
    fn of(source: &str) -> Self {
        Self(source.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect())
    }

    /// The line of an offset, from 1.
    fn line(&self, offset: usize) -> usize {
        1 + self.0.partition_point(|end| *end < offset)
    }
}

impl<'i> Document<'i> {
    pub(crate) fn parse(bytes: &'i [u8]) -> Result<Self, Fault> {
        let source = std::str::from_utf8(bytes).map_err(|error| {
            let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
            Fault::at(line, "there is a byte that is not UTF-8; save the file as UTF-8")
        })?;
        let lines = Lines::of(source);
        let table = DeTable::parse(source).map_err(|error| {
            let why = format!("this is not TOML ({}); correct the line", suggest::shorten(error.message()));
            Fault::at(lines.line(error.span().map_or(0, |span| span.start)), why)
        })?;
        Ok(Self { lines, table: table.into_inner() })
    }

    pub(crate) fn top(&self) -> Reader<'_, 'i> {
        Reader { lines: &self.lines, path: String::new(), place: 0..0, table: &self.table }
    }
}

/// One table of the file.
pub(crate) struct Reader<'t, 'i> {
    lines: &'t Lines,
    path: String,
    place: Range<usize>,
    table: &'t DeTable<'i>,
}

impl<'t, 'i> Reader<'t, 'i> {
    /// Refuses keys beside these. `elsewhere` are keys that people look for here, with where they belong.
    pub(crate) fn only(&self, known: &[&str], elsewhere: &[(&str, &str)]) -> Result<(), Fault> {
        let mut unknown: Vec<_> = self.table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())).collect();
        unknown.sort_by_key(|key| key.span().start);
        let Some(key) = unknown.first() else { return Ok(()) };
        let name = key.get_ref().as_ref();
        let advice = match elsewhere.iter().find(|(key, _)| *key == name) {
            Some((_, place)) => format!("it belongs into {place}"),
            None => suggest::advice(name, known),
        };
        Err(self.fault(&suggest::shorten(name), key.span(), &format!("is not known; {advice}")))
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    pub(crate) fn is_table(&self, key: &str) -> bool {
        self.table.get(key).is_some_and(|value| value.get_ref().is_table())
    }

    /// Where the key is, or the table where it is not.
    pub(crate) fn line(&self, key: &str) -> usize {
        self.lines.line(self.place_of(key).start)
    }

    /// Where a key of this table's table is.
    pub(crate) fn line_in(&self, table: &str, key: &str) -> usize {
        self.table(table).ok().flatten().map_or_else(|| self.line(table), |table| table.line(key))
    }

    pub(crate) fn table(&self, key: &str) -> Result<Option<Reader<'t, 'i>>, Fault> {
        let Some((value, place)) = self.value(key) else { return Ok(None) };
        let table = value.as_table().ok_or_else(|| self.fault(key, place.clone(), "must be a table"))?;
        Ok(Some(Reader { lines: self.lines, path: self.name_of(key), place, table }))
    }

    /// `[[key]]`, or a list of tables in braces.
    pub(crate) fn tables(&self, key: &str) -> Result<Vec<Reader<'t, 'i>>, Fault> {
        let Some((value, place)) = self.value(key) else { return Ok(Vec::new()) };
        let wanted = || self.fault(key, place.clone(), "must be a list of tables");
        let items = value.as_array().ok_or_else(wanted)?;
        if items.len() > MAX_ENTRIES {
            return Err(self.fault(key, place, "has more than 1000 entries"));
        }
        let mut tables = Vec::new();
        for item in items.iter() {
            let table = item.get_ref().as_table().ok_or_else(wanted)?;
            tables.push(Reader { lines: self.lines, path: self.name_of(key), place: item.span(), table });
        }
        Ok(tables)
    }

    /// A text that `holds`; otherwise the key "must be" what `wanted` says.
    pub(crate) fn text(&self, key: &str, wanted: &str, holds: impl Fn(&str) -> bool) -> Result<Option<String>, Fault> {
        let Some((value, place)) = self.value(key) else { return Ok(None) };
        self.checked(key, value, place, wanted, &holds).map(Some)
    }

    /// A list of different texts; `None` where the key is absent.
    pub(crate) fn texts(
        &self,
        key: &str,
        wanted: &str,
        holds: impl Fn(&str) -> bool,
    ) -> Result<Option<Vec<(String, usize)>>, Fault> {
        let Some((value, place)) = self.value(key) else { return Ok(None) };
        let items = value.as_array().ok_or_else(|| self.fault(key, place.clone(), "must be a list of texts"))?;
        if items.len() > MAX_ENTRIES {
            return Err(self.fault(key, place, "has more than 1000 entries"));
        }
        let mut texts = BTreeMap::new();
        let mut ordered = Vec::new();
        for item in items.iter() {
            let text = self.checked(key, item.get_ref(), item.span(), wanted, &holds)?;
            if texts.insert(text.clone(), ()).is_some() {
                return Err(self.fault(key, item.span(), "holds an entry twice; remove one"));
            }
            ordered.push((text, self.lines.line(item.span().start)));
        }
        Ok(Some(ordered))
    }

    /// One text, or a list of them.
    pub(crate) fn one_or_several(
        &self,
        key: &str,
        wanted: &str,
        holds: impl Fn(&str) -> bool,
    ) -> Result<Option<Vec<String>>, Fault> {
        if self.table.get(key).is_some_and(|value| value.get_ref().is_str()) {
            return Ok(self.text(key, wanted, holds)?.map(|text| vec![text]));
        }
        Ok(self.texts(key, wanted, holds)?.map(|texts| texts.into_iter().map(|(text, _)| text).collect()))
    }

    pub(crate) fn whole(&self, key: &str, range: &RangeInclusive<u64>) -> Result<Option<u64>, Fault> {
        let Some((value, place)) = self.value(key) else { return Ok(None) };
        let number = value.as_integer().and_then(|i| u64::from_str_radix(i.as_str(), i.radix()).ok());
        let number = number.filter(|n| range.contains(n));
        let wanted = format!("must be a whole number from {} to {}", range.start(), range.end());
        number.map(Some).ok_or_else(|| self.fault(key, place, &wanted))
    }

    pub(crate) fn yes(&self, key: &str) -> Result<Option<bool>, Fault> {
        let Some((value, place)) = self.value(key) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.fault(key, place, "must be true or false"))
    }

    /// Anything at all, as JSON has it.
    pub(crate) fn json(&self, key: &str) -> Result<Map<String, Value>, Fault> {
        let Some((value, place)) = self.value(key) else { return Ok(Map::new()) };
        let Some(table) = value.as_table() else { return Err(self.fault(key, place, "must be a table")) };
        let why = "holds a number that is none, too many entries, or too long a text";
        json_table(table, 0).ok_or_else(|| self.fault(key, place, why))
    }

    /// A fault of a key that is there.
    pub(crate) fn refuse(&self, key: &str, why: &str) -> Fault {
        self.fault(key, self.place_of(key), why)
    }

    /// The key as people write it from the file's top.
    pub(crate) fn name_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn checked(
        &self,
        key: &str,
        value: &DeValue<'_>,
        place: Range<usize>,
        wanted: &str,
        holds: impl Fn(&str) -> bool,
    ) -> Result<String, Fault> {
        let text = value.as_str().ok_or_else(|| self.fault(key, place.clone(), "must be a text in quotes"))?;
        if text.len() > MAX_TEXT_BYTES {
            return Err(self.fault(key, place, "is longer than 4 KiB"));
        }
        if !holds(text) {
            return Err(self.fault(key, place, &format!("must be {wanted}")));
        }
        Ok(text.to_owned())
    }

    fn value(&self, key: &str) -> Option<(&'t DeValue<'i>, Range<usize>)> {
        self.table.get(key).map(|value| (value.get_ref(), value.span()))
    }

    fn place_of(&self, key: &str) -> Range<usize> {
        self.value(key).map_or_else(|| self.place.clone(), |(_, place)| place)
    }

    fn fault(&self, key: &str, place: Range<usize>, why: &str) -> Fault {
        Fault::at(self.lines.line(place.start), format!("`{}` {why}", self.name_of(key)))
    }
}

fn json_table(table: &DeTable<'_>, depth: usize) -> Option<Map<String, Value>> {
    if table.len() > MAX_ENTRIES || depth == MAX_DEPTH {
        return None;
    }
    let pair = |(key, value): (&toml::Spanned<toml::de::DeString<'_>>, &toml::Spanned<DeValue<'_>>)| {
        Some((key.get_ref().to_string(), json(value.get_ref(), depth + 1)?))
    };
    table.iter().map(pair).collect()
}

fn json(value: &DeValue<'_>, depth: usize) -> Option<Value> {
    match value {
        DeValue::String(text) => (text.len() <= MAX_TEXT_BYTES).then(|| Value::String(text.to_string())),
        DeValue::Integer(i) => i64::from_str_radix(i.as_str(), i.radix()).ok().map(Value::from),
        DeValue::Float(f) => f.as_str().parse::<f64>().ok().filter(|f| f.is_finite()).map(Value::from),
        DeValue::Boolean(yes) => Some(Value::Bool(*yes)),
        DeValue::Datetime(time) => Some(Value::String(time.to_string())),
        DeValue::Table(table) => json_table(table, depth).map(Value::Object),
        DeValue::Array(items) if items.len() <= MAX_ENTRIES && depth < MAX_DEPTH => {
            items.iter().map(|item| json(item.get_ref(), depth + 1)).collect::<Option<_>>().map(Value::Array)
        }
        DeValue::Array(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str, read: impl Fn(&Reader<'_, '_>) -> Result<(), Fault>) -> (Option<usize>, String) {
        let document = Document::parse(text.as_bytes()).unwrap();
        let fault = read(&document.top()).unwrap_err();
        (fault.line, fault.why)
    }

    #[test]
    fn the_first_unknown_key_is_named_with_its_line() {
        let text = "good = 1\nzebra = 2\nlimts = 3\n";
        let said = fault(text, |top| top.only(&["good", "limits"], &[]));
        assert_eq!(said, (Some(2), "`zebra` is not known; known here are `good` and `limits`".into()));
        let said = fault(text, |top| top.only(&["good", "limits", "zebra"], &[]));
        assert_eq!(said, (Some(3), "`limts` is not known; did you mean `limits`?".into()));
    }

    #[test]
    fn a_key_within_a_table_is_named_whole() {
        let said = fault("\n[a]\nb = \"x\"\n", |top| top.table("a")?.unwrap().whole("b", &(1..=5)).map(|_| ()));
        assert_eq!(said, (Some(3), "`a.b` must be a whole number from 1 to 5".into()));
    }

    #[test]
    fn metadata_become_json() {
        let document = Document::parse(b"m = {a = 1, b = [true, 1.5], c = {d = 1979-05-27}}").unwrap();
        let wanted = serde_json::json!({"a": 1, "b": [true, 1.5], "c": {"d": "1979-05-27"}});
        assert_eq!(Value::Object(document.top().json("m").unwrap()), wanted);
    }

    #[test]
    fn what_is_not_a_number_in_json_is_refused() {
        assert_eq!(fault("m = {a = nan}", |top| top.json("m").map(|_| ())).0, Some(1));
    }
}
