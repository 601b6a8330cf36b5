//! Where labels go so that none covers another.

/// How wide a character is taken to be, for the fonts and sizes of the style: on the safe side for most text.
const CHARACTER_PX: f64 = 6.6;

/// Wide scripts take about two characters' room.
const FIRST_WIDE: char = '\u{1100}';

/// Labels that begin this near to each other begin at one place.
const SAME_PLACE_PX: f64 = 1.5;

/// The space between two labels in a row.
const GAP_PX: f64 = 8.0;

/// How wide a text will be, about.
pub(super) fn width_px(text: &str) -> f64 {
    text.chars().map(|c| if c >= FIRST_WIDE { 2.0 * CHARACTER_PX } else { CHARACTER_PX }).sum()
}

/// The text, or as much of its beginning as fits; nothing when that is not worth showing.
pub(super) fn fit(text: &str, room_px: f64) -> Option<String> {
    const FEWEST_CHARACTERS: usize = 4;
    if width_px(text) <= room_px {
        return Some(text.to_owned());
    }
    let mut used_px = CHARACTER_PX;
    let start: String = text
        .chars()
        .take_while(|c| {
            used_px += width_px(c.encode_utf8(&mut [0; 4]));
            used_px <= room_px
        })
        .collect();
    (start.chars().count() >= FEWEST_CHARACTERS).then(|| format!("{start}…"))
}

/// The row of each label, given where each begins and how wide it is, in order of their beginnings; none for those that
/// would need more rows than there may be.
///
/// A line drawn from above down to the beginning of a label crosses no other label: of two that would overlap, the one
/// further left goes lower. Those that begin at one place stand below each other in their order.
pub(super) fn rows(labels: &[(f64, f64)], most_rows: usize) -> Vec<Option<usize>> {
    // Of each row, where its leftmost label so far begins.
    let mut begins: Vec<f64> = Vec::new();
    let mut rows = Vec::with_capacity(labels.len());
    for group in labels.chunk_by(|a, b| b.0 - a.0 < SAME_PLACE_PX).rev() {
        let first = group.first().map_or(0.0, |(x, _)| *x);
        let end = group.iter().map(|(x, width)| x + width + GAP_PX).fold(first, f64::max);
        // Below the lowest that it would run into.
        let top = begins.iter().rposition(|begin| *begin < end).map_or(0, |lowest| lowest + 1);
        for index in (0..group.len()).rev() {
            rows.push(Some(top + index).filter(|row| *row < most_rows));
        }
        let bottom = (top + group.len()).min(most_rows);
        begins.resize(begins.len().max(bottom), f64::INFINITY);
        begins.iter_mut().take(bottom).skip(top).for_each(|begin| *begin = first);
    }
    rows.reverse();
    rows
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn labels_far_apart_share_a_row() {
        assert_eq!(rows(&[(0.0, 50.0), (100.0, 50.0), (200.0, 50.0)], 3), [Some(0), Some(0), Some(0)]);
    }

    #[test]
    fn labels_at_one_place_are_stacked_in_their_order() {
        assert_eq!(rows(&[(0.0, 50.0), (0.0, 90.0), (1.0, 50.0)], 2), [Some(0), Some(1), None]);
    }

    #[test]
    fn of_two_that_would_overlap_the_left_one_goes_lower() {
        assert_eq!(rows(&[(0.0, 50.0), (30.0, 50.0), (300.0, 50.0)], 2), [Some(1), Some(0), Some(0)]);
    }

    #[test]
    fn a_long_text_keeps_its_beginning() {
        assert_eq!(fit("sound:hello-world", 80.0).unwrap(), "sound:hello…");
        assert_eq!(fit("abc", 80.0).unwrap(), "abc");
        assert_eq!(fit("sound:hello-world", 20.0), None);
    }

    proptest! {
        #[test]
        fn no_label_covers_another_or_is_crossed_by_anothers_line(
            mut labels in prop::collection::vec((0.0..1_000.0_f64, 5.0..200.0_f64), 0..40),
        ) {
            labels.sort_by(|a, b| a.0.total_cmp(&b.0));
            let rows = rows(&labels, 6);
            for (i, (x, width)) in labels.iter().enumerate() {
                let Some(row) = rows[i] else { continue };
                for (j, (other_x, other_width)) in labels.iter().enumerate().filter(|(j, _)| *j != i) {
                    let Some(other) = rows[j] else { continue };
                    let covers = other == row && *other_x < x + width && *x < other_x + other_width;
                    // Labels of one place share one line, at their left edge, where their text has an inset.
                    let begins = other_x + 4.0;
                    let crossed = other < row && begins < *x && *x < other_x + other_width;
                    prop_assert!(!covers && !crossed, "{i} {j}");
                }
            }
        }
    }
}
