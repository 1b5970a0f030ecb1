//! Stub.
use anyhow::Result;
use crate::{MysqlDatabase, PgDatabase};
/// Compares.
pub async fn assert_equal(_: &MysqlDatabase, _: &PgDatabase, _: &[&str]) -> Result<()> { Ok(()) }
