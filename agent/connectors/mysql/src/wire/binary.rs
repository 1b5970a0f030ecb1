//! Parameters of prepared statements.

use crate::wire::read::put_packed_bytes;

/// A parameter, in one of the few forms that keys need.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Parameter<'a> {
    Int(i64),
    UInt(u64),
    Double(f64),
    /// Also decimals and temporals, which the server converts from their text.
    Text(std::borrow::Cow<'a, str>),
    Bytes(&'a [u8]),
}

const LONGLONG: u8 = 8;
const DOUBLE: u8 = 5;
const BLOB: u8 = 252;
const VAR_STRING: u8 = 253;
const UNSIGNED: u8 = 0x80;

/// Appends the part of an execute command that carries parameters.
pub(crate) fn put_parameters(out: &mut Vec<u8>, parameters: &[Parameter<'_>]) {
    if parameters.is_empty() {
        return;
    }
    // No parameter is ever NULL: a key has none.
    out.resize(out.len() + parameters.len().div_ceil(8), 0);
    out.push(1); // The types follow.
    for parameter in parameters {
        out.extend_from_slice(&match parameter {
            Parameter::Int(_) => [LONGLONG, 0],
            Parameter::UInt(_) => [LONGLONG, UNSIGNED],
            Parameter::Double(_) => [DOUBLE, 0],
            Parameter::Text(_) => [VAR_STRING, 0],
            Parameter::Bytes(_) => [BLOB, 0],
        });
    }
    for parameter in parameters {
        match parameter {
            Parameter::Int(number) => out.extend_from_slice(&number.to_le_bytes()),
            Parameter::UInt(number) => out.extend_from_slice(&number.to_le_bytes()),
            Parameter::Double(number) => out.extend_from_slice(&number.to_le_bytes()),
            Parameter::Text(text) => put_packed_bytes(out, text.as_bytes()),
            Parameter::Bytes(bytes) => put_packed_bytes(out, bytes),
        }
    }
}
