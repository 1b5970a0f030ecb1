//! Clients: their configuration out of the resource and its Secrets, and what they say of errors.
//!
//! Secrets are read whenever a client is made. An error that librdkafka reports from beside (a login
//! that was refused, brokers that are down) explains the timeout of the call that waited for it, so
//! every client's [`Context`] keeps the last one.

use std::{
    io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rdkafka::{
    ClientConfig, ClientContext,
    consumer::ConsumerContext,
    error::KafkaError,
    message::Message,
    producer::{DeliveryResult, ProducerContext},
    types::RDKafkaErrorCode as Code,
};
use sluice_agent_api::{
    SecretKey, SecretStore,
    config::{TlsConfig, TlsMode},
    kafka::KafkaCluster,
};
use sluice_core::{Error, Reason, Result};
use tracing::debug;

use crate::error::{classify, classify_code, code_of};

/// The configuration that every client of a cluster begins with.
pub(crate) fn client_config(
    cluster: &KafkaCluster,
    secrets: &dyn SecretStore,
    client_id: &str,
) -> Result<ClientConfig> {
    let mut config = ClientConfig::new();
    config.set("socket.keepalive.enable", "true");
    config.set("reconnect.backoff.ms", "50");
    // A broker that comes back is to be found soon.
    config.set("reconnect.backoff.max.ms", "1000");
    for (name, value) in &cluster.properties {
        config.set(name, value);
    }
    config.set("bootstrap.servers", &cluster.bootstrap_servers);
    config.set("client.id", client_id);
    let encrypted = cluster.tls.mode != TlsMode::Disable;
    let protocol = match (&cluster.sasl, encrypted) {
        (None, false) => "plaintext",
        (None, true) => "ssl",
        (Some(_), false) => "sasl_plaintext",
        (Some(_), true) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    if let Some(sasl) = &cluster.sasl {
        config.set("sasl.mechanism", sasl.mechanism.as_str());
        config.set("sasl.username", text(secrets, &sasl.username)?);
        config.set("sasl.password", text(secrets, &sasl.password)?);
    }
    if encrypted {
        encrypt(&mut config, &cluster.tls, secrets)?;
    }
    Ok(config)
}

fn encrypt(config: &mut ClientConfig, tls: &TlsConfig, secrets: &dyn SecretStore) -> Result<()> {
    let verified = tls.mode != TlsMode::Require;
    config.set("enable.ssl.certificate.verification", verified.to_string());
    let checks_name = tls.mode == TlsMode::VerifyFull;
    let algorithm = if checks_name { "https" } else { "none" };
    config.set("ssl.endpoint.identification.algorithm", algorithm);
    if let Some(authority) = &tls.ca {
        config.set("ssl.ca.pem", text(secrets, authority)?);
    }
    if let Some(client) = &tls.client {
        config.set("ssl.certificate.pem", text(secrets, &client.certificate)?);
        config.set("ssl.key.pem", text(secrets, &client.key)?);
    }
    Ok(())
}

fn text(secrets: &dyn SecretStore, key: &SecretKey) -> Result<String> {
    let unreadable = |error: std::io::Error| {
        Error::new(Reason::AccessDenied, format!("secret {key} can't be read"))
            .with_hint("create the Secret with that key")
            .with_source(error)
    };
    let bytes = secrets.read(key).map_err(unreadable)?;
    let text = String::from_utf8(bytes).map_err(|_| {
        Error::new(Reason::AccessDenied, format!("secret {key} is not text"))
            .with_hint("store it as UTF-8 text")
    })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// What a client reports from beside.
#[derive(Debug, Default)]
pub(crate) struct Context {
    brokers: String,
    /// Whether a broker has answered once.
    is_connected: AtomicBool,
    /// The newest error of the client, and how librdkafka puts it.
    last: Mutex<Option<(Code, String)>>,
    /// The first record that was not delivered: why, and its topic.
    undelivered: Mutex<Option<(Code, String)>>,
}

impl Context {
    pub(crate) fn new(brokers: &str) -> Self {
        Self {
            brokers: brokers.to_owned(),
            ..Self::default()
        }
    }

    /// Classifies the error of a call. A timeout says less than what was reported meanwhile.
    pub(crate) fn error(&self, doing: &str, error: KafkaError) -> Error {
        if let Some(error) = self.undelivered(doing) {
            return error;
        }
        let vague = matches!(
            code_of(&error),
            Code::OperationTimedOut
                | Code::RequestTimedOut
                | Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::Unknown
        );
        let last = lock(&self.last).take();
        match last {
            Some((code, said)) if vague && code != Code::AllBrokersDown => {
                classify_code(&self.brokers, doing, code).with_source(io::Error::other(said))
            }
            _ => classify(&self.brokers, doing, error),
        }
    }

    /// Whether a broker has answered once.
    pub(crate) fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Relaxed)
    }

    /// Notes that a broker has answered.
    pub(crate) fn connected(&self) {
        self.is_connected.store(true, Ordering::Relaxed);
    }

    /// Whether the newest error is that a login or a certificate was refused.
    pub(crate) fn is_refused(&self) -> bool {
        let last = lock(&self.last);
        last.as_ref().is_some_and(|(code, _)| is_refusal(*code))
    }

    /// The error of a record that was not delivered, once.
    pub(crate) fn undelivered(&self, doing: &str) -> Option<Error> {
        let (code, topic) = lock(&self.undelivered).take()?;
        let doing = format!("{doing}, a record of topic {topic} was not taken");
        Some(classify_code(&self.brokers, &doing, code))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether an error stays until somebody changes a login or a certificate.
fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL
    )
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        debug!(%error, reason, "kafka client");
        let code = code_of(&error);
        let mut last = lock(&self.last);
        // That a broker is gone explains less than why.
        let explains = last.as_ref().is_some_and(|(last, _)| is_refusal(*last));
        if last.is_none() || is_refusal(code) || (code != Code::AllBrokersDown && !explains) {
            *last = Some((code, reason.to_owned()));
        }
    }
}

impl ConsumerContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            let mut undelivered = lock(&self.undelivered);
            if undelivered.is_none() {
                *undelivered = Some((code_of(error), message.topic().to_owned()));
            }
        }
    }
}
