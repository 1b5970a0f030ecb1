//! Brokers that want a login and encrypt: the listener at `SLUICE_KAFKA_SECURE_BOOTSTRAP`, whose
//! certificate is for the name `localhost` alone.

use std::sync::Arc;

use sluice_agent_api::{
    SecretKey,
    config::{ClientCertificate, TlsConfig, TlsMode},
    kafka::{SaslConfig, SaslMechanism},
    secret::InlineSecrets,
    status::CheckOutcome,
};
use sluice_core::{Error, Reason, Sink, Source};
use sluice_kafka::preflight;

use crate::support::{Events, Stand, ids, notes, position, read, row, variable};

fn key(key: &str) -> SecretKey {
    SecretKey {
        name: "kafka".into(),
        key: key.into(),
    }
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(variable(name)).unwrap()
}

/// What differs from an ordinary, right configuration.
struct Secure {
    mechanism: SaslMechanism,
    user: &'static str,
    password: Option<&'static str>,
    mode: TlsMode,
    authority: Option<Vec<u8>>,
    with_certificate: bool,
    bootstrap: String,
}

impl Secure {
    fn new(mechanism: SaslMechanism) -> Self {
        Self {
            mechanism,
            user: "sluice",
            password: None,
            mode: TlsMode::VerifyFull,
            authority: Some(file("SLUICE_KAFKA_CERTIFICATE")),
            with_certificate: false,
            bootstrap: variable("SLUICE_KAFKA_SECURE_BOOTSTRAP"),
        }
    }

    fn stand(self) -> Stand {
        let mut secrets = InlineSecrets::default();
        let password = self.password.map(str::to_owned);
        // A file that an editor has ended with a new line.
        let password = password.unwrap_or_else(|| variable("SLUICE_KAFKA_PASSWORD") + "\n");
        secrets.insert(key("username"), self.user.into());
        secrets.insert(key("password"), password.into());
        secrets.insert(key("tls.crt"), file("SLUICE_KAFKA_CERTIFICATE"));
        secrets.insert(key("tls.key"), file("SLUICE_KAFKA_KEY"));
        let has_authority = self.authority.is_some();
        if let Some(authority) = self.authority {
            secrets.insert(key("ca.crt"), authority);
        }
        let mut stand = Stand::new();
        stand.secrets = Arc::new(secrets);
        let cluster = &mut stand.kafka.cluster;
        cluster.bootstrap_servers = self.bootstrap;
        cluster.sasl = Some(SaslConfig {
            mechanism: self.mechanism,
            username: key("username"),
            password: key("password"),
        });
        cluster.tls = TlsConfig {
            mode: self.mode,
            ca: has_authority.then(|| key("ca.crt")),
            client: self.with_certificate.then(|| ClientCertificate {
                certificate: key("tls.crt"),
                key: key("tls.key"),
            }),
        };
        // `localhost` has two addresses, and the broker listens on one.
        let properties = &mut cluster.properties;
        properties.insert("broker.address.family".into(), "v4".into());
        stand
    }
}

async fn there_and_back(stand: &Stand) {
    let table = notes();
    let mut sink = stand.ready(&table).await;
    let events = Events::default().insert(&table, 1, row(1, "x")).end(1);
    sink.write(&events.0).await.unwrap();
    sink.commit(&position(1, &table)).await.unwrap();
    let mut source = stand.source();
    source.open(None).await.unwrap();
    let (events, _) = read(&mut source, 1).await;
    assert_eq!(ids(&events), vec![1]);
}

/// The error of the capture and of the apply side.
async fn refused(stand: &Stand) -> [Error; 2] {
    [
        stand.sink().open().await.unwrap_err(),
        stand.source().open(None).await.unwrap_err(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ways_with_a_password() {
    for mechanism in [SaslMechanism::Plain, SaslMechanism::ScramSha512] {
        there_and_back(&Secure::new(mechanism).stand()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ways_with_a_certificate_of_the_client() {
    let mut secure = Secure::new(SaslMechanism::ScramSha512);
    secure.with_certificate = true;
    there_and_back(&secure.stand()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told() {
    for mechanism in [SaslMechanism::Plain, SaslMechanism::ScramSha512] {
        let mut secure = Secure::new(mechanism);
        secure.password = Some("guessed");
        for error in refused(&secure.stand()).await {
            assert_eq!(error.reason(), Reason::AccessDenied, "{error:?}");
            assert!(error.hint().unwrap().contains("password"), "{error:?}");
            assert!(!format!("{error:?}").contains("guessed"), "{error:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mechanism_that_is_not_offered_is_told() {
    let stand = Secure::new(SaslMechanism::ScramSha256).stand();
    for error in refused(&stand).await {
        assert_eq!(error.reason(), Reason::AccessDenied, "{error:?}");
        assert!(error.hint().unwrap().contains("mechanism"), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_vouches_for_is_told() {
    let mut secure = Secure::new(SaslMechanism::Plain);
    secure.authority = None;
    for error in refused(&secure.stand()).await {
        assert_eq!(error.reason(), Reason::TlsFailed, "{error:?}");
    }
    let mut secure = Secure::new(SaslMechanism::Plain);
    (secure.authority, secure.mode) = (None, TlsMode::Require);
    there_and_back(&secure.stand()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_name_is_told() {
    let other = variable("SLUICE_KAFKA_SECURE_BOOTSTRAP").replace("localhost", "127.0.0.1");
    let mut secure = Secure::new(SaslMechanism::Plain);
    secure.bootstrap.clone_from(&other);
    for error in refused(&secure.stand()).await {
        assert_eq!(error.reason(), Reason::TlsFailed, "{error:?}");
        assert!(error.hint().unwrap().contains("name"), "{error:?}");
    }
    let mut secure = Secure::new(SaslMechanism::Plain);
    (secure.bootstrap, secure.mode) = (other, TlsMode::VerifyCa);
    there_and_back(&secure.stand()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_may_not_do_is_told_with_the_command() {
    let mut secure = Secure::new(SaslMechanism::Plain);
    secure.user = "nobody";
    let stand = secure.stand();
    for error in refused(&stand).await {
        assert_eq!(error.reason(), Reason::MissingPrivilege, "{error:?}");
        let hint = error.hint().unwrap();
        assert!(hint.starts_with("kafka-acls --add"), "{hint}");
    }
    let checks = preflight::check_sink("ReplicationSource/x", &stand.kafka, &stand.secrets).await;
    let mut checked = checks.iter();
    let failed = checked.find(|check| check.outcome == CheckOutcome::Failed);
    let remedy = failed.expect("a check that fails").remedy.as_ref().unwrap();
    assert!(remedy.contains("kafka-acls --add"), "{checks:#?}");
}
