//! What is found about the selected tables.

use sluice_core::{Reason, Result, TableId, TableSchema, TableSelection};

use crate::{
    connect::{Connection, server_code},
    preflight::{Finding, filters},
    schema::{load_tables, quote_name, quote_table},
    server::{LogStatus, ServerFacts},
};

/// How many tables a message names at most.
const NAMED_MAX: usize = 5;

/// How many tables are tried for the right to read them.
const TRIED_MAX: usize = 1000;

pub(super) async fn examine_tables(
    connection: &mut Connection,
    facts: &ServerFacts,
    selection: &TableSelection,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let tables = load_tables(connection, selection).await?;
    let ids: Vec<TableId> = tables.iter().map(|table| table.id.clone()).collect();
    findings.extend(selected(facts, selection, &ids));
    findings.extend(readable(connection, facts, &ids).await?);
    let keyless: Vec<_> = tables
        .iter()
        .filter(|table| !table.has_key())
        .map(|table| &table.id)
        .collect();
    if let Some(first) = keyless.first() {
        findings.push(Finding::warning(
            "TableKeys",
            format!(
                "{} of {} tables have no key: their changes match whole rows, which is slow ({})",
                keyless.len(),
                ids.len(),
                named(&keyless)
            ),
            format!("ALTER TABLE {} ADD PRIMARY KEY (...)", quote_table(first)),
        ));
    } else if !ids.is_empty() {
        findings.push(Finding::passed("TableKeys", "every table has a key"));
    }
    findings.extend(wide_keys(&tables));
    let mut databases: Vec<&str> = ids.iter().map(|id| &*id.schema).collect();
    databases.dedup();
    if let Ok(Some(status)) = LogStatus::load(connection).await {
        findings.extend(filters(&status, &databases));
    }
    Ok(())
}

fn selected(facts: &ServerFacts, selection: &TableSelection, ids: &[TableId]) -> Vec<Finding> {
    const NAME: &str = "SelectedTables";
    let remedy = format!(
        "correct tables.include, or: GRANT SELECT ON *.* TO {} (a table without the privilege is not seen)",
        facts.account
    );
    let unmatched: Vec<&str> = selection.unmatched(ids).collect();
    let patterns = unmatched.join(", ");
    if ids.is_empty() {
        let message = format!("no table matches {patterns}");
        return vec![Finding::failed(NAME, message, remedy).because(Reason::NoTables)];
    }
    let mut findings = vec![Finding::passed(
        NAME,
        format!("{} tables are selected", ids.len()),
    )];
    if !unmatched.is_empty() {
        findings.push(Finding::warning(
            NAME,
            format!("no table matches {patterns}"),
            remedy,
        ));
    }
    findings
}

/// Tries to read each table, so that roles and column privileges count.
async fn readable(
    connection: &mut Connection,
    facts: &ServerFacts,
    ids: &[TableId],
) -> Result<Option<Finding>> {
    const NAME: &str = "SelectPrivilege";
    if ids.is_empty() {
        return Ok(None);
    }
    let mut refused = Vec::new();
    for id in ids.iter().take(TRIED_MAX) {
        match connection
            .query_drop(&format!("SELECT * FROM {} LIMIT 0", quote_table(id)))
            .await
        {
            Err(error) if matches!(server_code(&error), Some(1142 | 1143)) => refused.push(id),
            Err(error) if error.reason() == Reason::Unreachable => return Err(error),
            // Dropped in between, or broken in itself: reading it will say so.
            Ok(()) | Err(_) => {}
        }
    }
    let Some(first) = refused.first() else {
        return Ok(Some(Finding::passed(
            NAME,
            format!("{} may read every table", facts.account),
        )));
    };
    let message = format!("{} may not read {}", facts.account, named(&refused));
    let remedy = format!(
        "GRANT SELECT ON {}.* TO {}",
        quote_name(&first.schema),
        facts.account
    );
    Ok(Some(
        Finding::failed(NAME, message, remedy).because(Reason::MissingPrivilege),
    ))
}

/// Keys whose order only the server knows make the snapshot slower, which is good to know.
fn wide_keys(tables: &[std::sync::Arc<TableSchema>]) -> Option<Finding> {
    let text: Vec<_> = tables
        .iter()
        .filter(|table| table.has_key() && !table.key_orders_everywhere())
        .map(|table| &table.id)
        .collect();
    let message = format!(
        "{} tables have a key that only the server can order (text, dates, decimals); their snapshot replaces rows instead of appending ({})",
        text.len(),
        named(&text)
    );
    (!text.is_empty()).then(|| Finding::passed("KeyOrder", message))
}

fn named(tables: &[&TableId]) -> String {
    let mut names: Vec<_> = tables
        .iter()
        .take(NAMED_MAX)
        .map(ToString::to_string)
        .collect();
    if tables.len() > NAMED_MAX {
        names.push("…".to_owned());
    }
    names.join(", ")
}
