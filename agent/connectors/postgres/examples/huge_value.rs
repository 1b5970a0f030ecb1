//! How much memory a huge value takes: a row of `SIZE` MiB (64) by chunk, by insert and by update.
//! Prints the peak of resident memory before and after; the row itself is held by the caller.
//!
//! `SLUICE_PG_URL=… cargo run --release -p sluice-postgres --example huge_value [SIZE]`

// The tests' helpers, of which an example needs a part, and which may panic as tests do.
#[allow(dead_code, clippy::unwrap_used, clippy::panic)]
#[path = "../tests/support.rs"]
mod support;

use sluice_core::event::ChunkMode;
use support::{Database, batch, chunk, insert, row, texts, update};

/// The peak of resident memory in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux says");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number
        .and_then(|text| text.parse::<u64>().ok())
        .expect("a number")
        / 1024
}

#[tokio::main]
async fn main() {
    use sluice_core::Sink as _;
    let argument = std::env::args().nth(1);
    let size: usize = argument.map_or(64, |text| text.parse().expect("a number of MiB"));
    let database = Database::new().await;
    let mut target = database.sink().await;
    let blobs = texts("blobs", &["a", "b"]);
    target.prepare(&blobs).await;
    let start = peak();
    let huge = row(1, &["a", &"x".repeat(size << 20)]);
    println!("{start} MiB, {} MiB with the row made", peak());
    let small = row(2, &["a", "b"]);
    let other = row(3, &["a", "b"]);
    let moved = sluice_core::Row::pack([
        sluice_core::Value::Int(2),
        sluice_core::Value::Text("z"),
        huge.get(2),
    ]);
    println!("{} MiB with two rows made", peak());
    for (name, events) in [
        (
            "chunk",
            vec![chunk(&blobs, ChunkMode::Append, vec![huge.clone()])],
        ),
        (
            "insert",
            vec![insert(&blobs, small.clone()), insert(&blobs, other)],
        ),
        ("update", vec![update(&blobs, small, moved)]),
    ] {
        let batch = batch(events);
        target
            .sink
            .write(&batch)
            .await
            .expect("the batch is applied");
        target.commit().await;
        println!("{} MiB after the {name}", peak());
    }
    println!(
        "{:?}",
        database
            .lines("SELECT id, length(b) FROM shop.blobs ORDER BY id")
            .await
    );
    drop(target);
    database.drop_now().await;
}
