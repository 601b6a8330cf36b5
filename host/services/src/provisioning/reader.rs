//! Reads a TOML table by hand, so that a fault names its key and place, and a key that nothing asked for is refused.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::allowed::Check;
use super::tenant::TenantFileError;

/// One table of the file.
pub(super) struct Reader<'t, 'i> {
    source: &'i str,
    path: &'static str,
    place: Range<usize>,
    table: &'t DeTable<'i>,
}

impl<'t, 'i> Reader<'t, 'i> {
    pub(super) fn new(source: &'i str, table: &'t DeTable<'i>) -> Self {
        Self { source, path: "", place: 0..0, table }
    }

    /// Refuses keys beside these.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), TenantFileError> {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if known.contains(&name) {
                continue;
            }
            let near = known.iter().map(|k| (distance(name, k), *k)).min().filter(|(d, _)| *d <= 3);
            let advice = near.map_or_else(
                || format!("known here are {}", known.join(", ")),
                |(_, known)| format!("did you mean '{known}'?"),
            );
            let shown: String = name.chars().take(40).collect();
            return Err(self.fault(&shown.escape_debug().to_string(), key.span(), &format!("is not known; {advice}")));
        }
        Ok(())
    }

    pub(super) fn table(&self, key: &'static str) -> Result<Option<Reader<'t, 'i>>, TenantFileError> {
        let Some((value, place)) = self.value(key) else { return Ok(None) };
        let table = value.as_table().ok_or_else(|| self.fault(key, place.clone(), "must be a table"))?;
        Ok(Some(Reader { source: self.source, path: key, place, table }))
    }

    pub(super) fn text(&self, key: &str, check: Check) -> Result<Option<String>, TenantFileError> {
        let Some((value, place)) = self.value(key) else { return Ok(None) };
        self.checked(key, value, place, check).map(Some)
    }

    pub(super) fn needed(&self, key: &str, check: Check) -> Result<String, TenantFileError> {
        self.text(key, check)?.ok_or_else(|| self.fault(key, self.place.clone(), "is missing"))
    }

    pub(super) fn texts(&self, key: &str, check: Check) -> Result<Vec<String>, TenantFileError> {
        /// More than any tenant has; a bound for what is written.
        const MOST: usize = 1000;
        let Some((value, place)) = self.value(key) else { return Ok(Vec::new()) };
        let items = value.as_array().ok_or_else(|| self.fault(key, place.clone(), "must be a list of texts"))?;
        if items.len() > MOST {
            return Err(self.fault(key, place, "has more than 1000 entries"));
        }
        let mut texts: Vec<String> = Vec::new();
        for item in items.iter() {
            let text = self.checked(key, item.get_ref(), item.span(), check)?;
            if texts.contains(&text) {
                return Err(self.fault(key, item.span(), "holds an entry twice"));
            }
            texts.push(text);
        }
        Ok(texts)
    }

    pub(super) fn whole(
        &self,
        key: &str,
        range: std::ops::RangeInclusive<u32>,
    ) -> Result<Option<u32>, TenantFileError> {
        let Some((value, place)) = self.value(key) else { return Ok(None) };
        let number = value.as_integer().and_then(|i| u32::from_str_radix(i.as_str(), i.radix()).ok());
        let number = number.filter(|n| range.contains(n));
        let wanted = format!("must be a whole number from {} to {}", range.start(), range.end());
        number.map(Some).ok_or_else(|| self.fault(key, place, &wanted))
    }

    pub(super) fn yes(&self, key: &str) -> Result<bool, TenantFileError> {
        let Some((value, place)) = self.value(key) else { return Ok(false) };
        value.as_bool().ok_or_else(|| self.fault(key, place, "must be true or false"))
    }

    /// A fault of a key that is there.
    pub(super) fn refuse(&self, key: &str, why: &str) -> TenantFileError {
        let place = self.value(key).map_or_else(|| self.place.clone(), |(_, place)| place);
        self.fault(key, place, why)
    }

    fn checked(
        &self,
        key: &str,
        value: &DeValue<'_>,
        place: Range<usize>,
        check: Check,
    ) -> Result<String, TenantFileError> {
        let text = value.as_str().ok_or_else(|| self.fault(key, place.clone(), "must be a text in quotes"))?;
        check(text).map_err(|why| self.fault(key, place, why))?;
        Ok(text.to_owned())
    }

    fn value(&self, key: &str) -> Option<(&'t DeValue<'i>, Range<usize>)> {
        self.table.get(key).map(|value| (value.get_ref(), value.span()))
    }

    fn fault(&self, key: &str, place: Range<usize>, why: &str) -> TenantFileError {
        let key = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        TenantFileError::at(self.source, place.start, format!("{key} {why}"))
    }
}

/// Edits between two words (Levenshtein), a word that is far longer counting as its length.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > 64 {
        return a.len();
    }
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut before = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (y, above) in b.chars().zip(row.iter().skip(1)) {
            left = (before + usize::from(x != y)).min(above + 1).min(left + 1);
            before = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
