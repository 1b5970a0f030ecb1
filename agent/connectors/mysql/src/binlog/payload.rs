//! Compressed transactions: one event that holds all the others of a transaction.
//!
//! The event may be far larger than memory, so it is neither collected nor unpacked whole: bytes
//! go from the receive buffer through the decompressor into a small buffer, and out of it one
//! inner event at a time.

use crc32fast::Hasher;
use zstd::stream::raw::{Decoder, Operation as _};

use crate::{
    binlog::event::{CHECKSUM_BYTES, HEADER_BYTES, Header},
    wire::{WireError, packet::Wire, read::Fields},
};

/// How much is taken in or unpacked at once.
const PORTION_BYTES: usize = 64 * 1024;

/// The event's own fields take no more than this.
const FIELDS_BYTES_MAX: usize = 64;

const BROKEN: WireError = WireError::Protocol("a compressed transaction is damaged");

/// A compressed transaction on its way through.
pub(crate) struct Payload {
    incoming: Incoming,
    /// Bytes taken in, of which those before `packed_at` are used up.
    packed: Vec<u8>,
    packed_at: usize,
    body: Option<Body>,
    /// Unpacked bytes, of which those before `inner_at` are used up.
    inner: Vec<u8>,
    inner_at: usize,
    output: Vec<u8>,
}

/// What the event's fields say about the compressed part.
struct Body {
    decoder: Option<Decoder<'static>>,
    /// Compressed bytes that the decompressor has not seen.
    left: usize,
    /// Whether the decompressor has given out everything.
    is_drained: bool,
}

/// What came of an attempt to go on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// An inner event is complete: [`Payload::event`].
    Event,
    /// More bytes must be read from the server.
    Starved,
    /// The transaction is through.
    Done,
}

impl Payload {
    /// Starts behind the event's header, which came at the start of a packet with `packet_left`
    /// bytes to go.
    pub(crate) fn new(header: &[u8], packet_left: usize, event_left: usize, checked: bool) -> Self {
        Self {
            incoming: Incoming::new(header, packet_left, event_left, checked),
            packed: Vec::new(),
            packed_at: 0,
            body: None,
            inner: Vec::new(),
            inner_at: 0,
            output: vec![0; PORTION_BYTES],
        }
    }

    /// The inner event that is complete: its header and its body.
    pub(crate) fn event(&self) -> Option<(Header, &[u8])> {
        let rest = &self.inner[self.inner_at..];
        let header = Header::parse(rest)?;
        Some((header, rest.get(HEADER_BYTES..header.size as usize)?))
    }

    /// Forgets the inner event that was complete.
    pub(crate) fn consume(&mut self) {
        if let Some((header, _)) = self.event() {
            self.inner_at += header.size as usize;
        }
    }

    /// Goes on until an inner event is complete or bytes are lacking.
    pub(crate) fn advance(&mut self, wire: &mut Wire) -> Result<Progress, WireError> {
        loop {
            let complete = self
                .event()
                .map(|(header, _)| self.inner_at + header.size as usize);
            let is_unpacked = self.body.as_ref().is_some_and(|body| body.is_drained);
            match complete {
                // The checksum is checked before the last event is let through.
                Some(end) if is_unpacked && end == self.inner.len() => {
                    return Ok(self
                        .incoming
                        .finish(wire)?
                        .map_or(Progress::Starved, |()| Progress::Event));
                }
                Some(_) => return Ok(Progress::Event),
                None if is_unpacked && self.inner_at == self.inner.len() => {
                    return Ok(self
                        .incoming
                        .finish(wire)?
                        .map_or(Progress::Starved, |()| Progress::Done));
                }
                None if is_unpacked => return Err(BROKEN),
                None => {}
            }
            if self.packed_at == self.packed.len() {
                self.packed.clear();
                self.packed_at = 0;
            }
            let has_fed_all = self.body.as_ref().is_some_and(|body| body.left == 0);
            let is_short = self.body.is_none() && self.packed.len() < FIELDS_BYTES_MAX;
            if (self.packed.is_empty() && !has_fed_all) || is_short {
                let took = self.incoming.take(wire, &mut self.packed)?;
                if !took && self.incoming.hashed_left > 0 {
                    return Ok(Progress::Starved);
                }
                if !took && self.packed.is_empty() {
                    return Err(BROKEN);
                }
                if is_short && self.incoming.hashed_left > 0 {
                    continue;
                }
            }
            self.read_fields()?;
            self.make_room();
            self.unpack()?;
        }
    }

    fn read_fields(&mut self) -> Result<(), WireError> {
        if self.body.is_none() {
            let (body, used) = parse_fields(&self.packed)?;
            self.packed_at = used;
            self.body = Some(body);
        }
        Ok(())
    }

    /// Moves an incomplete event to the front, and lets go of what one huge event needed.
    fn make_room(&mut self) {
        self.inner.drain(..self.inner_at);
        self.inner_at = 0;
        if self.inner.capacity() > 1 << 20 && self.inner.len() < PORTION_BYTES {
            self.inner.shrink_to(PORTION_BYTES);
        }
        if let Some(header) = Header::parse(&self.inner) {
            let missing = (header.size as usize).saturating_sub(self.inner.len());
            self.inner.reserve_exact(missing);
        }
    }

    /// Unpacks one portion.
    fn unpack(&mut self) -> Result<(), WireError> {
        let body = self.body.as_mut().ok_or(BROKEN)?;
        let input = &self.packed[self.packed_at..];
        let input = &input[..input.len().min(body.left)];
        let (read, written) = if let Some(decoder) = &mut body.decoder {
            let status = decoder.run_on_buffers(input, &mut self.output)?;
            (status.bytes_read, status.bytes_written)
        } else {
            let count = input.len().min(self.output.len());
            self.output[..count].copy_from_slice(&input[..count]);
            (count, count)
        };
        self.inner.extend_from_slice(&self.output[..written]);
        self.packed_at += read;
        body.left -= read;
        body.is_drained = body.left == 0 && written < self.output.len();
        Ok(())
    }
}

/// The event's bytes as they come, packet by packet.
struct Incoming {
    packet_left: usize,
    /// Bytes before the checksum, and of the checksum, that are still to come.
    hashed_left: usize,
    trailer_left: usize,
    checksum: Hasher,
    trailer: Vec<u8>,
}

impl Incoming {
    fn new(header: &[u8], packet_left: usize, event_left: usize, checked: bool) -> Self {
        let mut checksum = Hasher::new();
        checksum.update(header);
        let trailer_left = if checked {
            CHECKSUM_BYTES.min(event_left)
        } else {
            0
        };
        Self {
            packet_left,
            hashed_left: event_left - trailer_left,
            trailer_left,
            checksum,
            trailer: Vec::new(),
        }
    }

    /// Takes a portion in; `false` when there is none.
    fn take(&mut self, wire: &mut Wire, out: &mut Vec<u8>) -> Result<bool, WireError> {
        let available = self.available(wire, self.hashed_left.min(PORTION_BYTES))?;
        let bytes = &wire.buffered()[..available];
        self.checksum.update(bytes);
        out.extend_from_slice(bytes);
        wire.consume(available);
        self.packet_left -= available;
        self.hashed_left -= available;
        Ok(available > 0)
    }

    /// Takes the checksum in and checks it; `None` when it has not come yet.
    fn finish(&mut self, wire: &mut Wire) -> Result<Option<()>, WireError> {
        if self.hashed_left > 0 {
            return Err(BROKEN);
        }
        while self.trailer_left > 0 {
            let available = self.available(wire, self.trailer_left)?;
            if available == 0 {
                return Ok(None);
            }
            self.trailer
                .extend_from_slice(&wire.buffered()[..available]);
            wire.consume(available);
            self.packet_left -= available;
            self.trailer_left -= available;
        }
        if !self.trailer.is_empty()
            && self.trailer != self.checksum.clone().finalize().to_le_bytes()
        {
            return Err(WireError::Protocol(
                "a compressed transaction's checksum is wrong",
            ));
        }
        Ok(Some(()))
    }

    /// How many of `wanted` bytes lie at the front of the receive buffer.
    fn available(&mut self, wire: &mut Wire, wanted: usize) -> Result<usize, WireError> {
        if self.packet_left == 0 && wanted > 0 {
            let Some(&[a, b, c, _]) = wire.buffered().first_chunk::<4>() else {
                return Ok(0);
            };
            self.packet_left = u32::from_le_bytes([a, b, c, 0]) as usize;
            wire.consume(4);
            if self.packet_left > self.hashed_left + self.trailer_left {
                return Err(BROKEN);
            }
        }
        Ok(self.packet_left.min(wire.buffered().len()).min(wanted))
    }
}

/// Reads the event's fields; answers how long they are, too.
fn parse_fields(head: &[u8]) -> Result<(Body, usize), WireError> {
    const END: u64 = 0;
    const SIZE: u64 = 1;
    const COMPRESSION: u64 = 2;
    const ZSTD: u64 = 0;
    const NONE: u64 = 255;
    let mut fields = Fields(head);
    let (mut size, mut compression) = (None, None);
    loop {
        let kind = fields.packed().ok_or(BROKEN)?;
        if kind == END {
            break;
        }
        let value = fields
            .packed_bytes()
            .and_then(|value| Fields(value).packed());
        match kind {
            SIZE => size = value,
            COMPRESSION => compression = value,
            _ => {}
        }
    }
    let decoder = match compression {
        Some(ZSTD) => Some(Decoder::new()?),
        Some(NONE) => None,
        _ => {
            return Err(WireError::Protocol(
                "a transaction is compressed in an unknown way",
            ));
        }
    };
    let left = usize::try_from(size.ok_or(BROKEN)?).map_err(|_| BROKEN)?;
    Ok((
        Body {
            decoder,
            left,
            is_drained: left == 0,
        },
        head.len() - fields.0.len(),
    ))
}
