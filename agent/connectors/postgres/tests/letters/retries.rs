//! What a retry does, and what ends a letter before it comes to that.

use sluice_agent_api::config::Deletes;
use sluice_core::{ChangeEvent, SchemaChange, TableState, event::ChunkMode};

use super::*;

#[tokio::test]
async fn a_letter_is_applied_once_the_target_takes_it_beside_the_running_agent() {
    let (database, mut target, orders) = refusing().await;
    let outcome = target
        .apply(vec![
            insert(&orders, row(2, &["bad", "secret"])),
            insert(&orders, row(3, &["bad", "z"])),
            update(&orders, row(1, &["x", "y"]), row(1, &["bad", "y"])),
        ])
        .await;
    assert_eq!(outcome.dead_letters, 3);
    let mut letters = database.letters().await;
    let all = Filter::default();
    let listed = letters.list(&all, 0, 10, false).await.unwrap();
    let text = serde_json::to_string(&listed).unwrap();
    assert!(
        !text.contains("secret") && text.contains(r#""key":{"id":2}"#),
        "{text}"
    );
    assert!(text.contains("constraint good"), "{text}");
    let listed = letters.list(&all, 0, 10, true).await.unwrap();
    assert!(serde_json::to_string(&listed).unwrap().contains("secret"));

    let (applied, kept) = retry_all(&mut letters).await;
    assert_eq!(applied, 0);
    assert_eq!(kept, vec!["constraint good (SQLSTATE 23514)"; 3]);
    assert_eq!(database.orders().await, ["1|x|y"]);

    database.allow().await;
    let ids: Vec<_> = listed.iter().map(|letter| letter.id).collect();
    let one = Filter {
        ids: vec![ids[1]],
        ..Filter::default()
    };
    assert_eq!(letters.drop(&one).await.unwrap(), 1);
    assert_eq!(retry_all(&mut letters).await, (2, Vec::new()));
    assert_eq!(database.orders().await, ["1|bad|y", "2|bad|secret"]);
    assert!(matches!(
        letters.retry(ids[0]).await.unwrap(),
        Retried::Gone
    ));
    assert_eq!(
        database
            .value("SELECT count(*) FROM sluice.dead_letter_shapes")
            .await,
        "0"
    );
    // The agent was not put out.
    target
        .apply(vec![delete(&orders, row(2, &["bad", "secret"]))])
        .await;
    assert_eq!(database.orders().await, ["1|bad|y"]);
    database.drop_now().await;
}

#[tokio::test]
async fn a_letter_that_is_older_than_a_later_change_is_gone() {
    let (database, mut target, orders) = refusing().await;
    target
        .apply(vec![
            insert(&orders, row(2, &["bad", "1"])),
            insert(&orders, row(3, &["bad", "1"])),
            update(&orders, row(1, &["x", "y"]), row(1, &["bad", "y"])),
        ])
        .await;
    // Only `b` changes: the letter's `a` goes along, and all of it is refused again.
    let outcome = target
        .apply(vec![update(
            &orders,
            row(1, &["bad", "y"]),
            row(1, &["bad", "z"]),
        )])
        .await;
    assert_eq!(outcome.dead_letters, 1);
    assert_eq!(database.orders().await, ["1|x|y"]);
    let outcome = target
        .apply(vec![
            update(&orders, row(2, &["bad", "1"]), row(2, &["good", "1"])),
            delete(&orders, row(3, &["bad", "1"])),
        ])
        .await;
    assert_eq!(outcome.dead_letters, 0);
    assert_eq!(database.orders().await, ["1|x|y", "2|good|1"]);
    let mut letters = database.letters().await;
    assert_eq!(count(&letters).await, 1);
    database.allow().await;
    assert_eq!(retry_all(&mut letters).await, (1, Vec::new()));
    assert_eq!(database.orders().await, ["1|bad|z", "2|good|1"]);
    database.drop_now().await;
}

#[tokio::test]
async fn later_changes_are_seen_by_the_next_agent_and_inside_a_batch() {
    let (database, mut target, orders) = refusing().await;
    target
        .apply(vec![insert(&orders, row(2, &["bad", "1"]))])
        .await;
    drop(target);
    let mut target = database.sink().await;
    target
        .apply(vec![delete(&orders, row(2, &["bad", "1"]))])
        .await;
    let letters = database.letters().await;
    assert_eq!(count(&letters).await, 0);

    // The first change of row 3 is refused, and the second one mends it.
    let outcome = target
        .apply(vec![
            insert(&orders, row(3, &["bad", "1"])),
            insert(&orders, row(4, &["bad", "1"])),
            update(&orders, key_only(3), row(3, &["good", "~"])),
            update(&orders, row(4, &["bad", "1"]), row(4, &["bad", "2"])),
        ])
        .await;
    assert_eq!(outcome.dead_letters, 1);
    assert_eq!(database.orders().await, ["1|x|y", "3|good|1"]);
    let values = letters.list(&Filter::default(), 0, 10, true).await.unwrap();
    let after = values[0].values.as_ref().unwrap().after.as_ref().unwrap();
    assert_eq!(after["b"], "2");
    database.drop_now().await;
}

#[tokio::test]
async fn a_part_of_a_row_is_laid_over_its_letter() {
    let (database, mut target, orders) = refusing().await;
    target
        .apply(vec![insert(&orders, row(2, &["bad", "1"]))])
        .await;
    target
        .apply(vec![update(&orders, key_only(2), row(2, &["~", "2"]))])
        .await;
    target
        .apply(vec![update(&orders, key_only(2), row(2, &["good", "~"]))])
        .await;
    assert_eq!(database.orders().await, ["1|x|y", "2|good|2"]);
    assert_eq!(count(&database.letters().await).await, 0);
    database.drop_now().await;
}

#[tokio::test]
async fn a_row_that_moves_to_another_key_goes_and_comes() {
    let (database, mut target, orders) = refusing().await;
    let moved = update(&orders, row(1, &["x", "y"]), row(2, &["bad", "y"]));
    target.apply(vec![moved.clone()]).await;
    assert_eq!(database.orders().await, ["1|x|y"]);
    target
        .apply(vec![update(
            &orders,
            row(2, &["bad", "y"]),
            row(2, &["good", "z"]),
        )])
        .await;
    assert_eq!(database.orders().await, ["2|good|z"]);
    assert_eq!(count(&database.letters().await).await, 0);

    // The old key is taken again: what is left of the letter is the row under the new one.
    target
        .apply(vec![insert(&orders, row(1, &["x", "y"]))])
        .await;
    target
        .apply(vec![
            delete(&orders, row(2, &["good", "z"])),
            update(&orders, row(1, &["x", "y"]), row(3, &["bad", "y"])),
        ])
        .await;
    target
        .apply(vec![insert(&orders, row(1, &["new", "y"]))])
        .await;
    database.allow().await;
    let mut letters = database.letters().await;
    assert_eq!(retry_all(&mut letters).await, (1, Vec::new()));
    assert_eq!(database.orders().await, ["1|new|y", "3|bad|y"]);
    database.drop_now().await;
}

#[tokio::test]
async fn what_brings_or_ends_all_rows_ends_their_letters() {
    let (database, mut target, orders) = refusing().await;
    let bad = || vec![insert(&orders, row(2, &["bad", "1"]))];
    let enders = [
        chunk(&orders, ChunkMode::ReplaceAll, vec![row(7, &["x", "y"])]),
        chunk(&orders, ChunkMode::Upsert, vec![row(2, &["good", "1"])]),
        ChangeEvent::Schema(SchemaChange::Truncate(orders.id.clone())),
    ];
    let letters = database.letters().await;
    for ender in enders {
        target.apply(bad()).await;
        assert_eq!(count(&letters).await, 1);
        target.apply(vec![ender]).await;
        assert_eq!(count(&letters).await, 0);
        target
            .apply(vec![delete(&orders, row(2, &["good", "1"]))])
            .await;
    }
    database.drop_now().await;
}

#[tokio::test]
async fn a_letter_waits_while_its_table_is_copied_or_has_stopped() {
    let (database, mut target, orders) = refusing().await;
    target
        .apply(vec![insert(&orders, row(2, &["bad", "1"]))])
        .await;
    database.allow().await;
    let mut letters = database.letters().await;
    let copying = [(orders.id.clone(), TableState::fresh(false))];
    target.position.tables = std::sync::Arc::new(copying.into());
    target.commit().await;
    let (applied, kept) = retry_all(&mut letters).await;
    assert_eq!(applied, 0);
    assert!(kept[0].contains("being copied"), "{kept:?}");
    target.streaming(&[&orders.id]);
    target.commit().await;
    assert_eq!(retry_all(&mut letters).await, (1, Vec::new()));
    database.drop_now().await;
}

#[tokio::test]
async fn a_row_that_is_marked_as_deleted_comes_back_whole() {
    let (database, target, orders) = refusing().await;
    drop(target);
    let mut target = database
        .sink_with(|config, _| config.deletes = Deletes::Soft)
        .await;
    target.prepare(&orders).await;
    target
        .apply(vec![delete(&orders, row(1, &["x", "y"]))])
        .await;
    target
        .apply(vec![insert(&orders, row(1, &["bad", "y"]))])
        .await;
    target
        .apply(vec![update(
            &orders,
            row(1, &["bad", "y"]),
            row(1, &["good", "y"]),
        )])
        .await;
    assert_eq!(database.orders().await, ["1|good|y|-"]);
    database.drop_now().await;
}

#[tokio::test]
async fn retries_and_a_busy_agent_wait_for_each_other() {
    let (database, mut target, orders) = refusing().await;
    let bad = (100..160).map(|id| insert(&orders, row(id, &["bad", "1"])));
    target.apply(bad.collect()).await;
    database.allow().await;
    let mut letters = database.letters().await;
    let agent = async {
        for round in 0..60_i64 {
            let id = 100 + round;
            let events = vec![
                update(&orders, row(1, &["x", "y"]), row(1, &["x", "y"])),
                update(&orders, row(id, &["bad", "1"]), row(id, &["bad", "2"])),
            ];
            let outcome = target.apply(events).await;
            assert_eq!(outcome.dead_letters, 0);
        }
    };
    let ((applied, kept), ()) = tokio::join!(retry_all(&mut letters), agent);
    assert!(kept.is_empty(), "{applied} {kept:?}");
    let rows = "SELECT count(*) FROM shop.orders WHERE b = '2'";
    assert_eq!(database.value(rows).await, "60", "{applied} were retried");
    assert_eq!(count(&letters).await, 0);
    database.drop_now().await;
}
