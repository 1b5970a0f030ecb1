//! Dates, times and moments, with those that no calendar has.

use super::kinds::{Family, Kind, NULLED};

pub(crate) const MOMENTS: Family = Family {
    name: "moments",
    kinds: &[
        Kind {
            name: "day",
            mysql: "DATE",
            postgres: "date",
            values: &[
                ("'1000-01-01'", "1000-01-01"),
                ("'9999-12-31'", "9999-12-31"),
                ("'0001-01-01'", "0001-01-01"),
                ("'0000-00-00'", NULLED),
                ("'2024-02-31'", NULLED),
                ("'2023-02-29'", NULLED),
                ("'2024-00-15'", NULLED),
                ("'2024-05-00'", NULLED),
                ("'2024-02-29'", "2024-02-29"),
                ("'1582-10-10'", "1582-10-10"),
            ],
        },
        Kind {
            name: "clock0",
            mysql: "DATETIME",
            postgres: "timestamp(0) without time zone",
            values: &[
                ("'1000-01-01 00:00:00'", "1000-01-01 00:00:00"),
                ("'9999-12-31 23:59:59'", "9999-12-31 23:59:59"),
                ("'0000-00-00 00:00:00'", NULLED),
                ("'2024-02-31 10:11:12'", NULLED),
                ("'1969-12-31 23:59:59'", "1969-12-31 23:59:59"),
            ],
        },
        Kind {
            name: "clock3",
            mysql: "DATETIME(3)",
            postgres: "timestamp(3) without time zone",
            values: &[
                ("'9999-12-31 23:59:59.999'", "9999-12-31 23:59:59.999"),
                ("'0001-01-01 00:00:00.001'", "0001-01-01 00:00:00.001"),
                ("'0000-00-00 00:00:00.5'", NULLED),
            ],
        },
        Kind {
            name: "clock6",
            mysql: "DATETIME(6)",
            postgres: "timestamp(6) without time zone",
            values: &[
                ("'9999-12-31 23:59:59.999999'", "9999-12-31 23:59:59.999999"),
                ("'1969-12-31 23:59:59.000001'", "1969-12-31 23:59:59.000001"),
                ("'2024-00-00 10:11:12.5'", NULLED),
                ("'2024-06-30 10:11:12'", "2024-06-30 10:11:12"),
            ],
        },
        Kind {
            name: "clock5",
            mysql: "DATETIME(5)",
            postgres: "timestamp(5) without time zone",
            values: &[("'2024-06-30 10:11:12.34567'", "2024-06-30 10:11:12.34567")],
        },
        Kind {
            name: "moment0",
            mysql: "TIMESTAMP",
            postgres: "timestamp(0) with time zone",
            values: &[
                ("'1970-01-01 00:00:01'", "1970-01-01 00:00:01+00"),
                ("'2038-01-19 03:14:07'", "2038-01-19 03:14:07+00"),
                ("'0000-00-00 00:00:00'", NULLED),
            ],
        },
        Kind {
            name: "moment2",
            mysql: "TIMESTAMP(2)",
            postgres: "timestamp(2) with time zone",
            values: &[("'2024-03-31 02:30:00.25'", "2024-03-31 02:30:00.25+00")],
        },
        Kind {
            name: "moment6",
            mysql: "TIMESTAMP(6)",
            postgres: "timestamp(6) with time zone",
            values: &[
                (
                    "'2038-01-19 03:14:07.999999'",
                    "2038-01-19 03:14:07.999999+00",
                ),
                (
                    "'1970-01-01 00:00:01.000001'",
                    "1970-01-01 00:00:01.000001+00",
                ),
                ("'0000-00-00 00:00:00'", NULLED),
            ],
        },
    ],
};

pub(crate) const SPANS: Family = Family {
    name: "spans",
    kinds: &[
        Kind {
            name: "span0",
            mysql: "TIME",
            postgres: "interval",
            values: &[
                ("'-838:59:59'", "-838:59:59"),
                ("'838:59:59'", "838:59:59"),
                ("'00:00:00'", "00:00:00"),
                ("'-00:00:01'", "-00:00:01"),
                ("'23:59:59'", "23:59:59"),
            ],
        },
        Kind {
            name: "span1",
            mysql: "TIME(1)",
            postgres: "interval",
            values: &[
                ("'-00:00:00.1'", "-00:00:00.1"),
                ("'-12:34:56.9'", "-12:34:56.9"),
                ("'00:00:00.9'", "00:00:00.9"),
            ],
        },
        Kind {
            name: "span3",
            mysql: "TIME(3)",
            postgres: "interval",
            values: &[
                ("'-00:00:00.001'", "-00:00:00.001"),
                ("'-100:00:00.999'", "-100:00:00.999"),
                ("'12:34:56.789'", "12:34:56.789"),
            ],
        },
        Kind {
            name: "span6",
            mysql: "TIME(6)",
            postgres: "interval",
            values: &[
                ("'-838:59:59.000000'", "-838:59:59"),
                ("'838:59:58.999999'", "838:59:58.999999"),
                ("'-838:59:58.999999'", "-838:59:58.999999"),
                ("'-00:00:00.000001'", "-00:00:00.000001"),
                ("'-00:00:01'", "-00:00:01"),
            ],
        },
    ],
};
