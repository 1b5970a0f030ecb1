//! Pieces of SQL text: quoting of names and literals.

/// Quotes a name.
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a schema and a name inside it.
pub(crate) fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", identifier(schema), identifier(name))
}

/// Quotes a text; right under `standard_conforming_strings`.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Joins pieces with commas.
pub(crate) fn list(pieces: impl IntoIterator<Item = String>) -> String {
    pieces.into_iter().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_and_texts_are_quoted() {
        assert_eq!(qualified("my schema", "a\"b"), "\"my schema\".\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
    }
}
