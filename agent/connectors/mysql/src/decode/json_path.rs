//! The paths of JSON differences: `$`, then `.name`, `."quoted name"` and `[index]`.

use super::reader::{Checked, Fault};

const MALFORMED: Fault = Fault::Malformed("is a JSON difference with a malformed path");

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Leg {
    /// Into an object's member.
    Member(String),
    /// Into an array's element.
    Element(usize),
}

/// Reads a path in its text form.
pub(crate) fn parse_path(bytes: &[u8]) -> Checked<Vec<Leg>> {
    let text = std::str::from_utf8(bytes).map_err(|_| MALFORMED)?;
    let mut rest = text.strip_prefix('$').unwrap_or(text);
    let mut legs = Vec::new();
    while !rest.is_empty() {
        if let Some(element) = rest.strip_prefix('[') {
            let (index, after) = element.split_once(']').ok_or(MALFORMED)?;
            legs.push(Leg::Element(index.trim().parse().map_err(|_| MALFORMED)?));
            rest = after;
        } else {
            let member = rest.strip_prefix('.').ok_or(MALFORMED)?;
            let (name, after) = if let Some(quoted) = member.strip_prefix('"') {
                unquote(quoted)?
            } else {
                let end = member.find(['.', '[']).unwrap_or(member.len());
                let (name, after) = member.split_at(end);
                (name.to_owned(), after)
            };
            legs.push(Leg::Member(name));
            rest = after;
        }
    }
    Ok(legs)
}

/// Reads a JSON string after its first quote; answers with it and what follows.
fn unquote(text: &str) -> Checked<(String, &str)> {
    let mut name = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next().ok_or(MALFORMED)? {
            '"' => return Ok((name, chars.as_str())),
            '\\' => name.push(match chars.next().ok_or(MALFORMED)? {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                // The server escapes control characters alone this way, never a surrogate.
                'u' => {
                    let (digits, after) = chars.as_str().split_at_checked(4).ok_or(MALFORMED)?;
                    chars = after.chars();
                    let code = u32::from_str_radix(digits, 16).map_err(|_| MALFORMED)?;
                    char::from_u32(code).ok_or(MALFORMED)?
                }
                other => other,
            }),
            other => name.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str) -> Leg {
        Leg::Member(name.to_owned())
    }

    #[test]
    fn every_form_of_a_leg_is_read() {
        assert_eq!(parse_path(b"$"), Ok(vec![]));
        assert_eq!(
            parse_path(br#"$.a[12]."b \"c\".d\u0001".e"#),
            Ok(vec![
                member("a"),
                Leg::Element(12),
                member("b \"c\".d\u{1}"),
                member("e")
            ])
        );
    }

    #[test]
    fn malformed_paths_are_faults() {
        for path in [&b"$a"[..], b"$[", b"$[x]", b"$.\"a", b"$.\"\\u12", b"\xff"] {
            assert!(parse_path(path).is_err());
        }
    }
}
