//! A registry in memory with a real socket, and shorthands.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value as Json, json};
use sluice_agent_api::secret::InlineSecrets;
use sluice_avro::{Codec, Envelope, Format, Meta, Registry, RegistryConfig};
use sluice_core::{Column, ColumnType, TableId, TableSchema};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What the registry holds and how it behaves.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) schemas: Vec<Json>,
    pub(crate) subjects: HashMap<String, Vec<u32>>,
    /// Subjects whose next schema is not compatible.
    pub(crate) refusing: Vec<String>,
    /// So many requests are answered with 503 first.
    pub(crate) failures: u32,
    /// `Authorization` that is asked for.
    pub(crate) login: Option<String>,
    pub(crate) requests: Vec<String>,
}

impl State {
    /// Adds a schema that somebody else registered.
    pub(crate) fn add(&mut self, schema: Json) -> u32 {
        self.schemas.push(schema);
        self.schemas.len() as u32
    }

    fn answer(&mut self, method: &str, path: &str, login: Option<&str>, body: &str) -> (u16, Json) {
        self.requests.push(format!("{method} {path}"));
        if self.failures > 0 {
            self.failures -= 1;
            return (503, json!({"message": "starting"}));
        }
        if self.login.as_deref() != login {
            return (401, json!({"message": "who are you"}));
        }
        let body: Json = serde_json::from_str(body).unwrap_or(Json::Null);
        let path = path.split('?').next().unwrap();
        let parts: Vec<_> = path.trim_matches('/').split('/').collect();
        match (method, parts.as_slice()) {
            ("GET", ["schemas", "ids", id]) => {
                match self.schemas.get(id.parse::<usize>().unwrap() - 1) {
                    Some(schema) => (200, schema.clone()),
                    None => (
                        404,
                        json!({"error_code": 40403, "message": "Schema not found"}),
                    ),
                }
            }
            ("GET", ["subjects", subject, "versions", version]) => {
                let ids = &self.subjects[*subject];
                let id = ids[version.parse::<usize>().unwrap() - 1];
                (200, self.schemas[id as usize - 1].clone())
            }
            ("POST", ["subjects", subject]) => {
                let found = self.subjects.get(*subject).and_then(|ids| {
                    ids.iter()
                        .find(|&&id| self.schemas[id as usize - 1]["schema"] == body["schema"])
                });
                match found {
                    Some(id) => (200, json!({"id": id})),
                    None => (
                        404,
                        json!({"error_code": 40403, "message": "Schema not found"}),
                    ),
                }
            }
            ("POST", ["compatibility", "subjects", subject, ..]) => {
                if !self.subjects.contains_key(*subject) {
                    return (
                        404,
                        json!({"error_code": 40402, "message": "Version not found"}),
                    );
                }
                let refused = self.refusing.iter().any(|other| other == subject);
                (
                    200,
                    json!({"is_compatible": !refused, "messages": ["READER_FIELD_MISSING_DEFAULT_VALUE"]}),
                )
            }
            ("POST", ["subjects", subject, "versions"]) => {
                let id = self.add(json!({"schema": body["schema"]}));
                self.subjects
                    .entry((*subject).to_owned())
                    .or_default()
                    .push(id);
                (200, json!({"id": id}))
            }
            ("GET", ["config", _]) => (404, json!({"error_code": 40401})),
            ("GET", ["config"]) => (200, json!({"compatibilityLevel": "BACKWARD"})),
            _ => (400, json!({"message": "what?"})),
        }
    }
}

/// Starts a registry; returns its address and its state.
pub(crate) async fn registry() -> (String, Arc<Mutex<State>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let state = Arc::new(Mutex::new(State::default()));
    let shared = Arc::clone(&state);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&shared)));
        }
    });
    (url, state)
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut buffer = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).await.unwrap_or(0);
        if count == 0 {
            return;
        }
        buffer.extend_from_slice(&chunk[..count]);
        let text = String::from_utf8_lossy(&buffer).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let header = |name: &str| {
            head.lines()
                .find_map(|line| {
                    line.split_once(": ")
                        .filter(|(key, _)| key.eq_ignore_ascii_case(name))
                })
                .map(|(_, value)| value.to_owned())
        };
        let length: usize = header("content-length").map_or(0, |text| text.parse().unwrap());
        if body.len() < length {
            continue;
        }
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let (status, json) =
            state
                .lock()
                .unwrap()
                .answer(method, path, header("authorization").as_deref(), body);
        let body = json.to_string();
        let answer = format!(
            "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        return;
    }
}

/// A client of a registry at an address.
pub(crate) fn client(url: &str) -> Arc<Registry> {
    let config = RegistryConfig {
        url: url.to_owned(),
        ..RegistryConfig::default()
    };
    Arc::new(Registry::new(config, Arc::new(InlineSecrets::default())).unwrap())
}

/// Every format with every envelope.
pub(crate) async fn codecs() -> Vec<(String, Codec)> {
    let (url, _) = registry().await;
    let formats = [
        ("avro", Format::Avro(client(&url))),
        ("json", Format::Json { schemas: false }),
        ("json with schemas", Format::Json { schemas: true }),
    ];
    let mut codecs = Vec::new();
    for (name, format) in formats {
        for envelope in [Envelope::Debezium, Envelope::Flat] {
            codecs.push((
                format!("{name}, {envelope:?}"),
                Codec::new(format.clone(), envelope, "shop"),
            ));
        }
    }
    codecs
}

pub(crate) fn column(name: &str, ty: ColumnType, nullable: bool) -> Column {
    Column {
        name: name.to_owned(),
        ty,
        nullable,
        generated: false,
        boolean: false,
        default: None,
    }
}

pub(crate) fn table(columns: Vec<Column>, key: Vec<usize>) -> Arc<TableSchema> {
    Arc::new(TableSchema {
        id: TableId::new("shop", "orders"),
        columns,
        key,
    })
}

pub(crate) fn meta() -> Meta<'static> {
    Meta {
        source_micros: 1_700_000_000_123_456,
        now_micros: 1_700_000_000_200_001,
        transaction: Some("3e11fa47:7"),
        ordinal: 2,
        table_ordinal: 1,
        snapshot: false,
        gtid: Some("3e11fa47:7"),
        file: "binlog.000001",
        position: 154,
    }
}

/// Waits for a result, but not for ever.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("it takes no half minute")
}
