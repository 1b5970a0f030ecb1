//! Event headers, and the events that say where a transaction begins and ends.
//!
//! Every parser answers `None` when the bytes are not what they should be; the caller knows the
//! place in the log and makes the error.

use sluice_core::gtid::GtidSource;

use crate::wire::read::Fields;

/// How long an event's header is.
pub(crate) const HEADER_BYTES: usize = 19;

/// How long an event's checksum is, where there is one.
pub(crate) const CHECKSUM_BYTES: usize = 4;

/// The events that matter, by their numbers in the log.
pub(crate) mod kind {
    pub(crate) const QUERY: u8 = 2;
    pub(crate) const ROTATE: u8 = 4;
    pub(crate) const FORMAT_DESCRIPTION: u8 = 15;
    pub(crate) const XID: u8 = 16;
    pub(crate) const EXECUTE_LOAD_QUERY: u8 = 18;
    pub(crate) const TABLE_MAP: u8 = 19;
    pub(crate) const WRITE_ROWS_V1: u8 = 23;
    pub(crate) const UPDATE_ROWS_V1: u8 = 24;
    pub(crate) const DELETE_ROWS_V1: u8 = 25;
    pub(crate) const INCIDENT: u8 = 26;
    pub(crate) const HEARTBEAT: u8 = 27;
    pub(crate) const WRITE_ROWS: u8 = 30;
    pub(crate) const UPDATE_ROWS: u8 = 31;
    pub(crate) const DELETE_ROWS: u8 = 32;
    pub(crate) const GTID: u8 = 33;
    pub(crate) const ANONYMOUS_GTID: u8 = 34;
    pub(crate) const XA_PREPARE: u8 = 38;
    pub(crate) const PARTIAL_UPDATE_ROWS: u8 = 39;
    pub(crate) const TRANSACTION_PAYLOAD: u8 = 40;
    pub(crate) const HEARTBEAT_V2: u8 = 41;
    pub(crate) const GTID_TAGGED: u8 = 42;

    /// Events that carry nothing of interest: stop, integer and random variables, the pieces of a
    /// statement-based load (the load itself counts), user variables, row statements as comments,
    /// previous GTIDs, group replication's.
    pub(crate) const WITHOUT_INTEREST: [u8; 13] = [3, 5, 9, 11, 13, 14, 17, 28, 29, 35, 36, 37, 0];
}

/// An event's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// When the event was made, in seconds since 1970.
    pub(crate) timestamp: u32,
    /// What kind of event, by its number.
    pub(crate) kind: u8,
    /// The whole event's size, header and checksum included.
    pub(crate) size: u32,
    /// Where the next event begins, modulo 4 GiB; zero for an event that is in no file.
    pub(crate) next_offset: u32,
    /// Flags.
    pub(crate) flags: u16,
}

impl Header {
    /// Whether the event was made up for the stream and is in no file.
    pub(crate) fn is_artificial(self) -> bool {
        self.flags & 0x20 != 0 || self.next_offset == 0
    }

    /// Whether a reader that does not know the event may skip it.
    pub(crate) fn is_ignorable(self) -> bool {
        self.flags & 0x80 != 0
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let timestamp = fields.u32()?;
        let kind = fields.u8()?;
        let _server_id = fields.u32()?;
        let size = fields.u32()?;
        let next_offset = fields.u32()?;
        let flags = fields.u16()?;
        (size as usize >= HEADER_BYTES).then_some(Self {
            timestamp,
            kind,
            size,
            next_offset,
            flags,
        })
    }
}

/// The event that begins a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Begin {
    /// The transaction's name; absent without GTIDs.
    pub(crate) gtid: Option<(GtidSource, u64)>,
    /// When it was committed on its original server, in microseconds since 1970; zero if not said.
    pub(crate) commit_time_micros: i64,
}

/// Reads a GTID or an anonymous GTID event.
pub(crate) fn parse_gtid(body: &[u8], anonymous: bool) -> Option<Begin> {
    const TIMESTAMPS: u8 = 2;
    const ORIGINAL_FOLLOWS: u64 = 1 << 55;
    let mut fields = Fields(body);
    fields.u8()?;
    let uuid = fields.array()?;
    let number = fields.u64()?;
    let gtid = (!anonymous).then(|| {
        (
            GtidSource {
                uuid,
                tag: String::new(),
            },
            number,
        )
    });
    let mut times = || {
        (fields.u8()? == TIMESTAMPS).then_some(())?;
        fields.bytes(16)?;
        let immediate = fields.uint(7)?;
        if immediate & ORIGINAL_FOLLOWS == 0 {
            Some(immediate)
        } else {
            fields.uint(7)
        }
    };
    Some(Begin {
        gtid,
        commit_time_micros: times().unwrap_or(0) as i64,
    })
}

/// Reads a GTID event with a tag (MySQL 8.3): numbered fields in the server's own serialization.
pub(crate) fn parse_tagged_gtid(body: &[u8]) -> Option<Begin> {
    let mut fields = Fields(body);
    let _version = varint(&mut fields)?;
    let _size = varint(&mut fields)?;
    let _last_needed_field = varint(&mut fields)?;
    let mut uuid = [0; 16];
    let mut number = 0;
    let mut tag = String::new();
    let (mut immediate, mut original) = (0, None);
    while !fields.0.is_empty() {
        match varint(&mut fields)? {
            1 => {
                for byte in &mut uuid {
                    *byte = u8::try_from(varint(&mut fields)?).ok()?;
                }
            }
            2 => number = varint(&mut fields)? >> 1, // Signed, the sign in the lowest bit.
            3 => {
                let length = usize::try_from(varint(&mut fields)?).ok()?;
                tag = String::from_utf8(fields.bytes(length)?.to_vec()).ok()?;
            }
            6 => immediate = varint(&mut fields)?,
            7 => original = Some(varint(&mut fields)?),
            0 | 4 | 5 | 8..=11 => {
                varint(&mut fields)?;
            }
            _ => break, // A later server's field, which has no length: nothing behind it matters.
        }
    }
    (number > 0).then(|| Begin {
        gtid: Some((GtidSource { uuid, tag }, number)),
        commit_time_micros: original.unwrap_or(immediate) as i64,
    })
}

/// An integer whose first byte says by its trailing ones how many bytes follow.
fn varint(fields: &mut Fields<'_>) -> Option<u64> {
    let first = fields.u8()?;
    let more = first.trailing_ones() as usize;
    if more == 8 {
        return fields.u64();
    }
    let rest = fields.uint(more)?;
    let low = u64::from(first) >> (more + 1);
    Some(low | rest << (7 - more))
}

/// A statement in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Query<'a> {
    /// The session's default database; empty for none.
    pub(crate) database: &'a [u8],
    /// The statement, in the client's character set.
    pub(crate) text: &'a [u8],
    /// The session's `sql_mode`, which says how to read quotes.
    pub(crate) sql_mode: u64,
    /// The client's collation, whose character set the text is in, where the log says it.
    pub(crate) collation: Option<u16>,
}

/// Reads a query event; an `EXECUTE_LOAD_QUERY` event has 13 bytes more in front of its variables.
pub(crate) fn parse_query(body: &[u8], is_load: bool) -> Option<Query<'_>> {
    let mut fields = Fields(body);
    fields.bytes(8)?; // Thread and execution time.
    let database_bytes = usize::from(fields.u8()?);
    fields.u16()?;
    let variables_bytes = usize::from(fields.u16()?);
    if is_load {
        fields.bytes(13)?;
    }
    let mut query = Query {
        database: &[],
        text: &[],
        sql_mode: 0,
        collation: None,
    };
    read_variables(fields.bytes(variables_bytes)?, &mut query);
    query.database = fields.bytes(database_bytes)?;
    fields.u8()?;
    query.text = fields.0;
    Some(query)
}

/// Finds what matters among the status variables: it stands before any that is not known here.
fn read_variables(variables: &[u8], query: &mut Query<'_>) -> Option<()> {
    let mut fields = Fields(variables);
    while !fields.0.is_empty() {
        match fields.u8()? {
            0 => {
                fields.u32()?; // Flags.
            }
            1 => query.sql_mode = fields.u64()?,
            3 => {
                fields.u32()?; // Steps of AUTO_INCREMENT.
            }
            4 => {
                query.collation = Some(fields.u16()?);
                return Some(());
            }
            6 => {
                let length = usize::from(fields.u8()?); // The catalog's name.
                fields.bytes(length)?;
            }
            _ => return None,
        }
    }
    Some(())
}

/// Reads a rotate event: the next file and the offset in it.
pub(crate) fn parse_rotate(body: &[u8]) -> Option<(u64, &str)> {
    let mut fields = Fields(body);
    let offset = fields.u64()?;
    Some((offset, std::str::from_utf8(fields.0).ok()?))
}

/// Reads a heartbeat of the second kind: the offset in the present file.
pub(crate) fn parse_heartbeat_v2(body: &[u8]) -> Option<u64> {
    const OFFSET: u64 = 2;
    let mut fields = Fields(body);
    while !fields.0.is_empty() {
        let kind = fields.packed()?;
        let value = fields.packed_bytes()?;
        if kind == OFFSET {
            return Fields(value).packed();
        }
    }
    None
}

/// Reads whether an `XA PREPARE` event is really a commit in one phase.
pub(crate) fn parse_xa_prepare(body: &[u8]) -> Option<bool> {
    Fields(body).u8().map(|one_phase| one_phase != 0)
}

/// Reads from a format description whether the file's events have checksums.
pub(crate) fn parse_format_description(event: &[u8]) -> Option<bool> {
    const CRC32: u8 = 1;
    let algorithm = event.len().checked_sub(CHECKSUM_BYTES + 1)?;
    event.get(algorithm).map(|&algorithm| algorithm == CRC32)
}

/// The number in a binlog file's name (`binlog.000042`).
pub(crate) fn file_number(file: &str) -> u64 {
    file.rsplit('.')
        .next()
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = hex.as_bytes().chunks(2);
        digits
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    #[test]
    fn a_gtid_is_read_with_its_commit_time() {
        let body = bytes(
            "00500bff65e58411f18c5a02fc00000001030000000000000002020000000000000003000000000000004d3c8b06c56006fc1f0150620100",
        );
        let begin = parse_gtid(&body, false).unwrap();
        let (source, number) = begin.gtid.unwrap();
        assert_eq!(source.to_string(), "500bff65-e584-11f1-8c5a-02fc00000001");
        assert_eq!(number, 3);
        assert_eq!(begin.commit_time_micros, 0x0006_60c5_068b_3c4d);
        assert_eq!(parse_gtid(&body, true).unwrap().gtid, None);
        assert_eq!(parse_gtid(&body[..20], false), None);
    }

    #[test]
    fn a_tagged_gtid_is_read_with_its_commit_time() {
        let body = bytes(
            "027600000002a016fd03ca9503110222c5033102b404f103000000020408060e7461675f6f6e6508080a140c7fc2438b06c560061089041283120b",
        );
        let begin = parse_tagged_gtid(&body).unwrap();
        let (source, number) = begin.gtid.unwrap();
        assert_eq!(
            source.to_string(),
            "500bff65-e584-11f1-8c5a-02fc00000001:tag_one"
        );
        assert_eq!(number, 2);
        assert_eq!(begin.commit_time_micros, 0x0006_60c5_068b_43c2);
        for end in 0..body.len() {
            let _ = parse_tagged_gtid(&body[..end]);
        }
    }

    #[test]
    fn file_numbers_come_from_the_suffix() {
        assert_eq!(file_number("binlog.000042"), 42);
        assert_eq!(file_number("mysql-bin.host.1000000"), 1_000_000);
        assert_eq!(file_number("odd"), 0);
    }

    #[test]
    fn statements_are_read_with_their_database_and_mode() {
        let mut body = vec![0; 8];
        body.extend_from_slice(&[4, 0, 0, 26, 0, 0, 1, 0, 0, 0, 1, 4, 0, 0, 0, 0, 0, 0, 0]);
        body.extend_from_slice(b"\x06\x03std\x04\x08\0\x08\0\x08\0");
        body.extend_from_slice(b"shop\0DROP TABLE t");
        let query = parse_query(&body, false).unwrap();
        assert_eq!(
            query,
            Query {
                database: b"shop",
                text: b"DROP TABLE t",
                sql_mode: 4,
                collation: Some(8)
            }
        );
    }
}
