//! What `sluice check` says.

use sluice_agent_api::status::CheckOutcome;
use sluice_kafka::preflight;

use crate::support::{Stand, notes, secrets};

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_fit_passes() {
    let stand = Stand::new();
    let checks = preflight::check_sink("ReplicationSource/x", &stand.kafka, &secrets()).await;
    assert!(
        checks
            .iter()
            .all(|check| check.outcome == CheckOutcome::Passed),
        "{checks:#?}"
    );
    drop(stand.ready(&notes()).await);
    let checks = preflight::check_sink("ReplicationSource/x", &stand.kafka, &secrets()).await;
    assert!(
        checks
            .iter()
            .all(|check| check.outcome == CheckOutcome::Passed),
        "{checks:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn more_copies_than_brokers_and_long_transactions_are_told() {
    let mut stand = Stand::new();
    stand.kafka.replication_factor = 3;
    let properties = &mut stand.kafka.cluster.properties;
    properties.insert("transaction.timeout.ms".into(), "3600000".into());
    let checks = preflight::check_sink("ReplicationSource/x", &stand.kafka, &secrets()).await;
    let failed = |name: &str| {
        let found = checks.iter().find(|check| check.name == name);
        let found = found.unwrap_or_else(|| panic!("{name} is not checked: {checks:#?}"));
        assert_eq!(found.outcome, CheckOutcome::Failed, "{checks:#?}");
        found.remedy.clone().unwrap()
    };
    assert!(failed("TargetReplication").contains("replicationFactor"));
    assert!(failed("TargetTransactions").contains("transaction.timeout.ms"));
}
