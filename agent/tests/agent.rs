//! What the operator's pods run: `sluice agent` and `sluice check` on a mounted configuration.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// A folder with a configuration and Secrets, as volumes of a pod; removed at the end.
struct Pod {
    folder: PathBuf,
}

impl Pod {
    fn new(name: &str, config: &Value) -> Self {
        let folder = std::env::temp_dir().join(format!("sluice-pod-{name}-{}", std::process::id()));
        for secret in ["mysql", "postgres"] {
            let secret = folder.join("secrets").join(secret);
            fs::create_dir_all(&secret).expect("the folder is ours");
            fs::write(secret.join("username"), "sluice").expect("the folder is ours");
            fs::write(secret.join("password"), "hunter2").expect("the folder is ours");
        }
        fs::write(folder.join("agent.json"), config.to_string()).expect("the folder is ours");
        Self { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// The binary without any environment, as in a container without a home.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        command
            .args(arguments)
            .args(["--secrets", &self.path("secrets")])
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        command.output().expect("the binary runs")
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it has an address").port()
}

/// An agent's configuration whose servers nobody runs.
fn config() -> Value {
    let connection = |secret: &str, port: u16| {
        let key = |key: &str| json!({"name": secret, "key": key});
        json!({"host": "127.0.0.1", "port": port, "username": key("username"),
            "password": key("password"), "tls": {"mode": "Disable"}})
    };
    let apply = "Apply";
    json!({
        "pipeline": "prod/shop-pg",
        "source": {"name": "shop", "include": ["shop.*"], "heartbeatSeconds": 10,
            "system": {"mysql": {"connection": connection("mysql", free_port()), "serverId": 7}}},
        "sink": {"name": "shop-pg",
            "schemaChanges": {"createTable": apply, "addColumn": apply, "renameColumn": apply,
                "alterColumn": apply, "dropColumn": apply, "truncate": apply, "dropTable": apply},
            "deletes": apply, "onBadRecord": "DeadLetter", "unrepresentable": "Null",
            "system": {"postgres": {"connection": connection("postgres", free_port())}}},
        "snapshot": {"mode": "Initial", "chunkRows": 1000, "parallelism": 2},
        "onPositionLost": "Fail",
        "batch": {"rowsMax": 1000, "sizeBytesMax": 1_000_000, "delayMsMax": 100},
    })
}

fn report(path: &Path) -> Value {
    let text = fs::read(path).expect("the termination message is written");
    assert!(text.len() <= 4096, "{} bytes", text.len());
    serde_json::from_slice(&text).expect("the termination message is JSON")
}

#[test]
fn a_configuration_that_can_not_be_used_is_exit_code_2_and_said_where_kubernetes_looks() {
    let mut unknown = config();
    unknown["sink"]["colour"] = json!("red");
    let mut route = config();
    route["tables"] = json!([{"source": "shop.a", "rowFilter": "id >>> 3"}]);
    let cases = [("field", unknown, "colour"), ("route", route, "shop.a")];
    for (name, config, wanted) in cases {
        let pod = Pod::new(name, &config);
        let log = pod.path("termination-log");
        fs::write(&log, "").expect("the folder is ours");
        let file = pod.path("agent.json");
        let ended = pod.run(&[
            "agent",
            "--config",
            &file,
            "--termination-message",
            &log,
            "--listen",
            "127.0.0.1:0",
        ]);
        let errors = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(2), "{name}: {errors}");
        let message = fs::read_to_string(&log).expect("it is text");
        assert!(
            errors.contains(wanted) && message.contains(wanted),
            "{name}: {errors}{message}"
        );

        let ended = pod.run(&["check", "--config", &file, "--termination-message", &log]);
        assert_eq!(ended.status.code(), Some(2), "{name}");
        let report = report(log.as_ref());
        assert_eq!(report["checks"][0]["outcome"], "Failed", "{report}");
        let message = report["checks"][0]["message"].as_str().unwrap_or_default();
        assert!(message.contains(wanted), "{report}");
    }
}

#[test]
fn a_check_reports_in_the_termination_message_what_failed_first() {
    let config = config();
    let pod = Pod::new("check", &config);
    let log = pod.path("termination-log");
    let file = pod.path("agent.json");
    let arguments = ["--output", "json", "--termination-message", &log];
    let ended = pod.run(&[&["check", "--config", &file], &arguments[..]].concat());
    assert_eq!(ended.status.code(), Some(1));
    let failed = report(log.as_ref());
    let subjects: Vec<&str> = failed["checks"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|check| check["outcome"] == "Failed")
        .filter_map(|check| check["subject"].as_str())
        .collect();
    assert_eq!(
        subjects,
        ["ReplicationSource/shop", "ReplicaSink/shop-pg"],
        "{failed}"
    );
    assert!(!failed.to_string().contains("hunter2"));

    let alone = pod.path("source.json");
    fs::write(&alone, config["source"].to_string()).expect("the folder is ours");
    let ended = pod.run(&[&["check", "--source-config", &alone], &arguments[..]].concat());
    assert_eq!(ended.status.code(), Some(1));
    let subject = &report(log.as_ref())["checks"][0]["subject"];
    assert_eq!(subject, "ReplicationSource/shop");
}

#[test]
fn an_agent_without_servers_stays_up_and_ends_when_asked() {
    let pod = Pod::new("up", &config());
    let address = format!("127.0.0.1:{}", free_port());
    let file = pod.path("agent.json");
    let arguments = ["agent", "--config", &file, "--listen", &address];
    let mut child = pod
        .command(&arguments)
        .args(["--log-format", "json"])
        .spawn()
        .expect("the binary starts");
    let status = wait_for(&address, |status| {
        status["lastError"]["reason"] == "Unreachable"
    });
    assert_eq!(status["ready"], false);
    assert_eq!(status["phase"], "Pending");
    assert_eq!(status["agentVersion"], env!("CARGO_PKG_VERSION"));
    assert!(
        status["startedAt"]
            .as_str()
            .is_some_and(|at| at.starts_with("20"))
    );
    assert_eq!(get(&address, "/healthz").expect("it answers").0, 200);
    assert_eq!(get(&address, "/readyz").expect("it answers").0, 503);

    let began = Instant::now();
    let asked = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status();
    assert!(asked.expect("kill runs").success());
    let mut errors = String::new();
    let mut stderr = child.stderr.take().expect("a pipe");
    stderr.read_to_string(&mut errors).expect("it is text");
    assert_eq!(child.wait().expect("it ends").code(), Some(0), "{errors}");
    assert!(began.elapsed() < Duration::from_secs(10));
    for line in errors.lines() {
        serde_json::from_str::<Value>(line).expect("each line of the log is an object");
    }
    assert!(!errors.contains("hunter2"), "{errors}");
}

/// The pipeline's status, once it is as wanted.
fn wait_for(address: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = get(address, "/v1/status");
        let status = answer.as_ref().map_or(Value::Null, |(_, body)| {
            let parsed: Value = serde_json::from_str(body).expect("it is JSON");
            parsed["pipelines"][0].clone()
        });
        if wanted(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "the last status: {status}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A page's status code and body; nothing while nobody listens.
fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let code = head.split(' ').nth(1)?.parse().ok()?;
    Some((code, body.to_owned()))
}
