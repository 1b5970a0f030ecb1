//! Where an agent reads passwords and certificates.

use std::{collections::BTreeMap, fmt, fs, io, path::PathBuf};

use serde::{Deserialize, Serialize};

/// One key of one Secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKey {
    /// The Secret's name.
    pub name: String,
    /// The key inside it.
    pub key: String,
}

impl fmt::Display for SecretKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.name, self.key)
    }
}

/// Reads secrets at the moment when they are needed.
pub trait SecretStore: Send + Sync {
    /// The present content of a key.
    fn read(&self, key: &SecretKey) -> io::Result<Vec<u8>>;
}

/// Secrets mounted as files: `<root>/<name>/<key>`.
#[derive(Debug, Clone)]
pub struct MountedSecrets {
    /// The folder that holds one folder per Secret.
    pub root: PathBuf,
}

impl SecretStore for MountedSecrets {
    fn read(&self, key: &SecretKey) -> io::Result<Vec<u8>> {
        fs::read(self.root.join(&key.name).join(&key.key))
    }
}

/// Secrets that a pipeline file brought along.
#[derive(Clone, Default)]
pub struct InlineSecrets {
    secrets: BTreeMap<SecretKey, Vec<u8>>,
}

impl InlineSecrets {
    /// Adds or replaces a key.
    pub fn insert(&mut self, key: SecretKey, content: Vec<u8>) {
        self.secrets.insert(key, content);
    }

    /// Whether a Secret of this name is there.
    pub fn has_secret(&self, name: &str) -> bool {
        self.secrets.keys().any(|key| key.name == name)
    }
}

impl SecretStore for InlineSecrets {
    fn read(&self, key: &SecretKey) -> io::Result<Vec<u8>> {
        let missing =
            || io::Error::new(io::ErrorKind::NotFound, "no such key in the file's Secrets");
        self.secrets.get(key).cloned().ok_or_else(missing)
    }
}

/// Contents are never printed.
impl fmt::Debug for InlineSecrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.secrets.keys()).finish()
    }
}
