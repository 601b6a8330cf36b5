//! When people may be called: `mon-fri 09:00-18:00, sat 10:00-14:00 Europe/Berlin`.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use jiff::civil::Weekday;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ToSpan, Zoned};
use serde::{Deserialize, Serialize};

const MINUTES_A_DAY: u16 = 24 * 60;

/// A week and a day: the same window again, even if it has just closed.
const DAYS_AHEAD: i64 = 8;

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// Windows of the week. Written `[DAYS] FROM-TO`, several with commas, then a zone: `+02:00`, `UTC`, a name such as
/// `Europe/Berlin` (summer time is followed), or `local`, the machine's, which is also meant when nothing is written. Days
/// are one (`sat`) or a span (`mon-fri`, `sat-sun`); none: every day. Times are `HH:MM`, up to `24:00`, and do not pass
/// midnight. A window's last minute is not part of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CallingHours {
    windows: Vec<Window>,
    zone: TimeZone,
    written: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    /// Monday is bit 0.
    days: u8,
    from_minute: u16,
    to_minute: u16,
}

impl CallingHours {
    /// Now, when calls may be begun now; otherwise when they next may. `None` for a time beyond the calendar.
    pub fn next_open(&self, now: SystemTime) -> Option<SystemTime> {
        let now = Timestamp::try_from(now).ok()?.to_zoned(self.zone.clone());
        if self.windows.iter().any(|window| window.holds(&now)) {
            return Some(now.timestamp().into());
        }
        let today = now.date();
        let openings = (0..=DAYS_AHEAD).flat_map(|ahead| self.windows.iter().map(move |window| (ahead, window)));
        openings
            .filter_map(|(ahead, window)| window.opens(today.checked_add(ahead.days()).ok()?, &self.zone))
            .filter(|opening| *opening > now.timestamp())
            .min()
            .map(SystemTime::from)
    }
}

impl Window {
    fn on(&self, day: Weekday) -> bool {
        self.days & (1 << day.to_monday_zero_offset()) != 0
    }

    fn holds(&self, now: &Zoned) -> bool {
        let minute = u16::from(now.hour().unsigned_abs()) * 60 + u16::from(now.minute().unsigned_abs());
        self.on(now.weekday()) && (self.from_minute..self.to_minute).contains(&minute)
    }

    fn opens(&self, day: jiff::civil::Date, zone: &TimeZone) -> Option<Timestamp> {
        if !self.on(day.weekday()) {
            return None;
        }
        let (hour, minute) = (self.from_minute / 60, self.from_minute % 60);
        let at = day.at(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0);
        at.to_zoned(zone.clone()).ok().map(|at| at.timestamp())
    }
}

impl FromStr for CallingHours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut zone = None;
        let mut windows = Vec::new();
        for part in text.split(',') {
            if zone.is_some() {
                return Err("the calling hours have a zone before their end; write it last".to_owned());
            }
            let mut words = part.split_whitespace().peekable();
            let days = words.next_if(|word| word.starts_with(|c: char| c.is_ascii_alphabetic()));
            let days = days.map_or(Ok(0b111_1111), self::days)?;
            let (from_minute, to_minute) = words.next().and_then(span).ok_or_else(|| {
                format!("the calling hours {:?} have no times; write them as mon-fri 09:00-18:00", part.trim())
            })?;
            windows.push(Window { days, from_minute, to_minute });
            zone = words.next().map(self::zone).transpose()?;
            if let Some(word) = words.next() {
                return Err(format!("the calling hours go on with {word:?} after their zone"));
            }
        }
        let written = text.split_whitespace().collect::<Vec<_>>().join(" ");
        Ok(Self { windows, zone: zone.unwrap_or_else(TimeZone::system), written })
    }
}

fn days(word: &str) -> Result<u8, String> {
    let day = |name: &str| DAYS.iter().position(|(known, _)| name.eq_ignore_ascii_case(known));
    let span = match word.split_once('-') {
        Some((from, to)) => day(from).zip(day(to)),
        None => day(word).map(|only| (only, only)),
    };
    let (from, to) =
        span.ok_or_else(|| format!("{word:?} are no days; write mon, tue, wed, thu, fri, sat, sun, or mon-fri"))?;
    // A span may pass the week's end: fri-mon.
    let length = (to + DAYS.len() - from) % DAYS.len();
    Ok((0..=length).fold(0, |days, step| days | 1 << ((from + step) % DAYS.len())))
}

fn span(word: &str) -> Option<(u16, u16)> {
    let (from, to) = word.split_once('-')?;
    let (from, to) = (minute(from)?, minute(to)?);
    (from < to).then_some((from, to))
}

fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str| (text.len() == 2).then(|| text.parse::<u16>().ok()).flatten();
    let (hour, minute) = (number(hour)?, number(minute)?);
    let at = hour.checked_mul(60)?.checked_add(minute)?;
    (minute < 60 && at <= MINUTES_A_DAY).then_some(at)
}

fn zone(word: &str) -> Result<TimeZone, String> {
    if word.eq_ignore_ascii_case("local") {
        return Ok(TimeZone::system());
    }
    if word.eq_ignore_ascii_case("utc") {
        return Ok(TimeZone::UTC);
    }
    if let Some((sign, rest)) = word.strip_prefix('+').map(|rest| (1, rest)).or(word.strip_prefix('-').map(|r| (-1, r)))
    {
        let minutes = minute(rest).filter(|minutes| *minutes <= 14 * 60);
        let offset = minutes.and_then(|minutes| Offset::from_seconds(sign * i32::from(minutes) * 60).ok());
        return offset.map(TimeZone::fixed).ok_or_else(|| format!("{word:?} is no offset; write it as +02:00"));
    }
    TimeZone::get(word).map_err(|_| {
        format!("the zone {word:?} is not known to this machine; write UTC, local, +02:00 or a name as Europe/Berlin")
    })
}

impl fmt::Display for CallingHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl TryFrom<String> for CallingHours {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<CallingHours> for String {
    fn from(hours: CallingHours) -> Self {
        hours.written
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> SystemTime {
        humantime::parse_rfc3339(text).unwrap()
    }

    /// 2026-11-20 is a Friday.
    #[test]
    fn calls_wait_for_the_next_window() {
        let hours: CallingHours = "mon-fri 09:00-18:00, sat 10:00-14:00 +02:00".parse().unwrap();
        for (now, open) in [
            ("2026-11-20T07:00:00Z", "2026-11-20T07:00:00Z"),
            ("2026-11-20T06:59:59Z", "2026-11-20T07:00:00Z"),
            ("2026-11-20T15:59:59Z", "2026-11-20T15:59:59Z"),
            ("2026-11-20T16:00:00Z", "2026-11-21T08:00:00Z"),
            ("2026-11-21T12:00:00Z", "2026-11-23T07:00:00Z"),
        ] {
            assert_eq!(hours.next_open(at(now)), Some(at(open)), "{now}");
        }
    }

    #[test]
    fn a_single_window_a_week_comes_again() {
        let hours: CallingHours = "fri 00:00-00:01 UTC".parse().unwrap();
        assert_eq!(hours.next_open(at("2026-11-20T00:01:00Z")), Some(at("2026-11-27T00:00:00Z")));
        let always: CallingHours = "00:00-24:00 UTC".parse().unwrap();
        assert_eq!(always.next_open(at("2026-11-20T23:59:59Z")), Some(at("2026-11-20T23:59:59Z")));
    }

    #[test]
    fn days_may_pass_the_weeks_end() {
        let hours: CallingHours = "sat-mon 10:00-11:00 UTC".parse().unwrap();
        assert_eq!(hours.next_open(at("2026-11-20T10:30:00Z")), Some(at("2026-11-21T10:00:00Z")));
        assert_eq!(hours.next_open(at("2026-11-23T10:30:00Z")), Some(at("2026-11-23T10:30:00Z")));
        assert_eq!(hours.next_open(at("2026-11-23T11:00:00Z")), Some(at("2026-11-28T10:00:00Z")));
    }

    #[test]
    fn summer_time_is_followed() {
        // Where a machine has no zones at all, saying so is all that can be done.
        let Ok(hours) = "09:00-10:00 Europe/Berlin".parse::<CallingHours>() else { return };
        assert_eq!(hours.next_open(at("2026-07-01T00:00:00Z")), Some(at("2026-07-01T07:00:00Z")));
        assert_eq!(hours.next_open(at("2026-12-01T00:00:00Z")), Some(at("2026-12-01T08:00:00Z")));
    }

    #[test]
    fn hours_that_are_no_good_say_what_to_write() {
        for (text, word) in [
            ("", "no times"),
            ("mon-fri", "no times"),
            ("18:00-09:00", "no times"),
            ("09:00-24:01", "no times"),
            ("9:00-10:00", "no times"),
            ("foo 09:00-10:00", "no days"),
            ("09:00-10:00 +99:00", "no offset"),
            ("09:00-10:00 Mars/Olympus", "not known"),
            ("09:00-10:00 UTC UTC", "after their zone"),
            ("09:00-10:00 UTC, 11:00-12:00", "write it last"),
        ] {
            let error = text.parse::<CallingHours>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn written_and_read_again_they_are_the_same() {
        let hours: CallingHours = "mon-fri  09:00-18:00,sat 10:00-14:00   -05:00".parse().unwrap();
        assert_eq!(hours.to_string().parse::<CallingHours>().unwrap().windows, hours.windows);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z0-9:+,\\- ]{0,40}") {
            let _ = text.parse::<CallingHours>();
        }

        #[test]
        fn the_next_opening_is_open(secs in 0u64..4_000_000_000) {
            let hours: CallingHours = "mon 09:00-18:00, sat-sun 10:30-14:00 -03:30".parse().unwrap();
            let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(secs);
            let open = hours.next_open(now).unwrap();
            prop_assert!(open >= now);
            prop_assert_eq!(hours.next_open(open), Some(open));
        }
    }
}
