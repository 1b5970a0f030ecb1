//! Text: lengths, empty and NULL, escapes, and samples of every character set. That every byte of
//! every character set arrives as the server reads it is shown in [`super::charsets`].

use super::kinds::{Family, Kind, NULLED};

pub(crate) const TEXTS: Family = Family {
    name: "texts",
    kinds: &[
        Kind {
            name: "fixed",
            mysql: "CHAR(10)",
            postgres: "character varying(10)",
            values: &[
                ("'abc'", "abc"),
                ("''", ""),
                ("'ab   '", "ab"),
                ("'é😀中文Ω'", "é😀中文Ω"),
                ("'  x'", "  x"),
            ],
        },
        Kind {
            name: "variable",
            mysql: "VARCHAR(100)",
            postgres: "character varying(100)",
            values: &[
                ("''", ""),
                ("'ab   '", "ab   "),
                (r"'\\N'", r"\N"),
                ("'NULL'", "NULL"),
                (r"'tab\tline\nreturn\r\\'", "tab\tline\nreturn\r\\"),
                (
                    r#"'it''s "quoted" `and` {json: [1,2]}'"#,
                    r#"it's "quoted" `and` {json: [1,2]}"#,
                ),
                (
                    "REPEAT('😀', 20)",
                    "😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀",
                ),
                // PostgreSQL's text has no NUL character.
                (r"'a\0b'", NULLED),
            ],
        },
        Kind {
            name: "wide",
            mysql: "VARCHAR(1000)",
            postgres: "character varying(1000)",
            values: &[("'a'", "a"), ("''", "")],
        },
        Kind {
            name: "tiny",
            mysql: "TINYTEXT",
            postgres: "text",
            values: &[("''", ""), ("'😀'", "😀")],
        },
        Kind {
            name: "plain",
            mysql: "TEXT",
            postgres: "text",
            values: &[("''", ""), ("'a '", "a "), ("'👨‍👩‍👧'", "👨‍👩‍👧")],
        },
        Kind {
            name: "medium",
            mysql: "MEDIUMTEXT",
            postgres: "text",
            values: &[("'e\u{301}'", "e\u{301}")],
        },
        Kind {
            name: "long",
            mysql: "LONGTEXT",
            postgres: "text",
            values: &[
                ("'\u{200b}\u{feff}'", "\u{200b}\u{feff}"),
                (r"'\0'", NULLED),
            ],
        },
        Kind {
            name: "exact",
            mysql: "VARCHAR(5) COLLATE utf8mb4_bin",
            postgres: "character varying(5)",
            values: &[("'aAé'", "aAé")],
        },
        Kind {
            name: "three_bytes",
            mysql: "VARCHAR(5) CHARACTER SET utf8mb3",
            postgres: "character varying(5)",
            values: &[("'中é'", "中é")],
        },
    ],
};

pub(crate) const FOREIGN: Family = Family {
    name: "foreign_texts",
    kinds: &[
        sample(
            "latin1",
            "VARCHAR(20) CHARACTER SET latin1",
            &[("'é ÿ €'", "é ÿ €"), ("''", "")],
        ),
        sample(
            "latin1_fixed",
            "CHAR(20) CHARACTER SET latin1",
            &[("'é  '", "é")],
        ),
        sample(
            "latin2",
            "VARCHAR(20) CHARACTER SET latin2",
            &[("'Příliš'", "Příliš")],
        ),
        sample(
            "cp1250",
            "VARCHAR(20) CHARACTER SET cp1250",
            &[("'žluťoučký'", "žluťoučký")],
        ),
        sample(
            "cp1251",
            "VARCHAR(20) CHARACTER SET cp1251",
            &[("'Привет'", "Привет")],
        ),
        sample(
            "cp1256",
            "VARCHAR(20) CHARACTER SET cp1256",
            &[("'سلام'", "سلام")],
        ),
        sample(
            "koi8r",
            "VARCHAR(20) CHARACTER SET koi8r",
            &[("'Привет'", "Привет")],
        ),
        sample(
            "greek",
            "VARCHAR(20) CHARACTER SET greek",
            &[("'Ελλάς'", "Ελλάς")],
        ),
        sample(
            "hebrew",
            "VARCHAR(20) CHARACTER SET hebrew",
            &[("'שלום'", "שלום")],
        ),
        sample(
            "tis620",
            "VARCHAR(20) CHARACTER SET tis620",
            &[("'ไทย'", "ไทย")],
        ),
        sample(
            "gbk",
            "VARCHAR(20) CHARACTER SET gbk",
            &[("'你好'", "你好"), ("'镕 a'", "镕 a")],
        ),
        sample(
            "gbk_fixed",
            "CHAR(20) CHARACTER SET gbk",
            &[("'你好'", "你好")],
        ),
        sample(
            "gb2312",
            "VARCHAR(20) CHARACTER SET gb2312",
            &[("'你好'", "你好")],
        ),
        sample(
            "gb18030",
            "VARCHAR(20) CHARACTER SET gb18030",
            &[("'你好😀'", "你好😀"), ("'é'", "é")],
        ),
        sample(
            "big5",
            "VARCHAR(20) CHARACTER SET big5",
            &[("'中文'", "中文")],
        ),
        sample(
            "sjis",
            "VARCHAR(20) CHARACTER SET sjis",
            &[("'日本語ｶﾅ'", "日本語ｶﾅ")],
        ),
        sample(
            "cp932",
            "VARCHAR(20) CHARACTER SET cp932",
            &[("'日本語①'", "日本語①")],
        ),
        sample(
            "ujis",
            "VARCHAR(20) CHARACTER SET ujis",
            &[("'日本語ｶﾅ'", "日本語ｶﾅ")],
        ),
        sample(
            "eucjpms",
            "VARCHAR(20) CHARACTER SET eucjpms",
            &[("'日本語①'", "日本語①")],
        ),
        sample(
            "euckr",
            "VARCHAR(20) CHARACTER SET euckr",
            &[("'한국어'", "한국어")],
        ),
        sample(
            "ucs2",
            "VARCHAR(20) CHARACTER SET ucs2",
            &[("'中é'", "中é"), ("''", "")],
        ),
        sample(
            "utf16",
            "VARCHAR(20) CHARACTER SET utf16",
            &[("'😀x'", "😀x"), ("'中'", "中")],
        ),
        sample(
            "utf16_fixed",
            "CHAR(20) CHARACTER SET utf16",
            &[("'😀x  '", "😀x")],
        ),
        sample(
            "utf16le",
            "VARCHAR(20) CHARACTER SET utf16le",
            &[("'😀x'", "😀x")],
        ),
        sample(
            "utf32",
            "VARCHAR(20) CHARACTER SET utf32",
            &[("'😀x'", "😀x")],
        ),
        sample(
            "ascii",
            "VARCHAR(20) CHARACTER SET ascii",
            &[("'plain'", "plain")],
        ),
        Kind {
            name: "text_latin1",
            mysql: "TEXT CHARACTER SET latin1",
            postgres: "text",
            values: &[("'€'", "€")],
        },
        Kind {
            name: "text_utf16",
            mysql: "LONGTEXT CHARACTER SET utf16",
            postgres: "text",
            values: &[("'😀€'", "😀€")],
        },
    ],
};

const fn sample(
    name: &'static str,
    mysql: &'static str,
    values: &'static [(&'static str, &'static str)],
) -> Kind {
    Kind {
        name,
        mysql,
        postgres: "character varying(20)",
        values,
    }
}
