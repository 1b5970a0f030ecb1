//! Row images of every setting, kept up to date in memory and compared with the table.

use std::collections::BTreeMap;

use sluice_core::{RowOperation, TableSchema};
use sluice_mysql::decode::RowsKind;

use super::{
    log::{Change, Server},
    show::{UNCHANGED, decoded, stored},
};

type Texts = Vec<Option<String>>;

fn is_unchanged(text: Option<&str>) -> bool {
    text == Some(UNCHANGED)
}

/// Applies changes to rows by key, the way a sink does.
fn apply(rows: &mut BTreeMap<Texts, Texts>, changes: &[Change]) {
    for change in changes {
        let schema = &change.map.schema;
        let key = |row: &Texts| {
            schema
                .key
                .iter()
                .map(|&at| row[at].clone())
                .collect::<Texts>()
        };
        match &change.operation {
            RowOperation::Insert { after } => {
                let mut after = decoded(after, schema);
                // A MINIMAL or NOBLOB image leaves out what an insert does not name: the column's
                // default, which is NULL for every column of this table that one leaves out.
                for text in after
                    .iter_mut()
                    .filter(|text| is_unchanged(text.as_deref()))
                {
                    *text = None;
                }
                assert!(rows.insert(key(&after), after).is_none());
            }
            RowOperation::Update { before, after } => {
                let (before, mut after) = (decoded(before, schema), decoded(after, schema));
                let old = rows.remove(&key(&before)).expect("the row to update");
                same_where_known(&before, &old, schema);
                for (text, old) in after.iter_mut().zip(&old) {
                    if is_unchanged(text.as_deref()) {
                        text.clone_from(old);
                    }
                }
                assert!(rows.insert(key(&after), after).is_none());
            }
            RowOperation::Delete { before } => {
                let before = decoded(before, schema);
                let old = rows.remove(&key(&before)).expect("the row to delete");
                same_where_known(&before, &old, schema);
            }
        }
    }
}

fn same_where_known(image: &Texts, row: &Texts, schema: &TableSchema) {
    for ((image, row), column) in image.iter().zip(row).zip(&schema.columns) {
        assert!(
            is_unchanged(image.as_deref()) || image == row,
            "{}",
            column.name
        );
    }
}

const CREATE: &str = "CREATE TABLE images (a int not null, b varchar(10) not null, n bigint, t text, \
     d1 json, f binary(4), d2 json, e enum('x', 'y'), d3 json, m decimal(12,4), primary key (b, a))";

/// Statements that change one column or another, some of them partially.
const CHANGES: &[&str] = &[
    "UPDATE images SET n = COALESCE(n, 0) + 1 WHERE a % 3 = {r}",
    "UPDATE images SET t = REPEAT('x', {r} * 100), e = 'y' WHERE a % 3 = {r}",
    "UPDATE images SET t = NULL, f = 0x01, m = -m WHERE a % 3 = {r}",
    "UPDATE images SET d1 = JSON_SET(d1, '$.k', {r}, '$.\"long key\"', 'v{r}') WHERE a % 3 = {r}",
    "UPDATE images SET d1 = JSON_SET(d1, '$.list[0]', {r}), n = 5 WHERE a % 3 = {r}",
    "UPDATE images SET d1 = JSON_REPLACE(d1, '$.list[1].deep', JSON_ARRAY({r}, 'x')) WHERE a % 2 = 1",
    "UPDATE images SET d2 = JSON_REMOVE(d2, '$.k', '$.list[0]') WHERE a % 3 = {r}",
    "UPDATE images SET d2 = JSON_SET(d2, '$.\"q\\\\\"uo.te\"', 1.5, '$.é', NULL, '$.list[9]', '[') WHERE a % 2 = 0",
    "UPDATE images SET d1 = JSON_REMOVE(d1, '$.list'), d2 = JSON_SET(d2, '$.k', '{\"x\": 1}')",
    "UPDATE images SET d3 = JSON_SET(d3, '$[1]', {r}), d1 = d1 WHERE a % 3 = {r}",
    "UPDATE images SET d2 = NULL WHERE a % 7 = {r}",
    "UPDATE images SET d2 = '{\"k\": 1, \"list\": [1, 2, 3]}' WHERE d2 IS NULL",
    "UPDATE images SET d1 = '{\"k\": 1, \"list\": [1, {\"deep\": 2}]}' WHERE a % 5 = {r}",
    "UPDATE images SET d3 = JSON_SET(d3, '$[0].x', CAST('1.50' AS DECIMAL(5,2))) WHERE a % 3 = {r}",
    "UPDATE images SET d1 = JSON_SET(d1, '$', JSON_OBJECT('list', JSON_ARRAY(1, JSON_OBJECT('deep', 1)))) WHERE a = {r}",
    "UPDATE IGNORE images SET a = a + 1000, d1 = JSON_SET(d1, '$.k', 'moved') WHERE a = {r}",
    "UPDATE IGNORE images SET b = CONCAT('k', a % 4) WHERE a % 3 = {r}",
    "DELETE FROM images WHERE a % 11 = {r} LIMIT 2",
    "INSERT INTO images (a, b, d1, d2, d3) SELECT MAX(a) + 1, 'new', '{\"list\": [1, {\"deep\": [2]}]}', '{}', '[{}, 2]' FROM images",
];

async fn random_changes(images: &[&str], options: &[&str], seed: u8) {
    let mut random = u64::from(seed);
    let mut server = Server::start().await;
    server.run(CREATE).await;
    server.mark().await;
    for a in 0..20 {
        let insert = format!(
            "INSERT INTO images VALUES ({a}, 'k{}', {a}, 'text {a}', '{{\"k\": 1, \"list\": [1, {{\"deep\": {a}}}], \"s\": \"{}\"}}', \
             0x0{}, '{{\"list\": [{a}], \"k\": true}}', 'x', '[{{\"x\": {a}}}, 0]', {a}.5)",
            a % 4,
            "long ".repeat(50),
            a % 10,
        );
        server.run(insert).await;
    }
    for _ in 0..150 {
        let mut pick = |count: usize| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_041);
            (random >> 33) as usize % count
        };
        let (image, option) = (images[pick(images.len())], options[pick(options.len())]);
        let change = CHANGES[pick(CHANGES.len())].replace("{r}", &pick(3).to_string());
        server
            .run(format!(
                "SET binlog_row_image = {image}, binlog_row_value_options = '{option}'"
            ))
            .await;
        server.run(change).await;
    }
    let changes = server.changes().await;
    if options.contains(&"PARTIAL_JSON") {
        assert!(
            changes
                .iter()
                .any(|change| change.kind == RowsKind::PartialUpdate)
        );
    }
    let mut rows = BTreeMap::new();
    apply(&mut rows, &changes);
    let schema = &changes[0].map.schema;
    let mut mine: Vec<_> = rows.into_values().collect();
    let mut theirs = stored(&mut server, schema).await;
    mine.sort();
    theirs.sort();
    assert_eq!(mine.len(), theirs.len());
    for (mine, theirs) in mine.iter().zip(&theirs) {
        assert_eq!(mine, theirs, "seed {seed}");
    }
    server.end().await;
}

#[tokio::test]
async fn full_images_reproduce_the_table() {
    random_changes(&["FULL"], &[""], 1).await;
}

#[tokio::test]
async fn minimal_and_noblob_images_reproduce_the_table() {
    random_changes(&["MINIMAL", "NOBLOB", "FULL"], &[""], 2).await;
}

#[tokio::test]
async fn json_differences_reproduce_the_table() {
    for seed in 3..8 {
        random_changes(&["FULL"], &["PARTIAL_JSON", "PARTIAL_JSON", ""], seed).await;
    }
}

#[tokio::test]
async fn an_insert_leaves_out_only_columns_with_a_constant_default() {
    let mut server = Server::start().await;
    server
        .run(
            "CREATE TABLE defaults (id int primary key auto_increment, given int, nothing int, n int default 5, \
             b text default ('x'), u char(36) default (uuid()), e int default (n + 1), \
             t timestamp(6) default current_timestamp(6) on update current_timestamp(6), \
             v int generated always as (n * 2) virtual, s int generated always as (n * 3) stored, \
             must int not null)",
        )
        .await;
    for (image, left_out) in [
        ("FULL", &[][..]),
        ("NOBLOB", &[]),
        ("MINIMAL", &["nothing", "n", "must"]),
    ] {
        server.run(format!("SET binlog_row_image = {image}")).await;
        server.mark().await;
        server.run("INSERT INTO defaults (given) VALUES (1)").await;
        let changes = server.changes().await;
        let RowOperation::Insert { after } = &changes[0].operation else {
            panic!("an insert")
        };
        let schema = &changes[0].map.schema;
        let columns = decoded(after, schema).into_iter().zip(&schema.columns);
        let missing: Vec<_> = columns
            .filter(|(text, _)| is_unchanged(text.as_deref()))
            .map(|(_, column)| column.name.as_str())
            .collect();
        assert_eq!(missing, left_out, "{image}");
    }
    server.end().await;
}
