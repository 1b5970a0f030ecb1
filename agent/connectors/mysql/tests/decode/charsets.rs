//! Every character set of the server, character by character.

use mysql_async::prelude::Queryable;
use sluice_core::{RowOperation, Value};

use super::log::Server;

/// Rows of one table: what was stored as bytes, what the log's row says, what the server says.
async fn compare(server: &mut Server, charset: &str, codes: &str) -> usize {
    server.run("DROP TABLE IF EXISTS codes").await;
    server
        .run(format!(
            "CREATE TABLE codes (code varbinary(4) primary key, v varchar(4) character set {charset})"
        ))
        .await;
    server.mark().await;
    // Where the server has no character for a code it can't store or can't show, and it is left out.
    let convert = format!("CONVERT(code USING {charset})");
    server
        .run(format!(
            "INSERT INTO codes SELECT code, v FROM (SELECT code, {convert} v, \
             CONVERT({convert} USING utf8mb4) u FROM ({codes}) c) d \
             WHERE v IS NOT NULL AND CAST(v AS BINARY) = code AND (u NOT LIKE '%?%' OR code = '?')"
        ))
        .await;
    let query = "SELECT code, CONVERT(v USING utf8mb4) FROM codes ORDER BY code";
    let expected: Vec<(Vec<u8>, String)> = server.conn.query(query).await.unwrap();
    let changes = server.changes().await;
    let mut decoded = std::collections::BTreeMap::new();
    for change in &changes {
        let RowOperation::Insert { after } = &change.operation else {
            panic!("an insert")
        };
        let (Value::Bytes(code), Value::Text(text)) = (after.get(0), after.get(1)) else {
            panic!("bytes and text")
        };
        decoded.insert(code.to_vec(), text.to_owned());
    }
    let mut different = Vec::new();
    for (code, text) in &expected {
        if decoded.get(code) != Some(text) {
            different.push((code, text, decoded.get(code)));
        }
    }
    assert!(
        different.is_empty(),
        "{charset}: {} of {} differ, such as {:x?}",
        different.len(),
        expected.len(),
        &different[..different.len().min(5)]
    );
    assert_eq!(decoded.len(), expected.len());
    expected.len()
}

const NUMBERS: &str = "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ";

/// Every number below `count` as bytes, behind a prefix.
fn every(count: u32, prefix: &str, digits: u32) -> String {
    format!(
        "{NUMBERS} {}) SELECT UNHEX(CONCAT('{prefix}', LPAD(HEX(i), {digits}, '0'))) code FROM n",
        count - 1
    )
}

#[tokio::test]
async fn every_byte_of_every_single_byte_charset_is_decoded_as_by_the_server() {
    let mut server = Server::start().await;
    let query = "SELECT character_set_name FROM information_schema.character_sets \
                 WHERE maxlen = 1 AND character_set_name <> 'binary'";
    let charsets: Vec<String> = server.conn.query(query).await.unwrap();
    assert!(charsets.len() > 20);
    for charset in charsets {
        let compared = compare(&mut server, &charset, &every(256, "", 2)).await;
        assert!(compared >= 127, "{charset}: {compared}");
    }
    server.end().await;
}

#[tokio::test]
async fn every_code_of_every_east_asian_charset_is_decoded_as_by_the_server() {
    let mut server = Server::start().await;
    for (charset, least) in [
        ("big5", 13_000),
        ("cp932", 9_000),
        ("eucjpms", 7_000),
        ("euckr", 17_000),
        ("gb2312", 7_000),
        ("gbk", 21_000),
        ("sjis", 6_000),
        ("ujis", 7_000),
        ("gb18030", 23_000),
    ] {
        compare(&mut server, charset, &every(256, "", 2)).await;
        let compared = compare(&mut server, charset, &every(65_536, "", 4)).await;
        assert!(compared >= least, "{charset}: {compared}");
    }
    for charset in ["eucjpms", "ujis"] {
        let compared = compare(&mut server, charset, &every(65_536, "8F", 4)).await;
        assert!(compared > 6_000, "{charset}: {compared}");
    }
    let four_bytes = format!(
        "{NUMBERS} 60000) SELECT UNHEX(CONCAT(HEX(129 + l DIV 12600), HEX(48 + l DIV 1260 % 10), \
         HEX(129 + l DIV 10 % 126), HEX(48 + l % 10))) code FROM \
         (SELECT i l FROM n WHERE i < 50400 UNION ALL SELECT 189000 + i * 17 FROM n) m"
    );
    let compared = compare(&mut server, "gb18030", &four_bytes).await;
    assert!(compared > 90_000, "gb18030: {compared}");
    server.end().await;
}

#[tokio::test]
async fn every_character_of_the_unicode_charsets_is_decoded_as_by_the_server() {
    let mut server = Server::start().await;
    let characters = |charset: &str| {
        format!(
            "{NUMBERS} 65535) SELECT CAST(CONVERT(CONVERT(UNHEX(LPAD(HEX(c), 8, '0')) USING utf32) \
             USING {charset}) AS BINARY) code FROM \
             (SELECT i c FROM n WHERE i NOT BETWEEN 55296 AND 57343 UNION ALL SELECT 65536 + i * 16 FROM n) m"
        )
    };
    for (charset, least) in [
        ("ucs2", 63_000),
        ("utf8mb3", 63_000),
        ("utf8mb4", 120_000),
        ("utf16", 120_000),
        ("utf16le", 120_000),
        ("utf32", 120_000),
    ] {
        let codes = format!(
            "SELECT DISTINCT code FROM ({}) q WHERE LENGTH(code) > 0",
            characters(charset)
        );
        let compared = compare(&mut server, charset, &codes).await;
        assert!(compared >= least, "{charset}: {compared}");
    }
    server.end().await;
}

#[tokio::test]
async fn text_of_every_charset_passes_in_every_kind_of_column() {
    let mut server = Server::start().await;
    let query = "SELECT character_set_name, maxlen FROM information_schema.character_sets \
                 WHERE character_set_name <> 'binary'";
    let charsets: Vec<(String, u32)> = server.conn.query(query).await.unwrap();
    let samples = [
        "plain",
        "Ünïcödé é",
        "Привет",
        "Ελλάδα",
        "שלום",
        "日本語テスト",
        "你好",
        "한국어",
        "ąčęž",
        "ไทย",
        "😀",
    ];
    for (charset, _) in charsets {
        let mut texts = Vec::new();
        for sample in samples {
            let query =
                format!("SELECT CONVERT(CONVERT('{sample}' USING {charset}) USING utf8mb4)");
            let kept: String = server.conn.query_first(query).await.unwrap().unwrap();
            texts.extend((kept == sample).then_some(sample));
        }
        assert!(texts[0] == "plain");
        let labels: Vec<_> = texts.iter().map(|text| format!("'{text}'")).collect();
        let labels = labels.join(", ");
        server.run("DROP TABLE IF EXISTS kinds").await;
        server
            .run(format!(
                "CREATE TABLE kinds (c char(20), v varchar(300), t text, e enum({labels}), s set({labels})) \
                 CHARACTER SET {charset}"
            ))
            .await;
        server.mark().await;
        for text in &texts {
            server
                .run(format!("INSERT INTO kinds VALUES ('{text}', REPEAT('{text}', 20), '{text}', '{text}', '{text},plain')"))
                .await;
        }
        let changes = server.changes().await;
        let expected = super::show::stored(&mut server, &changes[0].map.schema).await;
        let mut decoded: Vec<_> = changes
            .iter()
            .map(|change| match &change.operation {
                RowOperation::Insert { after } => super::show::decoded(after, &change.map.schema),
                other => panic!("{other:?}"),
            })
            .collect();
        decoded.sort();
        let mut expected = expected;
        expected.sort();
        assert_eq!(decoded, expected, "{charset}");
    }
    server.end().await;
}
