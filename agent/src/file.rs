//! Pipeline files: any number of YAML documents of the kinds `ReplicationSource`, `ReplicaSink` and
//! `Secret`, in any number of files.
//!
//! Text becomes [`document`] trees, each is checked against its [`schema`] and becomes an
//! [`objects`] entry, and sinks, sources and Secrets are put together into [`pipelines`]. Whatever
//! is wrong is collected as [`Mistake`]s, each with file, line, object and field; one is enough to
//! refuse everything, since half a set of pipelines is seldom what was meant.

mod document;
mod objects;
mod pipelines;
mod schema;

use std::{
    fmt, fs,
    io::{self, Read as _},
    path::Path,
};

use objects::Objects;
pub(crate) use pipelines::{Loaded, LoneSource, Pipeline};

/// Something in a file that must be mended before anything can run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mistake {
    /// The file's name, `stdin` for standard input.
    pub(crate) file: String,
    /// The line; zero when it is about the whole file.
    pub(crate) line: usize,
    /// Which document, by number and, as far as is known, by kind and name.
    pub(crate) document: String,
    /// The field; empty when it is about the whole document.
    pub(crate) path: String,
    /// What is wrong.
    pub(crate) message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.file)?;
        if self.line > 0 {
            write!(formatter, ":{}", self.line)?;
        }
        formatter.write_str(": ")?;
        if !self.document.is_empty() {
            write!(formatter, "{}: ", self.document)?;
        }
        if !self.path.is_empty() {
            write!(formatter, "{}: ", self.path)?;
        }
        formatter.write_str(&self.message)
    }
}

/// Reads files (`-` is standard input) and puts their objects together.
pub(crate) fn load(paths: &[impl AsRef<Path>]) -> Result<Loaded, Vec<Mistake>> {
    let mut objects = Objects::default();
    let mut mistakes = Vec::new();
    for path in paths {
        let path = path.as_ref();
        let is_stdin = path == Path::new("-");
        let name = if is_stdin {
            "stdin".to_owned()
        } else {
            path.display().to_string()
        };
        match read(path, is_stdin) {
            Ok(text) => objects.add(&name, &text, &mut mistakes),
            Err(error) => mistakes.push(Mistake {
                file: name,
                line: 0,
                document: String::new(),
                path: String::new(),
                message: format!("can't be read: {error}"),
            }),
        }
    }
    // References between objects are only looked at when each object is sound: the mistakes that
    // a missing one brings along would only hide it.
    if mistakes.is_empty() {
        let loaded = pipelines::link(objects, &mut mistakes);
        if mistakes.is_empty() {
            return Ok(loaded);
        }
    }
    mistakes.sort();
    mistakes.dedup();
    Err(mistakes)
}

fn read(path: &Path, is_stdin: bool) -> io::Result<String> {
    if !is_stdin {
        return fs::read_to_string(path);
    }
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
