//! `sluice.replicated`: whether the replica has seen a write.

use crate::support::*;

#[tokio::test]
async fn gtid_sets_are_compared_by_inclusion() {
    let database = Database::new().await;
    let target = database.sink().await;
    let (a, b) = (
        "3e11fa47-71ca-11e1-9e33-c80aa9429562",
        "4e11fa47-71ca-11e1-9e33-c80aa9429562",
    );
    database
        .run(&format!(
            "UPDATE sluice.positions SET position = '{a}:1-77:80,{a}:tag:1-5,{b}:9'"
        ))
        .await;
    for (wanted, expected) in [
        (format!("{a}:77"), "t"),
        (format!("{a}:78"), "f"),
        (format!("{a}:80"), "t"),
        (format!("{a}:1-80"), "f"),
        (format!("{a}:3-5:80"), "t"),
        (format!("{}:7 ,\n {b}:9", a.to_uppercase()), "t"),
        (format!("{b}:1"), "f"),
        (format!("{a}:tag:3"), "t"),
        (format!("{a}:TAG:6"), "f"),
        (format!("{a}:other:1"), "f"),
        (format!("{a}:7:tag:2-5"), "t"),
        (String::new(), "t"),
        ("binlog.000001:4".into(), "f"),
    ] {
        let query =
            format!("SELECT sluice.replicated('{wanted}'), sluice.replicated('{wanted}', 'test')");
        assert_eq!(
            database.value(&query).await,
            format!("{expected}|{expected}"),
            "{wanted}"
        );
    }
    let other = format!("SELECT sluice.replicated('{a}:1', 'other')");
    assert_eq!(database.value(&other).await, "f");
    assert!(
        database
            .client
            .simple_query("SELECT sluice.replicated('nonsense')")
            .await
            .is_err()
    );
    drop(target);
    database.drop_now().await;
}

#[tokio::test]
async fn file_positions_are_compared_by_file_and_offset() {
    let database = Database::new().await;
    let mut target = database.sink().await;
    assert_eq!(
        database
            .value("SELECT sluice.replicated('binlog.000001:4')")
            .await,
        "f"
    );
    target.commit().await;
    database
        .run("UPDATE sluice.positions SET position = 'binlog.000099:5000'")
        .await;
    for (wanted, expected) in [
        ("binlog.000099:5000", "t"),
        ("binlog.000099:5001", "f"),
        ("binlog.000098:9999", "t"),
        ("binlog.000100:4", "f"),
        ("other.000001:4", "f"),
        ("3e11fa47-71ca-11e1-9e33-c80aa9429562:1", "f"),
    ] {
        let query = format!("SELECT sluice.replicated('{wanted}')");
        assert_eq!(database.value(&query).await, expected, "{wanted}");
    }
    drop(target);
    database.drop_now().await;
}

#[tokio::test]
async fn anybody_may_ask() {
    let database = Database::new().await;
    let mut target = database.sink().await;
    target.commit().await;
    let user = format!("{}_reader", database.name);
    database
        .run(&format!("CREATE USER {user}; SET ROLE {user}"))
        .await;
    let seen = database
        .value("SELECT sluice.replicated('binlog.000001:1')")
        .await;
    assert_eq!(seen, "t");
    database.run(&format!("RESET ROLE; DROP USER {user}")).await;
    drop(target);
    database.drop_now().await;
}
