//! Bytes, JSON, enums, sets, geometries and vectors.

use super::kinds::{Family, Kind, NULLED};

pub(crate) const BYTES: Family = Family {
    name: "bytes",
    kinds: &[
        Kind {
            name: "fixed",
            mysql: "BINARY(4)",
            postgres: "bytea",
            values: &[
                ("'ab'", r"\x61620000"),
                ("x'00000000'", r"\x00000000"),
                ("x'ff000000'", r"\xff000000"),
                ("x'20202020'", r"\x20202020"),
                ("''", r"\x00000000"),
            ],
        },
        Kind {
            name: "variable",
            mysql: "VARBINARY(300)",
            postgres: "bytea",
            values: &[
                ("''", r"\x"),
                ("x'00'", r"\x00"),
                ("x'610000'", r"\x610000"),
                ("x'20'", r"\x20"),
                (r"'\\x27'", r"\x5c783237"),
            ],
        },
        Kind {
            name: "tiny",
            mysql: "TINYBLOB",
            postgres: "bytea",
            values: &[("''", r"\x"), ("x'00ff80'", r"\x00ff80")],
        },
        Kind {
            name: "plain",
            mysql: "BLOB",
            postgres: "bytea",
            values: &[
                ("''", r"\x"),
                ("x'5c4e'", r"\x5c4e"),
                ("'NULL'", r"\x4e554c4c"),
            ],
        },
        Kind {
            name: "medium",
            mysql: "MEDIUMBLOB",
            postgres: "bytea",
            values: &[("x'c328'", r"\xc328")],
        },
        Kind {
            name: "long",
            mysql: "LONGBLOB",
            postgres: "bytea",
            values: &[("x'0a0d09'", r"\x0a0d09")],
        },
        Kind {
            name: "text_of_bytes",
            mysql: "CHAR(3) CHARACTER SET binary",
            postgres: "bytea",
            values: &[("'a'", r"\x610000"), ("x'ff'", r"\xff0000")],
        },
    ],
};

pub(crate) const DOCUMENTS: Family = Family {
    name: "documents",
    kinds: &[Kind {
        name: "json",
        mysql: "JSON",
        postgres: "jsonb",
        values: &[
            (r#"'{"b": 1, "a": [1, 2]}'"#, r#"{"a": [1, 2], "b": 1}"#),
            ("'18446744073709551615'", "18446744073709551615"),
            ("'-9223372036854775808'", "-9223372036854775808"),
            (
                "'[32767, 32768, -32769, 65536, 2147483648, -2147483649]'",
                "[32767, 32768, -32769, 65536, 2147483648, -2147483649]",
            ),
            ("'[]'", "[]"),
            ("'{}'", "{}"),
            ("'null'", "null"),
            ("'true'", "true"),
            (r#"'""'"#, r#""""#),
            (r#"'"NULL"'"#, r#""NULL""#),
            (r#"'"é😀\\u4e2d\\n"'"#, r#""é😀中\n""#),
            (r#"'{"": "", "a\\"b": 1}'"#, r#"{"": "", "a\"b": 1}"#),
            (
                "JSON_ARRAY(1.5, 1e20, 1.0, 0.1e0)",
                "[1.5, 100000000000000000000, 1.0, 0.1]",
            ),
            (
                "JSON_OBJECT('d', CAST('12345678901234567890123456789.123456789' AS DECIMAL(65,30)))",
                r#"{"d": 12345678901234567890123456789.123456789000000000000000000000}"#,
            ),
            (
                "JSON_OBJECT('t', TIME'-10:11:12', 'd', DATE'2024-01-02', \
                 'dt', TIMESTAMP'2024-01-02 03:04:05.678')",
                r#"{"d": "2024-01-02", "t": "-10:11:12.000000", "dt": "2024-01-02 03:04:05.678000"}"#,
            ),
            (
                "JSON_OBJECT('b', CAST(x'00ff' AS BINARY))",
                r#"{"b": "base64:type15:AP8="}"#,
            ),
            (
                "JSON_ARRAY(b'101', CAST(1 AS YEAR))",
                r#"["base64:type15:BQ==", 2001]"#,
            ),
            (
                r#"'[[[[[[[[[[[[[[[[[[[[[[[[[{"deep": [[[[[[[[[[1]]]]]]]]]]}]]]]]]]]]]]]]]]]]]]]]]]]]'"#,
                r#"[[[[[[[[[[[[[[[[[[[[[[[[[{"deep": [[[[[[[[[[1]]]]]]]]]]}]]]]]]]]]]]]]]]]]]]]]]]]]"#,
            ),
            // jsonb has no NUL character.
            (r#"'"a\\u0000b"'"#, NULLED),
        ],
    }],
};

pub(crate) const LABELS: Family = Family {
    name: "labels",
    kinds: &[
        Kind {
            name: "one",
            mysql: "ENUM('small', 'a,b', 'it''s', 'é😀', '\"', '')",
            postgres: "text",
            values: &[
                ("'small'", "small"),
                ("'a,b'", "a,b"),
                ("'it''s'", "it's"),
                ("'é😀'", "é😀"),
                ("5", "\""),
                ("''", ""),
                // Not in the list: MySQL stores its error value.
                ("'huge'", ""),
            ],
        },
        Kind {
            name: "one_latin",
            mysql: "ENUM('é', 'ÿ') CHARACTER SET latin1",
            postgres: "text",
            values: &[("'é'", "é"), ("2", "ÿ")],
        },
        Kind {
            name: "many",
            mysql: "SET('a', 'b', 'c', 'it''s', '')",
            postgres: "text",
            values: &[
                ("'c,a'", "a,c"),
                ("0", ""),
                ("'it''s,b'", "b,it's"),
                ("15", "a,b,c,it's"),
            ],
        },
        Kind {
            name: "many_gbk",
            mysql: "SET('你', '好') CHARACTER SET gbk",
            postgres: "text",
            values: &[("'好,你'", "你,好"), ("'好'", "好")],
        },
    ],
};

pub(crate) const VECTORS: Family = Family {
    name: "vectors",
    kinds: &[Kind {
        name: "three",
        mysql: "VECTOR(3)",
        postgres: "real[]",
        values: &[
            ("STRING_TO_VECTOR('[1, 2.5, -3]')", "{1,2.5,-3}"),
            ("STRING_TO_VECTOR('[0.1]')", "{0.1}"),
            (
                "STRING_TO_VECTOR('[3.4e38, -0.0, 1.5e-30]')",
                "{3.4e+38,-0,1.5e-30}",
            ),
        ],
    }],
};

/// Geometries where the target has PostGIS.
pub(crate) const SHAPES: Family = Family {
    name: "shapes",
    kinds: &[
        Kind {
            name: "any",
            mysql: "GEOMETRY",
            postgres: "geometry",
            values: &[
                ("ST_GeomFromText('POINT(1 2)')", "POINT(1 2)"),
                // Latitude comes first in MySQL's text of this reference system, not in its storage.
                (
                    "ST_GeomFromText('POINT(1 2)', 4326)",
                    "SRID=4326;POINT(2 1)",
                ),
                (
                    "ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 2),LINESTRING(0 0,1 1))')",
                    "GEOMETRYCOLLECTION(POINT(1 2),LINESTRING(0 0,1 1))",
                ),
            ],
        },
        Kind {
            name: "polygon",
            mysql: "POLYGON",
            postgres: "geometry",
            values: &[(
                "ST_GeomFromText('POLYGON((0 0,0 3,3 3,3 0,0 0),(1 1,1 2,2 2,2 1,1 1))')",
                "POLYGON((0 0,0 3,3 3,3 0,0 0),(1 1,1 2,2 2,2 1,1 1))",
            )],
        },
        Kind {
            name: "points",
            mysql: "MULTIPOINT",
            postgres: "geometry",
            values: &[(
                "ST_GeomFromText('MULTIPOINT((1 1),(2 2))')",
                "MULTIPOINT(1 1,2 2)",
            )],
        },
        Kind {
            name: "placed",
            mysql: "POINT SRID 3857",
            postgres: "geometry",
            values: &[(
                "ST_GeomFromText('POINT(-1.5 1e10)', 3857)",
                "SRID=3857;POINT(-1.5 10000000000)",
            )],
        },
    ],
};

/// Geometries where it has not: extended WKB.
pub(crate) const SHAPES_AS_BYTES: Family = Family {
    name: "shapes_as_bytes",
    kinds: &[Kind {
        name: "any",
        mysql: "GEOMETRY",
        postgres: "bytea",
        values: &[
            (
                "ST_GeomFromText('POINT(1 2)')",
                r"\x0101000000000000000000f03f0000000000000040",
            ),
            (
                "ST_GeomFromText('POINT(1 2)', 4326)",
                r"\x0101000020e61000000000000000000040000000000000f03f",
            ),
        ],
    }],
};
