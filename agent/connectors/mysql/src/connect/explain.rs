//! What went wrong on a connection, said to a person: where, why, and what mends it.

use std::sync::Arc;

use sluice_core::{Error, Reason};

use crate::wire::{ServerError, WireError};

/// Whom a connection connects, for messages.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) address: Arc<str>,
    pub(crate) user: Arc<str>,
}

/// The number of the server's error behind an error of ours.
pub(crate) fn server_code(error: &Error) -> Option<u16> {
    let source = std::error::Error::source(error)?;
    source.downcast_ref::<ServerError>().map(|error| error.code)
}

impl Place {
    /// Translates a failure.
    pub(crate) fn explain(&self, error: WireError) -> Error {
        let address = &self.address;
        match error {
            WireError::Server(error) => self.explain_server(error),
            WireError::Io(error) => Error::new(
                Reason::Unreachable,
                format!("MySQL at {address} can't be reached: {error}"),
            )
            .with_hint(format!(
                "check that host and port are right, that the server runs and that nothing on the way blocks {address}"
            ))
            .with_source(error),
            WireError::Tls(text) => {
                Error::new(Reason::TlsFailed, format!("no TLS with MySQL at {address}: {text}"))
                    .with_hint(tls_hint(&text))
            }
            WireError::Protocol(text) => {
                Error::new(Reason::Unreachable, format!("MySQL at {address}: {text}"))
                    .with_hint(format!("check that {address} is a MySQL server of version 8.0.1 or later"))
            }
        }
    }

    fn explain_server(&self, error: ServerError) -> Error {
        let Self { address, user } = self;
        let (reason, hint) = match error.code {
            1045 | 1698 | 3118 | 3955 | 1862 | 1820 => (
                Reason::AccessDenied,
                format!(
                    "put the right username and password into the Secret, or: ALTER USER '{user}'@'%' IDENTIFIED BY '...'"
                ),
            ),
            1130 => (
                Reason::AccessDenied,
                format!("CREATE USER '{user}'@'%' IDENTIFIED BY '...'"),
            ),
            1044 | 1142 | 1143 => (
                Reason::MissingPrivilege,
                format!("GRANT SELECT ON *.* TO '{user}'@'%'"),
            ),
            1227 | 1370 => (
                Reason::MissingPrivilege,
                format!("GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '{user}'@'%'"),
            ),
            1049 => (
                Reason::DatabaseMissing,
                "name a database that exists".to_owned(),
            ),
            2059 => (
                Reason::AccessDenied,
                format!("ALTER USER '{user}'@'%' IDENTIFIED WITH caching_sha2_password BY '...'"),
            ),
            3159 => (
                Reason::TlsFailed,
                "the server demands TLS: set tls.mode to Require, VerifyCa or VerifyFull"
                    .to_owned(),
            ),
            1146 | 1051 => (
                Reason::TableMissing,
                "create the table or stop selecting it".to_owned(),
            ),
            1040 | 1203 | 1226 => (
                Reason::Unavailable,
                "SET GLOBAL max_connections to a larger number, or close some".to_owned(),
            ),
            // Shutting down, lock wait timeout, deadlock, query interrupted, starting, offline.
            1053 | 1205 | 1213 | 1317 | 3024 | 3032 | 3169 | 1290 | 1836 | 1021 | 1041 | 1114 => (
                Reason::Unavailable,
                "nothing to do if the server is restarting; else see its error log".to_owned(),
            ),
            1077 | 1079 | 1080 | 1152 | 1158..=1161 | 1184 | 1927 | 4031 => (
                Reason::Unreachable,
                "nothing to do if the server was restarted; else see its error log".to_owned(),
            ),
            _ => (Reason::Unavailable, "see the server's error log".to_owned()),
        };
        Error::new(reason, format!("MySQL at {address}: {error}"))
            .with_hint(hint)
            .with_source(error)
    }
}

fn tls_hint(text: &str) -> &'static str {
    if text.contains("does not offer") {
        "give the server a certificate (ssl_ca, ssl_cert, ssl_key), or set tls.mode to Disable"
    } else if text.contains("NotValidForName") || text.contains("not valid for name") {
        "connect by a name that the certificate holds, or set tls.mode to VerifyCa"
    } else if text.contains("UnknownIssuer") || text.contains("trusted authority") {
        "put the certificate of the authority that signed the server's into tls.ca"
    } else if text.contains("PEM") {
        "give certificates and keys as PEM"
    } else {
        "check tls.mode, tls.ca and the server's certificate; it must support TLS 1.2 or 1.3"
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn place() -> Place {
        Place {
            address: "db:3306".into(),
            user: "sluice".into(),
        }
    }

    #[test]
    fn every_failure_names_the_server_and_a_remedy() {
        let server = |code| {
            WireError::Server(ServerError {
                code,
                message: "no".into(),
            })
        };
        for (error, reason, remedy) in [
            (server(1045), Reason::AccessDenied, "sluice"),
            (server(1227), Reason::MissingPrivilege, "GRANT REPLICATION"),
            (server(1142), Reason::MissingPrivilege, "GRANT SELECT"),
            (server(1049), Reason::DatabaseMissing, "database"),
            (server(3159), Reason::TlsFailed, "tls.mode"),
            (server(1053), Reason::Unavailable, "restarting"),
            (
                WireError::Io(io::ErrorKind::ConnectionRefused.into()),
                Reason::Unreachable,
                "port",
            ),
            (
                WireError::Tls("UnknownIssuer".into()),
                Reason::TlsFailed,
                "tls.ca",
            ),
        ] {
            let explained = place().explain(error);
            assert_eq!(explained.reason(), reason);
            assert!(explained.message().contains("db:3306"));
            assert!(explained.hint().unwrap().contains(remedy), "{explained:?}");
        }
        assert_eq!(server_code(&place().explain(server(1045))), Some(1045));
    }
}
