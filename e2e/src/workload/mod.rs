//! A shop that is open while it is replicated: tables of every kind of key, a fast loader, and
//! writers that do what real applications do to them.

mod transactions;
mod writers;

use anyhow::Result;
use mysql_async::prelude::Queryable;

pub use writers::{WriterOptions, WriterReport, Writers};

use crate::{MysqlDatabase, mysql, servers::Endpoint};

/// Rows that one statement of the loader makes.
const LOAD_ROWS: u64 = 50_000;
/// What all accounts hold together, for ever.
pub const ACCOUNTS_SUM: i64 = ACCOUNTS as i64 * 1_000;

pub(crate) const CUSTOMERS: u64 = 10_000;
pub(crate) const ACCOUNTS: u64 = 50;
pub(crate) const COUNTERS: u64 = 20;
pub(crate) const SEATS: u64 = 40;
pub(crate) const TAGS: u64 = 100;

const SCHEMA: &str = "
CREATE TABLE orders (
    id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
    customer int NOT NULL,
    status enum('new','paid','packed','sent','done','cancelled') NOT NULL,
    amount decimal(12,2) NOT NULL,
    quantity int NOT NULL,
    created datetime(6) NOT NULL,
    updated timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
    note varchar(200),
    payload json,
    flags bit(8) NOT NULL DEFAULT b'0',
    rate double,
    email varchar(120)
);
CREATE TABLE customers (
    id int unsigned NOT NULL PRIMARY KEY,
    name varchar(80) NOT NULL,
    born date,
    opens time,
    photo varbinary(64)
);
CREATE TABLE accounts (id int NOT NULL PRIMARY KEY, balance bigint NOT NULL);
CREATE TABLE counters (id int NOT NULL PRIMARY KEY, x bigint NOT NULL);
CREATE TABLE seats (
    id int NOT NULL PRIMARY KEY,
    position int NOT NULL UNIQUE,
    guest varchar(40)
);
CREATE TABLE events (kind varchar(20) NOT NULL, happened datetime(3), detail text);
CREATE TABLE tags (name varchar(60) NOT NULL PRIMARY KEY, uses int NOT NULL);
CREATE TABLE order_lines (
    order_id bigint NOT NULL,
    line smallint unsigned NOT NULL,
    article varchar(40) NOT NULL,
    price decimal(10,4) NOT NULL,
    PRIMARY KEY (order_id, line)
);";

/// The columns of `orders` behind the key, for a row number `i`.
const ORDER_VALUES: &str = "
    1 + i * 7919 % 10000, 1 + i % 6, i * 37 % 1000000 / 100, i % 50,
    TIMESTAMP'2024-01-01 00:00:00' + INTERVAL i * 7000003 MICROSECOND,
    TIMESTAMP'2024-06-01 00:00:00' + INTERVAL i * 3000017 MICROSECOND,
    IF(i % 10 = 0, NULL, CONCAT('order ', i, ' for the shelf ', REPEAT('x', i % 60))),
    JSON_OBJECT('sku', CONCAT('S', i % 1000), 'count', i % 50, 'tags', JSON_ARRAY('a', i % 7)),
    i % 256, i % 10007 / 7e0, CONCAT('user', i % 10000, '@example.com')";

/// The shop's tables in one MySQL database.
#[derive(Debug, Clone)]
pub struct Shop {
    endpoint: Endpoint,
    database: String,
}

impl Shop {
    /// Every table of the shop.
    pub const TABLES: [&'static str; 8] = [
        "orders",
        "customers",
        "accounts",
        "counters",
        "seats",
        "events",
        "tags",
        "order_lines",
    ];

    /// Creates the tables and fills all but `orders`.
    pub async fn create(database: &MysqlDatabase) -> Result<Self> {
        database.exec(SCHEMA).await?;
        let shop = Self {
            endpoint: database.endpoint.clone(),
            database: database.name.clone(),
        };
        let customer = "i, CONCAT('Customer ', i), DATE'1950-01-01' + INTERVAL i DAY, \
             MAKETIME(i % 800, i % 60, i % 60), UNHEX(SHA2(i, 256))";
        let line = "i DIV 4, i % 4, CONCAT('article ', i % 97), i % 5000 / 7";
        let mut conn = shop.connect().await?;
        for (table, rows, values) in [
            ("customers", CUSTOMERS, customer),
            ("accounts", ACCOUNTS, "i, 1000"),
            ("counters", COUNTERS, "i, 0"),
            ("seats", SEATS, "i, i, CONCAT('guest ', i)"),
            (
                "events",
                300,
                "CONCAT('kind ', i % 9), '2024-05-05 05:05:05', NULL",
            ),
            ("tags", TAGS, "CONCAT('tag ', i), 0"),
            ("order_lines", 2_000, line),
        ] {
            conn.query_drop(insert(table, values, 0, rows)).await?;
        }
        conn.disconnect().await?;
        Ok(shop)
    }

    /// Adds this many orders, by two connections side by side.
    pub async fn load_rows(&self, count: u64) -> Result<()> {
        let mut conn = self.connect().await?;
        let last: Option<u64> = conn
            .query_first("SELECT CAST(COALESCE(MAX(ABS(id)), 0) AS UNSIGNED) FROM orders")
            .await?;
        conn.disconnect().await?;
        let start = last.unwrap_or(0);
        let half = count / 2;
        tokio::try_join!(
            self.load_range(start, start + half),
            self.load_range(start + half, start + count)
        )?;
        Ok(())
    }

    async fn load_range(&self, mut after: u64, until: u64) -> Result<()> {
        let mut conn = self.connect().await?;
        let values = format!("i, {ORDER_VALUES}");
        while after < until {
            let rows = LOAD_ROWS.min(until - after);
            conn.query_drop(insert("orders", &values, after, rows))
                .await?;
            after += rows;
        }
        Ok(conn.disconnect().await?)
    }

    pub(crate) async fn connect(&self) -> Result<mysql_async::Conn> {
        mysql::connect(&self.endpoint, Some(&self.database)).await
    }

    /// How many orders there are, about.
    pub(crate) async fn highest_order(&self) -> Result<u64> {
        let mut conn = self.connect().await?;
        let highest: Option<Option<u64>> = conn
            .query_first("SELECT CAST(MAX(id) AS UNSIGNED) FROM orders")
            .await?;
        conn.disconnect().await?;
        Ok(highest.flatten().unwrap_or(0))
    }
}

/// A statement that makes rows on the server, from numbers `i` after `after`.
pub(crate) fn insert(table: &str, values: &str, after: u64, rows: u64) -> String {
    format!(
        "SET cte_max_recursion_depth = {rows}; \
         INSERT INTO {table} WITH RECURSIVE numbers (n) AS \
         (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {rows}), \
         shifted (i) AS (SELECT n + {after} FROM numbers) SELECT {values} FROM shifted"
    )
}
