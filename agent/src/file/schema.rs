//! Checks a document against the schema that the API server would use, strictly: a field that the
//! schema does not know is an error, not a warning.
//!
//! Finds everything at once. CEL rules are not evaluated here; `sluice-convert` has them.

use regex_lite::Regex;
use serde_json::Value;

use crate::file::document::{Content, Node};

/// Something wrong in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The field.
    pub(crate) path: String,
    /// Its line.
    pub(crate) line: usize,
    /// What is wrong.
    pub(crate) message: String,
}

/// What a document has that its schema does not allow.
pub(crate) fn check(schema: &Value, document: &Node) -> Vec<Fault> {
    let mut checker = Checker { faults: Vec::new() };
    checker.check(schema, document, "");
    checker.faults
}

struct Checker {
    faults: Vec<Fault>,
}

impl Checker {
    fn fault(&mut self, path: &str, line: usize, message: impl Into<String>) {
        self.faults.push(Fault {
            path: path.to_owned(),
            line,
            message: message.into(),
        });
    }

    fn check(&mut self, schema: &Value, node: &Node, path: &str) {
        if schema["x-kubernetes-int-or-string"] == true {
            if !matches!(
                node.content,
                Content::Integer(_) | Content::Number(_) | Content::Text(_)
            ) {
                self.fault(path, node.line, "must be a number or text");
            }
            return;
        }
        let expected = schema["type"].as_str().unwrap_or_default();
        match (&node.content, expected) {
            (Content::Map(fields), "object") => self.map(schema, node, fields, path),
            (Content::List(items), "array") => self.list(schema, node, items, path),
            (Content::Text(text), "string") => self.text(schema, node.line, text, path),
            (Content::Integer(value), "integer" | "number") => {
                self.number(schema, node.line, *value as f64, path);
            }
            (Content::Number(value), "number") => self.number(schema, node.line, *value, path),
            (Content::Bool(_), "boolean") | (_, "") => {}
            (found, expected) => {
                let mut message = format!("must be {}, not {}", named(expected), kind(found));
                if expected == "string" && !matches!(found, Content::Map(_) | Content::List(_)) {
                    message.push_str("; put it in quotes");
                }
                self.fault(path, node.line, message);
            }
        }
    }

    fn map(&mut self, schema: &Value, node: &Node, fields: &[(String, Node)], path: &str) {
        let known = schema["properties"].as_object();
        let values = schema
            .get("additionalProperties")
            .filter(|values| values.is_object());
        let open = known.is_none() && values.is_none()
            || schema["x-kubernetes-preserve-unknown-fields"] == true;
        for (name, field) in fields {
            let below = join(path, name);
            match (known.and_then(|known| known.get(name)), values) {
                // A field without a value counts as absent, but in a map of names it is a slip.
                (Some(_), _) if field.content == Content::Null => {}
                (Some(schema), _) => self.check(schema, field, &below),
                (None, Some(_)) if field.content == Content::Null => {
                    self.fault(&below, field.line, "has no value");
                }
                (None, Some(values)) => self.check(values, field, &below),
                (None, None) if open => {}
                (None, None) => {
                    let names = known.into_iter().flat_map(|known| known.keys());
                    self.fault(&below, field.line, unknown(name, names.map(String::as_str)));
                }
            }
        }
        for name in schema["required"].as_array().into_iter().flatten() {
            let name = name.as_str().unwrap_or_default();
            let field = fields.iter().find(|(field, _)| field == name);
            if field.is_none_or(|(_, field)| field.content == Content::Null) {
                let line = field.map_or(node.line, |(_, field)| field.line);
                self.fault(&join(path, name), line, "is missing");
            }
        }
        self.count(
            schema,
            node.line,
            ("minProperties", "maxProperties", fields.len()),
            path,
        );
    }

    fn list(&mut self, schema: &Value, node: &Node, items: &[Node], path: &str) {
        for (index, item) in items.iter().enumerate() {
            self.check(&schema["items"], item, &format!("{path}[{index}]"));
        }
        self.count(
            schema,
            node.line,
            ("minItems", "maxItems", items.len()),
            path,
        );
    }

    fn count(&mut self, schema: &Value, line: usize, limits: (&str, &str, usize), path: &str) {
        let (least, most, count) = limits;
        let limit = |name: &str| schema[name].as_u64().map(|limit| limit as usize);
        if let Some(least) = limit(least).filter(|least| count < *least) {
            self.fault(
                path,
                line,
                format!("must have at least {least} {}", entries(least)),
            );
        }
        if let Some(most) = limit(most).filter(|most| count > *most) {
            self.fault(
                path,
                line,
                format!("can have {most} {} at most", entries(most)),
            );
        }
    }

    fn text(&mut self, schema: &Value, line: usize, text: &str, path: &str) {
        if let Some(words) = schema["enum"].as_array() {
            if !words.iter().any(|word| word == text) {
                let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
                self.fault(path, line, format!("must be one of {}", words.join(", ")));
            }
            return;
        }
        let length = text.chars().count();
        let limit = |name: &str| schema[name].as_u64().map(|limit| limit as usize);
        if limit("minLength").is_some_and(|least| length < least) && length == 0 {
            self.fault(path, line, "must not be empty");
        } else if let Some(most) = limit("maxLength").filter(|most| length > *most) {
            self.fault(path, line, format!("can have {most} characters at most"));
        } else if let Some(pattern) = schema["pattern"].as_str()
            && Regex::new(pattern).is_ok_and(|pattern| !pattern.is_match(text))
        {
            self.fault(path, line, expected_form(path, pattern));
        }
    }

    fn number(&mut self, schema: &Value, line: usize, number: f64, path: &str) {
        let (least, most) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
        let below = least.is_some_and(|least| number < least);
        let above = most.is_some_and(|most| number > most);
        match (least, most) {
            (Some(least), Some(most)) if below || above => {
                self.fault(path, line, format!("must be from {least} to {most}"));
            }
            (Some(least), _) if below => {
                self.fault(path, line, format!("must be {least} at least"));
            }
            (_, Some(most)) if above => self.fault(path, line, format!("must be {most} at most")),
            _ => {}
        }
    }
}

/// What a text should look like, in words where there are some.
fn expected_form(path: &str, pattern: &str) -> String {
    let field = path.rsplit('.').next().unwrap_or(path);
    match field.split('[').next().unwrap_or(field) {
        "include" | "exclude" | "source" => {
            "must be schema.table, such as shop.orders or shop.*".to_owned()
        }
        "target" => "must be schema.table without * and ?, such as sales.orders".to_owned(),
        "host" => "must be a host name or address alone, without scheme, user or path".to_owned(),
        "maxDelay" => "must be a whole number and a unit (ms, s or m), such as 100ms".to_owned(),
        "topic" => {
            "can have letters, digits, ., _ and - besides {source}, {schema} and {table}".to_owned()
        }
        "deadLetterTopic" => "must be a topic's name: letters, digits, ., _ and -".to_owned(),
        "bootstrapServers" => "must be host:port, several separated by commas".to_owned(),
        "url" | "endpoint" => "must be http(s)://host without user or password".to_owned(),
        "schedule" => "must be five cron fields, such as 0 3 * * *".to_owned(),
        "name" | "namespace" => {
            "must be lower-case letters, digits, - and . (as Kubernetes names are)".to_owned()
        }
        _ => format!("must match {pattern}"),
    }
}

fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    if ["password", "username", "user"].contains(&name) {
        return "unknown field: user and password go into a Secret, named by credentials.secretRef"
            .to_owned();
    }
    let nearest = known
        .map(|candidate| (distance(name, candidate), candidate))
        .min();
    match nearest {
        Some((distance, candidate)) if distance <= 1 + name.len() / 4 => {
            format!("unknown field; did you mean {candidate}?")
        }
        _ => "unknown field".to_owned(),
    }
}

/// How many letters must be put in, taken out or replaced, whatever their case.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, letter) in left.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn entries(count: usize) -> &'static str {
    if count == 1 { "entry" } else { "entries" }
}

fn named(expected: &str) -> &str {
    match expected {
        "object" => "a group of fields",
        "array" => "a list",
        "string" => "text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        other => other,
    }
}

fn kind(content: &Content) -> &'static str {
    match content {
        Content::Null => "nothing",
        Content::Bool(_) => "true or false",
        Content::Integer(_) | Content::Number(_) => "a number",
        Content::Text(_) => "text",
        Content::List(_) => "a list",
        Content::Map(_) => "a group of fields",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::file::document::parse;

    fn faults(yaml: &str) -> Vec<String> {
        let schema = json!({"type": "object", "required": ["host"], "properties": {
            "host": {"type": "string", "minLength": 1, "pattern": "^[^\\s/@]+$"},
            "port": {"type": "integer", "minimum": 1.0, "maximum": 65535.0},
            "mode": {"type": "string", "enum": ["A", "B"]},
            "on": {"type": "boolean"},
            "many": {"type": "array", "minItems": 1, "items": {"type": "string"}},
            "names": {"type": "object", "additionalProperties": {"type": "string"}},
            "any": {"type": "object"},
        }});
        let found = check(&schema, &parse(yaml).unwrap()[0]);
        let shown = found.iter();
        shown
            .map(|fault| format!("{} {}: {}", fault.line, fault.path, fault.message))
            .collect()
    }

    #[test]
    fn what_the_schema_allows_passes() {
        let yaml =
            "host: a\nport: 1\nmode: B\non: true\nmany: [x]\nnames: {a: b}\nany: {x: {y: 1}}\n";
        assert_eq!(faults(yaml), Vec::<String>::new());
        assert_eq!(faults("host: a\nport: null\n"), Vec::<String>::new());
    }

    #[test]
    fn everything_wrong_is_named_with_its_line() {
        let yaml = "prot: 1\nport: 70000\nmode: C\non: 'yes'\nmany: [1]\nnames: {a: }\n";
        assert_eq!(
            faults(yaml),
            [
                "1 prot: unknown field; did you mean port?",
                "2 port: must be from 1 to 65535",
                "3 mode: must be one of A, B",
                "4 on: must be true or false, not text",
                "5 many[0]: must be text, not a number; put it in quotes",
                "6 names.a: has no value",
                "1 host: is missing",
            ]
        );
        assert_eq!(
            faults("host: http://x\nmany: []\n"),
            [
                "1 host: must be a host name or address alone, without scheme, user or path",
                "2 many: must have at least 1 entry",
            ]
        );
    }
}
