//! What a table map says of a table.

use sluice_core::{ColumnType, RowOperation, TableSchema};

use super::{
    log::Server,
    show::{decoded, stored},
};

async fn schema_of(server: &mut Server, insert: &str) -> TableSchema {
    server.mark().await;
    server.run(insert).await;
    let changes = server.changes().await;
    assert_eq!(changes.len(), 1);
    let schema = (*changes[0].map.schema).clone();
    let RowOperation::Insert { after } = &changes[0].operation else {
        panic!("an insert")
    };
    let expected = stored(server, &schema).await;
    assert_eq!(decoded(after, &schema), expected[0]);
    schema
}

fn types(schema: &TableSchema) -> Vec<&ColumnType> {
    schema.columns.iter().map(|column| &column.ty).collect()
}

#[tokio::test]
async fn signs_follow_their_columns_past_every_kind_of_number() {
    let mut server = Server::start().await;
    server
        .run(
            "CREATE TABLE signs (a int unsigned, y year, b int, c decimal(5,2) unsigned, d float, \
             e bit(3), f bigint unsigned, g double unsigned, h smallint, y2 year, i tinyint unsigned, \
             s varchar(3), j mediumint unsigned, k int)",
        )
        .await;
    let schema = schema_of(
        &mut server,
        "INSERT INTO signs VALUES (4000000000, 2024, -1, 1.5, 1, 5, 18446744073709551615, 1, -1, \
         1999, 200, 'x', 16000000, -1)",
    )
    .await;
    let unsigned: Vec<_> = schema
        .columns
        .iter()
        .filter(|column| matches!(column.ty, ColumnType::Int { unsigned: true, .. }))
        .map(|column| column.name.as_str())
        .collect();
    assert_eq!(unsigned, ["a", "f", "i", "j"]);
    server.end().await;
}

#[tokio::test]
async fn lengths_are_in_characters_and_charsets_follow_their_columns() {
    let mut server = Server::start().await;
    server
        .run(
            "CREATE TABLE texts (a char(255) character set utf8mb4, b varchar(16000) character set utf8mb3, \
             n int, c varchar(10) character set latin1, d text character set gbk, e blob, \
             f enum('ä','b') character set latin1, g geometry, h varchar(7) character set utf16, \
             i tinytext character set utf8mb4, j set('日','x') character set sjis, k json, \
             l char(9) character set ucs2, m longtext character set koi8r, o binary(12), p varbinary(13), \
             q enum('é') character set utf8mb4, r varchar(20) character set gb18030, \
             s mediumtext character set eucjpms)",
        )
        .await;
    let schema = schema_of(
        &mut server,
        "INSERT INTO texts VALUES ('日', 'é', 1, 'ÿ', '你', 0xFF, 'ä', ST_GeomFromText('POINT(0 0)'), '😀', \
         'é', '日,x', '1', 'é', 'я', 0x01, 0x02, 'é', '你', '日')",
    )
    .await;
    let labels = |labels: &[&str]| labels.iter().map(ToString::to_string).collect();
    assert_eq!(
        types(&schema),
        [
            &ColumnType::Char { length: 255 },
            &ColumnType::Varchar { length: 16_000 },
            &ColumnType::Int {
                bits: 32,
                unsigned: false
            },
            &ColumnType::Varchar { length: 10 },
            &ColumnType::Text,
            &ColumnType::Blob,
            &ColumnType::Enum {
                labels: labels(&["ä", "b"])
            },
            &ColumnType::Geometry,
            &ColumnType::Varchar { length: 7 },
            &ColumnType::Text,
            &ColumnType::Set {
                labels: labels(&["日", "x"])
            },
            &ColumnType::Json,
            &ColumnType::Char { length: 9 },
            &ColumnType::Text,
            &ColumnType::Binary { length: 12 },
            &ColumnType::Varbinary { length: 13 },
            &ColumnType::Enum {
                labels: labels(&["é"])
            },
            &ColumnType::Varchar { length: 20 },
            &ColumnType::Text,
        ]
    );
    server.end().await;
}

#[tokio::test]
async fn keys_are_in_key_order_and_odd_names_survive() {
    let mut server = Server::start().await;
    server
        .run(
            "CREATE TABLE `my \"odd\" ``table` (a int, `select` varchar(20) not null, `b\"c` int not null, \
             `naïve 日本` text, PRIMARY KEY (`b\"c`, `select`(5)))",
        )
        .await;
    let insert = "INSERT INTO `my \"odd\" ``table` VALUES (1, 'x', 2, 'y')";
    let schema = schema_of(&mut server, insert).await;
    assert_eq!(&*schema.id.name, "my \"odd\" `table");
    assert_eq!(schema.key, [2, 1]);
    let names: Vec<_> = schema
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    assert_eq!(names, ["a", "select", "b\"c", "naïve 日本"]);
    let nullable: Vec<_> = schema
        .columns
        .iter()
        .map(|column| column.nullable)
        .collect();
    assert_eq!(nullable, [true, false, false, true]);

    server
        .run("CREATE TABLE keyless (a int unique, b int not null, key (b))")
        .await;
    let schema = schema_of(&mut server, "INSERT INTO keyless VALUES (1, 2)").await;
    assert_eq!(schema.key, [0; 0]);
    // The server treats its first unique key without NULLs as the primary key, here and in images.
    server
        .run(
            "CREATE TABLE uniquely (a int unique, b int not null, c int not null, d varchar(9) not null, \
             unique (d(2)), unique (c, b), unique (b))",
        )
        .await;
    let schema = schema_of(&mut server, "INSERT INTO uniquely VALUES (1, 2, 3, 'x')").await;
    assert_eq!(schema.key, [2, 1]);
    server.end().await;
}

#[tokio::test]
async fn generated_invisible_and_hidden_columns_are_where_the_server_has_them() {
    let mut server = Server::start().await;
    server
        .run(
            "CREATE TABLE made (id int primary key, v int generated always as (id + 1) virtual, \
             s varchar(20) generated always as (concat('s', id)) stored, hidden int invisible default 9, \
             doc json, tail varchar(5), KEY functional ((id * 2), (lower(tail))), \
             KEY many ((CAST(doc->'$.a' AS UNSIGNED ARRAY))))",
        )
        .await;
    let insert = "INSERT INTO made (id, doc, tail) VALUES (1, '{\"a\": [1, 2]}', 'T')";
    let schema = schema_of(&mut server, insert).await;
    let names: Vec<_> = schema
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    assert_eq!(names, ["id", "v", "s", "hidden", "doc", "tail"]);

    server
        .run("SET sql_generate_invisible_primary_key = ON")
        .await;
    server.run("CREATE TABLE implicit (a int)").await;
    let schema = schema_of(&mut server, "INSERT INTO implicit VALUES (5)").await;
    assert_eq!(schema.columns[0].name, "my_row_id");
    assert_eq!(schema.key, [0]);
    server.end().await;
}

#[tokio::test]
async fn rows_of_partitions_and_labels_without_a_charset_are_read() {
    let mut server = Server::start().await;
    server
        .run(
            "CREATE TABLE parts (id int primary key, e enum('a', 'é') character set binary, \
             s set('x') character set binary) PARTITION BY HASH (id) PARTITIONS 4",
        )
        .await;
    // The event says between header and rows which partitions are meant.
    let schema = schema_of(&mut server, "INSERT INTO parts VALUES (1, 'é', 'x')").await;
    server.mark().await;
    server.run("UPDATE parts SET id = 6").await;
    server.run("DELETE FROM parts").await;
    let changes = server.changes().await;
    let text = |id: &str| {
        [
            Some(id.to_owned()),
            Some("é".to_owned()),
            Some("x".to_owned()),
        ]
    };
    let [
        RowOperation::Update { before, after },
        RowOperation::Delete { before: deleted },
    ] = [&changes[0].operation, &changes[1].operation]
    else {
        panic!("an update and a delete")
    };
    assert_eq!(decoded(before, &schema), text("1"));
    assert_eq!(decoded(after, &schema), text("6"));
    assert_eq!(decoded(deleted, &schema), text("6"));
    server.end().await;
}

#[tokio::test]
async fn wide_tables_and_long_label_lists_are_read() {
    let mut server = Server::start().await;
    let labels: Vec<_> = (0..400).map(|label| format!("'label {label}'")).collect();
    let flags: Vec<_> = (0..64).map(|label| format!("'f{label}'")).collect();
    let columns: Vec<_> = (0..600)
        .map(|at| format!("c{at} int unsigned default {at}"))
        .collect();
    server
        .run(format!(
            "CREATE TABLE wide (e enum({}), s set({}), {})",
            labels.join(", "),
            flags.join(", "),
            columns.join(", ")
        ))
        .await;
    let insert = "INSERT INTO wide (e, s, c599) VALUES ('label 399', 'f0,f63', NULL)";
    let schema = schema_of(&mut server, insert).await;
    assert_eq!(schema.columns.len(), 602);
    server.end().await;
}
