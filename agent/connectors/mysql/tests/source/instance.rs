//! A server of a test's own, for what would disturb the others.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Command, Output},
};

/// A throw-away server; ended and removed when dropped.
pub(crate) struct Instance {
    pub(crate) url: String,
    state: PathBuf,
    port: u16,
}

/// Small files are made sooner.
const SMALL: &str = "--innodb-redo-log-capacity=16M --innodb-buffer-pool-size=64M";

impl Instance {
    /// Starts a server with further options on its command line.
    pub(crate) fn start(options: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let state = std::env::temp_dir().join(format!("sluice-mysql-{port}"));
        let mut instance = Self {
            url: String::new(),
            state,
            port,
        };
        let output = instance.servers("up", options);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let exports = String::from_utf8(output.stdout).unwrap();
        let url = exports
            .lines()
            .find_map(|line| line.strip_prefix("export SLUICE_MYSQL_URL="));
        url.unwrap().clone_into(&mut instance.url);
        instance
    }

    /// The data folder, with the server's certificates.
    pub(crate) fn data(&self) -> PathBuf {
        self.state.join("mysql/data")
    }

    /// Stops the server and starts it with other options.
    pub(crate) fn restart(&self, options: &str) {
        let output = self.servers("restart", options);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn servers(&self, command: &str, options: &str) -> Output {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../e2e/servers");
        Command::new(script)
            .args([command, "mysql"])
            .env("SLUICE_STATE", &self.state)
            .env("SLUICE_MYSQL_PORT", self.port.to_string())
            .env("SLUICE_MYSQL_OPTIONS", format!("{SMALL} {options}"))
            .output()
            .unwrap()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../e2e/servers");
        let _ended = Command::new(script)
            .args(["down", "--purge", "mysql"])
            .env("SLUICE_STATE", &self.state)
            .output();
        let _removed = std::fs::remove_dir_all(&self.state);
    }
}
