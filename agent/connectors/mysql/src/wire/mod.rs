//! MySQL's client protocol, as much of it as reading needs.
//!
//! A general driver hands out each packet, each event and each column as an allocation of its own
//! and unpacks a compressed transaction whole. The log and the tables are read through this module
//! instead, straight from the receive buffer: [`packet`] frames bytes, [`handshake`] and [`auth`]
//! log in, [`tls`] encrypts, [`query`] runs statements, [`binary`] reads and writes values of
//! prepared statements. Everything fails with [`WireError`], which [`connect`](crate::connect)
//! translates into an error for people.

pub(crate) mod auth;
pub(crate) mod binary;
pub(crate) mod handshake;
pub(crate) mod packet;
pub(crate) mod query;
pub(crate) mod read;
pub(crate) mod tls;

use std::{fmt, io};

/// What can go wrong on a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{0}")]
    Tls(String),
    #[error(transparent)]
    Server(ServerError),
    #[error("{0}")]
    Protocol(&'static str),
}

/// An error that the server reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerError {
    /// The error's number, such as 1045.
    pub(crate) code: u16,
    /// The server's text.
    pub(crate) message: String,
}

impl fmt::Display for ServerError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} (error {})", self.message, self.code)
    }
}

impl std::error::Error for ServerError {}

impl ServerError {
    /// Reads an ERR packet.
    pub(crate) fn parse(packet: &[u8]) -> Self {
        let code = packet
            .get(1..3)
            .map_or(0, |code| u16::from_le_bytes([code[0], code[1]]));
        let rest = packet.get(3..).unwrap_or_default();
        // `#` and five characters of SQL state stand before the text once the login is through.
        let text = match rest {
            [b'#', state @ ..] if state.len() >= 5 => &state[5..],
            text => text,
        };
        Self {
            code,
            message: String::from_utf8_lossy(text).into_owned(),
        }
    }
}
