//! Sets of MySQL global transaction ids.
//!
//! Text form and meaning: MySQL reference manual, "GTID Format and Storage"; tags since 8.3.

use std::{collections::BTreeMap, fmt, str::FromStr};

/// Who numbered a transaction: a server's UUID and, optionally, a tag.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GtidSource {
    /// The server's UUID.
    pub uuid: [u8; 16],
    /// The tag, lower case; empty for none.
    pub tag: String,
}

impl fmt::Display for GtidSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.uuid.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                formatter.write_str("-")?;
            }
            write!(formatter, "{byte:02x}")?;
        }
        if self.tag.is_empty() {
            Ok(())
        } else {
            write!(formatter, ":{}", self.tag)
        }
    }
}

/// A set of transaction ids: for each source, intervals that neither touch nor overlap, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GtidSet(BTreeMap<GtidSource, Vec<Interval>>);

/// First and last number, both inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// The first number.
    pub first: u64,
    /// The last number.
    pub last: u64,
}

impl GtidSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the set holds nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The sources with their intervals.
    pub fn sources(&self) -> impl Iterator<Item = (&GtidSource, &[Interval])> {
        self.0
            .iter()
            .map(|(source, intervals)| (source, intervals.as_slice()))
    }

    /// Adds one transaction.
    pub fn insert(&mut self, source: &GtidSource, number: u64) {
        if let Some(intervals) = self.0.get_mut(source) {
            // The common case of a live stream: the next number.
            if let Some(last) = intervals.last_mut()
                && last.last + 1 == number
            {
                last.last = number;
                return;
            }
            insert_interval(
                intervals,
                Interval {
                    first: number,
                    last: number,
                },
            );
        } else {
            self.0.insert(
                source.clone(),
                vec![Interval {
                    first: number,
                    last: number,
                }],
            );
        }
    }

    /// Adds every transaction of another set.
    pub fn extend(&mut self, other: &Self) {
        for (source, intervals) in &other.0 {
            let mine = self.0.entry(source.clone()).or_default();
            for &interval in intervals {
                insert_interval(mine, interval);
            }
        }
    }

    /// Whether one transaction is in the set.
    pub fn contains(&self, source: &GtidSource, number: u64) -> bool {
        self.0.get(source).is_some_and(|intervals| {
            intervals
                .iter()
                .any(|interval| (interval.first..=interval.last).contains(&number))
        })
    }

    /// Whether every transaction of the other set is in this one.
    pub fn contains_set(&self, other: &Self) -> bool {
        other.0.iter().all(|(source, intervals)| {
            let mine = self.0.get(source).map_or(&[][..], Vec::as_slice);
            intervals.iter().all(|wanted| {
                mine.iter()
                    .any(|held| held.first <= wanted.first && wanted.last <= held.last)
            })
        })
    }

    /// The transactions of this set that the other lacks.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        let mut rest = BTreeMap::new();
        for (source, intervals) in &self.0 {
            let taken = other.0.get(source).map_or(&[][..], Vec::as_slice);
            let mut kept = Vec::new();
            for &interval in intervals {
                let mut first = interval.first;
                for hole in taken.iter().filter(|hole| hole.last >= interval.first) {
                    if hole.first > interval.last {
                        break;
                    }
                    if hole.first > first {
                        kept.push(Interval {
                            first,
                            last: hole.first - 1,
                        });
                    }
                    first = first.max(hole.last + 1);
                }
                if first <= interval.last {
                    kept.push(Interval {
                        first,
                        last: interval.last,
                    });
                }
            }
            if !kept.is_empty() {
                rest.insert(source.clone(), kept);
            }
        }
        Self(rest)
    }

    /// How many transactions the set holds.
    pub fn transaction_count(&self) -> u64 {
        self.0
            .values()
            .flatten()
            .map(|interval| interval.last - interval.first + 1)
            .sum()
    }
}

fn insert_interval(intervals: &mut Vec<Interval>, new: Interval) {
    let start = intervals.partition_point(|held| held.last + 1 < new.first);
    let end = intervals.partition_point(|held| held.first <= new.last + 1);
    let mut merged = new;
    for held in &intervals[start..end] {
        merged.first = merged.first.min(held.first);
        merged.last = merged.last.max(held.last);
    }
    intervals.splice(start..end, [merged]);
}

impl fmt::Display for GtidSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (source, intervals)) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str(",")?;
            }
            write!(formatter, "{source}")?;
            for interval in intervals {
                if interval.first == interval.last {
                    write!(formatter, ":{}", interval.first)?;
                } else {
                    write!(formatter, ":{}-{}", interval.first, interval.last)?;
                }
            }
        }
        Ok(())
    }
}

/// A text that is not a GTID set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a GTID set")]
pub struct InvalidGtidSet(pub String);

impl FromStr for GtidSet {
    type Err = InvalidGtidSet;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| InvalidGtidSet(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<GtidSet> {
    let mut set = GtidSet::new();
    for piece in text
        .split(',')
        .map(str::trim)
        .filter(|piece| !piece.is_empty())
    {
        let mut parts = piece.split(':').map(str::trim);
        let uuid = parse_uuid(parts.next()?)?;
        let mut source = GtidSource {
            uuid,
            tag: String::new(),
        };
        let mut seen = false;
        for part in parts {
            if part.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
                source.tag = part.to_ascii_lowercase();
                continue;
            }
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let interval = Interval {
                first: first.trim().parse().ok()?,
                last: last.trim().parse().ok()?,
            };
            if interval.first == 0 || interval.first > interval.last || interval.last == u64::MAX {
                return None;
            }
            insert_interval(set.0.entry(source.clone()).or_default(), interval);
            seen = true;
        }
        if !seen {
            return None;
        }
    }
    Some(set)
}

/// Reads a UUID in its usual text form.
pub fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|&byte| byte != b'-')
        .map(|byte| char::from(byte).to_digit(16).map(|digit| digit as u8))
        .collect::<Option<_>>()?;
    let mut uuid = [0; 16];
    if digits.len() != 32 {
        return None;
    }
    for (byte, pair) in uuid.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    Some(uuid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn set(text: &str) -> GtidSet {
        text.parse().unwrap()
    }

    #[test]
    fn the_text_form_survives_the_round_trip() {
        for text in [
            format!("{A}:1-77"),
            format!("{A}:1-3:5:7-9"),
            format!("{A}:1-3,{A}:tag_a:4"),
            String::new(),
        ] {
            assert_eq!(set(&text).to_string(), text);
        }
        assert_eq!(
            set(&format!("{}:1-2:3\n", A.to_uppercase())).to_string(),
            format!("{A}:1-3")
        );
        assert!("3e11:1".parse::<GtidSet>().is_err());
        assert!(A.parse::<GtidSet>().is_err());
        assert!(format!("{A}:5-1").parse::<GtidSet>().is_err());
    }

    #[test]
    fn inclusion_is_of_sets_not_of_numbers() {
        assert!(set(&format!("{A}:1-10")).contains_set(&set(&format!("{A}:2-3:5"))));
        assert!(!set(&format!("{A}:1-3:5-10")).contains_set(&set(&format!("{A}:3-5"))));
        assert!(set(&format!("{A}:1")).contains_set(&GtidSet::new()));
    }

    #[test]
    fn inserting_and_subtracting_are_inverse() {
        let mut sum = set(&format!("{A}:1-3:7-9"));
        let (source, _) = sum.clone().0.into_iter().next().unwrap();
        for number in 4..7 {
            sum.insert(&source, number);
        }
        assert_eq!(sum, set(&format!("{A}:1-9")));
        assert_eq!(
            sum.subtract(&set(&format!("{A}:4-6"))),
            set(&format!("{A}:1-3:7-9"))
        );
        assert!(sum.subtract(&sum).is_empty());
        assert_eq!(sum.transaction_count(), 9);
    }
}
