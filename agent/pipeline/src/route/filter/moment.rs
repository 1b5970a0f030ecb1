//! Dates and times in row filters, as text and as something to compare, impossible dates included.

use std::cmp::Ordering;

use sluice_core::{
    Value,
    value::{MICROS_PER_DAY, civil_from_days, days_from_civil},
};

use crate::route::filter::order::calendar_micros;

/// A date or date-time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// Microseconds since 1970.
    Real(i64),
    /// A date that no calendar has, such as `0000-00-00`.
    Impossible(Civil),
}

/// Year, month, day, and microseconds of the day; orders as the calendar does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Civil(i32, u32, u32, i64);

impl Moment {
    /// The moment that a value holds.
    pub(super) fn of(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Impossible(text) => parse_moment(text).map(|(moment, _)| moment),
            value => calendar_micros(value).map(Self::Real),
        }
    }

    fn civil(self) -> Civil {
        match self {
            Self::Impossible(civil) => civil,
            Self::Real(micros) => {
                let days = micros.div_euclid(MICROS_PER_DAY);
                let (year, month, day) = civil_from_days(days as i32);
                Civil(year, month, day, micros.rem_euclid(MICROS_PER_DAY))
            }
        }
    }
}

impl PartialOrd for Moment {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Moment {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Real(left), Self::Real(right)) => left.cmp(right),
            (left, right) => left.civil().cmp(&right.civil()),
        }
    }
}

/// Reads `YYYY-MM-DD[( |T)HH:MM[:SS[.ffffff]][Z|±HH[:MM]]]`; the flag says whether a zone was
/// named, in which case the moment is in UTC.
pub(super) fn parse_moment(text: &str) -> Option<(Moment, bool)> {
    let mut pieces = text.splitn(2, [' ', 'T']);
    let mut date = pieces.next()?.splitn(3, '-');
    let year = date.next().filter(|year| year.len() >= 4)?;
    let year = number(year, 999_999)? as i32;
    let (month, day) = (number(date.next()?, 12)?, number(date.next()?, 31)?);
    let (micros, zone_micros) = match pieces.next() {
        None => (0, None),
        Some(rest) => {
            let zone_at = rest.find(['Z', '+', '-']).unwrap_or(rest.len());
            let (time, zone) = rest.split_at(zone_at);
            let micros = parse_clock(time).filter(|&micros| micros < MICROS_PER_DAY)?;
            let zone = (!zone.is_empty()).then(|| parse_zone(zone).ok_or(()));
            (micros, zone.transpose().ok()?)
        }
    };
    let moment = match days_from_civil(year, month, day) {
        Some(days) => Moment::Real(
            i64::from(days) * MICROS_PER_DAY + micros - zone_micros.unwrap_or_default(),
        ),
        None => Moment::Impossible(Civil(year, month, day, micros)),
    };
    Some((moment, zone_micros.is_some()))
}

/// Reads a span such as `-838:59:59.000000` in microseconds.
pub(super) fn parse_time(text: &str) -> Option<i64> {
    match text.strip_prefix('-') {
        Some(span) => parse_clock(span).map(|micros| -micros),
        None => parse_clock(text),
    }
}

fn parse_clock(text: &str) -> Option<i64> {
    let mut pieces = text.splitn(3, ':');
    let hours = number(pieces.next()?, 99_999)?;
    let minutes = number(pieces.next()?, 59)?;
    let (seconds, fraction) = match pieces.next() {
        None => ("0", ""),
        Some(rest) => rest.split_once('.').unwrap_or((rest, "")),
    };
    let seconds = number(seconds, 59)?;
    let micros = match fraction.len() {
        0 => 0,
        length @ 1..=6 => number(fraction, 999_999)? * 10_u32.pow(6 - length as u32),
        _ => return None,
    };
    let seconds = (i64::from(hours) * 60 + i64::from(minutes)) * 60 + i64::from(seconds);
    Some(seconds * 1_000_000 + i64::from(micros))
}

fn parse_zone(text: &str) -> Option<i64> {
    let sign = match text.as_bytes().first() {
        Some(b'Z') => return (text == "Z").then_some(0),
        Some(b'-') => -1,
        _ => 1,
    };
    let (hours, minutes) = text[1..].split_once(':').unwrap_or((&text[1..], "0"));
    let minutes = number(hours, 15)? * 60 + number(minutes, 59)?;
    Some(sign * i64::from(minutes) * 60_000_000)
}

fn number(digits: &str, largest: u32) -> Option<u32> {
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    let number = is_number.then(|| digits.parse().ok())??;
    (number <= largest).then_some(number)
}
