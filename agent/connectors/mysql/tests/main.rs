//! Tests against a real server, whose URL is in `SLUICE_MYSQL_URL`.

mod decode;
