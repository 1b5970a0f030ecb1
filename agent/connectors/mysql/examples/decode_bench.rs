//! How many row images a core decodes: `cargo run --release -p sluice-mysql --example decode_bench`.
//!
//! Decodes made-up events of 8 KiB, the server's usual size, keeps the rows of a batch, and counts
//! allocations. `orders` has full images of twelve mixed columns; `documents` has a JSON document
//! of ten members and a text in latin1. With a name as argument only that one runs, for a profiler.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use bytes::BufMut;
use sluice_core::RowOperation;
use sluice_mysql::{
    charset::Charsets,
    decode::{RowsDecoder, RowsKind, TableMaps},
};

/// The size at which the server begins the next event.
const EVENT_BYTES: usize = 8192;

/// How many row changes are kept at a time, as a batch on its way to a sink does.
const BATCH_ROWS: usize = 20_000;

/// Name, type code and metadata of each column of `orders`.
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

/// What is measured: an event of one table.
struct Sample {
    name: &'static str,
    kind: RowsKind,
    table_map: Vec<u8>,
    event: Vec<u8>,
    images: usize,
}

impl Sample {
    fn orders(name: &'static str, kind: RowsKind) -> Self {
        Self::new(name, kind, (orders_table_map(), &[0xff, 0x0f]), put_order)
    }

    fn documents() -> Self {
        let table = (documents_table_map(), &[0x03][..]);
        Self::new("documents, insert", RowsKind::Write, table, put_document)
    }

    fn new(
        name: &'static str,
        kind: RowsKind,
        (table_map, present): (Vec<u8>, &[u8]),
        put_image: fn(&mut Vec<u8>, u64),
    ) -> Self {
        let width = if present.len() == 1 { 2 } else { 12 };
        let mut event = vec![117, 0, 0, 0, 0, 0, 1, 0, 2, 0, width];
        event.put_slice(present);
        if kind == RowsKind::Update {
            event.put_slice(present);
        }
        let mut images = 0;
        while event.len() < EVENT_BYTES || images % 2 == 1 {
            put_image(&mut event, 1_000_000 + images);
            images += 1;
        }
        Self {
            name,
            kind,
            table_map,
            event,
            images: images as usize,
        }
    }
}

fn orders_table_map() -> Vec<u8> {
    let mut body = vec![117, 0, 0, 0, 0, 0, 1, 0];
    body.put_slice(b"\x04shop\0\x06orders\0\x0c");
    body.extend(COLUMNS.map(|(_, code, _)| code));
    let metadata = COLUMNS.map(|(_, _, metadata)| metadata).concat();
    body.put_u8(metadata.len() as u8);
    body.put_slice(&metadata);
    body.put_slice(&[0b1000_0000, 0b0000_1111]);
    body.put_slice(&[1, 1, 0x80, 2, 3, 252, 255, 0, 10, 3, 252, 255, 0]);
    let name = |(name, ..): (&str, u8, &[u8])| [&[name.len() as u8], name.as_bytes()].concat();
    let names = COLUMNS.map(name).concat();
    body.put_slice(&[4, names.len() as u8]);
    body.put_slice(&names);
    body.put_slice(b"\x06\x13\x03\x04open\x04paid\x07shipped\x08\x01\0");
    body
}

fn put_order(body: &mut Vec<u8>, id: u64) {
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

fn documents_table_map() -> Vec<u8> {
    let mut body = vec![117, 0, 0, 0, 0, 0, 1, 0];
    body.put_slice(b"\x04shop\0\x09documents\0\x02\xf5\xfc\x02\x04\x02\0");
    body.put_slice(&[2, 1, 8]);
    body.put_slice(b"\x04\x0e\x08document\x04note");
    body
}

/// Ten members, numbers and strings in turn, and a text of forty characters, not all of them ASCII.
fn put_document(body: &mut Vec<u8>, id: u64) {
    const MEMBERS: u16 = 10;
    let (mut keys, mut entries, mut tail) = (Vec::new(), Vec::new(), Vec::new());
    let header = 4 + 7 * MEMBERS;
    for member in 0..MEMBERS {
        keys.put_u16_le(header + tail.len() as u16);
        keys.put_u16_le(6);
        tail.put_slice(format!("field{member}").as_bytes());
    }
    for member in 0..MEMBERS {
        if member % 2 == 0 {
            entries.put_u8(5);
            entries.put_u16_le(id as u16 % 1000 + member);
        } else {
            entries.put_u8(0x0c);
            entries.put_u16_le(header + tail.len() as u16);
            tail.put_slice(b"\x0ca text value");
        }
    }
    body.put_u8(0);
    let size = header as usize + tail.len();
    body.put_u32_le(size as u32 + 1);
    body.put_slice(&[0, MEMBERS as u8, 0]);
    body.put_u16_le(size as u16);
    body.put_slice(&[keys, entries, tail].concat());
    body.put_u16_le(40);
    body.put_slice(&b"caf\xe9 au lait, ".repeat(3)[..40]);
}

struct Bench {
    decoder: RowsDecoder,
    charsets: Charsets,
    maps: TableMaps,
    rows: Vec<RowOperation>,
}

impl Bench {
    fn decode(&mut self, sample: &Sample) {
        let map = self.maps.read(&sample.table_map, &self.charsets);
        let map = map.expect("a table map");
        let mut keep = |operation| self.rows.push(operation);
        let decoded = self
            .decoder
            .decode(sample.kind, 2, &sample.event, &map, &mut keep);
        decoded.expect("a rows event");
        if self.rows.len() >= BATCH_ROWS {
            black_box(&self.rows);
            self.rows.clear();
        }
    }

    fn run(&mut self, sample: &Sample, duration: Duration) {
        let (start, mut events) = (Instant::now(), 0_usize);
        while start.elapsed() < duration {
            for _ in 0..100 {
                self.decode(sample);
            }
            events += 100;
        }
        let seconds = start.elapsed().as_secs_f64();
        let counted = allocation_counter::measure(|| {
            for _ in 0..1000 {
                self.decode(sample);
            }
        });
        println!(
            "{:<18} {:>9.0} row images/s  {:>4.0} MB/s  {:.3} allocations per row image",
            sample.name,
            (events * sample.images) as f64 / seconds,
            (events * sample.event.len()) as f64 / seconds / 1e6,
            counted.count_total as f64 / (1000 * sample.images) as f64,
        );
    }
}

fn main() {
    let mut bench = Bench {
        decoder: RowsDecoder::new(),
        charsets: Charsets::default(),
        maps: TableMaps::new(),
        rows: Vec::with_capacity(BATCH_ROWS + EVENT_BYTES),
    };
    let wanted = std::env::args().nth(1).unwrap_or_default();
    for sample in [
        Sample::orders("orders, insert", RowsKind::Write),
        Sample::orders("orders, update", RowsKind::Update),
        Sample::orders("orders, delete", RowsKind::Delete),
        Sample::documents(),
    ] {
        if sample.name.contains(&wanted) {
            bench.run(&sample, Duration::from_secs(3));
        }
    }
}
