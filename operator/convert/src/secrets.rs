//! Which Secrets an object needs: the agent reads them, the operator mounts them, and
//! `sluice run -f` looks whether they are in the file.

use sluice_agent_api::{
    SecretKey,
    config::{ClientCertificate, TlsConfig, TlsMode},
};
use sluice_crds::{
    ReplicaSink, ReplicationSource,
    connection::{self, Credentials, Tls},
};

use crate::problem::ObjectKind;

/// One key of a Secret that an object needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretUse {
    /// The kind of the object.
    pub object: ObjectKind,
    /// The field that names the Secret.
    pub path: String,
    /// The Secret and the key.
    pub key: SecretKey,
}

/// The keys that a source needs.
pub fn source_secrets(source: &ReplicationSource) -> Vec<SecretUse> {
    let mut uses = Uses::new(ObjectKind::Source);
    if let Some(mysql) = &source.spec.mysql {
        uses.connection("spec.mysql", &mysql.credentials, mysql.tls.as_ref());
    }
    uses.uses
}

/// The keys that a sink needs.
pub fn sink_secrets(sink: &ReplicaSink) -> Vec<SecretUse> {
    let mut uses = Uses::new(ObjectKind::Sink);
    if let Some(postgres) = &sink.spec.postgres {
        uses.connection(
            "spec.postgres",
            &postgres.credentials,
            postgres.tls.as_ref(),
        );
    }
    uses.uses
}

/// How to reach a server's credentials.
pub(crate) fn user_and_password(credentials: &Credentials) -> (SecretKey, SecretKey) {
    let key = |key: &str| secret_key(&credentials.secret_ref.name, key);
    (key("username"), key("password"))
}

/// A connection's encryption; none is plain text.
pub(crate) fn tls_config(tls: Option<&Tls>) -> TlsConfig {
    let Some(tls) = tls else {
        return TlsConfig::default();
    };
    let ca = tls.ca_secret_ref.as_ref();
    let client = tls.client_secret_ref.as_ref();
    TlsConfig {
        mode: match tls.mode {
            connection::TlsMode::Disable => TlsMode::Disable,
            connection::TlsMode::Require => TlsMode::Require,
            connection::TlsMode::VerifyCa => TlsMode::VerifyCa,
            connection::TlsMode::VerifyFull => TlsMode::VerifyFull,
        },
        ca: ca.map(|reference| secret_key(&reference.name, &reference.key)),
        client: client.map(|secret| ClientCertificate {
            certificate: secret_key(&secret.name, "tls.crt"),
            key: secret_key(&secret.name, "tls.key"),
        }),
    }
}

fn secret_key(name: &str, key: &str) -> SecretKey {
    SecretKey {
        name: name.to_owned(),
        key: key.to_owned(),
    }
}

struct Uses {
    object: ObjectKind,
    uses: Vec<SecretUse>,
}

impl Uses {
    fn new(object: ObjectKind) -> Self {
        Self {
            object,
            uses: Vec::new(),
        }
    }

    fn connection(&mut self, path: &str, credentials: &Credentials, tls: Option<&Tls>) {
        let (username, password) = user_and_password(credentials);
        let config = tls_config(tls);
        let (certificate, key) = config
            .client
            .map(|client| (client.certificate, client.key))
            .unzip();
        let fields = [
            ("credentials.secretRef", Some(username)),
            ("credentials.secretRef", Some(password)),
            ("tls.caSecretRef", config.ca),
            ("tls.clientSecretRef", certificate),
            ("tls.clientSecretRef", key),
        ];
        for (field, key) in fields {
            self.uses.extend(key.map(|key| SecretUse {
                object: self.object,
                path: format!("{path}.{field}.name"),
                key,
            }));
        }
    }
}
