//! Faults while rows flow: whatever dies, nothing is lost, nothing arrives twice, and the status never
//! claims more than is true. How long each recovery took is printed.
//!
//! A [`world`] is a shop with writers, its replica and a [`pulse`]; a [`watch`] over it reads both the
//! status and the replica through the whole of a test.

mod agents;
mod control_plane;
mod node;
mod operators;
mod pulse;
mod secrets;
mod watch;
mod world;

use std::{env, fmt::Display, time::Duration};

use fastrand::Rng;

/// How long rows may take to flow again after any fault.
const PATIENCE: Duration = Duration::from_secs(120);

/// Random numbers that `SLUICE_SEED` repeats.
fn random() -> Rng {
    let seed = env::var("SLUICE_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    eprintln!("faults: SLUICE_SEED={seed} makes the same choices");
    Rng::with_seed(seed)
}

/// Prints how long something took.
fn report(what: impl Display, took: Duration) {
    eprintln!("faults: {what}: {:.1} s", took.as_secs_f64());
}
