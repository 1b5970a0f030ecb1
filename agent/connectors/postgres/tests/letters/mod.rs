//! Dead letters after they were written: later changes of their rows, retries, drops.

mod histories;
mod outside;
mod retries;
mod shapes;

use sluice_agent_api::config::SinkConfig;
use sluice_core::{Row, TableSchema, Value};
use sluice_postgres::dead_letters::{DeadLetters, Filter, Retried};

use crate::support::*;

/// `shop.orders` with a column that refuses `bad`.
async fn refusing() -> (Database, Target, std::sync::Arc<TableSchema>) {
    let database = Database::new().await;
    database
        .run(
            "CREATE SCHEMA shop;
             CREATE TABLE shop.orders (id bigint PRIMARY KEY, a text CONSTRAINT good CHECK (a <> 'bad'), b text)",
        )
        .await;
    let mut target = database.sink().await;
    let orders = texts("orders", &["a", "b"]);
    target.prepare(&orders).await;
    target.streaming(&[&orders.id]);
    target
        .apply(vec![insert(&orders, row(1, &["x", "y"]))])
        .await;
    (database, target, orders)
}

impl Database {
    async fn letters(&self) -> DeadLetters {
        self.letters_of(&self.config()).await
    }

    async fn letters_of(&self, config: &SinkConfig) -> DeadLetters {
        let secrets: std::sync::Arc<dyn sluice_agent_api::SecretStore> =
            std::sync::Arc::new(self.secrets());
        DeadLetters::open("test", config, &self.postgres(), &secrets)
            .await
            .unwrap()
    }

    async fn orders(&self) -> Vec<String> {
        self.lines("SELECT * FROM shop.orders ORDER BY 1").await
    }

    async fn allow(&self) {
        self.run("ALTER TABLE shop.orders DROP CONSTRAINT good")
            .await;
    }
}

/// Retries everything; answers how many were applied, and why the others stay.
async fn retry_all(letters: &mut DeadLetters) -> (usize, Vec<String>) {
    let all = Filter::default();
    let mut applied = 0;
    let mut kept = Vec::new();
    for letter in letters.list(&all, 0, 1000, false).await.unwrap() {
        match letters.retry(letter.id).await.unwrap() {
            Retried::Applied => applied += 1,
            Retried::Gone => {}
            Retried::Refused(error) => kept.push(error.message().to_owned()),
        }
    }
    (applied, kept)
}

async fn count(letters: &DeadLetters) -> u64 {
    letters.count(&Filter::default()).await.unwrap()
}

fn key_only(id: i64) -> Row {
    Row::pack([Value::Int(id), Value::Unchanged, Value::Unchanged])
}
