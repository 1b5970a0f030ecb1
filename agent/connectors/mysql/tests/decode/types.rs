//! Every type with its smallest, largest and oddest values.

use sluice_core::RowOperation;

use super::{
    log::{Change, Server},
    show::{decoded, stored},
};

/// Types and values to insert; NULL is added to each.
pub(crate) const CASES: &[(&str, &[&str])] = &[
    ("tinyint", &["-128", "127", "0"]),
    ("tinyint unsigned", &["0", "255"]),
    ("tinyint(1)", &["0", "1", "-7"]),
    ("smallint", &["-32768", "32767"]),
    ("smallint unsigned", &["65535"]),
    ("mediumint", &["-8388608", "8388607", "-1"]),
    ("mediumint unsigned", &["16777215"]),
    ("int", &["-2147483648", "2147483647"]),
    ("int unsigned zerofill", &["4294967295"]),
    ("bigint", &["-9223372036854775808", "9223372036854775807"]),
    (
        "bigint unsigned",
        &["18446744073709551615", "9223372036854775808"],
    ),
    (
        "float",
        &["0", "-0.0", "3.4028235e38", "-1.17549435e-38", "0.1"],
    ),
    ("double", &["1.7976931348623157e308", "5e-324", "-0.1"]),
    ("double unsigned", &["2.5"]),
    (
        "decimal(65,30)",
        &[
            "99999999999999999999999999999999999.999999999999999999999999999999",
            "-99999999999999999999999999999999999.999999999999999999999999999999",
            "0.000000000000000000000000000001",
            "-0.000000000000000000000000000001",
            "0",
        ],
    ),
    (
        "decimal(65,0)",
        &["99999999999999999999999999999999999999999999999999999999999999999"],
    ),
    (
        "decimal(30,30)",
        &["0.123456789012345678901234567891", "-0.5"],
    ),
    ("decimal(10,2)", &["-0.01", "12345678.90", "-0.00"]),
    ("decimal(9,9)", &["-0.999999999"]),
    ("decimal(18,9) unsigned", &["123456789.987654321", "1"]),
    ("decimal(1,0)", &["7", "-7"]),
    ("bit", &["b'0'", "b'1'"]),
    ("bit(7)", &["b'1000001'"]),
    ("bit(8)", &["b'10000001'"]),
    ("bit(9)", &["b'100000001'", "b'1'"]),
    ("bit(63)", &["9223372036854775807", "4611686018427387904"]),
    ("bit(64)", &["18446744073709551615", "1"]),
    ("char(0)", &["''"]),
    ("char(5)", &["''", "'ab  '", "'日本😀'", "'  x'"]),
    (
        "char(255) character set utf8mb3",
        &["'é'", "REPEAT('日', 255)"],
    ),
    ("varchar(5)", &["''", "'ab  '", "'日本😀'"]),
    ("varchar(300)", &["REPEAT('x', 300)"]),
    ("varchar(63) character set utf8mb4", &["REPEAT('😀', 63)"]),
    ("varchar(64) character set utf8mb4", &["REPEAT('😀', 64)"]),
    (
        "varchar(2000) character set latin1",
        &["_utf8mb4'é€'", "CHAR(129, 141, 143, 144, 157)"],
    ),
    ("tinytext", &["''", "'é'"]),
    ("text", &["REPEAT('日', 1000)"]),
    ("mediumtext character set utf16", &["'a😀'"]),
    ("longtext character set gbk", &["'你好'"]),
    ("binary(1)", &["0x00", "0xFF"]),
    ("binary(5)", &["0x0102", "0x0100", "''", "0x0000000001"]),
    ("binary(255)", &["0x01"]),
    ("varbinary(5)", &["0x0102", "0x0100", "''"]),
    ("varbinary(1000)", &["REPEAT(0xFF00, 400)"]),
    ("tinyblob", &["0x00", "''"]),
    ("blob", &["REPEAT(0xFF, 1000)"]),
    ("mediumblob", &["REPEAT(0xFF, 70000)"]),
    ("longblob", &["REPEAT(0x80, 100000)"]),
    (
        "date",
        &[
            "'1000-01-01'",
            "'9999-12-31'",
            "'0000-00-00'",
            "'2024-02-31'",
            "'2024-00-00'",
            "'2024-02-29'",
            "'0001-01-01'",
        ],
    ),
    (
        "time",
        &["'-838:59:59'", "'838:59:59'", "'00:00:00'", "'-00:00:01'"],
    ),
    ("time(1)", &["'-00:00:00.1'", "'23:59:59.9'"]),
    ("time(2)", &["'-00:00:00.01'", "'-01:00:00.99'"]),
    ("time(3)", &["'-00:00:01.001'", "'-838:59:58.999'"]),
    ("time(4)", &["'-10:11:12.1314'"]),
    ("time(5)", &["'-10:11:12.13145'"]),
    (
        "time(6)",
        &[
            "'-838:59:59.000000'",
            "'838:59:59.000000'",
            "'-00:00:00.000001'",
            "'12:34:56.789012'",
        ],
    ),
    (
        "datetime",
        &[
            "'1000-01-01 00:00:00'",
            "'9999-12-31 23:59:59'",
            "'0000-00-00 00:00:00'",
            "'2024-02-31 10:20:30'",
        ],
    ),
    ("datetime(1)", &["'2024-02-29 23:59:59.9'"]),
    ("datetime(2)", &["'2024-00-00 10:20:30.12'"]),
    (
        "datetime(3)",
        &["'0000-00-00 00:00:00.000'", "'1969-12-31 23:59:59.999'"],
    ),
    ("datetime(4)", &["'2024-02-29 23:59:59.1234'"]),
    (
        "datetime(6)",
        &[
            "'9999-12-31 23:59:59.999999'",
            "'0000-00-00 00:00:00'",
            "'0000-01-01 00:00:00.000001'",
        ],
    ),
    (
        "timestamp null",
        &[
            "'1970-01-01 00:00:01'",
            "'2038-01-19 03:14:07'",
            "'0000-00-00 00:00:00'",
        ],
    ),
    ("timestamp(2) null", &["'2024-01-01 00:00:00.99'"]),
    (
        "timestamp(3) null",
        &["'0000-00-00 00:00:00'", "'2024-01-01 00:00:00.001'"],
    ),
    (
        "timestamp(6) null",
        &[
            "'2038-01-19 03:14:07.499999'",
            "'1970-01-01 00:00:01.000001'",
        ],
    ),
    ("year", &["1901", "2155", "0"]),
    (
        "enum('a','b c','','d\"''\\\\')",
        &["'a'", "'b c'", "''", "4", "'no such'"],
    ),
    ("set('a','b','c d')", &["''", "'a'", "'a,c d'", "'b,a'"]),
    ("set('','x')", &["''", "2", "3"]),
    ("json", &["'{}'"]),
    (
        "geometry",
        &[
            "ST_GeomFromText('POINT(1 2)')",
            "ST_GeomFromText('POINT(1 2)', 4326)",
        ],
    ),
    ("point srid 4326", &["ST_SRID(POINT(10, 20), 4326)"]),
    (
        "polygon",
        &["ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))')"],
    ),
    (
        "geometrycollection",
        &["ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 1),LINESTRING(0 0,2 2))')"],
    ),
    ("vector(3)", &["STRING_TO_VECTOR('[1,-2.5,3e10]')"]),
];

fn inserted(changes: &[Change]) -> Vec<Vec<Option<String>>> {
    let after = changes.iter().map(|change| match &change.operation {
        RowOperation::Insert { after } => decoded(after, &change.map.schema),
        other => panic!("{other:?}"),
    });
    after.collect()
}

#[tokio::test]
async fn every_value_of_every_type_is_what_the_server_says() {
    let mut server = Server::start().await;
    let mut different = Vec::new();
    for (index, (ty, values)) in CASES.iter().enumerate() {
        let table = format!("t{index}");
        server
            .run(format!(
                "CREATE TABLE {table} (id int primary key auto_increment, v {ty})"
            ))
            .await;
        server.mark().await;
        for value in values.iter().chain(&["NULL"]) {
            server
                .run(format!("INSERT INTO {table} (v) VALUES ({value})"))
                .await;
        }
        let changes = server.changes().await;
        assert_eq!(changes.len(), values.len() + 1, "{ty}");
        let expected = stored(&mut server, &changes[0].map.schema).await;
        let mine = inserted(&changes);
        if mine != expected {
            different.push(format!("{ty}: {mine:?} is {expected:?}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    server.end().await;
}

#[tokio::test]
async fn one_row_of_every_type_passes_insert_update_and_delete() {
    let mut server = Server::start().await;
    let columns: Vec<_> = CASES
        .iter()
        .enumerate()
        .map(|(at, (ty, _))| format!("c{at} {ty}"))
        .collect();
    server
        .run(format!(
            "CREATE TABLE wide (id int primary key, {})",
            columns.join(", ")
        ))
        .await;
    server.mark().await;
    let most = CASES.iter().map(|(_, values)| values.len()).max().unwrap();
    for row in 0..most {
        let values: Vec<_> = CASES
            .iter()
            .map(|(_, values)| values[row % values.len()])
            .collect();
        server
            .run(format!(
                "INSERT INTO wide VALUES ({row}, {})",
                values.join(", ")
            ))
            .await;
    }
    let changes = server.changes().await;
    let expected = stored(&mut server, &changes[0].map.schema).await;
    assert_eq!(inserted(&changes), expected);

    server.mark().await;
    server
        .run("UPDATE wide SET id = id + 100 ORDER BY id DESC")
        .await;
    server.run("DELETE FROM wide ORDER BY id").await;
    let changes = server.changes().await;
    assert_eq!(changes.len(), 2 * most);
    for (at, change) in changes.iter().enumerate() {
        let schema = &change.map.schema;
        let same = |row: &[Option<String>], other: usize, id: usize| {
            assert_eq!(row[0], Some(id.to_string()));
            assert_eq!(row[1..], expected[other][1..]);
        };
        match &change.operation {
            RowOperation::Update { before, after } => {
                let id = most - 1 - at;
                same(&decoded(before, schema), id, id);
                same(&decoded(after, schema), id, id + 100);
            }
            RowOperation::Delete { before } => {
                let id = at - most;
                same(&decoded(before, schema), id, id + 100);
            }
            RowOperation::Insert { .. } => panic!("an insert"),
        }
    }
    server.end().await;
}

/// Documents, as SQL expressions.
pub(crate) const DOCUMENTS: &[&str] = &[
    "'null'",
    "'true'",
    "'[]'",
    "'{}'",
    "'\"\"'",
    "'0'",
    "'-1'",
    "'32767'",
    "'32768'",
    "'-32769'",
    "'2147483647'",
    "'2147483648'",
    "'4294967295'",
    "'9223372036854775807'",
    "'-9223372036854775808'",
    "'18446744073709551615'",
    "'18446744073709551616'",
    "'1.0'",
    "'-0.0'",
    "'1e100'",
    "'1E-7'",
    "'0.1'",
    "'1e15'",
    "'1e16'",
    "'123456789012345680000'",
    "'100000000000000.0'",
    "'1e14'",
    "'0.00001'",
    "'1e-14'",
    "'1e-15'",
    "'1e-16'",
    "'1.5e-15'",
    "'1.7976931348623157e308'",
    "'5e-324'",
    "'3.141592653589793'",
    "'1234567890123456.5'",
    "'12345678901234567.5'",
    "'{\"a\": 1, \"b\": [1, 2, {\"c\": null}], \"aa\": true, \"\": \"x\"}'",
    r#"'"quote \\" backslash \\\\ slash / tab \\t newline \\n return \\r bell \\u0007 feed \\f back \\b del \\u007f"'"#,
    "'\"日本😀é\"'",
    "JSON_OBJECT('d', CAST('12.50' AS DECIMAL(10,2)), 'n', CAST('-0.001' AS DECIMAL(65,30)))",
    "JSON_ARRAY(DATE '2024-02-29', TIME '-10:11:12.5', TIMESTAMP '2024-02-29 10:11:12.000001')",
    "JSON_ARRAY(CAST('0000-00-00' AS DATE), CAST('838:59:59' AS TIME))",
    "JSON_ARRAY(CAST('ab' AS BINARY), b'1010', 0xFF, REPEAT(0x41, 300))",
    "JSON_ARRAY(CAST(x'' AS BINARY), REPEAT(0x41, 57), REPEAT(0x41, 58))",
    "JSON_OBJECT('g', ST_GeomFromText('POINT(1 2)'), 'y', CAST(2024 AS YEAR))",
    "JSON_ARRAY(REPEAT('x', 127), REPEAT('y', 128), REPEAT('é', 20000))",
    "JSON_OBJECT(REPEAT('k', 300), REPEAT('v', 70000), 'n', 70000, 'm', -70000)",
    "CONCAT('[', REPEAT('1,', 70000), '2]')",
    "CONCAT(REPEAT('[', 100), REPEAT(']', 100))",
    "CONCAT(REPEAT('{\"a\":', 99), '1', REPEAT('}', 99))",
];

#[tokio::test]
async fn documents_are_printed_exactly_as_the_server_prints_them() {
    let mut server = Server::start().await;
    server
        .run("CREATE TABLE documents (id int primary key auto_increment, v json)")
        .await;
    server.mark().await;
    for document in DOCUMENTS {
        server
            .run(format!("INSERT INTO documents (v) VALUES ({document})"))
            .await;
    }
    // Doubles at random over all magnitudes.
    for _ in 0..10 {
        server
            .run(
                "INSERT INTO documents (v) WITH RECURSIVE n (i) AS \
                 (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 300) \
                 SELECT JSON_ARRAY((RAND() - 0.5) * POW(10, i - 150), RAND() * POW(10, i % 40 - 20), \
                 ROUND(RAND() * 1000) * POW(10, i % 40 - 20)) FROM n",
            )
            .await;
    }
    let changes = server.changes().await;
    let expected = stored(&mut server, &changes[0].map.schema).await;
    let mut different = Vec::new();
    for (row, (mine, theirs)) in inserted(&changes).iter().zip(&expected).enumerate() {
        let name = DOCUMENTS.get(row).unwrap_or(&"random numbers");
        if mine != theirs {
            different.push(format!("{name}: {mine:?} is {theirs:?}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert_eq!(changes.len(), expected.len());
    server.end().await;
}
