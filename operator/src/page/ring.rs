//! The last half hour of one pipeline's lag, in little room.

use std::collections::VecDeque;

use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

/// One value stands for so many seconds.
const STEP_SECONDS: i64 = 10;
/// So many values are kept: half an hour.
const LENGTH_MAX: usize = 180;

/// Lag by time: the largest of each ten seconds. Times without a value are gaps.
#[derive(Debug, Default)]
pub(crate) struct LagRing {
    /// Number of the ten seconds since 1970, and the lag in seconds.
    values: VecDeque<(i64, f32)>,
}

/// The values of a ring, evenly spaced.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Series {
    /// Between two values.
    step_seconds: i64,
    /// How many values make the whole chart; those before the first one are not known.
    length: usize,
    /// The last one is now's; null where nothing is known.
    values: Vec<Option<f64>>,
}

impl LagRing {
    /// Adds the lag of this moment.
    pub(crate) fn record(&mut self, seconds: f64, now: Timestamp) {
        let step = now.as_second().div_euclid(STEP_SECONDS);
        let seconds = seconds as f32;
        match self.values.back_mut() {
            Some((last, value)) if *last == step => *value = value.max(seconds),
            // A clock that was set back: what is there is not in order any more.
            Some((last, _)) if *last > step => {
                self.values.clear();
                self.values.push_back((step, seconds));
            }
            _ => self.values.push_back((step, seconds)),
        }
        while self.values.len() > LENGTH_MAX {
            self.values.pop_front();
        }
    }

    /// The half hour until now.
    pub(crate) fn series(&self, now: Timestamp) -> Series {
        let end = now.as_second().div_euclid(STEP_SECONDS);
        let start = end - LENGTH_MAX as i64 + 1;
        let known = self.values.iter();
        let known = known.filter(|(step, _)| (start..=end).contains(step));
        let mut values: Vec<Option<f64>> = Vec::new();
        let mut next = None;
        for (step, seconds) in known {
            let gap = next.map_or(0, |next| step - next);
            values.extend((0..gap).map(|_| None));
            values.push(Some((f64::from(*seconds) * 10.0).round() / 10.0));
            next = Some(step + 1);
        }
        let gap = next.map_or(0, |next| end + 1 - next);
        // The present ten seconds may not have a value yet.
        if gap > 1 {
            values.extend((0..gap).map(|_| None));
        }
        Series {
            step_seconds: STEP_SECONDS,
            length: LENGTH_MAX,
            values,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn each_ten_seconds_keep_their_largest_lag() {
        let mut ring = LagRing::default();
        for (second, lag) in [(100, 1.0), (103, 4.26), (109, 2.0), (110, 0.0)] {
            ring.record(lag, at(second));
        }
        assert_eq!(ring.series(at(112)).values, [Some(4.3), Some(0.0)]);
    }

    #[test]
    fn times_of_which_nothing_is_known_are_gaps() {
        let mut ring = LagRing::default();
        ring.record(1.0, at(100));
        ring.record(2.0, at(130));
        let values = [Some(1.0), None, None, Some(2.0)];
        assert_eq!(ring.series(at(139)).values, values);
        assert_eq!(ring.series(at(141)).values, values, "may still come");
        let silent = ring.series(at(165)).values;
        assert_eq!(silent[4..], [None, None, None]);
    }

    #[test]
    fn no_more_than_half_an_hour_is_kept() {
        let mut ring = LagRing::default();
        for second in (0..7_200).step_by(3) {
            ring.record(1.0, at(second));
        }
        assert_eq!(ring.values.len(), LENGTH_MAX);
        assert_eq!(ring.series(at(7_199)).values.len(), LENGTH_MAX);
        assert_eq!(ring.series(at(90_000)).values, []);
    }

    #[test]
    fn a_clock_that_was_set_back_starts_a_new_chart() {
        let mut ring = LagRing::default();
        ring.record(1.0, at(1_000));
        ring.record(2.0, at(500));
        assert_eq!(ring.series(at(500)).values, [Some(2.0)]);
    }
}
