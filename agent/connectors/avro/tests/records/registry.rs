//! The registry's client.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use sluice_agent_api::{SecretKey, secret::InlineSecrets};
use sluice_avro::{Codec, Envelope, Format, Registry, RegistryConfig};
use sluice_core::{Class, ColumnType, Reason};

use crate::support::{client, column, registry, soon, table};

const INT: ColumnType = ColumnType::Int {
    bits: 32,
    unsigned: false,
};

#[tokio::test]
async fn an_id_is_asked_for_once() {
    let (url, state) = registry().await;
    let client = client(&url);
    let first = soon(client.register("a b-value", "\"int\"")).await.unwrap();
    assert_eq!(
        client.register("a b-value", "\"int\"").await.unwrap(),
        first
    );
    let state = state.lock().unwrap();
    assert_eq!(
        state.requests,
        [
            "POST /subjects/a%20b-value",
            "POST /compatibility/subjects/a%20b-value/versions/latest?verbose=true",
            "POST /subjects/a%20b-value/versions",
        ]
    );
}

#[tokio::test]
async fn a_schema_that_is_there_is_not_checked_again() {
    let (url, state) = registry().await;
    let first = client(&url).register("s", "\"int\"").await.unwrap();
    state.lock().unwrap().requests.clear();
    assert_eq!(client(&url).register("s", "\"int\"").await.unwrap(), first);
    assert_eq!(state.lock().unwrap().requests, ["POST /subjects/s"]);
}

#[tokio::test]
async fn an_incompatible_change_stops_the_table_and_names_subject_and_rule() {
    let (url, state) = registry().await;
    let codec = Codec::new(Format::Avro(client(&url)), Envelope::Debezium, "shop");
    codec
        .writer("t", &table(vec![column("id", INT, false)], vec![0]))
        .await
        .unwrap();
    state.lock().unwrap().refusing.push("t-value".to_owned());
    let changed = table(
        vec![column("id", INT, false), column("x", INT, false)],
        vec![0],
    );
    let error = codec.writer("t", &changed).await.unwrap_err();
    assert_eq!(
        (error.reason(), error.class()),
        (Reason::TargetIncompatible, Class::StopTable)
    );
    let text = error.to_string();
    for part in [
        "shop.orders",
        "t-value",
        "BACKWARD",
        "READER_FIELD_MISSING_DEFAULT_VALUE",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert!(error.hint().unwrap().contains("/config/t-value"));
}

#[tokio::test]
async fn a_registry_that_is_not_ready_is_asked_again() {
    let (url, state) = registry().await;
    state.lock().unwrap().failures = 3;
    soon(client(&url).register("s", "\"int\"")).await.unwrap();
    assert_eq!(state.lock().unwrap().failures, 0);
}

#[tokio::test]
async fn a_registry_that_stays_away_is_an_error_that_is_retried() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let error = soon(client(&format!("http://127.0.0.1:{port}")).register("s", "\"int\"")).await;
    let error = error.unwrap_err();
    assert_eq!(
        (error.reason(), error.class()),
        (Reason::Unreachable, Class::Retry)
    );
}

#[tokio::test]
async fn the_login_is_sent_and_a_wrong_one_is_named() {
    let (url, state) = registry().await;
    state.lock().unwrap().login = Some(format!("Basic {}", STANDARD.encode("me:secret")));
    let key = |key: &str| SecretKey {
        name: "registry".to_owned(),
        key: key.to_owned(),
    };
    let mut secrets = InlineSecrets::default();
    secrets.insert(key("username"), b"me\n".to_vec());
    secrets.insert(key("password"), b"secret".to_vec());
    let config = RegistryConfig {
        url: url.clone(),
        username: Some(key("username")),
        password: Some(key("password")),
        ..RegistryConfig::default()
    };
    Registry::new(config, Arc::new(secrets))
        .unwrap()
        .register("s", "\"int\"")
        .await
        .unwrap();
    let error = client(&url).register("s", "\"int\"").await.unwrap_err();
    assert_eq!(error.reason(), Reason::AccessDenied);
    assert!(error.hint().unwrap().contains("secretRef"));
}

#[test]
fn an_address_that_is_none_is_refused() {
    let config = RegistryConfig {
        url: "registry:8081".to_owned(),
        ..RegistryConfig::default()
    };
    let error = Registry::new(config, Arc::new(InlineSecrets::default())).unwrap_err();
    assert_eq!(error.reason(), Reason::InvalidConfig);
}
