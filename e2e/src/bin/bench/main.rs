//! `make bench`: how fast, how late and how large, as a table, each bar beside a baseline that is
//! measured in the same run.
//!
//! `sluice-bench [SECTION…] [--repeat N] [--rows N] [--changes N] [--pairs N]` with the sections
//! snapshot, backlog, decode, latency, restart, memory, kafka (with the feature of this name; it needs
//! `e2e/servers up kafka registry connect`) and cluster (which needs `e2e/cluster up`); all of them without. Exit code 1 when a bar is missed. Numbers mean something only on a machine
//! that does nothing else.

mod backlog;
mod changes;
mod cluster;
mod decode;
#[cfg(feature = "kafka")]
mod kafka;
mod latency;
mod memory;
mod report;
mod restart;
mod shell;
mod snapshot;

use std::{env, fs, process::ExitCode};

use anyhow::{Context, Result, bail};
use report::Report;
use sluice_e2e::Servers;

const SECTIONS: &[&str] = &[
    "snapshot",
    "backlog",
    "decode",
    "latency",
    "restart",
    "memory",
    #[cfg(feature = "kafka")]
    "kafka",
    "cluster",
];

/// What is to be measured.
struct Settings {
    servers: Servers,
    sections: Vec<String>,
    repeat: usize,
    rows: u64,
    changes: u64,
    pairs: usize,
}

impl Settings {
    fn from_arguments() -> Result<Self> {
        let mut settings = Self {
            servers: Servers::from_env(),
            sections: Vec::new(),
            repeat: 3,
            rows: 1_000_000,
            changes: 300_000,
            pairs: 300,
        };
        let mut arguments = env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut number = || -> Result<u64> {
                let value = arguments
                    .next()
                    .with_context(|| format!("{argument} needs a number"))?;
                value.parse().with_context(|| format!("{argument} {value}"))
            };
            match argument.as_str() {
                "--repeat" => settings.repeat = number()?.max(1) as usize,
                "--rows" => settings.rows = number()?,
                "--changes" => settings.changes = number()?,
                "--pairs" => settings.pairs = number()?.clamp(1, 999) as usize,
                section if SECTIONS.contains(&section) => settings.sections.push(argument),
                other => bail!("{other} is none of {}", SECTIONS.join(", ")),
            }
        }
        if settings.sections.is_empty() {
            settings.sections = SECTIONS.iter().map(|&section| section.to_owned()).collect();
        }
        Ok(settings)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match bench().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn bench() -> Result<bool> {
    let settings = Settings::from_arguments()?;
    let load = fs::read_to_string("/proc/loadavg")?;
    let cores = std::thread::available_parallelism()?;
    eprintln!("{cores} cores, load average before: {}", load.trim());
    let mut report = Report::default();
    for section in &settings.sections {
        eprintln!("{section} …");
        let done = match section.as_str() {
            "snapshot" => snapshot::run(&settings, &mut report).await,
            "backlog" => backlog::run(&settings, &mut report).await,
            "decode" => decode::run(&settings, &mut report).await,
            "latency" => latency::run(&settings, &mut report).await,
            "restart" => restart::run(&settings, &mut report).await,
            "memory" => memory::run(&settings, &mut report).await,
            #[cfg(feature = "kafka")]
            "kafka" => kafka::run(&settings, &mut report).await,
            _ => cluster::run(&settings, &mut report).await,
        };
        if let Err(error) = done {
            report.failed(section, &error);
        }
    }
    report.print();
    Ok(report.all_reached())
}
