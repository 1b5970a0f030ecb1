//! Logging in, with and without TLS, and what is said when it fails.

use std::{path::Path, process::Command, sync::Arc};

use sluice_agent_api::{
    SecretKey,
    config::{ClientCertificate, TlsMode},
    secret::InlineSecrets,
};
use sluice_core::{Error, Reason, Source, TableSelection};
use sluice_mysql::MysqlSource;
use tokio::{io::AsyncWriteExt as _, net::TcpListener};

use super::{
    fixture::{Fixture, config, config_as, shared_url, unique},
    instance::Instance,
};

fn key(name: &str) -> SecretKey {
    SecretKey {
        name: "tls".into(),
        key: name.into(),
    }
}

/// Opens a source with a changed configuration.
async fn open(
    mut made: (sluice_agent_api::config::MysqlConfig, InlineSecrets),
    change: impl FnOnce(&mut sluice_agent_api::config::MysqlConfig, &mut InlineSecrets),
) -> Result<(), Error> {
    change(&mut made.0, &mut made.1);
    let selection = TableSelection::new(vec!["*.*".into()], vec![]);
    let mut source = MysqlSource::new(made.0, selection, 1, Arc::new(made.1));
    source.open(None).await.map(|_| ())
}

#[tokio::test]
async fn failures_to_connect_are_told_apart() {
    let url = shared_url();
    let wrong = config_as(&url, "root", "wrong");
    let error = open(wrong, |_, _| ()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::AccessDenied);
    assert!(!error.report().contains("wrong"), "{}", error.report());

    let error = open(config(&url), |config, _| config.connection.port = 1)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::Unreachable);
    assert!(error.message().contains("127.0.0.1:1"), "{error}");

    let nowhere = |config: &mut sluice_agent_api::config::MysqlConfig, _: &mut InlineSecrets| {
        config.connection.host = "no-such-host.invalid".into();
    };
    let error = open(config(&url), nowhere).await.unwrap_err();
    assert_eq!(error.reason(), Reason::Unreachable);
    assert!(error.message().contains("no-such-host.invalid"), "{error}");

    let missing = |config: &mut sluice_agent_api::config::MysqlConfig, _: &mut InlineSecrets| {
        config.connection.password = key("absent");
    };
    let error = open(config(&url), missing).await.unwrap_err();
    assert_eq!(error.reason(), Reason::AccessDenied);
    assert!(error.message().contains("tls/absent"), "{error}");
}

#[tokio::test]
async fn what_is_not_mysql_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket
            .write_all(b"\x0f\0\0\0HTTP/1.1 400 Bad Request\r\n")
            .await
            .unwrap();
        socket
    });
    let error = open(config(&shared_url()), |config, _| {
        config.connection.port = port;
    })
    .await
    .unwrap_err();
    assert!(
        error.message().contains(&format!("127.0.0.1:{port}")),
        "{error}"
    );
    assert!(error.message().contains("not a MySQL server"), "{error}");
    server.await.unwrap();
}

#[tokio::test]
async fn a_password_crosses_a_plain_connection_encrypted() {
    let mut fixture = Fixture::start().await;
    for (plugin, password) in [
        ("caching_sha2_password", "päss wörd"),
        ("caching_sha2_password", ""),
        ("sha256_password", "x"),
    ] {
        let user = format!("sluice_{}", unique());
        let create = format!("CREATE USER {user} IDENTIFIED WITH {plugin} BY '{password}'");
        if mysql_async::prelude::Queryable::query_drop(&mut fixture.client, create)
            .await
            .is_err()
        {
            continue; // A plugin that later servers lack.
        }
        fixture
            .run([format!(
                "GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO {user}"
            )])
            .await;
        // The first time takes the long way, the second the server's cache.
        for _ in 0..2 {
            open(config_as(&fixture.url, &user, password), |_, _| ())
                .await
                .unwrap();
        }
        fixture.run([format!("DROP USER {user}")]).await;
    }
    fixture.end().await;
}

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
async fn tls_is_as_strict_as_asked() {
    let instance = Instance::start("");
    let data = instance.data();
    let mut fixture = Fixture::start_on(&instance.url).await;
    fixture
        .run([
            "CREATE USER x509 IDENTIFIED BY 'x' REQUIRE X509",
            "GRANT ALL ON *.* TO x509",
            "CREATE USER ssl_only IDENTIFIED BY 'x' REQUIRE SSL",
            "GRANT ALL ON *.* TO ssl_only",
        ])
        .await;
    let read = |name: &str| std::fs::read(data.join(name)).unwrap();
    let (ca, certificate, client_key) = (
        read("ca.pem"),
        read("client-cert.pem"),
        read("client-key.pem"),
    );
    let try_as = async |user: &str, mode: TlsMode, authority: &[u8], with_client: bool| {
        let authority = authority.to_vec();
        let (certificate, client_key) = (certificate.clone(), client_key.clone());
        open(
            config_as(&instance.url, user, "x"),
            move |config, secrets| {
                config.connection.tls.mode = mode;
                config.connection.tls.ca = Some(key("ca"));
                secrets.insert(key("ca"), authority);
                if with_client {
                    secrets.insert(key("cert"), certificate);
                    secrets.insert(key("key"), client_key);
                    config.connection.tls.client = Some(ClientCertificate {
                        certificate: key("cert"),
                        key: key("key"),
                    });
                }
            },
        )
        .await
    };
    try_as("ssl_only", TlsMode::Require, &ca, false)
        .await
        .unwrap();
    try_as("ssl_only", TlsMode::VerifyCa, &ca, false)
        .await
        .unwrap();
    try_as("x509", TlsMode::VerifyCa, &ca, true).await.unwrap();
    let error = try_as("x509", TlsMode::VerifyCa, &ca, false)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::AccessDenied);
    let error = try_as("ssl_only", TlsMode::Disable, &ca, false)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::AccessDenied);
    // The server's own certificate names no host.
    let error = try_as("ssl_only", TlsMode::VerifyFull, &ca, false)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::TlsFailed);
    assert!(error.hint().unwrap().contains("VerifyCa"), "{error:?}");
    let error = try_as("ssl_only", TlsMode::VerifyCa, b"junk", false)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::TlsFailed);

    std::fs::write(
        data.join("san"),
        "subjectAltName=DNS:localhost,IP:127.0.0.1\n",
    )
    .unwrap();
    for arguments in [
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=other -keyout ca-key.pem -out ca.pem",
        "req -newkey rsa:2048 -nodes -subj /CN=db -keyout server-key.pem -out server.csr",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile san -out server-cert.pem",
    ] {
        openssl(&data, arguments);
    }
    let other = std::fs::read(data.join("ca.pem")).unwrap();
    std::fs::set_permissions(
        data.join("server-key.pem"),
        std::os::unix::fs::PermissionsExt::from_mode(0o644),
    )
    .unwrap();
    fixture.run(["ALTER INSTANCE RELOAD TLS"]).await;
    try_as("ssl_only", TlsMode::VerifyFull, &other, false)
        .await
        .unwrap();
    let error = try_as("ssl_only", TlsMode::VerifyCa, &ca, false)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::TlsFailed);
    assert!(error.hint().unwrap().contains("tls.ca"), "{error:?}");
}
