//! The row decoder against what the server itself says of the same rows.

mod charsets;
mod images;
mod log;
mod shape;
mod show;
pub(crate) mod types;
