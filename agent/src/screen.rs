//! Standard error, shared by log lines and the live table.
//!
//! The table is the last thing on the terminal. A log line takes it away, is written where it
//! was, and the table comes back below; all in one write, so that nothing flickers.

use std::{
    io::{self, IsTerminal as _, Write},
    sync::{Arc, Mutex, PoisonError},
};

use tracing_subscriber::fmt::MakeWriter;

/// Standard error.
#[derive(Clone, Default)]
pub(crate) struct Screen {
    /// The table as it stands on the terminal; none where there is no terminal.
    table: Option<Arc<Mutex<Vec<String>>>>,
}

impl Screen {
    /// Live where standard error is a terminal that can move its cursor.
    pub(crate) fn of_terminal() -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|terminal| terminal == "dumb");
        let live = io::stderr().is_terminal() && !dumb;
        Self {
            table: live.then(Arc::default),
        }
    }

    /// Without a table.
    pub(crate) fn plain() -> Self {
        Self::default()
    }

    /// Whether there is a terminal to draw on.
    pub(crate) fn is_live(&self) -> bool {
        self.table.is_some()
    }

    /// Replaces the table.
    pub(crate) fn draw(&self, lines: Vec<String>) {
        self.update("", Some(lines));
    }

    /// Leaves the table where it is and starts below it.
    pub(crate) fn leave(&self) {
        if let Some(table) = &self.table {
            table.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    /// Writes text above the table.
    pub(crate) fn print(&self, text: &str) {
        self.update(text, None);
    }

    fn update(&self, text: &str, lines: Option<Vec<String>>) {
        let Some(table) = &self.table else {
            write_out(text);
            return;
        };
        let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
        write_out(&frame(&mut table, text, lines));
    }
}

/// A terminal that is gone is no reason to stop replicating.
fn write_out(text: &str) {
    let mut stderr = io::stderr().lock();
    if stderr.write_all(text.as_bytes()).is_ok() {
        drop(stderr.flush());
    }
}

/// What to send so that `text` stands above the table.
fn frame(table: &mut Vec<String>, text: &str, lines: Option<Vec<String>>) -> String {
    let mut out = String::new();
    if !table.is_empty() {
        out.extend(["\x1b[", &table.len().to_string(), "A"]);
    }
    out.push('\r');
    if !text.is_empty() {
        // Log lines may wrap, so what was there goes first.
        out.push_str("\x1b[J");
        out.push_str(text);
    }
    if let Some(lines) = lines {
        *table = lines;
    }
    // Without wrapping, a line of the table is a line of the terminal, however narrow it is.
    out.push_str("\x1b[?7l");
    for line in &*table {
        out.push_str(line);
        out.push_str("\x1b[K\n");
    }
    out.push_str("\x1b[J\x1b[?7h");
    out
}

/// One log line on its way to the screen.
pub(crate) struct LogLine {
    screen: Screen,
    text: Vec<u8>,
}

impl Write for LogLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogLine {
    fn drop(&mut self) {
        self.screen.print(&String::from_utf8_lossy(&self.text));
    }
}

impl MakeWriter<'_> for Screen {
    type Writer = LogLine;

    fn make_writer(&self) -> LogLine {
        LogLine {
            screen: self.clone(),
            text: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_goes_above_the_table_and_the_table_stays() {
        let mut table = Vec::new();
        let first = frame(&mut table, "", Some(vec!["a".into(), "b".into()]));
        assert_eq!(first, "\r\x1b[?7la\x1b[K\nb\x1b[K\n\x1b[J\x1b[?7h");
        let logged = frame(&mut table, "log\n", None);
        assert_eq!(
            logged,
            "\x1b[2A\r\x1b[Jlog\n\x1b[?7la\x1b[K\nb\x1b[K\n\x1b[J\x1b[?7h"
        );
    }
}
