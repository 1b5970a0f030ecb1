//! The commands that turn a connection into a log stream.

use sluice_core::{GtidSet, LogPosition};

const COM_BINLOG_DUMP: u8 = 0x12;
const COM_REGISTER_REPLICA: u8 = 0x15;
const COM_BINLOG_DUMP_GTID: u8 = 0x1e;

/// Asks for heartbeats that carry offsets beyond 4 GiB (MySQL 8.0.26; older servers ignore it).
const HEARTBEAT_V2: u16 = 1 << 1;
const THROUGH_GTID: u16 = 1 << 2;

/// Where events begin in a file.
pub(crate) const FILE_START: u64 = 4;

/// The command that makes the agent visible in `SHOW REPLICAS`.
pub(crate) fn register(server_id: u32) -> Vec<u8> {
    let mut out = vec![COM_REGISTER_REPLICA];
    out.extend_from_slice(&server_id.to_le_bytes());
    let name = b"sluice";
    out.push(name.len() as u8);
    out.extend_from_slice(name);
    // No user, no password, no port, no rank, no source.
    out.extend_from_slice(&[0; 2 + 2 + 4 + 4]);
    out
}

/// The command that starts the stream after a position. In files the stream can start no further
/// than 4 GiB from the file's start; the caller skips up to the position.
pub(crate) fn start(server_id: u32, position: &LogPosition) -> Vec<u8> {
    match position {
        LogPosition::File { file, offset } => {
            let mut out = vec![COM_BINLOG_DUMP];
            let from = u32::try_from(*offset).unwrap_or(FILE_START as u32);
            out.extend_from_slice(&from.to_le_bytes());
            out.extend_from_slice(&HEARTBEAT_V2.to_le_bytes());
            out.extend_from_slice(&server_id.to_le_bytes());
            out.extend_from_slice(file.as_bytes());
            out
        }
        LogPosition::Gtid(set) => {
            let encoded = encode(set);
            let mut out = vec![COM_BINLOG_DUMP_GTID];
            out.extend_from_slice(&(THROUGH_GTID | HEARTBEAT_V2).to_le_bytes());
            out.extend_from_slice(&server_id.to_le_bytes());
            out.extend_from_slice(&0_u32.to_le_bytes()); // The server finds the file.
            out.extend_from_slice(&FILE_START.to_le_bytes());
            out.extend_from_slice(&(encoded.len() as u32).to_le_bytes());
            out.extend_from_slice(&encoded);
            out
        }
        LogPosition::Lsn(_) | LogPosition::Offsets(_) => Vec::new(),
    }
}

/// Encodes a set as the server does; with tags, the count is framed by the format's number and
/// each source carries its tag.
fn encode(set: &GtidSet) -> Vec<u8> {
    let tagged = set.sources().any(|(source, _)| !source.tag.is_empty());
    let count = set.sources().count() as u64;
    let head = if tagged {
        1 << 56 | count << 8 | 1
    } else {
        count
    };
    let mut out = head.to_le_bytes().to_vec();
    for (source, intervals) in set.sources() {
        out.extend_from_slice(&source.uuid);
        if tagged {
            // A tag has at most 32 letters, so that its length fits one byte of this encoding.
            out.push((source.tag.len() as u8) << 1);
            out.extend_from_slice(source.tag.as_bytes());
        }
        out.extend_from_slice(&(intervals.len() as u64).to_le_bytes());
        for interval in intervals {
            out.extend_from_slice(&interval.first.to_le_bytes());
            out.extend_from_slice(&(interval.last + 1).to_le_bytes());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "500bff65-e584-11f1-8c5a-02fc00000001";

    #[test]
    fn plain_sets_are_encoded_without_tags() {
        let encoded = encode(&format!("{A}:1-3:7").parse().unwrap());
        assert_eq!(encoded[..8], 1_u64.to_le_bytes());
        assert_eq!(encoded[24..32], 2_u64.to_le_bytes());
        assert_eq!(encoded[40..48], 4_u64.to_le_bytes());
        assert_eq!(encoded.len(), 8 + 16 + 8 + 32);
        assert_eq!(encode(&GtidSet::new()), [0; 8]);
    }

    #[test]
    fn tagged_sets_are_encoded_as_the_server_writes_them() {
        let encoded = encode(&format!("{A}:1-3,{A}:tag_one:1-2").parse().unwrap());
        assert_eq!(encoded[..8], [1, 2, 0, 0, 0, 0, 0, 1]);
        assert_eq!(encoded[24], 0);
        let second = &encoded[25 + 8 + 16..];
        assert_eq!(second[16], 14);
        assert_eq!(&second[17..24], b"tag_one");
    }
}
