//! Placeholder.

/// Placeholder.
#[derive(Debug)]
pub struct MysqlSource;
