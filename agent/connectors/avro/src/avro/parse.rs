//! An Avro schema's JSON, read for decoding: what lies in the bytes, and what Connect says it is
//! (`AvroData.toConnectSchema`).

use std::{collections::HashMap, sync::Arc};

use serde_json::Value as Json;

use crate::connect::{self, Field, Kind, Schema};

/// Deeper schemas are refused, lest the stack runs out.
const DEPTH_MAX: usize = 64;

/// A schema and what it means to Connect.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) wire: Wire,
    pub(crate) connect: Schema,
}

/// What lies in the bytes.
#[derive(Debug)]
pub(crate) enum Wire {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    Enum(Vec<String>),
    Array(Arc<Node>),
    Map(Arc<Node>),
    Record(Vec<(String, Arc<Node>)>),
    Union(Vec<Arc<Node>>),
}

/// The names that are defined so far; also those of schemas that others refer to.
pub(crate) type Names = HashMap<String, Arc<Node>>;

/// Reads a schema. The error says what about it can't be used.
pub(crate) fn parse(text: &str, names: &mut Names) -> Result<Arc<Node>, String> {
    let json: Json =
        serde_json::from_str(text).map_err(|error| format!("the schema is no JSON: {error}"))?;
    Parser { names, depth: 0 }.node(&json, "")
}

struct Parser<'a> {
    names: &'a mut Names,
    depth: usize,
}

impl Parser<'_> {
    fn node(&mut self, json: &Json, namespace: &str) -> Result<Arc<Node>, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!(
                "the schema is nested deeper than {DEPTH_MAX} levels"
            ));
        }
        let node = match json {
            Json::String(name) => self.named(name, namespace),
            Json::Array(branches) => self.union(branches, namespace),
            Json::Object(_) => self.object(json, namespace),
            _ => Err("the schema holds something that is no type".to_owned()),
        };
        self.depth -= 1;
        node
    }

    fn named(&self, name: &str, namespace: &str) -> Result<Arc<Node>, String> {
        if let Some((wire, kind)) = primitive(name) {
            return Ok(node(wire, Schema::new(kind)));
        }
        self.names
            .get(&full_name(name, namespace))
            .or_else(|| self.names.get(name))
            .map(Arc::clone)
            .ok_or_else(|| {
                format!("the type {name} is used before it is defined, or inside itself")
            })
    }

    fn union(&mut self, branches: &[Json], namespace: &str) -> Result<Arc<Node>, String> {
        let mut nodes = Vec::new();
        for branch in branches {
            nodes.push(self.node(branch, namespace)?);
        }
        let mut others = nodes.iter().filter(|node| !matches!(node.wire, Wire::Null));
        let connect = match (others.next(), others.next()) {
            (Some(only), None) => Schema {
                optional: nodes.len() > 1,
                ..only.connect.clone()
            },
            _ => Schema {
                optional: nodes.iter().any(|node| matches!(node.wire, Wire::Null)),
                ..Schema::named(Kind::Struct(Vec::new()), "io.confluent.connect.avro.Union")
            },
        };
        Ok(node(Wire::Union(nodes), connect))
    }

    fn object(&mut self, json: &Json, namespace: &str) -> Result<Arc<Node>, String> {
        let ty = match json.get("type") {
            Some(Json::String(ty)) => ty.as_str(),
            // `{"type": {"type": …}}`, and a union in the same place.
            Some(inner) => return self.node(inner, namespace),
            None => return Err("the schema holds an object without a type".to_owned()),
        };
        let (wire, kind) = match ty {
            "record" | "error" => return self.record(json, namespace),
            "array" => {
                let items = self.inner(json, "items", namespace)?;
                let schema = items.connect.clone();
                (Wire::Array(items), Kind::Array(Box::new(schema)))
            }
            "map" => {
                let values = self.inner(json, "values", namespace)?;
                let schema = Box::new(values.connect.clone());
                let keys = Box::new(Schema::new(Kind::String));
                (Wire::Map(values), Kind::Map(keys, schema))
            }
            "enum" => {
                let symbols = json.get("symbols").and_then(Json::as_array);
                let symbols = symbols.into_iter().flatten().filter_map(Json::as_str);
                (
                    Wire::Enum(symbols.map(str::to_owned).collect()),
                    Kind::String,
                )
            }
            "fixed" => {
                let size = json.get("size").and_then(Json::as_u64).unwrap_or(0);
                (Wire::Fixed(size as usize), Kind::Bytes)
            }
            name => match primitive(name) {
                Some(known) => known,
                None => return self.named(name, namespace),
            },
        };
        let node = node(wire, annotated(json, kind));
        if matches!(ty, "enum" | "fixed") {
            self.define(json, namespace, &node);
        }
        Ok(node)
    }

    fn inner(&mut self, json: &Json, key: &str, namespace: &str) -> Result<Arc<Node>, String> {
        match json.get(key) {
            Some(inner) => self.node(inner, namespace),
            None => Err(format!("the schema holds a type without {key}")),
        }
    }

    fn record(&mut self, json: &Json, namespace: &str) -> Result<Arc<Node>, String> {
        let full_name = declared_name(json, namespace);
        let inner = full_name
            .rsplit_once('.')
            .map_or("", |(namespace, _)| namespace);
        let mut wire = Vec::new();
        let mut fields = Vec::new();
        let definitions = json.get("fields").and_then(Json::as_array);
        for field in definitions.into_iter().flatten() {
            let name = field.get("name").and_then(Json::as_str);
            let name = name.ok_or("a record's field has no name")?.to_owned();
            let node = self.inner(field, "type", inner)?;
            fields.push(Field {
                name: name.clone(),
                schema: node.connect.clone(),
            });
            wire.push((name, node));
        }
        let mut schema = annotated(json, Kind::Struct(fields));
        schema.name.get_or_insert_with(|| full_name.clone());
        let node = node(Wire::Record(wire), schema);
        self.define(json, namespace, &node);
        Ok(node)
    }

    fn define(&mut self, json: &Json, namespace: &str, node: &Arc<Node>) {
        self.names
            .insert(declared_name(json, namespace), Arc::clone(node));
    }
}

fn node(wire: Wire, connect: Schema) -> Arc<Node> {
    Arc::new(Node { wire, connect })
}

fn primitive(name: &str) -> Option<(Wire, Kind)> {
    Some(match name {
        "null" => (Wire::Null, Kind::String),
        "boolean" => (Wire::Boolean, Kind::Boolean),
        "int" => (Wire::Int, Kind::Int32),
        "long" => (Wire::Long, Kind::Int64),
        "float" => (Wire::Float, Kind::Float32),
        "double" => (Wire::Double, Kind::Float64),
        "bytes" => (Wire::Bytes, Kind::Bytes),
        "string" => (Wire::Text, Kind::String),
        _ => return None,
    })
}

fn declared_name(json: &Json, namespace: &str) -> String {
    let text = |key: &str| json.get(key).and_then(Json::as_str);
    full_name(
        text("name").unwrap_or_default(),
        text("namespace").unwrap_or(namespace),
    )
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}.{name}")
    }
}

/// Reads what Connect added, or where it added nothing what Avro's own logical type says.
fn annotated(json: &Json, kind: Kind) -> Schema {
    let text = |key: &str| json.get(key).and_then(Json::as_str);
    let kind = match (text("connect.type"), kind) {
        (Some("int8"), Kind::Int32) => Kind::Int8,
        (Some("int16"), Kind::Int32) => Kind::Int16,
        (_, kind) => kind,
    };
    let mut schema = Schema::new(kind);
    schema.parameters = connect::parameters(json.get("connect.parameters"));
    schema.version = json.get("connect.version").and_then(Json::as_i64);
    schema.doc = text("connect.doc").map(str::to_owned);
    schema.name = text("connect.name").map(str::to_owned);
    let Some(logical) = text("logicalType") else {
        return schema;
    };
    if logical == "decimal" {
        for (key, parameter) in [("scale", "scale"), ("precision", crate::types::PRECISION)] {
            if let Some(number) = json.get(key).and_then(Json::as_u64)
                && schema.parameter(parameter).is_none()
                // Connect writes 64 where it knows no precision.
                && !(key == "precision" && schema.name.is_some())
            {
                schema
                    .parameters
                    .push((parameter.to_owned(), number.to_string()));
            }
        }
    }
    let name = match logical {
        "decimal" => crate::types::DECIMAL,
        "date" => "org.apache.kafka.connect.data.Date",
        "time-millis" => "org.apache.kafka.connect.data.Time",
        "time-micros" => "io.debezium.time.MicroTime",
        "local-timestamp-millis" => "io.debezium.time.Timestamp",
        "local-timestamp-micros" => "io.debezium.time.MicroTimestamp",
        "timestamp-millis" => "avro.timestamp-millis",
        "timestamp-micros" => "avro.timestamp-micros",
        "uuid" => "io.debezium.data.Uuid",
        _ => return schema,
    };
    schema.name.get_or_insert_with(|| name.to_owned());
    schema
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::avro::schema::avro_schema;

    #[test]
    fn a_schema_that_names_itself_is_refused() {
        let text = r#"{"type":"record","name":"a","fields":[{"name":"b","type":["null","a"]}]}"#;
        assert!(
            parse(text, &mut Names::new())
                .unwrap_err()
                .contains("inside itself")
        );
    }

    #[test]
    fn connects_schema_survives_avro() {
        let inner = Schema::named(Kind::Struct(Vec::new()), "x.y.Value")
            .field("small", Schema::new(Kind::Int16).with("p", "q"))
            .field(
                "list",
                Schema::new(Kind::Array(Box::new(Schema::new(Kind::String).optional()))),
            );
        let outer = Schema::named(Kind::Struct(Vec::new()), "x.y.Envelope")
            .field("before", inner.clone().optional())
            .field("after", inner.optional());
        let node = parse(&avro_schema(&outer), &mut Names::new()).unwrap();
        assert_eq!(node.connect, outer);
    }
}
