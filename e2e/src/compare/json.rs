//! A canonical form of JSON documents: keys sorted, no spaces, numbers by value however large.

use std::{collections::BTreeMap, iter::Peekable, str::Chars};

/// The canonical form; `None` when the text is not JSON.
pub(super) fn canonical(text: &str) -> Option<String> {
    let mut letters = text.chars().peekable();
    let document = value(&mut letters)?;
    skip_space(&mut letters);
    letters.next().is_none().then_some(document)
}

type Letters<'a> = Peekable<Chars<'a>>;

fn skip_space(letters: &mut Letters<'_>) {
    while letters.next_if(char::is_ascii_whitespace).is_some() {}
}

fn value(letters: &mut Letters<'_>) -> Option<String> {
    skip_space(letters);
    match letters.peek()? {
        '{' => object(letters),
        '[' => array(letters),
        '"' => string(letters),
        _ => {
            let is_part = |letter: &char| letter.is_ascii_alphanumeric() || "+-.".contains(*letter);
            let mut token = String::new();
            while let Some(letter) = letters.next_if(is_part) {
                token.push(letter);
            }
            match token.as_str() {
                "true" | "false" | "null" => Some(token),
                _ => number(&token),
            }
        }
    }
}

fn object(letters: &mut Letters<'_>) -> Option<String> {
    let mut members = BTreeMap::new();
    letters.next();
    loop {
        skip_space(letters);
        match letters.peek()? {
            '}' => break,
            ',' => {
                letters.next();
            }
            _ => {
                let key = string(letters)?;
                skip_space(letters);
                letters.next_if_eq(&':')?;
                members.insert(key, value(letters)?);
            }
        }
    }
    letters.next();
    let members: Vec<String> = members
        .iter()
        .map(|(key, value)| format!("{key}:{value}"))
        .collect();
    Some(format!("{{{}}}", members.join(",")))
}

fn array(letters: &mut Letters<'_>) -> Option<String> {
    let mut items = Vec::new();
    letters.next();
    loop {
        skip_space(letters);
        match letters.peek()? {
            ']' => break,
            ',' => {
                letters.next();
            }
            _ => items.push(value(letters)?),
        }
    }
    letters.next();
    Some(format!("[{}]", items.join(",")))
}

fn string(letters: &mut Letters<'_>) -> Option<String> {
    letters.next_if_eq(&'"')?;
    let mut token = String::from('"');
    loop {
        let letter = letters.next()?;
        token.push(letter);
        match letter {
            '\\' => token.push(letters.next()?),
            '"' => break,
            _ => {}
        }
    }
    // Both servers may escape differently.
    let text: String = serde_json::from_str(&token).ok()?;
    serde_json::to_string(&text).ok()
}

/// `sign digits e exponent` without leading or trailing zeros.
fn number(token: &str) -> Option<String> {
    let (sign, rest) = match token.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", token),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let significant = digits.trim_start_matches('0');
    let trimmed = significant.trim_end_matches('0');
    if trimmed.is_empty() {
        return Some("0".to_owned());
    }
    let zeros = (significant.len() - trimmed.len()) as i64;
    let exponent = exponent - fraction.len() as i64 + zeros;
    Some(format!("{sign}{trimmed}e{exponent}"))
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn documents_that_mean_the_same_are_the_same() {
        for (left, right) in [
            ("1", "1.0"),
            ("1e2", "100"),
            ("-0.0", "0"),
            ("18446744073709551615", "1.8446744073709551615e19"),
            ("1E-3", "0.001"),
            (
                r#"{"a": 1, "b": [true, null]}"#,
                r#"{"b":[true,null],"a":1}"#,
            ),
            (r#""\u00e9\/""#, "\"é/\""),
        ] {
            assert!(canonical(left).is_some(), "{left}");
            assert_eq!(canonical(left), canonical(right), "{left} {right}");
        }
    }

    #[test]
    fn documents_that_differ_are_different() {
        assert_ne!(
            canonical("18446744073709551615"),
            canonical("18446744073709551616")
        );
        assert_ne!(canonical("\"1\""), canonical("1"));
        assert_ne!(canonical("[1,2]"), canonical("[2,1]"));
        assert_eq!(canonical("nonsense"), None);
        assert_eq!(canonical("{} {}"), None);
    }
}
