//! The content of Secrets, as hashes.
//!
//! A Secret is read when its resource version is a new one, hashed key by key, and dropped: no
//! secret stays in the operator's memory.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt as _};

use crate::{cache::Caches, model::ObjectKey, names};

/// What is known of a Secret's content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SecretDigest {
    /// The resource version that was read.
    pub(crate) version: Option<String>,
    /// SHA-256 by key.
    pub(crate) keys: BTreeMap<String, String>,
}

/// Digests of the Secrets that were read lately.
#[derive(Debug, Default)]
pub(crate) struct SecretDigests {
    known: Mutex<HashMap<ObjectKey, SecretDigest>>,
}

impl SecretDigests {
    /// The digest of a Secret; none when there is no such Secret.
    pub(crate) async fn read(
        &self,
        client: &Client,
        caches: &Caches,
        key: &ObjectKey,
    ) -> Result<Option<SecretDigest>, kube::Error> {
        let Some(present) = caches.secrets.get(key) else {
            self.lock().remove(key);
            return Ok(None);
        };
        let version = present.resource_version();
        let known = self.lock().get(key).cloned();
        if let Some(known) = known.filter(|known| known.version == version) {
            return Ok(Some(known));
        }
        let secrets: Api<Secret> = Api::namespaced(client.clone(), &key.namespace);
        let Some(secret) = secrets.get_opt(&key.name).await? else {
            return Ok(None);
        };
        let digest = digest(&secret);
        self.lock().insert(key.clone(), digest.clone());
        Ok(Some(digest))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectKey, SecretDigest>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn digest(secret: &Secret) -> SecretDigest {
    let data = secret.data.iter().flatten();
    let keys = data.map(|(key, content)| (key.clone(), names::hash(&content.0)));
    SecretDigest {
        version: secret.resource_version(),
        keys: keys.collect(),
    }
}
