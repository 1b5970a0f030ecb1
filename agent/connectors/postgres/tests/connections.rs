//! Connecting: credentials, TLS, what goes wrong, and what the preflight says about it.

use std::{fs, path::PathBuf};

use sluice_agent_api::{
    config::{PostgresConfig, TlsMode},
    secret::{InlineSecrets, SecretKey},
    status::{Check, CheckOutcome},
};
use sluice_core::{Class, Reason, Sink, TableId};
use sluice_postgres::{PostgresSink, preflight};

use crate::support::*;

fn key(name: &str) -> SecretKey {
    SecretKey {
        name: "pg".into(),
        key: name.into(),
    }
}

async fn open(
    database: &Database,
    postgres: PostgresConfig,
    secrets: InlineSecrets,
) -> Result<(), sluice_core::Error> {
    let config = database.config();
    let secrets = std::sync::Arc::new(secrets);
    let mut sink = PostgresSink::new("test".into(), &config, postgres, secrets);
    sink.open().await.map(|_| ())
}

#[tokio::test]
async fn each_fault_of_a_connection_is_named_with_its_remedy() {
    let database = Database::new().await;
    let fault = async |change: fn(&mut PostgresConfig), user: &str, password: &str| {
        let mut postgres = database.postgres();
        change(&mut postgres);
        open(&database, postgres, secrets(user, password))
            .await
            .unwrap_err()
    };
    let (user, password) = (database.user.as_str(), database.password.as_str());
    let error = fault(|_| {}, user, "wrong").await;
    assert_eq!(
        (error.reason(), error.class()),
        (Reason::AccessDenied, Class::Retry)
    );
    assert!(!error.report().contains("wrong\""));
    let error = fault(|_| {}, "nobody", password).await;
    assert_eq!(error.reason(), Reason::AccessDenied);
    let error = fault(
        |c| c.connection.database = Some("absent".into()),
        user,
        password,
    )
    .await;
    assert_eq!(error.reason(), Reason::DatabaseMissing);
    let error = fault(|c| c.connection.port = 1, user, password).await;
    assert_eq!(error.reason(), Reason::Unreachable);
    assert!(error.message().contains(":1"), "{}", error.message());
    let error = fault(
        |c| c.connection.host = "absent.invalid".into(),
        user,
        password,
    )
    .await;
    assert_eq!(error.reason(), Reason::Unreachable);
    assert!(
        error.message().contains("absent.invalid:"),
        "{}",
        error.message()
    );
    let error = fault(
        |c| c.connection.password.key = "absent".into(),
        user,
        password,
    )
    .await;
    assert_eq!(error.reason(), Reason::AccessDenied);
    assert!(error.message().contains("pg/absent"), "{}", error.message());
    database.drop_now().await;
}

#[tokio::test]
async fn tls_is_checked_as_far_as_asked() {
    let database = Database::new().await;
    let data = std::env::var_os("SLUICE_PG_DATA_DIR")
        .expect("SLUICE_PG_DATA_DIR names the data directory");
    let own = fs::read(PathBuf::from(data).join("server.crt")).unwrap();
    // Any other authority; its key is nobody's.
    let other = include_bytes!("data/other-ca.pem").to_vec();
    let attempt = async |mode, ca: Option<Vec<u8>>, host: &str| {
        let mut postgres = database.postgres();
        let mut secrets = database.secrets();
        postgres.connection.tls.mode = mode;
        postgres.connection.host = host.into();
        if let Some(ca) = ca {
            postgres.connection.tls.ca = Some(key("ca"));
            secrets.insert(key("ca"), ca);
        }
        open(&database, postgres, secrets)
            .await
            .map_err(|error| error.reason())
    };
    let here = database.host.clone();
    assert_eq!(attempt(TlsMode::Require, None, &here).await, Ok(()));
    assert_eq!(
        attempt(TlsMode::VerifyCa, Some(own.clone()), &here).await,
        Ok(())
    );
    for (mode, ca) in [
        (TlsMode::VerifyCa, Some(other.clone())),
        (TlsMode::VerifyFull, Some(other)),
        (TlsMode::VerifyFull, None),
        (TlsMode::VerifyCa, Some(b"no certificate".to_vec())),
    ] {
        assert_eq!(
            attempt(mode, ca, &here).await,
            Err(Reason::TlsFailed),
            "{mode:?}"
        );
    }
    let session = "SELECT count(*) FROM pg_stat_ssl";
    assert_ne!(database.value(session).await, "0");
    database.drop_now().await;
}

fn outcome<'c>(checks: &'c [Check], name: &str) -> &'c Check {
    let found = checks.iter().find(|check| check.name == name);
    found.unwrap_or_else(|| panic!("no check {name} in {checks:?}"))
}

#[tokio::test]
async fn the_preflight_passes_for_a_superuser_and_names_each_lack_of_another() {
    let database = Database::new().await;
    let tables = [
        TableId::new("shop", "orders"),
        TableId::new("new", "things"),
    ];
    let postgres = database.postgres();
    let checks = preflight::check("ReplicaSink/pg", &postgres, &tables, &database.secrets()).await;
    assert!(
        checks
            .iter()
            .all(|check| check.outcome == CheckOutcome::Passed),
        "{checks:?}"
    );
    let user = format!("{}_poor", database.name);
    database
        .run(&format!(
            "CREATE USER {user} PASSWORD 'secret'; CREATE SCHEMA shop;
             CREATE TABLE shop.orders (id bigint)"
        ))
        .await;
    let poor = secrets(&user, "secret");
    let checks = preflight::check("ReplicaSink/pg", &postgres, &tables, &poor).await;
    let catalog = outcome(&checks, "TargetCatalog");
    assert_eq!(catalog.outcome, CheckOutcome::Failed);
    let create = format!("GRANT CREATE ON DATABASE {} TO {user}", database.name);
    assert_eq!(catalog.remedy.as_deref(), Some(create.as_str()));
    let privileges = outcome(&checks, "TargetPrivileges").remedy.clone().unwrap();
    assert!(
        privileges.contains("ON \"shop\".\"orders\" TO"),
        "{privileges}"
    );
    assert!(privileges.contains(&create), "{privileges}");
    let role = outcome(&checks, "TargetReplicaRole");
    assert_eq!(role.outcome, CheckOutcome::Warning);
    // The remedies mend what they are for.
    let admin = &database.client;
    for remedy in [Some(create), Some(privileges), role.remedy.clone()]
        .into_iter()
        .flatten()
    {
        admin.batch_execute(&remedy).await.unwrap();
    }
    let checks = preflight::check("ReplicaSink/pg", &postgres, &tables, &poor).await;
    assert!(
        checks
            .iter()
            .all(|check| check.outcome == CheckOutcome::Passed),
        "{checks:?}"
    );
    database
        .run(&format!("DROP OWNED BY {user}; DROP USER {user}"))
        .await;
    database.drop_now().await;
}

#[tokio::test]
async fn the_preflight_names_what_keeps_it_from_connecting() {
    let database = Database::new().await;
    let postgres = database.postgres();
    let wrong = secrets(&database.user, "wrong");
    let checks = preflight::check("ReplicaSink/pg", &postgres, &[], &wrong).await;
    assert_eq!(
        outcome(&checks, "TargetCredentials").outcome,
        CheckOutcome::Failed
    );
    assert_eq!(
        outcome(&checks, "TargetVersion").outcome,
        CheckOutcome::Skipped
    );
    let mut elsewhere = postgres.clone();
    elsewhere.connection.port = 1;
    let checks = preflight::check("ReplicaSink/pg", &elsewhere, &[], &wrong).await;
    assert_eq!(
        outcome(&checks, "TargetReachable").outcome,
        CheckOutcome::Failed
    );
    assert!(outcome(&checks, "TargetReachable").message.contains(":1"));
    database.drop_now().await;
}
