//! A table of every type that both Debezium and Sluice can carry to the end, and changes to it.

use anyhow::Result;
use sluice_e2e::{
    KafkaServers, MysqlDatabase, PgDatabase, Servers,
    compare::Pair,
    kafka::{Format, connect::Connector, debezium, topics},
};

/// What both sinks can say in PostgreSQL: Debezium's has no place for a TIME beyond a day, nor by
/// default for a BIGINT beyond 2^63, fails at BIT(8) in Avro, and keeps an ENUM as text.
pub(crate) const TABLE: &str = "
CREATE TABLE items (
    id bigint NOT NULL PRIMARY KEY,
    tiny tinyint, small smallint unsigned, medium mediumint, plain int unsigned,
    huge bigint unsigned,
    name varchar(80) CHARACTER SET utf8mb4,
    price decimal(20,4) NOT NULL,
    single float, rate double,
    born date, opens time(3), created datetime(6), seconds datetime, updated timestamp(3) NULL,
    size enum('small','large'), tags set('a','b','c'),
    raw varbinary(40), note text, detail json, harvest year, flag bit(1)
);
INSERT INTO items VALUES
    (1, -128, 65535, -8388608, 4294967295, 9223372036854775807, 'café 🙂', 1234567890123456.7891, 0.5, 0.1,
     '2024-02-29', '23:59:59.999', '2024-02-29 12:34:56.789012', '1999-12-31 23:59:59', '2024-01-01 00:00:00.123',
     'small', 'a,c', 0x00FF10, 'a note', '{\"a\": [1, 2.5, null]}', 2026, b'1'),
    (2, NULL, NULL, NULL, NULL, NULL, NULL, -0.0001, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
     NULL, NULL, NULL, NULL),
    (3, 127, 0, 8388607, 0, 0, '', 0, -1.25, 1e100, '1969-12-31', '00:00:00', '1969-12-31 23:59:59.999999',
     '1970-01-01 00:00:00', '1970-01-02 00:00:00', 'large', '', '', '', '[]', 1901, b'0')";

/// Of every kind, a change of the key among them.
pub(crate) const CHANGES: &str = "
    INSERT INTO items (id, name, price, created) VALUES (4, 'new', 4, '2026-11-21 01:02:03.000004');
    UPDATE items SET price = price + 1, name = 'changed', updated = '2026-11-21 05:06:07' WHERE id < 3;
    DELETE FROM items WHERE id = 3;
    UPDATE items SET id = 40 WHERE id = 4";

/// The table, and what Debezium's JDBC sink makes of its topic.
pub(crate) fn items_of_sink(topic: &str) -> Pair {
    Pair {
        mysql_table: "items".to_owned(),
        schema: "public".to_owned(),
        table: debezium::table_of(topic),
        ..Pair::default()
    }
}

/// The table, which Debezium captures into a topic of one partition, and a target.
pub(crate) struct Captured {
    pub(crate) kafka: KafkaServers,
    pub(crate) mysql: MysqlDatabase,
    pub(crate) postgres: PgDatabase,
    /// What the names of its topics begin with.
    pub(crate) prefix: String,
    pub(crate) topic: String,
    pub(crate) source: Connector,
}

impl Captured {
    pub(crate) async fn start(format: Format, label: &str) -> Result<Self> {
        let (servers, kafka) = (Servers::from_env(), KafkaServers::from_env()?);
        let mysql = MysqlDatabase::create(&servers, label).await?;
        let postgres = PgDatabase::create(&servers, label).await?;
        mysql.exec(TABLE).await?;
        let prefix = format!("dbz.{}", mysql.name);
        let topic = format!("{prefix}.{}.items", mysql.name);
        topics::create(&kafka.bootstrap, &topic, 1).await?;
        let config = debezium::mysql_source(&kafka, &mysql, &prefix, format);
        let source = Connector::create(&kafka, &format!("{}-source", mysql.name), &config).await?;
        Ok(Self {
            kafka,
            mysql,
            postgres,
            prefix,
            topic,
            source,
        })
    }
}
