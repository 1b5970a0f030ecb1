//! What operator and agent say to each other: [`AgentConfig`] goes in, [`AgentStatus`] comes out.
//!
//! Neither knows Kubernetes nor a driver. A config holds no secret, only the [`SecretKey`]s by
//! which an agent reads them from a [`SecretStore`] at every connect, so that a rotated password
//! takes effect without a restart.

pub mod config;
pub mod kafka;
pub mod replicas;
pub mod secret;
pub mod status;

pub use config::AgentConfig;
pub use secret::{SecretKey, SecretStore};
pub use status::AgentStatus;
