//! How many row images a core decodes: `cargo run --release -p sluice-mysql --example decode_bench`.
//!
//! Decodes made-up events of 8 KiB, the server's usual size, with full images of a table of twelve
//! mixed columns, keeps the rows of a batch, and counts allocations. `decode_bench profile` runs one kind for ten seconds.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use bytes::BufMut;
use sluice_core::RowOperation;
use sluice_mysql::{
    charset::Charsets,
    decode::{RowsDecoder, RowsKind, TableMap, TableMaps},
};

/// The size at which the server begins the next event.
const EVENT_BYTES: usize = 8192;

/// How many row changes are kept at a time, as a batch on its way to a sink does.
const BATCH_ROWS: usize = 20_000;

/// Name, type code and metadata of each column.
const COLUMNS: [(&str, u8, &[u8]); 12] = [
    ("id", 8, &[]),
    ("customer_id", 3, &[]),
    ("status", 254, &[247, 1]),
    ("total", 246, &[12, 2]),
    ("tax_rate", 246, &[6, 4]),
    ("currency", 254, &[254, 12]),
    ("email", 15, &[144, 1]),
    ("note", 15, &[0xe8, 3]),
    ("created_at", 18, &[6]),
    ("updated_at", 17, &[3]),
    ("due", 10, &[]),
    ("weight", 5, &[8]),
];

fn table_map() -> Vec<u8> {
    let mut body = vec![117, 0, 0, 0, 0, 0, 1, 0];
    body.put_slice(b"\x04shop\0\x06orders\0\x0c");
    body.extend(COLUMNS.map(|(_, code, _)| code));
    let metadata = COLUMNS.map(|(_, _, metadata)| metadata).concat();
    body.put_u8(metadata.len() as u8);
    body.put_slice(&metadata);
    body.put_slice(&[0b1000_0000, 0b0000_1111]);
    body.put_slice(&[1, 1, 0x80, 2, 3, 252, 255, 0, 10, 3, 252, 255, 0]);
    let names = COLUMNS
        .map(|(name, ..)| [&[name.len() as u8], name.as_bytes()].concat())
        .concat();
    body.put_slice(&[4, names.len() as u8]);
    body.put_slice(&names);
    body.put_slice(b"\x06\x13\x03\x04open\x04paid\x07shipped\x08\x01\0");
    body
}

fn put_image(body: &mut Vec<u8>, id: u64) {
    body.put_slice(&[0, 0]);
    body.put_u64_le(id);
    body.put_u32_le(id as u32 % 10_000);
    body.put_u8(1 + (id % 3) as u8);
    body.put_slice(&[0x80, 0, 0, 1, (id % 250) as u8, 99]);
    body.put_slice(&[0x80, 0x07, 0xd0]);
    body.put_slice(b"\x03EUR");
    let email = format!("customer.{id}@example.com");
    body.put_u16_le(email.len() as u16);
    body.put_slice(email.as_bytes());
    let note = b"Please leave it at the back door.";
    body.put_u16_le(note.len() as u16);
    body.put_slice(note);
    body.put_slice(&[0x99, 0xb2, 0x82, (id % 3) as u8, 0x45, 0x01, 0xe2, 0x40]);
    body.put_slice(&[0x66, 0x00, 0x10, (id % 200) as u8, 0x04, 0xd2]);
    body.put_slice(&[0x41, 0xd0, 0x0f]);
    body.put_f64_le(1.25 * id as f64);
}

fn rows_event(kind: RowsKind) -> (Vec<u8>, usize) {
    let mut body = vec![117, 0, 0, 0, 0, 0, 1, 0, 2, 0, 12, 0xff, 0x0f];
    if kind == RowsKind::Update {
        body.put_slice(&[0xff, 0x0f]);
    }
    let mut images = 0;
    while body.len() < EVENT_BYTES {
        put_image(&mut body, 1_000_000 + images);
        images += 1;
        if kind == RowsKind::Update {
            put_image(&mut body, 1_000_000 + images);
            images += 1;
        }
    }
    (body, images as usize)
}

struct Bench {
    decoder: RowsDecoder,
    charsets: Charsets,
    maps: TableMaps,
    table_map: Vec<u8>,
}

impl Bench {
    fn event(&mut self, kind: RowsKind, body: &[u8], kept: &mut Vec<RowOperation>) {
        let map: &TableMap = &self
            .maps
            .read(&self.table_map, &self.charsets)
            .expect("a table map");
        let mut emit = |operation| kept.push(operation);
        self.decoder
            .decode(kind, 2, body, map, &mut emit)
            .expect("a rows event");
        if kept.len() >= BATCH_ROWS {
            black_box(&kept);
            kept.clear();
        }
    }

    fn run(&mut self, name: &str, kind: RowsKind, duration: Duration) {
        let (body, images) = rows_event(kind);
        let mut kept = Vec::with_capacity(BATCH_ROWS + images);
        let (start, mut events) = (Instant::now(), 0_usize);
        while start.elapsed() < duration {
            for _ in 0..100 {
                self.event(kind, &body, &mut kept);
            }
            events += 100;
        }
        let rate = (events * images) as f64 / start.elapsed().as_secs_f64();
        let megabytes = (events * body.len()) as f64 / start.elapsed().as_secs_f64() / 1e6;
        let counted = allocation_counter::measure(|| {
            for _ in 0..1000 {
                self.event(kind, &body, &mut kept);
            }
        });
        println!(
            "{name:<8} {rate:>12.0} row images/s   {megabytes:>6.0} MB/s   {:.3} allocations per row image",
            counted.count_total as f64 / (1000 * images) as f64
        );
    }
}

fn main() {
    let mut bench = Bench {
        decoder: RowsDecoder::new(),
        charsets: Charsets::default(),
        maps: TableMaps::new(),
        table_map: table_map(),
    };
    if std::env::args().any(|argument| argument == "profile") {
        bench.run("insert", RowsKind::Write, Duration::from_secs(10));
        return;
    }
    for (name, kind) in [
        ("insert", RowsKind::Write),
        ("update", RowsKind::Update),
        ("delete", RowsKind::Delete),
    ] {
        bench.run(name, kind, Duration::from_secs(3));
    }
}
