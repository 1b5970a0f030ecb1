//! What a schema change does to the tables that are followed, and to copies under way.

use std::sync::Arc;

use sluice_core::{SchemaChange, TableId, TableSchema, TableState};

use crate::snapshot::refill;

use super::Coordinator;

impl Coordinator {
    pub(super) fn filter_schema(&mut self, change: SchemaChange) -> Option<SchemaChange> {
        if let SchemaChange::Renew(schema) = &change {
            return self.renew(schema).then_some(change);
        }
        if self.is_stopped(change.table()) {
            if let SchemaChange::Drop(table) = &change {
                Arc::make_mut(&mut self.tables).remove(table);
            }
            return None;
        }
        match &change {
            // Done with above.
            SchemaChange::Renew(_) => {}
            SchemaChange::Create(schema)
            | SchemaChange::Alter(schema)
            | SchemaChange::Refill(schema) => {
                if !self.router.selects(&schema.id) {
                    self.announced.insert(schema.id.clone(), Arc::clone(schema));
                    return None;
                }
                if self.reshape(schema) {
                    return Some(SchemaChange::Refill(Arc::clone(schema)));
                }
            }
            SchemaChange::RenameColumns { table, columns } => {
                if let Some(copy) = self.copies.get_mut(table) {
                    copy.poison();
                    copy.schema = renamed(&copy.schema, columns);
                }
                for known in [&mut self.announced, &mut self.applied] {
                    if let Some(schema) = known.get_mut(table) {
                        *schema = renamed(schema, columns);
                    }
                }
            }
            SchemaChange::RenameTable { from, to } => self.rename(from, to),
            SchemaChange::Truncate(table) => {
                if let Some(copy) = self.copies.get_mut(table) {
                    copy.poison();
                }
            }
            SchemaChange::Drop(table) => {
                self.copies.remove(table);
                self.announced.remove(table);
                self.applied.remove(table);
                self.unsure.remove(table);
                Arc::make_mut(&mut self.tables).remove(table);
            }
        }
        Some(change)
    }

    /// Takes note of a table's new shape. Answers whether its rows are copied again because only
    /// the source knows what became of them.
    fn reshape(&mut self, schema: &Arc<TableSchema>) -> bool {
        let table = &schema.id;
        let known = self.announced.insert(table.clone(), Arc::clone(schema));
        // A shape that can't be routed stops the table where it is routed next.
        let routed = self.router.schema(schema).ok().flatten();
        let old = routed
            .as_ref()
            .and_then(|new| self.applied.insert(table.clone(), Arc::clone(new)));
        if !self.tables.contains_key(table) {
            self.restart_copy(schema);
            return false;
        }
        if let (Some(old), Some(new)) = (old, routed) {
            let unsure = self.unsure.remove(table).unwrap_or_default();
            if self.limits.copy_new_tables && refill::needs_refill(&old, &new, &unsure) {
                self.restart_copy(schema);
                return true;
            }
            let mut still_unsure = refill::unsure_columns(&old, &new);
            if old.same_shape(&new) {
                still_unsure.extend(unsure);
            }
            if !still_unsure.is_empty() {
                self.unsure.insert(table.clone(), still_unsure);
            }
        }
        let is_new = known.is_none_or(|known| !known.same_shape(schema));
        let copy = self.copies.get_mut(table);
        if copy
            .as_ref()
            .is_some_and(|copy| !copy.schema.key_is_like(schema))
        {
            self.restart_copy(schema);
        } else if let Some(copy) = copy.filter(|_| is_new) {
            copy.poison();
            copy.schema = Arc::clone(schema);
        }
        false
    }

    fn rename(&mut self, from: &TableId, to: &TableId) {
        let tables = Arc::make_mut(&mut self.tables);
        let state = tables.remove(from);
        let with_new_name = |schema: &Arc<TableSchema>| {
            Arc::new(TableSchema {
                id: to.clone(),
                ..TableSchema::clone(schema)
            })
        };
        let announced = self
            .announced
            .remove(from)
            .map(|schema| with_new_name(&schema));
        let copied = self
            .copies
            .remove(from)
            .map(|copy| with_new_name(&copy.schema));
        self.copies.remove(to);
        let follows = self.router.selects(to);
        match (state, copied.or_else(|| announced.clone())) {
            _ if !follows => {}
            (Some(state), _) if !matches!(state, TableState::Snapshotting { .. }) => {
                tables.insert(to.clone(), state);
            }
            // Half a copy under the old name is of no use under the new one, and a table that was
            // not followed has none at all.
            (_, Some(schema)) => self.restart_copy(&schema),
            (_, None) => {
                tables.remove(to);
            }
        }
        if let Some(schema) = announced {
            self.announced.insert(to.clone(), schema);
        }
    }
}

fn renamed(schema: &Arc<TableSchema>, columns: &[(String, String)]) -> Arc<TableSchema> {
    let mut renamed = TableSchema::clone(schema);
    for column in &mut renamed.columns {
        if let Some((_, to)) = columns.iter().find(|(from, _)| *from == column.name) {
            column.name.clone_from(to);
        }
    }
    Arc::new(renamed)
}
