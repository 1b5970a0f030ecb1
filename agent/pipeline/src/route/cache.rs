//! Plans by schema, so that each is worked out once.

use std::{collections::HashMap, sync::Arc};

use sluice_core::{Result, TableId, TableSchema};

use crate::route::{
    config::Route,
    plan::{Plan, taken},
    route_of,
};

/// How many shapes of one table are remembered: the catalog's and the log's, before and after a
/// schema change.
const SHAPES_MAX: usize = 4;

/// The plans of the schemas seen so far.
#[derive(Debug, Default)]
pub(super) struct Plans {
    /// The one used last: rows of one table come in runs.
    recent: Option<Entry>,
    by_table: HashMap<TableId, Vec<Entry>>,
    /// Which source table is written to which target.
    sources: HashMap<TableId, TableId>,
}

/// A schema of the source and its plan; `None` when no route takes it.
#[derive(Debug, Clone)]
struct Entry {
    source: Arc<TableSchema>,
    planned: Option<(usize, Arc<Plan>)>,
}

impl Plans {
    /// The route and plan of a schema.
    pub(super) fn find<'a>(
        &'a mut self,
        routes: &'a [Route],
        source: &Arc<TableSchema>,
    ) -> Result<Option<(&'a Route, &'a Plan)>> {
        let is_recent = |entry: &Entry| Arc::ptr_eq(&entry.source, source);
        if !self.recent.as_ref().is_some_and(is_recent) {
            self.recent = Some(self.look_up(routes, source)?);
        }
        let planned = self
            .recent
            .as_ref()
            .and_then(|entry| entry.planned.as_ref());
        Ok(planned.map(|(route, plan)| (&routes[*route], &**plan)))
    }

    /// Forgets a table that is gone.
    pub(super) fn forget(&mut self, table: &TableId) {
        self.recent = None;
        self.by_table.remove(table);
        self.sources.retain(|_, source| source != table);
    }

    fn look_up(&mut self, routes: &[Route], source: &Arc<TableSchema>) -> Result<Entry> {
        let known = self.by_table.get_mut(&source.id).and_then(|entries| {
            let same = |entry: &Entry| Arc::ptr_eq(&entry.source, source);
            let found = entries.iter().position(same);
            let found = found.or_else(|| entries.iter().position(|entry| entry.source == *source));
            found.map(|index| &mut entries[index])
        });
        if let Some(entry) = known {
            entry.source = Arc::clone(source);
            return Ok(entry.clone());
        }
        let planned = match route_of(routes, &source.id) {
            None => None,
            Some(route) => {
                let plan = Plan::new(route, source)?;
                let target = &plan.schema.id;
                match self.sources.get(target) {
                    Some(other) if *other != source.id => {
                        return Err(taken(&source.id, other, target));
                    }
                    Some(_) => {}
                    None => {
                        self.sources.insert(target.clone(), source.id.clone());
                    }
                }
                Some((route.index, Arc::new(plan)))
            }
        };
        let entry = Entry {
            source: Arc::clone(source),
            planned,
        };
        let entries = self.by_table.entry(source.id.clone()).or_default();
        if entries.len() == SHAPES_MAX {
            entries.remove(0);
        }
        entries.push(entry.clone());
        Ok(entry)
    }
}
