//! Connect schemas as Avro schemas, the way Confluent's `AvroData` makes them
//! (confluentinc/schema-registry@794611bd86, `fromConnectSchema` with its defaults), and
//! Apicurio's copy of it: `connect.name`, `connect.version`, `connect.parameters`,
//! `connect.default` and `connect.type` say what Avro can't, and a record that was defined before
//! is named.

use std::collections::HashSet;

use crate::connect::{
    Field, Kind, Literal, Schema, quote, separate, write_literal, write_parameters,
};

/// Precision that Connect assumes of a decimal that names none.
const DECIMAL_PRECISION: u16 = 64;

/// The Avro schema's JSON.
pub(crate) fn avro_schema(schema: &Schema) -> String {
    let mut writer = Writer {
        out: String::new(),
        defined: HashSet::new(),
    };
    writer.schema(schema);
    writer.out
}

struct Writer {
    out: String,
    defined: HashSet<String>,
}

impl Writer {
    fn schema(&mut self, schema: &Schema) {
        if !schema.optional {
            return self.base(schema);
        }
        // A union's default must be of its first branch.
        let null_first = schema.default.is_none();
        self.out
            .push_str(if null_first { "[\"null\"," } else { "[" });
        self.base(schema);
        self.out
            .push_str(if null_first { "]" } else { ",\"null\"]" });
    }

    fn base(&mut self, schema: &Schema) {
        match &schema.kind {
            Kind::Struct(fields) => return self.record(schema, fields),
            Kind::Array(items) => {
                self.out.push_str("{\"type\":\"array\",\"items\":");
                self.schema(items);
            }
            Kind::Map(_, values) => {
                self.out.push_str("{\"type\":\"map\",\"values\":");
                self.schema(values);
            }
            _ => {
                let ty = primitive(&schema.kind);
                if is_plain(schema) {
                    self.out.push('"');
                    self.out.push_str(ty);
                    self.out.push('"');
                    return;
                }
                self.out.push_str("{\"type\":\"");
                self.out.push_str(ty);
                self.out.push('"');
            }
        }
        self.logical(schema);
        self.properties(schema);
        self.out.push('}');
    }

    fn record(&mut self, schema: &Schema, fields: &[Field]) {
        let full_name = schema.name.as_deref().unwrap_or("ConnectDefault");
        if !self.defined.insert(full_name.to_owned()) {
            return quote(full_name, &mut self.out);
        }
        let (namespace, name) = full_name.rsplit_once('.').unwrap_or(("", full_name));
        self.out.push_str("{\"type\":\"record\",\"name\":");
        quote(name, &mut self.out);
        if !namespace.is_empty() {
            self.out.push_str(",\"namespace\":");
            quote(namespace, &mut self.out);
        }
        self.out.push_str(",\"fields\":[");
        for (index, field) in fields.iter().enumerate() {
            separate(index, &mut self.out);
            self.out.push_str("{\"name\":");
            quote(&field.name, &mut self.out);
            self.out.push_str(",\"type\":");
            self.schema(&field.schema);
            if let Some(default) = &field.schema.default {
                self.out.push_str(",\"default\":");
                write_literal(default, &mut self.out);
            } else if field.schema.optional {
                self.out.push_str(",\"default\":null");
            }
            self.out.push('}');
        }
        self.out.push(']');
        self.properties(schema);
        self.out.push('}');
    }

    fn logical(&mut self, schema: &Schema) {
        let text = match schema.name.as_deref() {
            Some(crate::types::DECIMAL) => {
                let number = |key| {
                    schema
                        .parameter(key)
                        .and_then(|text| text.parse::<u16>().ok())
                };
                let scale = number("scale").unwrap_or(0);
                let precision = number(crate::types::PRECISION).unwrap_or(DECIMAL_PRECISION);
                format!(",\"scale\":{scale},\"precision\":{precision},\"logicalType\":\"decimal\"")
            }
            _ => return,
        };
        self.out.push_str(&text);
    }

    fn properties(&mut self, schema: &Schema) {
        if let Some(doc) = &schema.doc {
            self.out.push_str(",\"connect.doc\":");
            quote(doc, &mut self.out);
        }
        if let Some(version) = schema.version {
            self.out.push_str(",\"connect.version\":");
            self.out.push_str(&version.to_string());
        }
        write_parameters(
            ",\"connect.parameters\":",
            &schema.parameters,
            &mut self.out,
        );
        if let Some(default) = &schema.default {
            self.out.push_str(",\"connect.default\":");
            write_literal(default, &mut self.out);
        }
        if let Some(name) = &schema.name {
            self.out.push_str(",\"connect.name\":");
            quote(name, &mut self.out);
        }
        if let Some(ty) = narrow(&schema.kind) {
            self.out.push_str(",\"connect.type\":\"");
            self.out.push_str(ty);
            self.out.push('"');
        }
    }
}

fn primitive(kind: &Kind) -> &'static str {
    match kind {
        Kind::Int8 | Kind::Int16 | Kind::Int32 => "int",
        Kind::Int64 => "long",
        Kind::Float32 => "float",
        Kind::Float64 => "double",
        Kind::Boolean => "boolean",
        Kind::Bytes => "bytes",
        _ => "string",
    }
}

/// Connect's types that Avro has no type of its own for.
fn narrow(kind: &Kind) -> Option<&'static str> {
    match kind {
        Kind::Int8 => Some("int8"),
        Kind::Int16 => Some("int16"),
        _ => None,
    }
}

fn is_plain(schema: &Schema) -> bool {
    let default: &Option<Literal> = &schema.default;
    schema.name.is_none()
        && schema.version.is_none()
        && schema.doc.is_none()
        && schema.parameters.is_empty()
        && default.is_none()
        && narrow(&schema.kind).is_none()
}
