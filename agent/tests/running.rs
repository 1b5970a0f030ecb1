//! Pipelines whose servers are not there: they wait, say why, serve HTTP, and stop when asked.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::EXAMPLE;

/// The binary at work.
struct Running {
    child: Child,
    address: String,
}

impl Running {
    /// Starts the example against ports that nobody listens on.
    fn start(more: &[&str]) -> Self {
        let port = || {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
            listener
                .local_addr()
                .expect("it has an address")
                .port()
                .to_string()
        };
        let address = format!("127.0.0.1:{}", port());
        let yaml = EXAMPLE
            .replace("3306\n", &format!("{}\n", port()))
            .replace("5432\n", &format!("{}\n", port()));
        let mut child = Command::new(env!("CARGO_BIN_EXE_sluice"))
            .args(["run", "-f", "-", "--listen", &address])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut stdin = child.stdin.take().expect("standard input is a pipe");
        stdin.write_all(yaml.as_bytes()).expect("the binary reads");
        Self { child, address }
    }

    /// What the server answers: status line and body. Waits until there is one.
    fn get(&self, path: &str) -> (String, String) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Ok(mut stream) = TcpStream::connect(&self.address) {
                write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").expect("the server reads");
                let mut answer = String::new();
                stream
                    .read_to_string(&mut answer)
                    .expect("the server answers");
                let (head, body) = answer.split_once("\r\n\r\n").expect("it is HTTP");
                let status = head.lines().next().unwrap_or_default();
                return (status.to_owned(), body.to_owned());
            }
            assert!(
                Instant::now() < deadline,
                "nobody listens on {}",
                self.address
            );
            std::thread::yield_now();
        }
    }

    /// Asks politely for the end and answers with the exit code and how long it took.
    fn stop(&mut self) -> (Option<i32>, Duration, String) {
        let began = Instant::now();
        let killed = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status();
        assert!(killed.expect("kill runs").success());
        let mut errors = String::new();
        let mut stderr = self.child.stderr.take().expect("standard error is a pipe");
        stderr.read_to_string(&mut errors).expect("it is text");
        let status = self.child.wait().expect("the binary ends");
        (status.code(), began.elapsed(), errors)
    }
}

/// A test that fails leaves nothing behind.
impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_pipeline_without_servers_waits_and_says_why() {
    let mut running = Running::start(&[]);
    let mut lines = BufReader::new(running.child.stdout.take().expect("a pipe")).lines();
    let line = lines.next().expect("a line").expect("it is text");
    assert!(line.starts_with("shop-postgres: Pending"), "{line}");
    // The first attempt has failed when its error is printed.
    let error = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("Unreachable")));
    assert!(error.is_some(), "the error is printed");

    assert!(
        running.get("/healthz").0.contains("200"),
        "waiting is healthy"
    );
    let (status, body) = running.get("/readyz");
    assert!(
        status.contains("503") && body.contains("shop-postgres"),
        "{status} {body}"
    );
    let (status, body) = running.get("/metrics");
    assert!(
        status.contains("200") && body.contains("sluice_pipeline_ready{"),
        "{status} {body}"
    );
    assert!(body.contains("reason=\"Unreachable\"} 1"), "{body}");
    let (status, body) = running.get("/v1/status");
    let body: serde_json::Value = serde_json::from_str(&body).expect("it is JSON");
    assert!(status.contains("200"), "{status}");
    assert_eq!(body["pipelines"][0]["pipeline"], "shop-postgres");
    assert_eq!(body["pipelines"][0]["lastError"]["reason"], "Unreachable");
    assert!(running.get("/elsewhere").0.contains("404"));

    let (code, elapsed, errors) = running.stop();
    assert_eq!(code, Some(0), "{errors}");
    assert!(elapsed < Duration::from_secs(10), "it took {elapsed:?}");
    assert!(
        !errors.contains("change-me"),
        "a secret is in the log: {errors}"
    );
}

#[test]
fn logs_can_be_json() {
    let mut running = Running::start(&["--log-format", "json", "--log-level", "debug"]);
    assert!(running.get("/healthz").0.contains("200"));
    let stdout = running.child.stdout.take().expect("a pipe");
    let mut lines = BufReader::new(stdout).lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line.contains("Unreachable"))));
    let (_, _, errors) = running.stop();
    let logs: Vec<&str> = errors
        .lines()
        .filter(|line| line.starts_with('{'))
        .collect();
    assert!(!logs.is_empty(), "{errors}");
    for line in logs {
        serde_json::from_str::<serde_json::Value>(line).expect("each line is an object");
    }
    assert!(
        !errors.contains("change-me"),
        "a secret is in the log: {errors}"
    );
}
