//! Tests against a real server, whose URL is in `SLUICE_MYSQL_URL`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of tests fail by panicking, too"
)]

mod decode;
mod source;
