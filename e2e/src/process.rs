//! The agent as a process: started, watched through `/v1/status`, killed.

use std::{
    env,
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use sluice_agent_api::{AgentStatus, status::Phase};
use sluice_core::LogPosition;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
    time::{sleep, timeout},
};
use tokio_postgres::Client;

use crate::{
    agent::AgentFolder,
    kafka::{Through, through::has_read},
    mysql,
    pipeline::{Ends, WrittenPipeline},
    postgres,
    servers::free_port,
    wait::wait_for,
};

/// How long a pipeline may take to catch up, unless a test says otherwise.
const PATIENCE: Duration = Duration::from_secs(120);
/// Clock ticks per second in `/proc`, the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Which of the pipelines that lead through Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// Into Kafka.
    Capture,
    /// Into the target; the only one of a direct way.
    Apply,
}

/// A running `sluice run`.
pub struct Sluice {
    child: Child,
    ends: Ends,
    listen: String,
    folder: TempDir,
    _pipeline: Option<Arc<TempDir>>,
}

impl Sluice {
    /// Starts `sluice run -f FILE --listen …` with further arguments.
    pub fn run(file: &WrittenPipeline, arguments: &[&str]) -> Result<Self> {
        Self::run_with(file, arguments, &[])
    }

    /// Starts it with further environment variables.
    pub fn run_with(
        file: &WrittenPipeline,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<Self> {
        Self::start(file, |command, folder| {
            command.args(arguments).envs(variables.iter().copied());
            command.stdout(File::create(folder.join("stdout"))?);
            command.stderr(File::create(folder.join("stderr"))?);
            Ok(())
        })
    }

    /// Starts it so that its output is seen, and apart from this process's Ctrl-C.
    pub fn run_visibly(file: &WrittenPipeline) -> Result<Self> {
        Self::start(file, |command, _| {
            command.process_group(0);
            Ok(())
        })
    }

    /// Starts `sluice agent` as in a pod, without any environment, with further arguments.
    pub fn agent(pod: &AgentFolder, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(binary());
        command.arg("agent").arg("--config").arg(pod.config_path());
        command.arg("--secrets").arg(pod.secrets_path());
        command.args(arguments).env_clear().current_dir("/");
        Self::launch(command, &pod.ends, Some(pod.folder()), |command, folder| {
            command.stdout(File::create(folder.join("stdout"))?);
            command.stderr(File::create(folder.join("stderr"))?);
            Ok(())
        })
    }

    fn start(
        file: &WrittenPipeline,
        configure: impl FnOnce(&mut Command, &Path) -> Result<()>,
    ) -> Result<Self> {
        let mut command = Command::new(binary());
        command.args(["run", "-f"]).arg(file.path());
        Self::launch(command, &file.ends, file.folder(), configure)
    }

    fn launch(
        mut command: Command,
        ends: &Ends,
        pipeline: Option<Arc<TempDir>>,
        configure: impl FnOnce(&mut Command, &Path) -> Result<()>,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("sluice-agent-").tempdir()?;
        let listen = format!("127.0.0.1:{}", free_port()?);
        command
            .args(["--listen", &listen])
            .stdin(Stdio::null())
            .kill_on_drop(true);
        configure(&mut command, folder.path())?;
        let child = command.spawn().context("can't start sluice")?;
        Ok(Self {
            child,
            ends: ends.clone(),
            listen,
            folder,
            _pipeline: pipeline,
        })
    }

    /// Runs another command to its end, such as `check -f FILE`.
    pub async fn command(arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(binary());
        command
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let done = timeout(PATIENCE, command.output()).await;
        let output = done.with_context(|| format!("sluice {} takes too long", arguments[0]))?;
        Ok(output?)
    }

    /// Where the agent's HTTP server listens.
    pub fn listen(&self) -> &str {
        &self.listen
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// The body of a page of the agent, such as `/metrics`.
    pub async fn get(&self, path: &str) -> Result<String> {
        timeout(Duration::from_secs(5), get(&self.listen, path))
            .await
            .with_context(|| format!("{path} does not answer"))?
    }

    /// The status of the sink's pipeline; the first one's where several sinks are run.
    pub async fn status(&self) -> Result<AgentStatus> {
        self.status_of(Side::Apply).await
    }

    async fn status_of(&self, side: Side) -> Result<AgentStatus> {
        let capture = self.ends.through.as_ref().map(Through::capture);
        let captures = |status: &AgentStatus| capture.as_ref() == Some(&status.pipeline);
        let mut all = self.statuses().await?.into_iter();
        let found = all.find(|status| captures(status) == (side == Side::Capture));
        found.context("/v1/status does not list the pipeline")
    }

    /// The status of every pipeline.
    pub async fn statuses(&self) -> Result<Vec<AgentStatus>> {
        let body = self.get("/v1/status").await?;
        let mut parsed: serde_json::Value = serde_json::from_str(&body)
            .with_context(|| format!("/v1/status is not JSON: {body}"))?;
        Ok(serde_json::from_value(parsed["pipelines"].take())?)
    }

    /// Waits until the status is as wanted, and returns it. Fails at once when the agent ends.
    pub async fn wait_until(
        &mut self,
        what: &str,
        at_most: Duration,
        wanted: impl FnMut(&AgentStatus) -> bool,
    ) -> Result<AgentStatus> {
        self.wait_until_of(Side::Apply, what, at_most, wanted).await
    }

    async fn wait_until_of(
        &mut self,
        side: Side,
        what: &str,
        at_most: Duration,
        mut wanted: impl FnMut(&AgentStatus) -> bool,
    ) -> Result<AgentStatus> {
        let deadline = tokio::time::Instant::now() + at_most;
        let mut last = None;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "waited for {what}, but sluice ended with {status}: {}",
                    self.stderr_end()
                );
            }
            if let Ok(status) = self.status_of(side).await {
                if wanted(&status) {
                    return Ok(status);
                }
                last = Some(status);
            }
            if tokio::time::Instant::now() >= deadline {
                bail!(
                    "waited {at_most:?} for {what}; the last status: {last:#?}\n{}",
                    self.stderr_end()
                );
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until every table is copied and the log is followed.
    pub async fn wait_streaming(&mut self) -> Result<AgentStatus> {
        if self.ends.through.is_some() {
            let what = "the capture's streaming";
            self.wait_until_of(Side::Capture, what, PATIENCE, is_streaming)
                .await?;
        }
        self.wait_until("streaming", PATIENCE, is_streaming).await
    }

    /// Waits until everything that MySQL holds at this moment is visible in PostgreSQL.
    pub async fn wait_caught_up(&mut self) -> Result<()> {
        self.wait_caught_up_within(PATIENCE).await
    }

    /// Waits no longer than this.
    pub async fn wait_caught_up_within(&mut self, at_most: Duration) -> Result<()> {
        let here = log_end(&self.ends).await?;
        if let Some(through) = self.ends.through.clone() {
            return self.wait_through(&through, &here, at_most).await;
        }
        self.wait_until("the copy of every table", at_most, is_streaming)
            .await?;
        let mut client: Option<Client> = None;
        let ends = self.ends.clone();
        let deadline = tokio::time::Instant::now() + at_most;
        loop {
            match holds(&mut client, &ends, &here).await {
                Ok(true) => break,
                Ok(false) => {}
                Err(_) => client = None,
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("sluice ended with {status}: {}", self.stderr_end());
            }
            if tokio::time::Instant::now() >= deadline {
                let status = self.status().await;
                bail!(
                    "waited {at_most:?} for {here} to arrive; status: {status:#?}\n{}",
                    self.stderr_end()
                );
            }
            sleep(Duration::from_millis(20)).await;
        }
        // The agent hears of a commit a moment after others see it, and tables that were made on the way
        // there are copied on their own.
        let knows = |status: &AgentStatus| {
            let position = status.position.as_deref();
            position.is_some_and(|position| has_passed(position, &here)) && is_streaming(status)
        };
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        self.wait_until("the agent to know what it committed", left, knows)
            .await
            .map(drop)
    }

    /// Waits until the capture has written everything up to a place, and then until the sink has
    /// applied everything that is written.
    async fn wait_through(
        &mut self,
        through: &Through,
        here: &str,
        at_most: Duration,
    ) -> Result<()> {
        let deadline = tokio::time::Instant::now() + at_most;
        let is_done = |status: &AgentStatus| {
            let position = status.position.as_deref();
            position.is_some_and(|position| has_passed(position, here)) && is_streaming(status)
        };
        let what = format!("{here} to be captured");
        self.wait_until_of(Side::Capture, &what, at_most, is_done)
            .await?;
        let ends = through.ends().await?;
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        let what = format!("the sink to apply everything up to {ends}");
        let knows = |status: &AgentStatus| {
            let position = status.position.as_deref();
            position.is_some_and(|position| has_read(position, &ends))
        };
        self.wait_until(&what, left, knows).await.map(drop)
    }

    /// Kills the agent with signal 9 and waits until it is gone.
    pub async fn kill_nine(&mut self) -> Result<()> {
        // It may have ended by itself just now.
        match self.child.start_kill() {
            Err(error) if error.kind() != ErrorKind::InvalidInput => return Err(error.into()),
            _ => {}
        }
        self.child.wait().await?;
        Ok(())
    }

    /// Sends a signal by name, such as `TERM`, `STOP` or `CONT`.
    pub async fn signal(&self, name: &str) -> Result<()> {
        let pid = self.pid().context("sluice is not running")?;
        let status = Command::new("kill")
            .args(["-s", name, &pid.to_string()])
            .status()
            .await?;
        anyhow::ensure!(status.success(), "kill -s {name} {pid} failed");
        Ok(())
    }

    /// Asks the agent to stop and waits until it has.
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal("TERM").await?;
        let ended = timeout(Duration::from_secs(15), self.child.wait()).await;
        Ok(ended.context("sluice does not end within 15 s of SIGTERM")??)
    }

    /// Waits until the agent ends by itself; its exit status and everything on standard error.
    pub async fn exit_within(&mut self, at_most: Duration) -> Result<(ExitStatus, String)> {
        let Ok(ended) = timeout(at_most, self.child.wait()).await else {
            let status = self.status().await;
            bail!("sluice did not end within {at_most:?}; status: {status:#?}");
        };
        Ok((ended?, self.stderr()))
    }

    /// Whether the agent still runs.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// What the agent has written to standard error.
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }

    /// What the agent has written to standard output.
    pub fn stdout(&self) -> String {
        fs::read_to_string(self.folder.path().join("stdout")).unwrap_or_default()
    }

    /// The memory that it uses.
    pub fn rss_bytes(&self) -> Result<u64> {
        self.memory("VmRSS:")
    }

    /// The most memory that it has used.
    pub fn peak_rss_bytes(&self) -> Result<u64> {
        self.memory("VmHWM:")
    }

    /// The processor time that it has used, in seconds.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let stat = fs::read_to_string(self.proc_file("stat")?)?;
        // The second field is the program's name in parentheses.
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let ticks = fields.split(' ').skip(11).take(2);
        let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(ticks as f64 / TICKS_PER_SECOND)
    }

    fn memory(&self, field: &str) -> Result<u64> {
        let status = fs::read_to_string(self.proc_file("status")?)?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kibibytes: u64 = kibibytes.context("no such field")?.trim().parse()?;
        Ok(kibibytes * 1024)
    }

    fn proc_file(&self, name: &str) -> Result<PathBuf> {
        let pid = self.pid().context("sluice is not running")?;
        Ok(PathBuf::from(format!("/proc/{pid}/{name}")))
    }

    fn stderr_end(&self) -> String {
        let stderr = self.stderr();
        let lines: Vec<&str> = stderr.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Sluice {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the end of sluice's stderr:\n{}", self.stderr_end());
        }
    }
}

/// Whether every table is copied and the log is followed.
pub fn is_streaming(status: &AgentStatus) -> bool {
    status.phase == Phase::Streaming && status.snapshot.tables_done == status.snapshot.tables_total
}

/// The program: `$SLUICE_BIN`, else the one that was built beside the running test or tool.
///
/// # Panics
/// When there is none.
pub fn binary() -> PathBuf {
    let built = || {
        let own = env::current_exe().expect("the path of the running program");
        // A test is in a folder of its own there.
        let folder = own.ancestors().skip(1).find(|one| !one.ends_with("deps"));
        folder.expect("a program is in a folder").join("sluice")
    };
    let path = env::var_os("SLUICE_BIN").map_or_else(built, PathBuf::from);
    assert!(
        path.is_file(),
        "{} is missing; run: make build (for tests: cargo build -p sluice)",
        path.display()
    );
    path
}

/// The present end of MySQL's log, as `sluice.replicated` understands it.
pub async fn log_end(ends: &Ends) -> Result<String> {
    use mysql_async::prelude::Queryable;
    let patience = Duration::from_secs(60);
    wait_for("MySQL's log position", patience, || async {
        let mut conn = mysql::connect(&ends.mysql, None).await?;
        let sql = "SELECT @@global.gtid_mode, @@global.gtid_executed";
        let row: Option<(String, String)> = conn.query_first(sql).await?;
        let (mode, executed) = row.context("no row")?;
        let end = if mode == "ON" {
            executed
        } else {
            let row: Option<mysql_async::Row> = conn.query_first("SHOW BINARY LOG STATUS").await?;
            let row = row.context("no binary log")?;
            let file: String = row.get(0).context("no file")?;
            let offset: u64 = row.get(1).context("no offset")?;
            format!("{file}:{offset}")
        };
        conn.disconnect().await?;
        Ok(Some(end))
    })
    .await
}

/// Whether a position is at a place of the source's log, or behind it.
pub fn has_passed(position: &str, place: &str) -> bool {
    match (position.parse(), place.parse()) {
        (Ok(LogPosition::Gtid(position)), Ok(LogPosition::Gtid(place))) => {
            position.contains_set(&place)
        }
        (
            Ok(LogPosition::File { file, offset }),
            Ok(LogPosition::File {
                file: there,
                offset: beginning,
            }),
        ) => (file, offset) >= (there, beginning),
        _ => false,
    }
}

/// Whether the pipeline's target holds everything up to a place of the source's log.
pub async fn holds(client: &mut Option<Client>, ends: &Ends, place: &str) -> Result<bool> {
    let connected = match client.take() {
        Some(connected) => connected,
        None => postgres::connect(&ends.postgres, &ends.postgres_database).await?,
    };
    let sql = "SELECT sluice.replicated($1, $2)";
    let row = connected.query_one(sql, &[&place, &ends.pipeline]).await;
    *client = Some(connected);
    Ok(row?.get(0))
}

/// A page by HTTP/1.1, for an agent that closes the connection behind its answer.
pub async fn get(address: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("not HTTP")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if !status.starts_with('2') {
        bail!("{path} answers {status}: {body}");
    }
    Ok(body.to_owned())
}
