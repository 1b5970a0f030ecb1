//! Integers, decimals, floats, bits and years.

use super::kinds::{Family, Kind};

pub(crate) const INTEGERS: Family = Family {
    name: "integers",
    kinds: &[
        Kind {
            name: "tiny",
            mysql: "TINYINT",
            postgres: "smallint",
            values: &[("-128", "-128"), ("127", "127"), ("0", "0"), ("-1", "-1")],
        },
        Kind {
            name: "tiny_unsigned",
            mysql: "TINYINT UNSIGNED",
            postgres: "smallint",
            values: &[("0", "0"), ("255", "255"), ("128", "128")],
        },
        Kind {
            name: "tiny_truth",
            mysql: "TINYINT(1)",
            postgres: "smallint",
            values: &[("TRUE", "1"), ("FALSE", "0"), ("127", "127"), ("-1", "-1")],
        },
        Kind {
            name: "small",
            mysql: "SMALLINT",
            postgres: "smallint",
            values: &[("-32768", "-32768"), ("32767", "32767"), ("-1", "-1")],
        },
        Kind {
            name: "small_unsigned",
            mysql: "SMALLINT UNSIGNED",
            postgres: "integer",
            values: &[("0", "0"), ("65535", "65535"), ("32768", "32768")],
        },
        Kind {
            name: "medium",
            mysql: "MEDIUMINT",
            postgres: "integer",
            values: &[
                ("-8388608", "-8388608"),
                ("8388607", "8388607"),
                ("-1", "-1"),
            ],
        },
        Kind {
            name: "medium_unsigned",
            mysql: "MEDIUMINT UNSIGNED",
            postgres: "integer",
            values: &[("0", "0"), ("16777215", "16777215"), ("8388608", "8388608")],
        },
        Kind {
            name: "whole",
            mysql: "INT",
            postgres: "integer",
            values: &[
                ("-2147483648", "-2147483648"),
                ("2147483647", "2147483647"),
                ("-1", "-1"),
            ],
        },
        Kind {
            name: "whole_unsigned",
            mysql: "INTEGER UNSIGNED",
            postgres: "bigint",
            values: &[
                ("0", "0"),
                ("4294967295", "4294967295"),
                ("2147483648", "2147483648"),
            ],
        },
        Kind {
            name: "big",
            mysql: "BIGINT",
            postgres: "bigint",
            values: &[
                ("-9223372036854775808", "-9223372036854775808"),
                ("9223372036854775807", "9223372036854775807"),
                ("-1", "-1"),
            ],
        },
        Kind {
            name: "big_unsigned",
            mysql: "BIGINT UNSIGNED",
            postgres: "numeric(20,0)",
            values: &[
                ("0", "0"),
                ("18446744073709551615", "18446744073709551615"),
                ("9223372036854775808", "9223372036854775808"),
                ("10000", "10000"),
            ],
        },
        Kind {
            name: "zerofilled",
            mysql: "INT(8) ZEROFILL",
            postgres: "bigint",
            values: &[("5", "5"), ("4294967295", "4294967295")],
        },
        Kind {
            name: "truth",
            mysql: "BOOLEAN",
            postgres: "smallint",
            values: &[("TRUE", "1"), ("FALSE", "0")],
        },
        Kind {
            name: "years",
            mysql: "YEAR",
            postgres: "smallint",
            values: &[
                ("1901", "1901"),
                ("2155", "2155"),
                ("0", "0"),
                ("1970", "1970"),
            ],
        },
    ],
};

pub(crate) const DECIMALS: Family = Family {
    name: "decimals",
    kinds: &[
        Kind {
            name: "widest",
            mysql: "DECIMAL(65,30)",
            postgres: "numeric(65,30)",
            values: &[
                (
                    "99999999999999999999999999999999999.999999999999999999999999999999",
                    "99999999999999999999999999999999999.999999999999999999999999999999",
                ),
                (
                    "-99999999999999999999999999999999999.999999999999999999999999999999",
                    "-99999999999999999999999999999999999.999999999999999999999999999999",
                ),
                (
                    "0.000000000000000000000000000001",
                    "0.000000000000000000000000000001",
                ),
                (
                    "-0.000000000000000000000000000001",
                    "-0.000000000000000000000000000001",
                ),
                ("0", "0.000000000000000000000000000000"),
                ("1000000000", "1000000000.000000000000000000000000000000"),
                ("-12345.678", "-12345.678000000000000000000000000000"),
            ],
        },
        Kind {
            name: "whole",
            mysql: "DECIMAL(65,0)",
            postgres: "numeric(65,0)",
            values: &[
                (
                    "99999999999999999999999999999999999999999999999999999999999999999",
                    "99999999999999999999999999999999999999999999999999999999999999999",
                ),
                (
                    "-99999999999999999999999999999999999999999999999999999999999999999",
                    "-99999999999999999999999999999999999999999999999999999999999999999",
                ),
                ("0", "0"),
                ("1000000000000000000", "1000000000000000000"),
            ],
        },
        Kind {
            name: "fraction",
            mysql: "DECIMAL(30,30)",
            postgres: "numeric(30,30)",
            values: &[
                (
                    "0.999999999999999999999999999999",
                    "0.999999999999999999999999999999",
                ),
                (
                    "-0.000000000000000000000000000001",
                    "-0.000000000000000000000000000001",
                ),
                ("0.5", "0.500000000000000000000000000000"),
            ],
        },
        Kind {
            name: "money",
            mysql: "DECIMAL(10,2)",
            postgres: "numeric(10,2)",
            values: &[
                ("99999999.99", "99999999.99"),
                ("-99999999.99", "-99999999.99"),
                ("0.01", "0.01"),
                ("-0.01", "-0.01"),
                ("100", "100.00"),
            ],
        },
        Kind {
            name: "digit",
            mysql: "DECIMAL(1,0)",
            postgres: "numeric(1,0)",
            values: &[("9", "9"), ("-9", "-9"), ("0", "0")],
        },
        Kind {
            name: "unsigned",
            mysql: "DECIMAL(20,10) UNSIGNED",
            postgres: "numeric(20,10)",
            values: &[
                ("9999999999.9999999999", "9999999999.9999999999"),
                ("0", "0.0000000000"),
            ],
        },
        Kind {
            name: "nine_digits",
            mysql: "NUMERIC(18,9)",
            postgres: "numeric(18,9)",
            values: &[
                ("999999999.999999999", "999999999.999999999"),
                ("-1", "-1.000000000"),
            ],
        },
    ],
};

pub(crate) const FLOATS: Family = Family {
    name: "floats",
    kinds: &[
        Kind {
            name: "single",
            mysql: "FLOAT",
            postgres: "real",
            values: &[
                ("3.402823466e38", "3.4028235e+38"),
                ("-3.402823466e38", "-3.4028235e+38"),
                ("1.175494351e-38", "1.1754944e-38"),
                // MySQL prints floats with six digits; these have more.
                ("123456.789", "123456.79"),
                ("16777215", "1.6777215e+07"),
                ("0.1", "0.1"),
                ("-0e0", "-0"),
            ],
        },
        Kind {
            name: "single_digits",
            mysql: "FLOAT(9,3)",
            postgres: "real",
            values: &[("12345.678", "12345.678"), ("-1", "-1")],
        },
        Kind {
            name: "double",
            mysql: "DOUBLE",
            postgres: "double precision",
            values: &[
                ("1.7976931348623157e308", "1.7976931348623157e+308"),
                ("-1.7976931348623157e308", "-1.7976931348623157e+308"),
                ("2.2250738585072014e-308", "2.2250738585072014e-308"),
                ("123456789.123456789", "123456789.12345679"),
                ("0.1e0 + 0.2e0", "0.30000000000000004"),
                ("-0e0", "-0"),
                ("1e15", "1e+15"),
            ],
        },
    ],
};

pub(crate) const BITS: Family = Family {
    name: "bits",
    kinds: &[
        Kind {
            name: "one",
            mysql: "BIT(1)",
            postgres: "bit(1)",
            values: &[("b'0'", "0"), ("b'1'", "1")],
        },
        Kind {
            name: "eight",
            mysql: "BIT(8)",
            postgres: "bit(8)",
            values: &[
                ("b'10110001'", "10110001"),
                ("0", "00000000"),
                ("255", "11111111"),
            ],
        },
        Kind {
            name: "ten",
            mysql: "BIT(10)",
            postgres: "bit(10)",
            values: &[("b'1000000001'", "1000000001"), ("1", "0000000001")],
        },
        Kind {
            name: "sixty_three",
            mysql: "BIT(63)",
            postgres: "bit(63)",
            values: &[(
                "1 | 1 << 62",
                "100000000000000000000000000000000000000000000000000000000000001",
            )],
        },
        Kind {
            name: "sixty_four",
            mysql: "BIT(64)",
            postgres: "bit(64)",
            values: &[
                (
                    "18446744073709551615",
                    "1111111111111111111111111111111111111111111111111111111111111111",
                ),
                (
                    "9223372036854775808",
                    "1000000000000000000000000000000000000000000000000000000000000000",
                ),
                (
                    "0",
                    "0000000000000000000000000000000000000000000000000000000000000000",
                ),
            ],
        },
    ],
};
