//! YAML text as trees that know their lines.
//!
//! Everything after this works on [`Node`]s, so that whatever is found wrong can name the line;
//! syntax errors end the reading of a file, everything else is collected.

use saphyr::{LoadableYamlNode as _, MarkedYaml, Scalar, YamlData};
use serde_json::{Map, Number, Value};

/// A value of a document, and the line of its key (or of itself, in a list).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) line: usize,
    pub(crate) content: Content,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    Null,
    Bool(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// Text that is not YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) line: usize,
    pub(crate) message: String,
}

/// The documents of a file; empty ones are left out.
pub(crate) fn parse(text: &str) -> Result<Vec<Node>, SyntaxError> {
    let documents = MarkedYaml::load_from_str(text).map_err(|error| SyntaxError {
        line: error.marker().line(),
        message: format!("is not valid YAML: {}", error.info()),
    })?;
    let nodes: Result<Vec<Node>, SyntaxError> = documents.iter().map(node).collect();
    let is_empty = |node: &Node| node.content == Content::Null;
    Ok(nodes?.into_iter().filter(|node| !is_empty(node)).collect())
}

fn node(yaml: &MarkedYaml<'_>) -> Result<Node, SyntaxError> {
    let line = yaml.span.start.line();
    let refuse = |message: &str| SyntaxError {
        line,
        message: message.to_owned(),
    };
    let content = match &yaml.data {
        YamlData::Value(scalar) => scalar_content(scalar),
        YamlData::Sequence(items) => {
            let items: Result<Vec<Node>, SyntaxError> = items.iter().map(node).collect();
            Content::List(items?)
        }
        YamlData::Mapping(entries) => {
            let mut fields = Vec::with_capacity(entries.len());
            for (key, value) in entries {
                let name = match &key.data {
                    YamlData::Value(Scalar::String(name)) => name.to_string(),
                    YamlData::Value(scalar) => plain_key(scalar),
                    _ => return Err(refuse("a key must be a plain word")),
                };
                let mut value = node(value)?;
                value.line = key.span.start.line();
                fields.push((name, value));
            }
            Content::Map(fields)
        }
        YamlData::Tagged(_, inner) => return node(inner),
        YamlData::Representation(..) | YamlData::Alias(_) | YamlData::BadValue => {
            return Err(refuse("is not a value that YAML can have here"));
        }
    };
    Ok(Node { line, content })
}

fn scalar_content(scalar: &Scalar<'_>) -> Content {
    match scalar {
        Scalar::Null => Content::Null,
        Scalar::Boolean(value) => Content::Bool(*value),
        Scalar::Integer(value) => Content::Integer(*value),
        Scalar::FloatingPoint(value) => Content::Number(value.into_inner()),
        Scalar::String(text) => Content::Text(text.to_string()),
    }
}

/// Keys are text, whatever they look like.
fn plain_key(scalar: &Scalar<'_>) -> String {
    match scalar {
        Scalar::Null => "null".to_owned(),
        Scalar::Boolean(value) => value.to_string(),
        Scalar::Integer(value) => value.to_string(),
        Scalar::FloatingPoint(value) => value.to_string(),
        Scalar::String(text) => text.to_string(),
    }
}

impl Node {
    /// The field of a map.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        let Content::Map(fields) = &self.content else {
            return None;
        };
        let (_, field) = fields.iter().find(|(field, _)| field == name)?;
        Some(field)
    }

    /// The text of a field.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match &self.get(name)?.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The line of a field, or of the deepest part of its path that is there.
    pub(crate) fn line_of(&self, path: &str) -> usize {
        let mut at = self;
        for step in path.split(['.', '[', ']']).filter(|step| !step.is_empty()) {
            let next = match (&at.content, step.parse::<usize>()) {
                (Content::List(items), Ok(index)) => items.get(index),
                _ => at.get(step),
            };
            let Some(next) = next else { break };
            at = next;
        }
        at.line
    }

    /// The value as JSON, without fields that are null: they count as absent, as on an API server.
    pub(crate) fn to_json(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool(value) => Value::Bool(*value),
            Content::Integer(value) => Value::from(*value),
            Content::Number(value) => Number::from_f64(*value).map_or(Value::Null, Value::Number),
            Content::Text(text) => Value::String(text.clone()),
            Content::List(items) => items.iter().map(Self::to_json).collect(),
            Content::Map(fields) => {
                let present = fields
                    .iter()
                    .filter(|(_, field)| field.content != Content::Null)
                    .map(|(name, field)| (name.clone(), field.to_json()));
                Value::Object(present.collect::<Map<_, _>>())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEXT: &str = "\
# a comment
a: 1
b:
  - c: x
    d: null
---
# nothing
---
e: &anchor {f: 'true', g: [1.5, yes]}
h: *anchor
";

    #[test]
    fn documents_become_values_and_empty_ones_go() {
        let documents = parse(TEXT).unwrap();
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[0].to_json(), json!({"a": 1, "b": [{"c": "x"}]}));
        let shared = json!({"f": "true", "g": [1.5, "yes"]});
        assert_eq!(documents[1].to_json(), json!({"e": shared, "h": shared}));
    }

    #[test]
    fn paths_lead_to_lines() {
        let documents = parse(TEXT).unwrap();
        assert_eq!(documents[0].line_of("a"), 2);
        assert_eq!(documents[0].line_of("b[0].d"), 5);
        assert_eq!(documents[0].line_of("b[0].missing.deeper"), 4);
        assert_eq!(documents[1].line_of("e.g[1]"), 9);
    }

    #[test]
    fn broken_text_names_its_line() {
        let error = parse("a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
        assert!(
            error.line >= 2 && error.message.contains("not valid YAML"),
            "{error:?}"
        );
        let error = parse("a: 1\na: 2\n").unwrap_err();
        assert_eq!(error.line, 2, "{error:?}");
    }
}
