//! Packets: four bytes of length and sequence number, then up to 16 MiB of payload; a longer
//! payload goes on in the next packet.
//!
//! Small packets are handed out as slices of the receive buffer. A long one is read straight into
//! a buffer of its own that goes away with the next read, so that one huge row does not leave a
//! huge buffer behind.

use std::{io, time::Duration};

use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

use crate::wire::{ServerError, WireError};

/// The longest payload of one packet; such a packet is followed by another.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 0xff_ffff;

/// How much is read at once.
const READ_BYTES: usize = 256 * 1024;

/// Payloads from here on get a buffer of their own.
const LONG_BYTES: usize = 1024 * 1024;

/// A byte stream, plain or encrypted.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send + Sync {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Socket for T {}

/// The packets of one connection.
pub(crate) struct Wire {
    socket: Box<dyn Socket>,
    input: BytesMut,
    /// How many bytes of `input` the packet that was handed out last occupies.
    handed_out: usize,
    long: Vec<u8>,
    sequence: u8,
    patience: Duration,
}

/// How long a server may stay silent before an answer or inside one.
const PATIENCE: Duration = Duration::from_secs(60);

impl Wire {
    pub(crate) fn new(socket: Box<dyn Socket>) -> Self {
        Self {
            socket,
            input: BytesMut::new(),
            handed_out: 0,
            long: Vec::new(),
            sequence: 0,
            patience: PATIENCE,
        }
    }

    /// Sets how long the server may stay silent.
    pub(crate) fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Takes the stream back to wrap it in TLS. Fails when the server sent bytes ahead: they would
    /// have been read in clear.
    pub(crate) fn into_socket(self) -> Result<(Box<dyn Socket>, u8), WireError> {
        if self.input.len() > self.handed_out {
            return Err(WireError::Protocol(
                "the server sent plain bytes before TLS",
            ));
        }
        Ok((self.socket, self.sequence))
    }

    pub(crate) fn set_sequence(&mut self, sequence: u8) {
        self.sequence = sequence;
    }

    /// Starts a new exchange: the server counts packets from zero again.
    pub(crate) async fn command(&mut self, payload: &[u8]) -> Result<(), WireError> {
        self.sequence = 0;
        self.write(payload).await
    }

    /// Sends a payload as packets.
    pub(crate) async fn write(&mut self, payload: &[u8]) -> Result<(), WireError> {
        let mut rest = payload;
        loop {
            let (chunk, after) = rest.split_at(rest.len().min(PAYLOAD_BYTES_MAX));
            let mut packet = Vec::with_capacity(4 + chunk.len());
            packet.extend_from_slice(&(chunk.len() as u32).to_le_bytes()[..3]);
            packet.push(self.sequence);
            packet.extend_from_slice(chunk);
            self.socket.write_all(&packet).await?;
            self.sequence = self.sequence.wrapping_add(1);
            rest = after;
            if chunk.len() < PAYLOAD_BYTES_MAX {
                break;
            }
        }
        self.socket.flush().await?;
        Ok(())
    }

    /// The next payload, until the next call. Not cancel-safe for long payloads.
    pub(crate) async fn read(&mut self) -> Result<&[u8], WireError> {
        self.input.advance(self.handed_out);
        self.handed_out = 0;
        self.long = Vec::new();
        let mut is_long = false;
        loop {
            while self.input.len() < 4 {
                self.fill_patiently().await?;
            }
            let length =
                u32::from_le_bytes([self.input[0], self.input[1], self.input[2], 0]) as usize;
            self.sequence = self.input[3].wrapping_add(1);
            if !is_long && length < LONG_BYTES {
                while self.input.len() < 4 + length {
                    self.fill_patiently().await?;
                }
                self.handed_out = 4 + length;
                return Ok(&self.input[4..4 + length]);
            }
            is_long = true;
            self.input.advance(4);
            self.read_long(length).await?;
            if length < PAYLOAD_BYTES_MAX {
                return Ok(&self.long);
            }
        }
    }

    async fn read_long(&mut self, length: usize) -> Result<(), WireError> {
        self.long.reserve_exact(length);
        let buffered = self.input.len().min(length);
        self.long.extend_from_slice(&self.input[..buffered]);
        self.input.advance(buffered);
        let start = self.long.len();
        let missing = length - buffered;
        while self.long.len() < start + missing {
            let rest = start + missing - self.long.len();
            let mut limited = (&mut self.socket).take(rest as u64);
            match timeout(self.patience, limited.read_buf(&mut self.long)).await {
                Err(_) => return Err(silent()),
                Ok(Ok(0)) => return Err(closed()),
                Ok(read) => read.map(|_| ())?,
            }
        }
        Ok(())
    }

    async fn fill_patiently(&mut self) -> Result<(), WireError> {
        timeout(self.patience, self.fill())
            .await
            .unwrap_or_else(|_| Err(silent()))
    }

    /// The next payload, or the error that it holds.
    pub(crate) async fn read_checked(&mut self) -> Result<&[u8], WireError> {
        let packet = self.read().await?;
        match packet.first() {
            Some(0xff) => Err(WireError::Server(ServerError::parse(packet))),
            Some(_) => Ok(packet),
            None => Err(WireError::Protocol("the server sent an empty packet")),
        }
    }

    /// Reads more bytes into the buffer. Cancel-safe.
    pub(crate) async fn fill(&mut self) -> Result<(), WireError> {
        self.input.reserve(READ_BYTES);
        match self.socket.read_buf(&mut self.input).await? {
            0 => Err(closed()),
            _ => Ok(()),
        }
    }

    /// Reads at most `limit` bytes straight into another buffer. Cancel-safe.
    pub(crate) async fn fill_other(
        &mut self,
        other: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), WireError> {
        let mut limited = (&mut self.socket).take(limit as u64);
        match limited.read_buf(other).await? {
            0 => Err(closed()),
            _ => Ok(()),
        }
    }

    /// The bytes that were read and not yet consumed, packet headers included.
    pub(crate) fn buffered(&self) -> &[u8] {
        &self.input
    }

    /// Forgets the first bytes of the buffer.
    pub(crate) fn consume(&mut self, count: usize) {
        self.input.advance(count);
    }

    /// Hands the buffer over to a caller that reads packets itself from now on.
    pub(crate) fn release(&mut self) {
        self.input.advance(self.handed_out);
        self.handed_out = 0;
        self.long = Vec::new();
    }
}

fn silent() -> WireError {
    WireError::Io(io::Error::new(
        io::ErrorKind::TimedOut,
        "the server does not answer",
    ))
}

fn closed() -> WireError {
    WireError::Io(io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the server closed the connection",
    ))
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    #[tokio::test]
    async fn payloads_of_any_length_survive_the_round_trip() {
        for length in [
            0,
            1,
            70_000,
            LONG_BYTES,
            PAYLOAD_BYTES_MAX,
            PAYLOAD_BYTES_MAX + 5,
        ] {
            let (near, far) = duplex(1 << 20);
            let (mut near, mut far) = (Wire::new(Box::new(near)), Wire::new(Box::new(far)));
            let payload: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            let (sent, received) = tokio::join!(
                async {
                    near.command(&payload).await?;
                    near.write(b"next").await
                },
                async {
                    let first = far.read().await?.to_vec();
                    let second = far.read().await?.to_vec();
                    Ok::<_, WireError>((first, second))
                }
            );
            sent.unwrap();
            let (first, second) = received.unwrap();
            assert!(first == payload, "{length}");
            assert_eq!(second, b"next");
        }
    }

    #[tokio::test]
    async fn a_connection_that_ends_inside_a_packet_is_an_error() {
        let (mut near, far) = duplex(64);
        near.write_all(&[10, 0, 0, 0, 1, 2]).await.unwrap();
        drop(near);
        let mut wire = Wire::new(Box::new(far));
        assert!(matches!(wire.read().await, Err(WireError::Io(_))));
    }
}
