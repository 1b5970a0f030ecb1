//! The client of a schema registry with Confluent's REST API (docs.confluent.io, "Schema Registry
//! API Reference"; Apicurio's `/apis/ccompat/v7` speaks it, too).
//!
//! What a registry said once is remembered: ids and schemas never change. A registry that is away is
//! asked again with growing pauses for a while; then the error is one that the pipeline retries,
//! so that status says what it waits for.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Value as Json, json};
use sluice_agent_api::{SecretKey, SecretStore, config::TlsConfig};
use sluice_core::{Class, Error, Reason, Result};
use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::{
    avro::parse::{Names, Node, parse},
    http::{self, Address, Answer},
};

/// How long a registry that is away is asked again before the caller hears of it.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(3);
/// Schemas that refer to schemas that refer …: no further than this.
const REFERENCES_MAX: usize = 16;

/// Where the registry is and how to log in.
#[derive(Debug, Clone, Default)]
pub struct RegistryConfig {
    /// Its address, `http(s)://host[:port][/path]`.
    pub url: String,
    /// The key that holds the user's name; no login without.
    pub username: Option<SecretKey>,
    /// The key that holds the password.
    pub password: Option<SecretKey>,
    /// How the certificate of an `https` address is checked ([`TlsMode::Disable`](
    /// sluice_agent_api::config::TlsMode::Disable) means fully).
    pub tls: TlsConfig,
}

/// A registry's client. Ids and schemas are cached: they never change.
pub struct Registry {
    config: RegistryConfig,
    secrets: Arc<dyn SecretStore>,
    address: Address,
    ids: Mutex<HashMap<(String, String), u32>>,
    schemas: Mutex<HashMap<u32, Arc<Node>>>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Registry({})", self.config.url)
    }
}

impl Registry {
    /// A client; connects to nothing yet. An error means that the address is not one.
    pub fn new(config: RegistryConfig, secrets: Arc<dyn SecretStore>) -> Result<Self> {
        let address = Address::parse(&config.url).ok_or_else(|| {
            Error::new(
                Reason::InvalidConfig,
                format!("schema registry {:?} is no http address", config.url),
            )
            .with_hint("write it as http://host:port or https://host:port/path, without a user")
        })?;
        Ok(Self {
            config,
            secrets,
            address,
            ids: Mutex::default(),
            schemas: Mutex::default(),
        })
    }

    /// The id of a schema under a subject: the one that it has, or after a compatibility check a new
    /// one. A schema that the subject's rule refuses is
    /// [`TargetIncompatible`](Reason::TargetIncompatible), which stops the table.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<u32> {
        let entry = (subject.to_owned(), schema.to_owned());
        if let Some(&id) = locked(&self.ids).get(&entry) {
            return Ok(id);
        }
        let path = format!("/subjects/{}", encoded(subject));
        let body = json!({ "schema": schema }).to_string();
        // One that is there already needs no check: a rule may have become stricter since.
        let present = self.ask(&path, Some(&body)).await?;
        let answer = match present.status {
            200 => present,
            404 => {
                self.compatible(subject, schema).await?;
                self.ask(&format!("{path}/versions"), Some(&body)).await?
            }
            _ => return Err(self.refused(subject, &present).await),
        };
        if answer.status != 200 {
            return Err(self.refused(subject, &answer).await);
        }
        let id = json_of(&answer)["id"]
            .as_u64()
            .and_then(|id| u32::try_from(id).ok());
        let id = id.ok_or_else(|| self.strange("an answer without an id"))?;
        locked(&self.ids).insert(entry, id);
        Ok(id)
    }

    /// Checks a schema against the subject's rule. A subject without a version takes any schema, and so
    /// does the rule NONE, whatever the check says: Apicurio's compares by a rule of its own then.
    pub async fn compatible(&self, subject: &str, schema: &str) -> Result<()> {
        let path = format!(
            "/compatibility/subjects/{}/versions/latest?verbose=true",
            encoded(subject)
        );
        let body = json!({ "schema": schema }).to_string();
        let answer = self.ask(&path, Some(&body)).await?;
        match answer.status {
            404 => Ok(()),
            200 if json_of(&answer)["is_compatible"] != json!(false) => Ok(()),
            200 if self.rule(subject).await == "NONE" => Ok(()),
            _ => Err(self.refused(subject, &answer).await),
        }
    }

    /// The schema with an id, with all that it refers to.
    pub(crate) async fn schema(&self, id: u32) -> Result<Arc<Node>> {
        if let Some(node) = locked(&self.schemas).get(&id) {
            return Ok(Arc::clone(node));
        }
        let answer = self.ask(&format!("/schemas/ids/{id}"), None).await?;
        if answer.status == 404 {
            return Err(Error::new(
                Reason::PrerequisiteMissing,
                format!("schema registry {} has no schema {id}", self.config.url),
            )
            .with_hint("name the registry that the topic's writer uses in schemaRegistry.url"));
        }
        if answer.status != 200 {
            return Err(self.unexpected(&answer));
        }
        let mut names = Names::new();
        let json = json_of(&answer);
        self.references(&json, &mut names).await?;
        let node = self.parsed(&json, &mut names)?;
        locked(&self.schemas).insert(id, Arc::clone(&node));
        Ok(node)
    }

    /// Whether a subject has a version.
    pub(crate) async fn knows_subject(&self, subject: &str) -> Result<bool> {
        let path = format!("/subjects/{}/versions", encoded(subject));
        let answer = self.ask(&path, None).await?;
        match answer.status {
            200 => Ok(json_of(&answer)
                .as_array()
                .is_some_and(|known| !known.is_empty())),
            404 => Ok(false),
            _ => Err(self.unexpected(&answer)),
        }
    }

    /// Reads the schemas that a schema refers to, the innermost first.
    async fn references(&self, schema: &Json, names: &mut Names) -> Result<()> {
        let mut open = vec![schema.clone()];
        let mut found = Vec::new();
        while let Some(schema) = open.pop() {
            for reference in schema["references"].as_array().into_iter().flatten() {
                if found.len() == REFERENCES_MAX {
                    return Err(self.strange("a schema with too many references"));
                }
                let subject = reference["subject"].as_str().unwrap_or_default();
                let version = &reference["version"];
                let path = format!("/subjects/{}/versions/{version}", encoded(subject));
                let answer = self.ask(&path, None).await?;
                if answer.status != 200 {
                    return Err(self.unexpected(&answer));
                }
                let json = json_of(&answer);
                found.push(json.clone());
                open.push(json);
            }
        }
        for json in found.iter().rev() {
            self.parsed(json, names)?;
        }
        Ok(())
    }

    fn parsed(&self, json: &Json, names: &mut Names) -> Result<Arc<Node>> {
        if let Some(kind) = json["schemaType"].as_str().filter(|&kind| kind != "AVRO") {
            return Err(self.strange(&format!("a schema of type {kind}")).with_hint(
                "only Avro and JSON are read: let the writer use one of their converters",
            ));
        }
        let Some(text) = json["schema"].as_str() else {
            // Whoever answers so in the registry's place says nothing about the record.
            let message = format!("schema registry {} gave no schema", self.config.url);
            return Err(Error::new(Reason::Unavailable, message)
                .with_hint("check schemaRegistry.url, and what answers there"));
        };
        parse(text, names).map_err(|what| self.strange(&what))
    }

    /// Asks until there is an answer worth looking at.
    async fn ask(&self, path: &str, body: Option<&str>) -> Result<Answer> {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = PAUSE_FIRST;
        loop {
            let body = body.map(str::to_owned);
            let sent = http::send(&self.config, &*self.secrets, &self.address, path, body).await;
            let error = match sent {
                Ok(answer) if answer.status == 429 || answer.status >= 500 => {
                    self.unexpected(&answer)
                }
                Ok(answer) if matches!(answer.status, 401 | 403) => {
                    return Err(self.unexpected(&answer));
                }
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if error.class() != Class::Retry || Instant::now() + pause > deadline {
                return Err(error);
            }
            warn!(error = %error.report(), "the schema registry does not answer; asking again");
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Why a subject does not take a schema.
    async fn refused(&self, subject: &str, answer: &Answer) -> Error {
        if !matches!(answer.status, 200 | 409 | 422) {
            return self.unexpected(answer);
        }
        let json = json_of(answer);
        let detail = json["messages"]
            .as_array()
            .and_then(|messages| messages.first())
            .unwrap_or(&json["message"]);
        let detail = shortened(detail.as_str().unwrap_or("it does not say why"));
        let rule = self.rule(subject).await;
        Error::new(
            Reason::TargetIncompatible,
            format!(
                "schema registry {}: subject {subject} refuses the table's schema by its rule \
                 {rule}: {detail}",
                self.config.url
            ),
        )
        .with_hint(format!(
            "loosen the rule for the change (PUT /config/{subject} with \
             {{\"compatibility\": \"NONE\"}}) and copy the table again, or undo the change"
        ))
    }

    async fn rule(&self, subject: &str) -> String {
        for path in [
            format!("/config/{}", encoded(subject)),
            "/config".to_owned(),
        ] {
            if let Ok(answer) = self.ask(&path, None).await
                && answer.status == 200
                && let Some(rule) = json_of(&answer)["compatibilityLevel"].as_str()
            {
                return rule.to_owned();
            }
        }
        "of compatibility".to_owned()
    }

    fn unexpected(&self, answer: &Answer) -> Error {
        let reason = match answer.status {
            401 => Reason::AccessDenied,
            403 => Reason::MissingPrivilege,
            429 | 500.. => Reason::Unavailable,
            _ => Reason::PrerequisiteMissing,
        };
        let json = json_of(answer);
        let detail = shortened(json["message"].as_str().unwrap_or("no message"));
        let error = Error::new(
            reason,
            format!(
                "schema registry {} answered {}: {detail}",
                self.config.url, answer.status
            ),
        );
        match reason {
            Reason::AccessDenied | Reason::MissingPrivilege => {
                error.with_hint("check the user and password in schemaRegistry.secretRef")
            }
            Reason::PrerequisiteMissing => error.with_hint(
                "check schemaRegistry.url: it is the address of Confluent's API \
                 (Apicurio: …/apis/ccompat/v7)",
            ),
            _ => error,
        }
    }

    fn strange(&self, what: &str) -> Error {
        Error::new(
            Reason::DecodeFailed,
            format!("schema registry {} gave {what}", self.config.url),
        )
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn json_of(answer: &Answer) -> Json {
    serde_json::from_slice(&answer.body).unwrap_or(Json::Null)
}

/// A registry's message may hold whole schemas.
fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(300).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// A path segment.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for digit in [byte >> 4, byte & 15] {
                out.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            }
        }
    }
    out
}
