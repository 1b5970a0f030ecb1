//! Values as JSON, for dead letters and for arrays in JSON columns.

use serde_json::{Number, Value as Json, json};
use sluice_core::Value;

use crate::text::{hex, write_text};

/// A value as JSON: numbers as numbers, bytes as `{"hex": …}`, everything else as text. A value of
/// more than `bytes_max` bytes is named by its size; one that the source did not log is none.
pub(crate) fn value(value: &Value<'_>, bytes_max: usize) -> Option<Json> {
    Some(match value {
        Value::Unchanged => return None,
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(value) => json!(value),
        Value::UInt(value) => json!(value),
        Value::Float(value) => float(f64::from(*value)),
        Value::Double(value) => float(*value),
        Value::Bytes(bytes) => in_hex(bytes, bytes_max),
        Value::Geometry(geometry) => {
            let mut object = in_hex(geometry.wkb, bytes_max);
            if let Json::Object(object) = &mut object {
                object.insert("srid".into(), json!(geometry.srid));
            }
            object
        }
        Value::Array(elements) => {
            let elements = elements
                .values()
                .filter_map(|element| self::value(&element, bytes_max));
            Json::Array(elements.collect())
        }
        other => text(other, bytes_max),
    })
}

fn float(value: f64) -> Json {
    Number::from_f64(value).map_or_else(|| json!(value.to_string()), Json::Number)
}

fn in_hex(bytes: &[u8], bytes_max: usize) -> Json {
    if bytes.len() > bytes_max {
        return json!({ "bytes": bytes.len() });
    }
    json!({ "hex": hex(bytes) })
}

fn text(value: &Value<'_>, bytes_max: usize) -> Json {
    let mut text = String::new();
    if !matches!(write_text(value, &mut text), Ok(true)) {
        return Json::Null;
    }
    if text.len() > bytes_max {
        return json!({ "bytes": text.len() });
    }
    // jsonb can't hold NUL.
    if text.contains('\0') {
        return in_hex(text.as_bytes(), bytes_max);
    }
    Json::String(text)
}
