//! A backlog of changes whose outcome is known: 40 % inserts, 50 % updates, 10 % deletes in
//! transactions of a hundred.

use std::collections::BTreeSet;

use anyhow::Result;
use fastrand::Rng;
use mysql_async::{Conn, prelude::Queryable};
use sluice_e2e::MysqlDatabase;

const TRANSACTION: u64 = 100;

/// What the changes leave behind.
#[derive(Default)]
pub(crate) struct Net {
    /// Rows that are new or different and still there.
    pub(crate) touched: BTreeSet<u64>,
    /// Rows that were there before and are gone.
    pub(crate) gone: BTreeSet<u64>,
}

/// The orders that exist, kept from one backlog to the next.
pub(crate) struct Orders {
    /// One part for each writer, so that they never meet.
    parts: [Vec<u64>; 2],
    next: u64,
}

impl Orders {
    /// Orders from one to `count`.
    pub(crate) fn new(count: u64) -> Self {
        let half = count / 2;
        Self {
            parts: [(1..=half).collect(), (half + 1..=count).collect()],
            next: count + 1,
        }
    }

    /// Makes so many changes by two connections.
    pub(crate) async fn change(&mut self, mysql: &MysqlDatabase, count: u64) -> Result<Net> {
        let half = count / 2;
        let next = self.next;
        self.next += count;
        let [first, second] = &mut self.parts;
        let (first, second) = tokio::try_join!(
            write(mysql.conn().await?, first, next, half),
            write(mysql.conn().await?, second, next + half, count - half)
        )?;
        let mut both = first;
        both.touched.extend(second.touched);
        both.gone.extend(second.gone);
        Ok(both)
    }
}

async fn write(mut conn: Conn, alive: &mut Vec<u64>, mut next: u64, count: u64) -> Result<Net> {
    let mut rng = Rng::with_seed(next);
    let mut left = Net::default();
    let mut new = BTreeSet::new();
    for _ in 0..count / TRANSACTION {
        let mut sql = String::from("BEGIN;");
        let mut kinds: Vec<u64> = (0..TRANSACTION).collect();
        rng.shuffle(&mut kinds);
        for kind in kinds {
            let chosen = rng.usize(..alive.len());
            match kind * 100 / TRANSACTION {
                0..40 => {
                    insert(&mut sql, next, &mut rng);
                    alive.push(next);
                    new.insert(next);
                    left.touched.insert(next);
                    next += 1;
                }
                40..90 => {
                    update(&mut sql, alive[chosen], &mut rng);
                    left.touched.insert(alive[chosen]);
                }
                _ => {
                    let id = alive.swap_remove(chosen);
                    push(&mut sql, &format!("DELETE FROM orders WHERE id = {id};"));
                    left.touched.remove(&id);
                    if !new.remove(&id) {
                        left.gone.insert(id);
                    }
                }
            }
        }
        sql.push_str("COMMIT");
        conn.query_drop(sql).await?;
    }
    conn.disconnect().await?;
    Ok(left)
}

fn insert(sql: &mut String, id: u64, rng: &mut Rng) {
    let (customer, cents) = (rng.u32(1..10_000), rng.u32(..10_000_000));
    push(
        sql,
        &format!(
            "INSERT INTO orders VALUES ({id}, {customer}, {status}, {cents} / 100, {quantity}, \
             '2024-03-04 05:06:07.{cents:07}', '2024-03-04 05:06:07.000001', 'order {id} for the \
             shelf', '{{\"sku\": \"S{customer}\", \"count\": {quantity}, \"tags\": [\"a\", 3]}}', \
             {flags}, {cents} / 7, 'user{customer}@example.com');",
            status = rng.u32(1..=6),
            quantity = rng.u32(..50),
            flags = rng.u8(..),
        ),
    );
}

fn update(sql: &mut String, id: u64, rng: &mut Rng) {
    let (status, cents) = (rng.u32(1..=6), rng.u32(..10_000_000));
    push(
        sql,
        &format!(
            "UPDATE orders SET status = {status}, amount = {cents} / 100, quantity = quantity + 1, \
             updated = '2024-05-06 07:08:09.{:06}' WHERE id = {id};",
            cents % 1_000_000
        ),
    );
}

fn push(sql: &mut String, statement: &str) {
    sql.push_str(statement);
}
