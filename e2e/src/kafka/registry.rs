//! What the schema registry holds.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::kafka::http::request;

/// The names of all subjects.
pub async fn subjects(registry_url: &str) -> Result<Vec<String>> {
    let answer = request("GET", registry_url, "/subjects", None).await?;
    Ok(serde_json::from_value(answer.ok()?)?)
}

/// The versions of a subject.
pub async fn versions(registry_url: &str, subject: &str) -> Result<Vec<u32>> {
    let path = format!("/subjects/{subject}/versions");
    let answer = request("GET", registry_url, &path, None).await?;
    Ok(serde_json::from_value(answer.ok()?)?)
}

/// The schema with this number.
pub async fn by_id(registry_url: &str, id: u32) -> Result<Value> {
    let path = format!("/schemas/ids/{id}");
    parsed(&request("GET", registry_url, &path, None).await?.ok()?)
}

/// The newest schema of a subject.
pub async fn latest(registry_url: &str, subject: &str) -> Result<Value> {
    let path = format!("/subjects/{subject}/versions/latest");
    parsed(&request("GET", registry_url, &path, None).await?.ok()?)
}

fn parsed(answer: &Value) -> Result<Value> {
    let schema = answer["schema"].as_str().context("no schema")?;
    Ok(serde_json::from_str(schema)?)
}

/// Sets the rule by which a subject's new schemas are compared with its older ones.
pub async fn set_compatibility(registry_url: &str, subject: &str, rule: &str) -> Result<()> {
    let path = format!("/config/{subject}");
    let body = json!({"compatibility": rule});
    let answer = request("PUT", registry_url, &path, Some(&body)).await?;
    answer.ok().map(drop)
}

/// Deletes the subjects whose names begin so.
pub async fn delete_subjects(registry_url: &str, prefix: &str) -> Result<()> {
    for subject in subjects(registry_url).await? {
        if subject.starts_with(prefix) {
            let path = format!("/subjects/{subject}");
            request("DELETE", registry_url, &path, None).await?.ok()?;
        }
    }
    Ok(())
}
