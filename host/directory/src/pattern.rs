//! Patterns of numbers, as `voxtra.yaml`'s `dial.patterns` has them: digits, `X` (0-9), `Z` (1-9), `N` (2-9), `+` first, and
//! at the end `.` (one or more further digits) or `*` (any number of them).

/// The longest number is 15 digits (ITU-T E.164); access codes come before it.
const MAX_PATTERN_BYTES: usize = 32;

pub(crate) const RULE: &str =
    "1 to 32 of digits, X, Z and N, with or without a `+` before them and a `.` or `*` after them";

pub(crate) fn is_pattern(text: &str) -> bool {
    let body = text.strip_prefix('+').unwrap_or(text);
    let places = body.strip_suffix(['.', '*']).unwrap_or(body);
    (1..=MAX_PATTERN_BYTES).contains(&text.len())
        && (!places.is_empty() || body != places)
        && places.chars().all(|c| digits(c) != 0)
}

/// Whether every number that fits `narrow` fits `wide` too. Both are patterns.
pub(crate) fn covers(wide: &str, narrow: &str) -> bool {
    let (wide, narrow) = (Pattern::of(wide), Pattern::of(narrow));
    let mut rest = narrow.places.chars();
    let fits = wide.plus == narrow.plus && wide.places.chars().all(|place| within(rest.next(), place));
    let left = rest.count();
    // What is left of the narrow one has to fit into the wide one's end.
    let least_left = (narrow.least()).saturating_sub(wide.places.chars().count());
    let end = match wide.more {
        More::None => left == 0 && narrow.more == More::None,
        More::Some => least_left > 0,
        More::Any => true,
    };
    fits && end
}

/// Whether a place of the narrow one has only digits that the wide one's has; past its end nothing is certain.
fn within(narrow: Option<char>, wide: char) -> bool {
    narrow.is_some_and(|narrow| digits(narrow) & !digits(wide) == 0)
}

/// The digits that a place takes, a bit each; 0: it is no place.
fn digits(place: char) -> u16 {
    match place {
        'X' => 0b11_1111_1111,
        'Z' => 0b11_1111_1110,
        'N' => 0b11_1111_1100,
        digit => digit.to_digit(10).map_or(0, |value| 1 << value),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum More {
    None,
    Some,
    Any,
}

struct Pattern<'a> {
    plus: bool,
    places: &'a str,
    more: More,
}

impl<'a> Pattern<'a> {
    fn of(text: &'a str) -> Self {
        let (plus, body) = text.strip_prefix('+').map_or((false, text), |body| (true, body));
        let some = body.strip_suffix('.').map(|places| (places, More::Some));
        let any = || body.strip_suffix('*').map(|places| (places, More::Any));
        let (places, more) = some.or_else(any).unwrap_or((body, More::None));
        Self { plus, places, more }
    }

    /// Digits of the shortest number that fits.
    fn least(&self) -> usize {
        self.places.chars().count() + usize::from(self.more == More::Some)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The pattern's meaning, straight from the words above.
    fn takes(pattern: &str, number: &str) -> bool {
        let mut number = number.chars();
        for place in pattern.chars() {
            match place {
                '.' => return number.clone().count() >= 1 && number.all(|c| c.is_ascii_digit()),
                '*' => return number.all(|c| c.is_ascii_digit()),
                '+' => {
                    if number.next() != Some('+') {
                        return false;
                    }
                }
                place => {
                    let Some(digit) = number.next().and_then(|c| c.to_digit(10)) else { return false };
                    let fits = match place {
                        'X' => true,
                        'Z' => digit >= 1,
                        'N' => digit >= 2,
                        exact => exact.to_digit(10) == Some(digit),
                    };
                    if !fits {
                        return false;
                    }
                }
            }
        }
        number.next().is_none()
    }

    #[test]
    fn patterns_are_as_documented() {
        for good in ["+49.", "100", "XNZ", "*", "+", "0*", "."] {
            assert_eq!(is_pattern(good), good != "+", "{good}");
        }
        for bad in ["", "a", "1.2", "49+", "++1", "1 2", "${X}", &"1".repeat(33)] {
            assert!(!is_pattern(bad), "{bad}");
        }
    }

    #[test]
    fn a_narrower_pattern_is_covered_and_a_wider_one_is_not() {
        for (wide, narrow, wanted) in [
            ("+49.", "+4930.", true),
            ("+49.", "+49*", false),
            ("+49*", "+49.", true),
            ("+49.", "+1.", false),
            ("NXX", "200", true),
            ("NXX", "100", false),
            ("NXX", "XXX", false),
            ("NXX", "NXX.", false),
            ("*", "+49.", false),
            ("*", "0.", true),
        ] {
            assert_eq!(covers(wide, narrow), wanted, "{wide} {narrow}");
        }
    }

    proptest! {
        #[test]
        fn what_a_covered_pattern_takes_its_cover_takes(
            wide in "\\+?[0-3XZN]{0,3}[.*]?", narrow in "\\+?[0-3XZN]{0,4}[.*]?", number in "\\+?[0-9]{0,6}",
        ) {
            prop_assume!(is_pattern(&wide) && is_pattern(&narrow));
            if covers(&wide, &narrow) && takes(&narrow, &number) {
                prop_assert!(takes(&wide, &number), "{wide} {narrow} {number}");
            }
            prop_assert!(covers(&wide, &wide));
        }
    }
}
