use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};

use crate::{
    binlog::{
        event::{HEADER_BYTES, kind},
        reader::Reader,
    },
    connect::Stream,
    wire::{packet::Wire, read::put_packed},
};

fn event(kind: u8, body: &[u8], has_checksum: bool) -> Vec<u8> {
    let size = HEADER_BYTES + body.len() + if has_checksum { 4 } else { 0 };
    let mut event = vec![1, 0, 0, 0, kind, 1, 0, 0, 0];
    event.extend_from_slice(&(size as u32).to_le_bytes());
    event.extend_from_slice(&[9, 0, 0, 0, 0, 0]);
    event.extend_from_slice(body);
    if has_checksum {
        event.extend_from_slice(&crc32fast::hash(&event).to_le_bytes());
    }
    event
}

/// Packets as the server sends them: a status byte before each event, 16 MiB at most.
fn packets(events: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for event in events {
        let payload = [&[0], &event[..]].concat();
        let mut chunks = payload.chunks(0xff_ffff).peekable();
        while let Some(chunk) = chunks.next() {
            out.extend_from_slice(&(chunk.len() as u32).to_le_bytes()[..3]);
            out.push(0);
            out.extend_from_slice(chunk);
            if chunks.peek().is_none() && chunk.len() == 0xff_ffff {
                out.extend_from_slice(&[0, 0, 0, 0]);
            }
        }
    }
    out
}

fn format_description() -> Vec<u8> {
    let mut body = vec![0; 80];
    body.push(1); // CRC32.
    body.extend_from_slice(&[0; 4]);
    event(kind::FORMAT_DESCRIPTION, &body, false)
}

fn payload(inner: &[Vec<u8>], is_compressed: bool) -> Vec<u8> {
    let plain = inner.concat();
    let packed = if is_compressed {
        zstd::bulk::compress(&plain, 3).unwrap()
    } else {
        plain.clone()
    };
    let mut body = Vec::new();
    for (field, value) in [
        (2, if is_compressed { 0 } else { 255 }),
        (3, plain.len() as u64),
        (1, packed.len() as u64),
    ] {
        let mut number = Vec::new();
        put_packed(&mut number, value);
        put_packed(&mut body, field);
        put_packed(&mut body, number.len() as u64);
        body.extend_from_slice(&number);
    }
    body.push(0);
    body.extend_from_slice(&packed);
    event(kind::TRANSACTION_PAYLOAD, &body, true)
}

/// Reads every event of bytes that arrive in pieces of the given size.
async fn read(
    bytes: Vec<u8>,
    piece: usize,
) -> Result<Vec<(u8, Vec<u8>, bool)>, sluice_core::Error> {
    let (mut near, far): (DuplexStream, _) = duplex(piece);
    let writer = tokio::spawn(async move { near.write_all(&bytes).await });
    let mut reader = Reader::new(Stream::test(Wire::new(Box::new(far))));
    let mut events = Vec::new();
    loop {
        while reader.advance()? {
            let event = reader.event().unwrap();
            events.push((event.header.kind, event.body.to_vec(), event.is_inner));
            reader.consume();
        }
        if reader.fill().await.is_err() {
            writer.await.unwrap().ok();
            return Ok(events);
        }
    }
}

#[tokio::test]
async fn events_are_whole_however_they_arrive() {
    let long = vec![7; 300_000];
    let bytes = packets(&[
        format_description(),
        event(kind::XID, b"12345678", true),
        event(kind::WRITE_ROWS, &long, true),
        event(kind::XID, b"", true),
    ]);
    for piece in [1, 3, 17, 4096, 1 << 20] {
        let events = read(bytes.clone(), piece).await.unwrap();
        let kinds: Vec<_> = events.iter().map(|(kind, ..)| *kind).collect();
        assert_eq!(kinds, [15, 16, 30, 16], "in pieces of {piece}");
        assert_eq!(events[1].1, b"12345678");
        assert_eq!(events[2].1, long);
        assert_eq!(events[3].1, b"");
    }
}

#[tokio::test]
async fn compressed_transactions_of_any_size_are_unpacked() {
    let noise = |count: u32| -> Vec<u8> {
        (0..count)
            .flat_map(|number| crc32fast::hash(&number.to_le_bytes()).to_le_bytes())
            .collect()
    };
    let small = vec![
        event(kind::QUERY, b"q", false),
        event(kind::XID, b"x", false),
    ];
    let mut large: Vec<_> = (0..500)
        .map(|_| event(kind::WRITE_ROWS, &noise(500), false))
        .collect();
    large.push(event(kind::WRITE_ROWS, &noise(5_000_000), false));
    large.push(event(kind::XID, b"x", false));
    for (inner, pieces) in [
        (small, vec![1, 30, 1 << 20]),
        (large, vec![70_000, 1 << 20]),
    ] {
        for is_compressed in [true, false] {
            let bytes = packets(&[
                format_description(),
                payload(&inner, is_compressed),
                event(kind::XID, b"after", true),
            ]);
            for piece in &pieces {
                let events = read(bytes.clone(), *piece).await.unwrap();
                assert_eq!(events.len(), inner.len() + 3);
                assert_eq!(
                    (events[1].0, events[1].2),
                    (kind::TRANSACTION_PAYLOAD, false)
                );
                for ((_, body, is_inner), expected) in events[2..].iter().zip(&inner) {
                    assert!(*is_inner && *body == expected[HEADER_BYTES..]);
                }
                assert_eq!(events.last().unwrap().1, b"after");
            }
        }
    }
}

#[tokio::test]
async fn damage_is_noticed() {
    let inner = [
        event(kind::QUERY, b"q", false),
        event(kind::XID, b"x", false),
    ];
    for damaged in [event(kind::XID, b"12345678", true), payload(&inner, true)] {
        for at in [HEADER_BYTES, damaged.len() - 1] {
            let mut damaged = damaged.clone();
            damaged[at] ^= 0x40;
            let bytes = packets(&[format_description(), damaged]);
            let result = read(bytes, 1 << 20).await;
            let is_complete = result.is_ok_and(|events| events.last().unwrap().0 == kind::XID);
            assert!(!is_complete);
        }
    }
    let error = read(packets(&[vec![1; 30]]), 100).await.unwrap_err();
    assert!(error.message().contains("damaged"), "{error}");
}

#[tokio::test]
async fn the_servers_own_errors_are_explained() {
    let mut packet = vec![0xff, 0xd4, 0x04];
    packet.extend_from_slice(
        b"#HY000Cannot replicate because the source purged required binary logs",
    );
    let mut bytes = (packet.len() as u32).to_le_bytes().to_vec();
    bytes.extend_from_slice(&packet);
    let error = read(bytes, 10).await.unwrap_err();
    assert_eq!(error.reason(), sluice_core::Reason::PositionLost);
}
