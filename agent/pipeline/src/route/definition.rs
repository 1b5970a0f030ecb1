//! Schema changes on their way to a sink: names of the source become names of the target.

use sluice_core::{Result, TableId};

use crate::route::{config::Route, plan::incompatible};

/// Translates a rename of columns; `None` when the sink has none of them.
///
/// A column that the route neither names nor keeps (it is not in `include_columns`) may be called
/// anything. A column that the route names must keep its name: a mask or an exclusion that no
/// longer finds its column would show what it was to hide.
pub(super) fn renamed_columns(
    route: &Route,
    table: &TableId,
    columns: Vec<(String, String)>,
) -> Result<Option<Vec<(String, String)>>> {
    for (from, to) in &columns {
        for (list, name) in route.named_columns() {
            if name == from || name == to {
                let message = format!(
                    "column {from:?} was renamed to {to:?} in the source, and {list} names {name:?}"
                );
                return Err(incompatible(route, &message)
                    .with_table(table.clone())
                    .with_hint(format!(
                        "adapt {list} to the new name, then take a new snapshot of {table}"
                    )));
            }
        }
        let mut new_names = route.config.rename_columns.values();
        if new_names.any(|name| name == to) {
            let message = format!(
                "column {from:?} was renamed to {to:?} in the source, which is the target's name \
                 of another column"
            );
            return Err(incompatible(route, &message)
                .with_table(table.clone())
                .with_hint("choose another name in columns.rename"));
        }
    }
    // None of them is named, so all are kept or none is.
    let is_kept = route.config.include_columns.is_none();
    Ok((is_kept && !columns.is_empty()).then_some(columns))
}

/// Translates a rename of a table, given the routes of both names; `None` when there is nothing
/// to do: the table leaves the selection (its replica stays as it is), enters it (the pipeline
/// copies it, as any new table), or keeps its target.
pub(super) fn renamed_table(
    from: (&TableId, Option<&Route>),
    to: (&TableId, Option<&Route>),
) -> Result<Option<(TableId, TableId)>> {
    let ((from, Some(route_from)), (to, Some(route_to))) = (from, to) else {
        return Ok(None);
    };
    if !route_from.shapes_as(route_to) {
        let message = format!(
            "table {from} was renamed to {to}, whose route {:?} makes other rows of it",
            route_to.config.source
        );
        return Err(incompatible(route_from, &message)
            .with_table(from.clone())
            .with_hint(format!("take a new snapshot of {to}")));
    }
    let (from, to) = (route_from.target(from), route_to.target(to));
    Ok((from != to).then_some((from, to)))
}
