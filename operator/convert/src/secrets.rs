//! Which Secrets an object needs: the agent reads them, the operator mounts them, and
//! `sluice run -f` looks whether they are in the file.

use sluice_agent_api::{
    SecretKey,
    config::{ClientCertificate, TlsConfig, TlsMode},
};
use sluice_crds::{
    ReplicaSink, ReplicationSource,
    connection::{self, Credentials, SecretReference, Tls},
};

use crate::{kafka::Shared, problem::ObjectKind};

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

/// The keys that a source needs: those of its capture agent where there is one.
pub fn source_secrets(source: &ReplicationSource) -> Vec<SecretUse> {
    let mut uses = Uses::new(ObjectKind::Source);
    if let Some(mysql) = &source.spec.mysql {
        uses.connection("spec.mysql", &mysql.credentials, mysql.tls.as_ref());
    }
    uses.topics(source);
    uses.uses
}

/// The keys that the agent of a sink needs of its source: through Kafka, it never meets the database.
pub fn upstream_secrets(source: &ReplicationSource) -> Vec<SecretUse> {
    if source.spec.kafka.is_none() {
        return source_secrets(source);
    }
    let mut uses = Uses::new(ObjectKind::Source);
    uses.topics(source);
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
    if let Some(kafka) = &sink.spec.kafka {
        uses.kafka("spec.kafka", kafka.into());
    }
    uses.uses
}

/// How to reach a server's credentials.
pub(crate) fn user_and_password(credentials: &Credentials) -> (SecretKey, SecretKey) {
    keys_of(&credentials.secret_ref)
}

/// The keys of a user's name and password.
pub(crate) fn keys_of(secret: &SecretReference) -> (SecretKey, SecretKey) {
    let key = |key: &str| secret_key(&secret.name, key);
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
        self.login(&format!("{path}.credentials"), &credentials.secret_ref);
        self.tls(path, tls);
    }

    fn topics(&mut self, source: &ReplicationSource) {
        let spec = &source.spec;
        if let Some(kafka) = &spec.kafka {
            self.kafka("spec.kafka", kafka.into());
        }
        if let Some(topics) = &spec.kafka_topics {
            self.kafka("spec.kafkaTopics", topics.into());
        }
    }

    fn kafka(&mut self, path: &str, kafka: Shared<'_>) {
        if let Some(security) = kafka.security {
            let path = format!("{path}.security");
            if let Some(sasl) = &security.sasl {
                self.login(&format!("{path}.sasl"), &sasl.secret_ref);
            }
            self.tls(&path, security.tls.as_ref());
        }
        if let Some(avro) = &kafka.format.avro {
            let registry = &avro.schema_registry;
            let path = format!("{path}.format.avro.schemaRegistry");
            if let Some(secret) = &registry.secret_ref {
                self.login(&path, secret);
            }
            self.tls(&path, registry.tls.as_ref());
        }
    }

    fn login(&mut self, path: &str, secret: &SecretReference) {
        let (username, password) = keys_of(secret);
        let path = format!("{path}.secretRef");
        self.add(&path, Some(username));
        self.add(&path, Some(password));
    }

    fn tls(&mut self, path: &str, tls: Option<&Tls>) {
        let config = tls_config(tls);
        let (certificate, key) = config
            .client
            .map(|client| (client.certificate, client.key))
            .unzip();
        self.add(&format!("{path}.tls.caSecretRef"), config.ca);
        self.add(&format!("{path}.tls.clientSecretRef"), certificate);
        self.add(&format!("{path}.tls.clientSecretRef"), key);
    }

    fn add(&mut self, path: &str, key: Option<SecretKey>) {
        self.uses.extend(key.map(|key| SecretUse {
            object: self.object,
            path: format!("{path}.name"),
            key,
        }));
    }
}
