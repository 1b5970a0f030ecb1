//! Which tables a source captures.

use crate::schema::TableId;

/// Include and exclude patterns over `schema.table`, where `*` stands for any run of characters
/// and `?` for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSelection {
    include: Vec<String>,
    exclude: Vec<String>,
}

impl TableSelection {
    /// Selects the tables that match any of `include` and none of `exclude`.
    pub fn new(include: Vec<String>, exclude: Vec<String>) -> Self {
        Self { include, exclude }
    }

    /// Whether the table is captured.
    pub fn contains(&self, table: &TableId) -> bool {
        let name = table.to_string();
        let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, &name));
        any(&self.include) && !any(&self.exclude)
    }

    /// The include patterns that match none of the tables.
    pub fn unmatched<'a>(&'a self, tables: &'a [TableId]) -> impl Iterator<Item = &'a str> {
        self.include.iter().map(String::as_str).filter(|pattern| {
            !tables
                .iter()
                .any(|table| matches(pattern, &table.to_string()))
        })
    }
}

/// Whether a glob of `*` and `?` matches the whole text.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut at_pattern, mut at_text) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while at_text < text.len() {
        match pattern.get(at_pattern) {
            Some('*') => {
                last_star = Some((at_pattern, at_text));
                at_pattern += 1;
            }
            Some(&expected) if expected == '?' || expected == text[at_text] => {
                at_pattern += 1;
                at_text += 1;
            }
            _ => match last_star {
                Some((star, matched)) => {
                    last_star = Some((star, matched + 1));
                    at_pattern = star + 1;
                    at_text = matched + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at_pattern..].iter().all(|&rest| rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_select_tables() {
        let selection = TableSelection::new(
            vec!["shop.*".into(), "crm.cust?mers".into()],
            vec!["shop.audit_*".into()],
        );
        let contains = |name: &str| selection.contains(&name.parse().unwrap());
        assert!(contains("shop.orders"));
        assert!(contains("crm.customers"));
        assert!(!contains("shop.audit_2024"));
        assert!(!contains("shopping.orders"));
        assert!(!contains("crm.cust"));
    }

    #[test]
    fn globs_backtrack() {
        assert!(matches("a*b*c", "axxbyybzzc"));
        assert!(!matches("a*b*c", "axxbyybzz"));
        assert!(matches("*", ""));
        assert!(!matches("?", ""));
    }
}
