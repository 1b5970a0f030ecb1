//! The table at the end.

use std::time::Duration;

use anyhow::Error;

/// One line of the table.
struct Line {
    what: String,
    measured: String,
    baseline: String,
    bar: String,
    /// Whether the bar is reached; `None` for what has none.
    reached: Option<bool>,
}

/// Everything that was measured.
#[derive(Default)]
pub(crate) struct Report {
    lines: Vec<Line>,
}

impl Report {
    /// Adds a measurement that has a bar, and perhaps a baseline.
    pub(crate) fn bar(&mut self, what: &str, measured: String, baseline: &str, bar: (&str, bool)) {
        self.add(what, measured, baseline, bar.0, Some(bar.1));
    }

    /// Adds a measurement without a bar.
    pub(crate) fn note(&mut self, what: &str, measured: String, baseline: &str) {
        self.add(what, measured, baseline, "", None);
    }

    /// Adds a section that came to nothing.
    pub(crate) fn failed(&mut self, section: &str, error: &Error) {
        eprintln!("  {section} failed: {error:#}");
        self.add(section, "failed, see above".to_owned(), "", "", Some(false));
    }

    fn add(
        &mut self,
        what: &str,
        measured: String,
        baseline: &str,
        bar: &str,
        reached: Option<bool>,
    ) {
        eprintln!("  {what}: {measured}");
        self.lines.push(Line {
            what: what.to_owned(),
            measured,
            baseline: baseline.to_owned(),
            bar: bar.to_owned(),
            reached,
        });
    }

    /// Whether no bar is missed.
    pub(crate) fn all_reached(&self) -> bool {
        self.lines.iter().all(|line| line.reached != Some(false))
    }

    /// Prints the table.
    pub(crate) fn print(&self) {
        let head = ["", "measured", "baseline in this run", "bar", ""].map(str::to_owned);
        let mut rows = vec![head];
        rows.extend(self.lines.iter().map(|line| {
            let verdict = match line.reached {
                Some(true) => "reached",
                Some(false) => "MISSED",
                None => "",
            };
            [
                line.what.clone(),
                line.measured.clone(),
                line.baseline.clone(),
                line.bar.clone(),
                verdict.to_owned(),
            ]
        }));
        let widths: [usize; 5] = std::array::from_fn(|column| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        });
        println!();
        for row in rows {
            let cells = row
                .iter()
                .zip(widths)
                .map(|(cell, width)| format!("{cell:<width$}"));
            println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
    }
}

/// So many per second, with thousands apart.
pub(crate) fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The value below which this part of all values lies.
pub(crate) fn percentile(sorted: &[f64], part: f64) -> f64 {
    let index = (sorted.len() as f64 * part) as usize;
    sorted
        .get(index.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}

/// A whole number with its thousands apart.
pub(crate) fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes as MiB.
pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
