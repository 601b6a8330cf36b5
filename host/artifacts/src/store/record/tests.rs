//! Claims about how a handler's record changes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;

use super::*;

fn v(n: u8) -> Version {
    Version::of(&[n])
}

fn host() -> Author {
    Author::new("host", UNIX_EPOCH)
}

fn after(files: &[u8]) -> Record {
    let mut record = Record::first(v(files[0]), Source::File, &host());
    for file in &files[1..] {
        assert_eq!(record.offer(v(*file), Source::File, &host()), Standing::New);
    }
    record
}

#[test]
fn rollbacks_go_back_one_by_one_and_then_say_that_nothing_is_left() {
    let mut record = after(&[1, 2, 3]);
    assert_eq!(record.roll_back(None, &host()), Ok(v(2)));
    assert_eq!(record.roll_back(None, &host()), Ok(v(1)));
    assert_eq!(record.roll_back(None, &host()), Err(ChangeError::NothingEarlier));
    assert_eq!(record.current(), v(1));
}

#[test]
fn a_version_that_was_rolled_back_is_not_taken_from_its_file_again() {
    let mut record = after(&[1, 2]);
    record.roll_back(None, &host()).unwrap();
    assert!(matches!(record.offer(v(2), Source::File, &host()), Standing::HeldBack(_)));
    assert_eq!(record.current(), v(1));
    // The file had other content in between: its author means it.
    assert_eq!(record.offer(v(3), Source::File, &host()), Standing::New);
    assert_eq!(record.offer(v(2), Source::File, &host()), Standing::New);
}

#[test]
fn a_version_is_gone_back_to_by_name_even_where_it_was_left() {
    let mut record = after(&[1, 2, 3]);
    record.roll_back(Some(v(1)), &host()).unwrap();
    record.roll_back(Some(v(3)), &host()).unwrap();
    assert_eq!(record.current(), v(3));
    assert_eq!(record.roll_back(None, &host()), Ok(v(1)));
    assert_eq!(record.roll_back(Some(v(1)), &host()), Err(ChangeError::AlreadyCurrent(v(1))));
}

#[test]
fn a_pinned_handler_ignores_new_files_and_says_so() {
    let mut record = after(&[1]);
    record.pin_to_current(&Author::new("ana", UNIX_EPOCH).saying("month's end"));
    let Standing::Pinned(said) = record.offer(v(2), Source::File, &host()) else { panic!("it was taken") };
    assert!(said.contains("pinned") && said.contains("ana"), "{said}");
    assert_eq!((record.current(), record.waiting()), (v(1), Some(v(2))));
    assert!(matches!(record.roll_back(Some(v(2)), &host()), Err(ChangeError::Pinned { .. })));
    let canary = Canary { version: v(2), share_percent: 10.try_into().unwrap() };
    assert!(matches!(record.start_canary(canary, &host()), Err(ChangeError::Pinned { .. })));
    assert_eq!(record.unpin(&host()), Ok(Some(v(2))));
    assert_eq!(record.offer(v(2), Source::File, &host()), Standing::New);
    assert_eq!(record.unpin(&host()), Err(ChangeError::NotPinned));
}

#[test]
fn a_file_that_goes_back_to_the_pinned_content_waits_no_more() {
    let mut record = after(&[1]);
    record.pin_to_current(&host());
    record.offer(v(2), Source::File, &host());
    assert_eq!(record.offer(v(1), Source::File, &host()), Standing::Current);
    assert_eq!(record.unpin(&host()), Ok(None));
}

#[test]
fn a_failed_canary_changes_nothing_and_does_not_come_back() {
    let mut record = after(&[1]);
    let canary = Canary { version: v(2), share_percent: 10.try_into().unwrap() };
    record.start_canary(canary, &host()).unwrap();
    assert_eq!(record.offer(v(2), Source::File, &host()), Standing::Canary);
    let why = Author::new("host", UNIX_EPOCH).saying("11 of 50 calls trapped");
    assert_eq!(record.end_canary(CanaryEnd::Failed, &why), Ok(v(1)));
    assert!(matches!(record.standing(v(2)), Standing::HeldBack(_)));
    let last = record.history().last().unwrap();
    assert_eq!((last.why, last.version, last.current), (Why::CanaryFailed, v(2), v(1)));
    assert_eq!(last.note.as_deref(), Some("11 of 50 calls trapped"));
    assert_eq!(record.end_canary(CanaryEnd::Failed, &host()), Err(ChangeError::NoCanary));
}

#[test]
fn a_promoted_canary_is_current_and_can_be_gone_back_from() {
    let mut record = after(&[1]);
    let canary = Canary { version: v(2), share_percent: 50.try_into().unwrap() };
    record.start_canary(canary, &host()).unwrap();
    assert_eq!(record.end_canary(CanaryEnd::Promoted, &host()), Ok(v(2)));
    assert_eq!(record.roll_back(None, &host()), Ok(v(1)));
}

#[test]
fn a_record_does_not_grow_for_ever() {
    let mut record = Record::first(v(0), Source::File, &host());
    for n in 0..1_000_u32 {
        record.offer(Version::of(&n.to_be_bytes()), Source::File, &host().saying(&"long ".repeat(1_000)));
        record.roll_back(None, &host()).unwrap();
        record.offer(Version::of(&(n + 5_000).to_be_bytes()), Source::Oci, &host());
    }
    assert_eq!((record.earlier.len(), record.history.len()), (MAX_EARLIER, MAX_HISTORY));
    assert!(serde_json::to_string_pretty(&record).unwrap().len() < 200_000);
}

#[test]
fn a_canary_that_an_operator_chose_does_not_let_the_bad_file_in() {
    let mut record = after(&[1, 2]);
    record.roll_back(None, &host()).unwrap();
    let canary = Canary { version: v(3), share_percent: 50.try_into().unwrap() };
    record.start_canary(canary, &host()).unwrap();
    assert!(matches!(record.standing(v(2)), Standing::HeldBack(_)));
    record.end_canary(CanaryEnd::Promoted, &host()).unwrap();
    assert!(matches!(record.standing(v(2)), Standing::HeldBack(_)));
}

#[test]
fn a_share_is_some_of_a_hundred() {
    assert!([0, 101, 255].into_iter().all(|bad| SharePercent::try_from(bad).is_err()));
    assert!([1, 100].into_iter().all(|good| SharePercent::try_from(good).is_ok()));
    assert!(serde_json::from_str::<SharePercent>("101").is_err());
}

#[derive(Debug, Clone)]
enum Do {
    Offer(u8),
    Back(Option<u8>),
    Pin,
    Unpin,
    Canary(u8),
    End(u8),
}

fn something() -> impl Strategy<Value = Do> {
    prop_oneof![
        4 => (0_u8..12).prop_map(Do::Offer),
        2 => proptest::option::of(0_u8..12).prop_map(Do::Back),
        1 => Just(Do::Pin),
        2 => Just(Do::Unpin),
        2 => (0_u8..12).prop_map(Do::Canary),
        2 => (0_u8..3).prop_map(Do::End),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_happens_a_record_is_sound(what in proptest::collection::vec(something(), 0..60)) {
        let mut record = Record::first(v(0), Source::File, &host());
        for one in what {
            let before = record.clone();
            match one {
                Do::Offer(n) => {
                    let standing = record.offer(v(n), Source::File, &host());
                    let now = if standing == Standing::New { v(n) } else { before.current };
                    prop_assert_eq!(record.current, now);
                }
                Do::Back(to) => {
                    let back = record.roll_back(to.map(v), &host());
                    prop_assert_eq!(record.current, *back.as_ref().unwrap_or(&before.current));
                }
                Do::Pin => record.pin_to_current(&host()),
                Do::Unpin => drop(record.unpin(&host())),
                Do::Canary(n) => {
                    let canary = Canary { version: v(n), share_percent: SharePercent(7) };
                    let _ = record.start_canary(canary, &host());
                    prop_assert_eq!(record.current, before.current);
                }
                Do::End(n) => {
                    let end = [CanaryEnd::Promoted, CanaryEnd::Failed, CanaryEnd::Withdrawn][usize::from(n)];
                    let _ = record.end_canary(end, &host());
                }
            }
            prop_assert!(before.pin.is_none() || record.current == before.current);
            prop_assert!(record.pin.is_none() || record.canary.is_none());
            prop_assert!(!record.earlier.contains(&record.current));
            prop_assert!(!record.held_back.contains(&record.current));
            prop_assert!(record.canary.is_none_or(|canary| canary.version != record.current));
            prop_assert!(record.earlier.len() <= MAX_EARLIER);
            prop_assert!(record.held_back.len() <= MAX_HELD_BACK);
            prop_assert!(record.history.len() <= MAX_HISTORY);
            prop_assert_eq!(record.history.last().unwrap().current, record.current);
        }
        let text = serde_json::to_string(&record).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Record>(&text).unwrap(), &record);
    }
}

#[test]
fn signatures_of_versions_that_can_be_gone_to_are_kept_and_no_more_than_64() {
    let mut record = after(&[0]);
    for n in 0..=120 {
        record.offer(v(n), Source::File, &host());
        record.keep_signature(v(n), &format!("by {n}"));
    }
    assert!(record.signatures.len() <= MAX_SIGNATURES, "{}", record.signatures.len());
    let kept: Vec<_> = record.keep(usize::MAX).collect();
    assert!(kept.len() > MAX_EARLIER && kept.iter().all(|version| record.signature(*version).is_some()));
    assert_eq!((record.signature(v(120)), record.signature(v(0))), (Some("by 120"), None));
    record.keep_signature(v(120), "by another");
    assert_eq!(record.signature(v(120)), Some("by another"), "the last one counts");
    record.forget(|version| version == v(100));
    assert_eq!(record.signature(v(100)), None);
}
