use proptest::prelude::*;
use sluice_core::{Column, ColumnType, Row, TableId, TableSchema, Value, value::Bits};

use super::{
    Decision, Fault, Filter,
    order::{order_decimals, order_floats},
    parse,
};

fn column(name: &str, ty: ColumnType) -> Column {
    Column {
        name: name.to_owned(),
        ty,
        nullable: true,
        generated: false,
        boolean: false,
        default: None,
    }
}

/// Each column with one value, and how the value reads in `row`.
fn columns() -> Vec<(Column, Value<'static>)> {
    let int = |bits, unsigned| ColumnType::Int { bits, unsigned };
    let decimal = ColumnType::Decimal {
        precision: 65,
        scale: 30,
    };
    let labels = || vec!["draft".to_owned(), "paid".to_owned()];
    vec![
        (column("id", int(64, false)), Value::Int(7)),
        (column("big", int(64, true)), Value::UInt(u64::MAX)),
        (
            column("price", decimal),
            Value::Decimal("-12.500000000000000000000000000001"),
        ),
        (column("single", ColumnType::Float), Value::Float(0.1)),
        (column("double", ColumnType::Double), Value::Double(0.1)),
        (column("flag", ColumnType::Bool), Value::Bool(true)),
        (column("bit", ColumnType::Bit { length: 3 }), {
            Value::Bits(Bits {
                length: 3,
                bytes: &[0b1010_0000],
            })
        }),
        (column("name", ColumnType::Text), Value::Text("O'Brien Ä%")),
        (
            column("status", ColumnType::Enum { labels: labels() }),
            Value::Enum("paid"),
        ),
        (column("raw", ColumnType::Blob), Value::Bytes(b"\x00\xff")),
        (column("uuid", ColumnType::Uuid), Value::Uuid([0xab; 16])),
        (column("day", ColumnType::Date), Value::Date(19_782)),
        (
            column("at", ColumnType::DateTime { precision: 6 }),
            Value::DateTime(19_782 * 86_400_000_000 + 1),
        ),
        (
            column("moment", ColumnType::Timestamp { precision: 0 }),
            Value::Timestamp(0),
        ),
        (
            column("zero", ColumnType::Date),
            Value::Impossible("0000-00-00"),
        ),
        (
            column("span", ColumnType::Time { precision: 0 }),
            Value::Time(-3_600_000_000),
        ),
        (column("doc", ColumnType::Json), Value::Json("{}")),
        (column("nothing", ColumnType::Text), Value::Null),
        (column("gone", ColumnType::Text), Value::Unchanged),
        (column("two words", int(32, false)), Value::Int(2)),
    ]
}

fn table() -> TableSchema {
    TableSchema {
        id: TableId::new("shop", "orders"),
        columns: columns().into_iter().map(|(column, _)| column).collect(),
        key: vec![0],
    }
}

fn filter(text: &str) -> Result<Filter, Fault> {
    Filter::new(&parse(text)?, &table())
}

fn decide(text: &str) -> Decision {
    let row = Row::pack(columns().into_iter().map(|(_, value)| value));
    let filter = filter(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
    filter.decide(&row, None)
}

#[test]
fn conditions_that_are_true_let_a_row_pass() {
    let conditions = [
        "id = 7 and ID is null or id = 7.0",
        "id = 7",
        "7 = id",
        "id <> 8 AND id != 8 AND id < 7.5 AND id > 6.999999999999999999999999",
        "id >= +7 and id <= 7e0 and 700e-2 = id",
        "id between 7 and 7 AND id NOT BETWEEN 8 AND 9",
        "id in (1, 7, null) and id not in (1, 2)",
        "id < 1e300 and id > -99999999999999999999999999999999999999999999.5",
        "id = '7'",
        "id IS NOT NULL and id and id is true",
        "big = 18446744073709551615 and big > 18446744073709551614.5 and big < 18446744073709551616",
        "price = -12.500000000000000000000000000001 and price < -12.5 and price > -12.6",
        "price <> -12.5 and price < 0 and price < id and id > price",
        "single = 0.1 and double = 0.1 and single <= 0.1 and double > 0.09",
        "flag and flag = true and flag is not false and not not flag",
        "bit = 5 and bit and bit < id",
        "name = 'O''Brien Ä%' and name <> 'o''brien ä%' and name <> 'O''Brien Ä% '",
        "name like 'O_Brien%' and name not like 'o%' and name like '%Ä\\%' and name like '%Ä!%' escape '!'",
        "name like '%r%e%' and name like '%%' and not name like '' and not name like '%B_'",
        "status <> 'draft' and status in ('paid') and status > 'draft'",
        "raw = X'00ff' and raw > X'00' and raw <> 'text'",
        "uuid = 'ABABABAB-abab-abab-abab-abababababab'",
        "day = '2024-02-29' and day < '2024-02-29 00:00:01' and day < at and day <> '2024-02-31'",
        "day < '2024-02-31' and day > '2024-02-00' and day between date '2024-01-01' and '2024-12-31'",
        "at > timestamp '2024-02-29T00:00' and at = '2024-02-29 00:00:00.000001'",
        "moment = '1970-01-01 01:00:00+01:00' and moment < '1970-01-01 00:00:00.5Z'",
        "moment = '1969-12-31T18:30-05:30'",
        "zero = '0000-00-00' and zero < '0001-01-01' and zero <> '2024-02-29' and zero < day",
        "span = '-01:00:00' and span < time '00:00' and span > '-838:59:59.999999'",
        "doc is not null and nothing is null",
        "(nothing = 'x') is not true and (nothing <> 'x') is not false",
        "`two words` = 2 and \"two words\" in (2)",
        "gone is null or gone is not null or id = 7",
        "((((id)) = 7))",
        "true or null",
        "NOT (id = 8 OR (FALSE AND NULL))",
    ];
    // The first has a name in the wrong case: names match exactly.
    assert!(filter(conditions[0]).is_err());
    for condition in &conditions[1..] {
        assert_eq!(decide(condition), Decision::Pass, "{condition}");
    }
}

#[test]
fn conditions_that_are_false_or_null_hold_a_row_back() {
    let conditions = [
        "id = 8",
        "not id = 7",
        "id not in (1, null)",
        "id in (null)",
        "id = null",
        "id <> null",
        "nothing = 'x'",
        "not nothing = 'x'",
        "nothing like '%'",
        "nothing <> name",
        "null",
        "not null",
        "null and true",
        "gone = 'x' and id = 8",
        "gone = 'x' and false",
        "single > 0.1",
        "double < 0.1",
        "name = 'O''BRIEN Ä%'",
        "(nothing is null) is false",
    ];
    for condition in conditions {
        assert_eq!(decide(condition), Decision::Skip, "{condition}");
    }
}

#[test]
fn a_column_that_the_log_left_out_is_unknown_only_where_it_matters() {
    for condition in [
        "gone = 'x'",
        "not gone = 'x'",
        "gone is null",
        "gone like 'x' and id = 7",
        "gone in ('x') or id = 8",
        "gone = name",
        "(gone = 'x') is true",
    ] {
        assert_eq!(decide(condition), Decision::Unknown, "{condition}");
    }
    let row = Row::pack(columns().into_iter().map(|(_, value)| value));
    let older = Row::pack(columns().into_iter().map(|(_, value)| match value {
        Value::Unchanged => Value::Text("x"),
        _ => Value::Null,
    }));
    let filter = filter("id = 7 and gone = 'x'").unwrap();
    assert_eq!(filter.decide(&row, Some(&older)), Decision::Pass);
    assert_eq!(filter.missing(&row, None), Some(18));
    assert_eq!(filter.missing(&row, Some(&older)), None);
}

fn assert_faults(faults: &[(&str, &str)]) {
    for (text, expected) in faults {
        let fault = filter(text).map(|_| ()).expect_err(text).to_string();
        assert!(fault.contains(expected), "{text}: {fault}");
    }
}

#[test]
fn faults_of_grammar_say_what_is_wrong_and_where() {
    assert_faults(&[
        (
            "",
            "expected a column or a constant, found the end at character 1",
        ),
        (
            "id = ",
            "expected a column or a constant, found the end at character 6",
        ),
        (
            "id = 7 7",
            "expected AND, OR or the end, found 7 at character 8",
        ),
        (
            "id == 7",
            "expected a column or a constant, found = at character 5",
        ),
        ("(id = 7", "expected ), found the end at character 8"),
        (
            "id not 7",
            "expected IN, BETWEEN or LIKE, found 7 at character 8",
        ),
        (
            "id is 7",
            "expected NULL, TRUE or FALSE, found 7 at character 7",
        ),
        (
            "id between 1 or 2",
            "expected AND, found or at character 14",
        ),
        (
            "id in ()",
            "expected a column or a constant, found ) at character 8",
        ),
        (
            "lower(name) = 'x'",
            "lower(…): functions are not supported at character 1",
        ),
        ("id % 2 = 0", "unexpected '%'"),
        (
            "id + 1 = 2",
            "expected AND, OR or the end, found + at character 4",
        ),
        ("name = 'x", "no closing ' at character 8"),
        ("id = 12ab", "\"12\" begins no number at character 6"),
        ("id = 1.2.3", "\"1.2.3\" begins no number at character 6"),
        (
            "name like '%' escape 'ab'",
            "ESCAPE takes one character at character 22",
        ),
    ]);
    let deep = format!("{}id = 7{}", "(".repeat(65), ")".repeat(65));
    assert!(filter(&deep).is_err());
    assert_eq!(
        decide(&format!("{} flag", "not not ".repeat(5000))),
        Decision::Pass
    );
}

#[test]
fn faults_of_meaning_say_what_is_wrong_and_where() {
    assert_faults(&[
        (
            "raw = x'0g'",
            "X'…' takes pairs of hexadecimal digits at character 7",
        ),
        ("ä = 1", "no column \"ä\" at character 1"),
        (
            "id = 7 and stat = 'x'",
            "no column \"stat\" at character 12",
        ),
        (
            "1 = 1",
            "a constant stands where a column is needed at character 1",
        ),
        ("'x'", "a constant is no condition at character 1"),
        (
            "name",
            "column \"name\" is no truth value: compare it with something at character 1",
        ),
        (
            "id = 'x'",
            "column \"id\" compares with a number; found 'x' at character 6",
        ),
        (
            "id in (1, X'00')",
            "column \"id\" compares with a number; found X'…' at character 11",
        ),
        (
            "name = 7",
            "column \"name\" compares with text in single quotes; found 7 at character 8",
        ),
        (
            "id like '7'",
            "LIKE needs text, and column \"id\" holds none at character 1",
        ),
        (
            "day = '2024-13-01'",
            "column \"day\" compares with 'YYYY-MM-DD'",
        ),
        (
            "at = '2024-01-01 00:00Z'",
            "without a zone; found '2024-01-01 00:00Z' at character 6",
        ),
        (
            "moment = 'now'",
            "in UTC or with +HH:MM; found 'now' at character 10",
        ),
        (
            "span = 5",
            "column \"span\" compares with 'HH:MM:SS'; found 5 at character 8",
        ),
        ("doc = '{}'", "column \"doc\" compares with nothing"),
        (
            "id = name",
            "columns \"id\" and \"name\" do not compare at character 1",
        ),
        (
            "single = price",
            "columns \"single\" and \"price\" do not compare at character 1",
        ),
        (
            "moment = at",
            "columns \"moment\" and \"at\" do not compare at character 1",
        ),
        (
            "id in (big)",
            "a column stands where a constant is needed at character 8",
        ),
    ]);
}

#[test]
fn decimals_order_by_their_value_not_their_writing() {
    let ordered = [
        "-Infinity",
        "-100",
        "-99.99",
        "-1.0",
        "-0.5",
        "-0.05",
        "0",
        "0.0500000000000000000001",
        "0.5",
        "1",
        "9.9",
        "10",
        "123456789012345678901234567890",
        "Infinity",
        "NaN",
    ];
    for (a, left) in ordered.iter().enumerate() {
        for (b, right) in ordered.iter().enumerate() {
            assert_eq!(order_decimals(left, right), a.cmp(&b), "{left} {right}");
        }
    }
    for (left, right) in [
        ("-0.00", "0"),
        ("007.10", "7.1"),
        (".5", "0.50"),
        ("-1", "-01.0"),
    ] {
        assert!(order_decimals(left, right).is_eq(), "{left} {right}");
    }
    assert!(order_floats(f64::NAN, f64::INFINITY).is_gt());
    assert!(order_floats(f64::NAN, f64::NAN).is_eq());
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
        if let Err(fault) = filter(&text) {
            prop_assert!(fault.to_string().contains(" at character "));
        }
    }

    #[test]
    fn any_words_are_read_or_refused(words in prop::collection::vec(prop::sample::select(vec![
        "id", "name", "gone", "(", ")", "=", "<", "and", "or", "not", "in", "like", "between",
        "is", "null", "true", "7", "-", "'x'", ",", "escape", "day", "'2024-01-01'",
    ]), 0..12)) {
        if let Ok(filter) = filter(&words.join(" ")) {
            let row = Row::pack(columns().into_iter().map(|(_, value)| value));
            let decision = filter.decide(&row, None);
            prop_assert_eq!(
                decision == Decision::Unknown && filter.missing(&row, None).is_none(),
                false
            );
        }
    }

    #[test]
    fn decimals_order_like_integers_of_the_same_scale(left: i64, right: i64, scale in 0_usize..25) {
        let text = |number: i64| {
            let digits = format!("{:0width$}", number.unsigned_abs(), width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            format!("{}{whole}.{fraction}", if number < 0 { "-" } else { "" })
        };
        prop_assert_eq!(order_decimals(&text(left), &text(right)), left.cmp(&right));
    }
}
