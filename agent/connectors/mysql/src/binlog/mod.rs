//! The binary log as the server sends it: framing, headers, and the events that are not rows.
//!
//! [`reader`] turns a connection's bytes into one event at a time, unpacking compressed
//! transactions on the way; [`payload`] does the unpacking; [`event`] reads headers and small
//! events; [`dump`] writes the commands that start a stream. Rows are decoded in
//! [`decode`](crate::decode).

pub(crate) mod dump;
pub(crate) mod event;
pub(crate) mod payload;
pub(crate) mod reader;

#[cfg(test)]
mod tests;
