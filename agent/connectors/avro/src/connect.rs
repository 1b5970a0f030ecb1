//! Kafka Connect's schema model, as far as records of tables use it.
//!
//! Both formats are written from this model, and what both formats say about a foreign record is
//! read into it. Its JSON form is the one of `org.apache.kafka.connect.json.JsonConverter`.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value as Json;

/// A Connect schema.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Schema {
    pub(crate) kind: Kind,
    pub(crate) optional: bool,
    pub(crate) name: Option<String>,
    pub(crate) version: Option<i64>,
    pub(crate) doc: Option<String>,
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) default: Option<Literal>,
}

/// The kind of a schema's values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Int8,
    Int16,
    Int32,
    Int64,
    Float32,
    Float64,
    Boolean,
    String,
    Bytes,
    Array(Box<Schema>),
    Map(Box<Schema>, Box<Schema>),
    Struct(Vec<Field>),
}

/// A field of a struct.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) schema: Schema,
}

/// A default.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    Int(i64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Schema {
    /// A required schema without a name.
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            optional: false,
            name: None,
            version: None,
            doc: None,
            parameters: Vec::new(),
            default: None,
        }
    }

    /// A logical type: name and version 1.
    pub(crate) fn named(kind: Kind, name: &str) -> Self {
        Self {
            name: Some(name.to_owned()),
            version: Some(1),
            ..Self::new(kind)
        }
    }

    pub(crate) fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    pub(crate) fn version(mut self, version: i64) -> Self {
        self.version = Some(version);
        self
    }

    pub(crate) fn doc(mut self, doc: &str) -> Self {
        self.doc = Some(doc.to_owned());
        self
    }

    pub(crate) fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.parameters.push((key.to_owned(), value.into()));
        self
    }

    pub(crate) fn field(mut self, name: &str, schema: Self) -> Self {
        if let Kind::Struct(fields) = &mut self.kind {
            fields.push(Field {
                name: name.to_owned(),
                schema,
            });
        }
        self
    }

    /// The value of a parameter.
    pub(crate) fn parameter(&self, key: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    /// The fields of a struct; none for other kinds.
    pub(crate) fn fields(&self) -> &[Field] {
        match &self.kind {
            Kind::Struct(fields) => fields,
            _ => &[],
        }
    }

    /// The schema of a struct's field.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        self.fields()
            .iter()
            .find(|field| field.name == name)
            .map(|field| &field.schema)
    }

    /// The type's name in Connect's JSON.
    pub(crate) fn type_name(&self) -> &'static str {
        match self.kind {
            Kind::Int8 => "int8",
            Kind::Int16 => "int16",
            Kind::Int32 => "int32",
            Kind::Int64 => "int64",
            Kind::Float32 => "float",
            Kind::Float64 => "double",
            Kind::Boolean => "boolean",
            Kind::String => "string",
            Kind::Bytes => "bytes",
            Kind::Array(_) => "array",
            Kind::Map(..) => "map",
            Kind::Struct(_) => "struct",
        }
    }

    /// Appends the schema as JsonConverter writes it; `field` is its name inside of a struct.
    pub(crate) fn write_json(&self, field: Option<&str>, out: &mut String) {
        out.push_str("{\"type\":\"");
        out.push_str(self.type_name());
        out.push('"');
        match &self.kind {
            Kind::Struct(fields) => {
                out.push_str(",\"fields\":[");
                for (index, inner) in fields.iter().enumerate() {
                    separate(index, out);
                    inner.schema.write_json(Some(&inner.name), out);
                }
                out.push(']');
            }
            Kind::Array(items) => {
                out.push_str(",\"items\":");
                items.write_json(None, out);
            }
            Kind::Map(keys, values) => {
                out.push_str(",\"keys\":");
                keys.write_json(None, out);
                out.push_str(",\"values\":");
                values.write_json(None, out);
            }
            _ => {}
        }
        out.push_str(",\"optional\":");
        out.push_str(if self.optional { "true" } else { "false" });
        if let Some(name) = &self.name {
            out.push_str(",\"name\":");
            quote(name, out);
        }
        if let Some(version) = self.version {
            out.push_str(",\"version\":");
            out.push_str(&version.to_string());
        }
        if let Some(doc) = &self.doc {
            out.push_str(",\"doc\":");
            quote(doc, out);
        }
        write_parameters(",\"parameters\":", &self.parameters, out);
        if let Some(default) = &self.default {
            out.push_str(",\"default\":");
            match default {
                Literal::Bytes(bytes) => quote(&STANDARD.encode(bytes), out),
                other => write_literal(other, out),
            }
        }
        if let Some(field) = field {
            out.push_str(",\"field\":");
            quote(field, out);
        }
        out.push('}');
    }

    /// Reads a schema in JsonConverter's form; `None` when it is not one.
    pub(crate) fn from_json(json: &Json) -> Option<Self> {
        let kind = match json.get("type")?.as_str()? {
            "int8" => Kind::Int8,
            "int16" => Kind::Int16,
            "int32" => Kind::Int32,
            "int64" => Kind::Int64,
            "float" => Kind::Float32,
            "double" => Kind::Float64,
            "boolean" => Kind::Boolean,
            "string" => Kind::String,
            "bytes" => Kind::Bytes,
            "array" => Kind::Array(Box::new(Self::from_json(json.get("items")?)?)),
            "map" => Kind::Map(
                Box::new(Self::from_json(json.get("keys")?)?),
                Box::new(Self::from_json(json.get("values")?)?),
            ),
            "struct" => {
                let mut fields = Vec::new();
                for field in json.get("fields")?.as_array()? {
                    fields.push(Field {
                        name: field.get("field")?.as_str()?.to_owned(),
                        schema: Self::from_json(field)?,
                    });
                }
                Kind::Struct(fields)
            }
            _ => return None,
        };
        let text = |key: &str| json.get(key).and_then(Json::as_str).map(str::to_owned);
        Some(Self {
            kind,
            optional: json.get("optional").and_then(Json::as_bool) == Some(true),
            name: text("name"),
            version: json.get("version").and_then(Json::as_i64),
            doc: text("doc"),
            parameters: parameters(json.get("parameters")),
            default: None,
        })
    }
}

/// Reads a map of parameters.
pub(crate) fn parameters(json: Option<&Json>) -> Vec<(String, String)> {
    let entries = json.and_then(Json::as_object).into_iter().flatten();
    entries
        .map(|(key, value)| {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            (key.clone(), value)
        })
        .collect()
}

/// Appends a map of parameters behind its key, if there are any.
pub(crate) fn write_parameters(key: &str, parameters: &[(String, String)], out: &mut String) {
    if parameters.is_empty() {
        return;
    }
    out.push_str(key);
    out.push('{');
    for (index, (name, value)) in parameters.iter().enumerate() {
        separate(index, out);
        quote(name, out);
        out.push(':');
        quote(value, out);
    }
    out.push('}');
}

/// Appends a default; bytes as Avro writes them, one character for each.
pub(crate) fn write_literal(literal: &Literal, out: &mut String) {
    match literal {
        Literal::Int(value) => out.push_str(&value.to_string()),
        Literal::Double(value) => out.push_str(ryu::Buffer::new().format(*value)),
        Literal::Text(text) => quote(text, out),
        Literal::Bytes(bytes) => {
            let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
            quote(&text, out);
        }
    }
}

/// Appends a comma between elements.
pub(crate) fn separate(index: usize, out: &mut String) {
    if index > 0 {
        out.push(',');
    }
}

/// Appends a JSON string.
pub(crate) fn quote(text: &str, out: &mut String) {
    out.push_str(&Json::String(text.to_owned()).to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_survives_its_json_form() {
        let schema = Schema::named(Kind::Struct(Vec::new()), "a.b.Value")
            .field("id", Schema::new(Kind::Int32).with("x", "\"y\""))
            .field(
                "list",
                Schema::new(Kind::Array(Box::new(Schema::new(Kind::Float32)))).optional(),
            )
            .doc("why");
        let mut text = String::new();
        schema.write_json(None, &mut text);
        let json = serde_json::from_str(&text).unwrap();
        assert_eq!(Schema::from_json(&json), Some(schema));
    }

    #[test]
    fn a_field_reads_as_json_converter_writes_it() {
        let mut text = String::new();
        let mut schema = Schema::named(Kind::Bytes, "org.apache.kafka.connect.data.Decimal")
            .with("scale", "2")
            .optional();
        schema.default = Some(Literal::Bytes(vec![1]));
        schema.write_json(Some("total"), &mut text);
        assert_eq!(
            text,
            r#"{"type":"bytes","optional":true,"name":"org.apache.kafka.connect.data.Decimal","version":1,"parameters":{"scale":"2"},"default":"AQ==","field":"total"}"#
        );
    }
}
