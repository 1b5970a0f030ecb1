//! Each prerequisite that is missing is named with the statement that mends it.

use std::sync::Arc;

use sluice_agent_api::status::{Check, CheckOutcome};
use sluice_core::{Reason, Source, TableSelection};
use sluice_mysql::{MysqlSource, preflight};

use super::{
    fixture::{Fixture, Stream, config, config_as, unique},
    instance::Instance,
};

async fn check_as(fixture: &Fixture, user: &str, patterns: &[&str]) -> Vec<Check> {
    let (config, secrets) = if user.is_empty() {
        config(&fixture.url)
    } else {
        config_as(&fixture.url, user, "x")
    };
    let include = patterns
        .iter()
        .map(|name| format!("{}.{name}", fixture.database))
        .collect();
    let selection = TableSelection::new(include, vec![]);
    preflight::check(
        "ReplicationSource/shop",
        &config,
        &selection,
        Arc::new(secrets),
    )
    .await
}

fn find<'a>(checks: &'a [Check], name: &str) -> &'a Check {
    checks
        .iter()
        .find(|check| check.name == name)
        .unwrap_or_else(|| panic!("no check {name}: {checks:#?}"))
}

#[tokio::test]
async fn a_server_that_is_ready_passes() {
    let mut fixture = Fixture::start().await;
    fixture
        .run([
            "CREATE TABLE t (id INT PRIMARY KEY)",
            "CREATE TABLE k (v INT)",
            "INSERT INTO k VALUES (1)",
        ])
        .await;
    let checks = check_as(&fixture, "", &["*", "absent"]).await;
    let failed: Vec<_> = checks
        .iter()
        .filter(|check| check.outcome == CheckOutcome::Failed)
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(
        checks
            .iter()
            .all(|check| check.subject == "ReplicationSource/shop")
    );
    for name in [
        "Reachable",
        "Credentials",
        "Version",
        "BinaryLog",
        "BinlogFormat",
        "BinlogRowMetadata",
        "BinlogRowImage",
        "GtidMode",
        "ServerId",
        "ReplicationClient",
        "ReplicationSlave",
        "SelectPrivilege",
    ] {
        assert_eq!(find(&checks, name).outcome, CheckOutcome::Passed, "{name}");
    }
    let keyless = find(&checks, "TableKeys");
    assert_eq!(keyless.outcome, CheckOutcome::Warning);
    assert!(keyless.message.contains(&format!("{}.k", fixture.database)));
    assert!(keyless.remedy.as_ref().unwrap().contains("ADD PRIMARY KEY"));
    let absent = checks
        .iter()
        .find(|check| check.message.contains("absent"))
        .unwrap();
    assert_eq!(absent.outcome, CheckOutcome::Warning);
    assert_eq!(find(&checks, "Tls").outcome, CheckOutcome::Warning);
    fixture.end().await;
}

#[tokio::test]
async fn missing_privileges_come_with_the_grants_that_mend_them() {
    let mut fixture = Fixture::start().await;
    let user = format!("sluice_{}", unique());
    fixture
        .run([
            format!("CREATE USER {user} IDENTIFIED BY 'x'"),
            "CREATE TABLE t (id INT PRIMARY KEY)".to_owned(),
            format!("GRANT INSERT ON {}.* TO {user}", fixture.database),
        ])
        .await;
    let mut granted = 0;
    loop {
        let checks = check_as(&fixture, &user, &["t"]).await;
        let Some(failed) = checks
            .iter()
            .find(|check| check.outcome == CheckOutcome::Failed)
        else {
            break;
        };
        // Each remedy is a statement that can be run as it is.
        let remedy = failed.remedy.clone().unwrap();
        assert!(
            remedy.starts_with("GRANT ") && remedy.contains(&user),
            "{failed:?}"
        );
        fixture.run([remedy]).await;
        granted += 1;
        assert!(granted < 10, "{checks:#?}");
    }
    assert_eq!(granted, 3);
    let (config, secrets) = config_as(&fixture.url, &user, "x");
    let include = vec![format!("{}.*", fixture.database)];
    let source = MysqlSource::new(
        config,
        TableSelection::new(include, vec![]),
        1,
        Arc::new(secrets),
    );
    let mut stream = Stream::open(source, None).await;
    fixture.run(["INSERT INTO t VALUES (1)"]).await;
    stream.catch_up().await;
    assert_eq!(stream.told(), ["t+1"]);
    fixture.run([format!("DROP USER {user}")]).await;
    fixture.end().await;
}

#[tokio::test]
async fn a_start_without_privileges_fails_with_the_grant() {
    let mut fixture = Fixture::start().await;
    let user = format!("sluice_{}", unique());
    fixture
        .run([format!("CREATE USER {user} IDENTIFIED BY 'x'")])
        .await;
    let (config, secrets) = config_as(&fixture.url, &user, "x");
    let selection = TableSelection::new(vec!["*.*".into()], vec![]);
    let mut source = MysqlSource::new(config, selection, 1, Arc::new(secrets));
    let error = source.open(None).await.unwrap_err();
    assert_eq!(error.reason(), Reason::MissingPrivilege);
    assert_eq!(
        error.hint(),
        Some(&*format!("GRANT REPLICATION CLIENT ON *.* TO '{user}'@'%'"))
    );
    fixture.run([format!("DROP USER {user}")]).await;
    fixture.end().await;
}

#[tokio::test]
async fn an_unreachable_server_leaves_the_rest_unchecked() {
    let fixture = Fixture::start().await;
    let (mut config, secrets) = config(&fixture.url);
    config.connection.port = 1;
    let selection = TableSelection::new(vec!["*.*".into()], vec![]);
    let checks = preflight::check("s", &config, &selection, Arc::new(secrets)).await;
    assert_eq!(find(&checks, "Reachable").outcome, CheckOutcome::Failed);
    assert_eq!(
        find(&checks, "ServerSettings").outcome,
        CheckOutcome::Skipped
    );
    fixture.end().await;
}

#[tokio::test]
async fn unfit_settings_come_with_the_statements_that_mend_them() {
    let instance = Instance::start(
        "--gtid-mode=OFF --enforce-gtid-consistency=OFF --binlog-row-metadata=MINIMAL \
         --binlog-format=MIXED --binlog-order-commits=OFF --binlog-expire-logs-seconds=600",
    );
    let mut fixture = Fixture::start_on(&instance.url).await;
    let checks = check_as(&fixture, "", &["absent"]).await;
    for (name, outcome, remedy) in [
        (
            "BinlogFormat",
            CheckOutcome::Failed,
            "SET PERSIST binlog_format = ROW",
        ),
        (
            "BinlogRowMetadata",
            CheckOutcome::Failed,
            "SET PERSIST binlog_row_metadata = FULL",
        ),
        (
            "BinlogOrderCommits",
            CheckOutcome::Failed,
            "SET PERSIST binlog_order_commits = ON",
        ),
        (
            "BinlogRetention",
            CheckOutcome::Warning,
            "SET PERSIST binlog_expire_logs_seconds = 259200",
        ),
        (
            "GtidMode",
            CheckOutcome::Warning,
            "SET PERSIST enforce_gtid_consistency = ON; SET PERSIST gtid_mode = OFF_PERMISSIVE; \
             SET PERSIST gtid_mode = ON_PERMISSIVE; SET PERSIST gtid_mode = ON",
        ),
    ] {
        let check = find(&checks, name);
        assert_eq!(check.outcome, outcome, "{check:?}");
        assert_eq!(check.remedy.as_deref(), Some(remedy));
        for statement in remedy.split("; ") {
            fixture.run([statement]).await;
        }
    }
    assert_eq!(
        find(&checks, "WatermarkTable").outcome,
        CheckOutcome::Passed
    );
    assert_eq!(
        find(&checks, "SelectedTables").outcome,
        CheckOutcome::Failed
    );
    fixture
        .run(["CREATE TABLE absent (id INT PRIMARY KEY)"])
        .await;
    let checks = check_as(&fixture, "", &["absent"]).await;
    let failed = checks
        .iter()
        .find(|check| check.outcome == CheckOutcome::Failed);
    assert_eq!(failed, None);
}
