//! One event at a time out of the stream's packets.
//!
//! A small event is handed out as a slice of the receive buffer, a long one is read straight into a
//! buffer of exactly its size, a compressed transaction goes through [`Payload`]. Checksums are
//! verified. Nothing here waits except [`Reader::fill`], which is cancel-safe.

use sluice_core::{Error, Reason, Result};

use crate::{
    binlog::{
        event::{CHECKSUM_BYTES, HEADER_BYTES, Header, kind, parse_format_description},
        payload::{Payload, Progress},
    },
    connect::Stream,
    wire::{ServerError, WireError, packet::PAYLOAD_BYTES_MAX},
};

/// Events from here on get a buffer of their own.
const LONG_BYTES: usize = 256 * 1024;

/// The server never makes a longer event than its largest packet and some framing.
const EVENT_BYTES_MAX: usize = (1 << 30) + (1 << 20);

/// An event, until the reader goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawEvent<'a> {
    /// Its header.
    pub(crate) header: Header,
    /// What is between header and checksum. A format description is whole here, checksum included.
    pub(crate) body: &'a [u8],
    /// Whether it came out of a compressed transaction, so that it has no place of its own.
    pub(crate) is_inner: bool,
}

/// Where the event that is ready lies.
enum Ready {
    /// At the front of the receive buffer, in one packet of this length.
    Buffered { packet: usize, body: usize },
    /// In the buffer for long events.
    Long { body: usize },
    /// The head of a compressed transaction.
    PayloadHead(Header),
    /// Inside a compressed transaction.
    Inner,
}

/// A long event that is being read.
struct Long {
    buffer: Vec<u8>,
    size: usize,
    packet_left: usize,
}

/// Reads the stream's events.
pub(crate) struct Reader {
    stream: Stream,
    has_checksums: bool,
    ready: Option<Ready>,
    long: Option<Long>,
    payload: Option<Payload>,
}

impl Reader {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            stream,
            has_checksums: false,
            ready: None,
            long: None,
            payload: None,
        }
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> &str {
        self.stream.address()
    }

    /// Makes the next event ready as far as the bytes that are here allow.
    pub(crate) fn advance(&mut self) -> Result<bool> {
        if self.ready.is_some() {
            return Ok(true);
        }
        match self.try_advance() {
            Ok(ready) => {
                self.ready = ready;
                Ok(self.ready.is_some())
            }
            Err(error) => Err(self.explain(error)),
        }
    }

    /// The event that is ready.
    pub(crate) fn event(&self) -> Option<RawEvent<'_>> {
        let outer = |bytes: &'_ [u8], body: usize| -> Option<(Header, usize)> {
            Some((Header::parse(bytes)?, HEADER_BYTES + body))
        };
        match self.ready.as_ref()? {
            Ready::Buffered { body, .. } => {
                let bytes = &self.stream.wire.buffered()[5..];
                let (header, end) = outer(bytes, *body)?;
                Some(RawEvent {
                    header,
                    body: &bytes[HEADER_BYTES..end],
                    is_inner: false,
                })
            }
            Ready::Long { body } => {
                let bytes = &self.long.as_ref()?.buffer;
                let (header, end) = outer(bytes, *body)?;
                Some(RawEvent {
                    header,
                    body: &bytes[HEADER_BYTES..end],
                    is_inner: false,
                })
            }
            Ready::PayloadHead(header) => Some(RawEvent {
                header: *header,
                body: &[],
                is_inner: false,
            }),
            Ready::Inner => {
                let (header, body) = self.payload.as_ref()?.event()?;
                Some(RawEvent {
                    header,
                    body,
                    is_inner: true,
                })
            }
        }
    }

    /// Forgets the event that is ready, and its memory.
    pub(crate) fn consume(&mut self) {
        match self.ready.take() {
            Some(Ready::Buffered { packet, .. }) => self.stream.wire.consume(4 + packet),
            Some(Ready::Long { .. }) => self.long = None,
            Some(Ready::Inner) => {
                if let Some(payload) = &mut self.payload {
                    payload.consume();
                }
            }
            Some(Ready::PayloadHead(_)) | None => {}
        }
    }

    /// Waits for more bytes. Cancel-safe.
    pub(crate) async fn fill(&mut self) -> Result<()> {
        let read = match &mut self.long {
            Some(long) if long.packet_left > 0 => {
                let before = long.buffer.len();
                let read = self
                    .stream
                    .wire
                    .fill_other(&mut long.buffer, long.packet_left)
                    .await;
                long.packet_left -= long.buffer.len() - before;
                read
            }
            _ => self.stream.wire.fill().await,
        };
        read.map_err(|error| self.explain(error))
    }

    fn try_advance(&mut self) -> Result<Option<Ready>, WireError> {
        if let Some(payload) = &mut self.payload {
            match payload.advance(&mut self.stream.wire)? {
                Progress::Event => return Ok(Some(Ready::Inner)),
                Progress::Starved => return Ok(None),
                Progress::Done => self.payload = None,
            }
        }
        if self.long.is_some() {
            return self.advance_long();
        }
        let buffered = self.stream.wire.buffered();
        let Some(&[a, b, c, _, status]) = buffered.first_chunk::<5>() else {
            return Ok(None);
        };
        let packet = u32::from_le_bytes([a, b, c, 0]) as usize;
        if status != 0 {
            let Some(whole) = buffered.get(4..4 + packet) else {
                return Ok(None);
            };
            return Err(match status {
                0xff => WireError::Server(ServerError::parse(whole)),
                0xfe => WireError::Protocol("the server ended the log stream"),
                _ => WireError::Protocol("unexpected packet in the log stream"),
            });
        }
        let Some(head) = buffered.get(5..5 + HEADER_BYTES) else {
            return Ok(None);
        };
        let header = Header::parse(head).ok_or(BROKEN)?;
        let size = header.size as usize;
        if packet != (size + 1).min(PAYLOAD_BYTES_MAX) {
            return Err(BROKEN);
        }
        if header.kind == kind::TRANSACTION_PAYLOAD {
            let left = (packet.checked_sub(1 + HEADER_BYTES), size - HEADER_BYTES);
            let (Some(packet_left), event_left) = left else {
                return Err(BROKEN);
            };
            self.payload = Some(Payload::new(
                head,
                packet_left,
                event_left,
                self.has_checksums,
            ));
            self.stream.wire.consume(5 + HEADER_BYTES);
            return Ok(Some(Ready::PayloadHead(header)));
        }
        if size < LONG_BYTES {
            let Some(event) = buffered.get(5..5 + size) else {
                return Ok(None);
            };
            let body = checked_body(header, event, &mut self.has_checksums)?;
            return Ok(Some(Ready::Buffered { packet, body }));
        }
        if size > EVENT_BYTES_MAX {
            return Err(BROKEN);
        }
        self.stream.wire.consume(5);
        let buffer = Vec::with_capacity(size);
        self.long = Some(Long {
            buffer,
            size,
            packet_left: packet - 1,
        });
        self.advance_long()
    }

    fn advance_long(&mut self) -> Result<Option<Ready>, WireError> {
        let Some(long) = &mut self.long else {
            return Ok(None);
        };
        let wire = &mut self.stream.wire;
        while long.buffer.len() < long.size {
            if long.packet_left == 0 {
                let Some(&[a, b, c, _]) = wire.buffered().first_chunk::<4>() else {
                    return Ok(None);
                };
                long.packet_left = u32::from_le_bytes([a, b, c, 0]) as usize;
                wire.consume(4);
                if long.packet_left > (long.size - long.buffer.len()).min(PAYLOAD_BYTES_MAX) {
                    return Err(BROKEN);
                }
            }
            let count = long.packet_left.min(wire.buffered().len());
            if count == 0 {
                return Ok(None);
            }
            long.buffer.extend_from_slice(&wire.buffered()[..count]);
            wire.consume(count);
            long.packet_left -= count;
        }
        let header = Header::parse(&long.buffer).ok_or(BROKEN)?;
        let body = checked_body(header, &long.buffer, &mut self.has_checksums)?;
        Ok(Some(Ready::Long { body }))
    }

    fn explain(&self, error: WireError) -> Error {
        if let WireError::Server(server) = &error {
            return explain_stream_error(self.address(), server);
        }
        self.stream.explain(error)
    }
}

const BROKEN: WireError = WireError::Protocol("the log stream is damaged");

/// Checks an event's checksum and answers how long its body is.
fn checked_body(
    header: Header,
    event: &[u8],
    has_checksums: &mut bool,
) -> Result<usize, WireError> {
    let whole = event.len() - HEADER_BYTES;
    if header.kind == kind::FORMAT_DESCRIPTION {
        *has_checksums = parse_format_description(event).ok_or(BROKEN)?;
        return Ok(whole);
    }
    // Events that the server makes up before the first format description have a checksum or not,
    // as the server is configured: the bytes themselves tell.
    let is_made_up = matches!(
        header.kind,
        kind::ROTATE | kind::HEARTBEAT | kind::HEARTBEAT_V2
    );
    if !*has_checksums && !is_made_up {
        return Ok(whole);
    }
    let Some((content, checksum)) = event.split_last_chunk::<CHECKSUM_BYTES>() else {
        return Ok(whole);
    };
    if content.len() >= HEADER_BYTES && crc32fast::hash(content).to_le_bytes() == *checksum {
        return Ok(whole - CHECKSUM_BYTES);
    }
    if is_made_up {
        return Ok(whole);
    }
    Err(WireError::Protocol("an event's checksum is wrong"))
}

/// Translates what the server says when it can't go on streaming.
fn explain_stream_error(address: &str, error: &ServerError) -> Error {
    let text = &error.message;
    let says = |part: &str| text.contains(part);
    let (reason, hint) = if says("purged")
        || says("Could not find first log")
        || says("GTID_PURGED")
        || says("impossible position")
        || says("errant")
        || says("not subset")
        || says("GTIDs not present")
    {
        (
            Reason::PositionLost,
            "set onPositionLost: Resnapshot, and raise binlog_expire_logs_seconds on the source"
                .to_owned(),
        )
    } else if says("same server_uuid/server_id") || says("same server_id") {
        (
            Reason::Unavailable,
            "another replica reads the log under the same server id: give each its own serverId"
                .to_owned(),
        )
    } else if error.code == 1227 || says("REPLICATION SLAVE") {
        (
            Reason::MissingPrivilege,
            "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO the configured user".to_owned(),
        )
    } else {
        (Reason::Unavailable, "see the server's error log".to_owned())
    };
    Error::new(
        reason,
        format!("MySQL at {address} can't stream its log: {error}"),
    )
    .with_hint(hint)
    .with_source(error.clone())
}
