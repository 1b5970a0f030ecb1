//! The binary from outside, without any server.

mod agent;
mod invalid;
mod running;

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

/// The example's documents: two Secrets, a source, a sink.
const EXAMPLE: &str = include_str!("../../deploy/examples/mysql-to-postgres.yaml");

/// Runs the binary with a file on standard input.
fn sluice(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    // A binary that ends before it reads closes the pipe; its answer tells why.
    drop(stdin.write_all(input.as_bytes()));
    drop(stdin);
    child.wait_with_output().expect("the binary ends")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
