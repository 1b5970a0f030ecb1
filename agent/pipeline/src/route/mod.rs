//! Routing: which table of the source goes to which table of the target, and in which shape.
//!
//! A [`Router`] stands in front of one sink. For each schema that passes it works out a plan once
//! (`plan`): the sink's schema, which columns to copy and which to mask (`mask`), and the row
//! filter bound to ordinals (`filter`). Events then pass by the plan (`change`), schema changes by
//! their names (`definition`). A table that no route touches costs one pointer comparison.
//!
//! A wrong configuration fails in [`Router::new`]; a table that does not fit its route fails alone,
//! when its schema is first seen or when its log does not hold what the filter needs.

mod cache;
mod change;
mod config;
mod definition;
mod filter;
mod mask;
mod plan;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use sluice_core::{
    ChangeEvent, Result, RowBuilder, SchemaChange, TableId, TableSchema, Unreadable,
    selection::matches,
};

pub use config::{Mask, RouteConfig};

use cache::Plans;
use change::Passage;
use config::Route;

/// The size of the buffers that routed rows share.
const BUFFER_SIZE_BYTES: usize = 64 * 1024;

/// Sends events of the source's tables to the sink's tables.
///
/// Without routes every table passes unchanged. With routes only tables that match one pass, each
/// by the first that it matches.
///
/// **Renamed tables.** A rename is passed on when both names are routed in the same shape. When
/// the new name matches no route the table is gone for the sink: nothing is sent, and the replica
/// keeps its last state. When only the new name matches, nothing is sent either, and the table is
/// to be treated as one seen for the first time; [`selects`](Self::selects) tells the cases apart.
pub struct Router {
    routes: Arc<[Route]>,
    plans: Plans,
    builder: RowBuilder,
}

impl fmt::Debug for Router {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources = self.routes.iter().map(|route| &route.config.source);
        formatter.debug_list().entries(sources).finish()
    }
}

/// A clone has the same routes and plans of its own.
impl Clone for Router {
    fn clone(&self) -> Self {
        Self {
            routes: Arc::clone(&self.routes),
            plans: Plans::default(),
            builder: RowBuilder::with_capacity(BUFFER_SIZE_BYTES),
        }
    }
}

/// Every table passes unchanged.
impl Default for Router {
    fn default() -> Self {
        Self {
            routes: Arc::new([]),
            plans: Plans::default(),
            builder: RowBuilder::new(),
        }
    }
}

impl Router {
    /// Checks the routes and reads their filters.
    ///
    /// Fails with [`Reason::InvalidConfig`](sluice_core::Reason::InvalidConfig), naming the route
    /// and what is wrong with it.
    pub fn new(routes: Vec<RouteConfig>) -> Result<Self> {
        Ok(Self {
            routes: config::checked(routes)?.into(),
            plans: Plans::default(),
            builder: RowBuilder::with_capacity(BUFFER_SIZE_BYTES),
        })
    }

    /// Whether the table's events reach the sink.
    pub fn selects(&self, table: &TableId) -> bool {
        self.routes.is_empty() || route_of(&self.routes, table).is_some()
    }

    /// The table's name in the target.
    pub fn target(&self, table: &TableId) -> TableId {
        route_of(&self.routes, table).map_or_else(|| table.clone(), |route| route.target(table))
    }

    /// The source's table that is written to a table of the target, if any is.
    pub fn source(&self, target: &TableId) -> Option<TableId> {
        let fixed = self
            .routes
            .iter()
            .find(|route| route.config.target.as_ref() == Some(target));
        match fixed {
            Some(route) => route.config.source.parse().ok(),
            None => {
                (self.selects(target) && self.target(target) == *target).then(|| target.clone())
            }
        }
    }

    /// The schema as the sink sees it; `None` for a table that is not for this sink.
    ///
    /// The same input gives the same `Arc`. Fails, for this table alone, when the route does not
    /// fit it: a named column does not exist, a key column is masked or left out, two columns
    /// get one name, the filter compares what does not compare, or another table of the source
    /// is written to the same target.
    pub fn schema(&mut self, source: &Arc<TableSchema>) -> Result<Option<Arc<TableSchema>>> {
        if self.routes.is_empty() {
            return Ok(Some(Arc::clone(source)));
        }
        let plan = self.plans.find(&self.routes, source)?;
        Ok(plan.map(|(_, plan)| {
            let schema = if plan.is_identity {
                source
            } else {
                &plan.schema
            };
            Arc::clone(schema)
        }))
    }

    /// Routes one event; `None` when it is not for this sink.
    ///
    /// Fails like [`schema`](Self::schema), and when the log does not hold what the row filter
    /// needs, or a schema change takes away a column that the route names.
    pub fn event(&mut self, event: ChangeEvent) -> Result<Option<ChangeEvent>> {
        if self.routes.is_empty() {
            return Ok(Some(event));
        }
        match event {
            ChangeEvent::Row(change) => {
                let Some((route, plan)) = self.plans.find(&self.routes, &change.table)? else {
                    return Ok(None);
                };
                if plan.is_identity {
                    return Ok(Some(ChangeEvent::Row(change)));
                }
                let source = &Arc::clone(&change.table);
                let passage = Passage {
                    route,
                    plan,
                    source,
                };
                let change = passage.change(change, &mut self.builder)?;
                Ok(change.map(ChangeEvent::Row))
            }
            ChangeEvent::Chunk(chunk) => {
                let Some((route, plan)) = self.plans.find(&self.routes, &chunk.table)? else {
                    return Ok(None);
                };
                if plan.is_identity {
                    return Ok(Some(ChangeEvent::Chunk(chunk)));
                }
                let source = &Arc::clone(&chunk.table);
                let passage = Passage {
                    route,
                    plan,
                    source,
                };
                let chunk = passage.chunk(chunk, &mut self.builder)?;
                Ok(chunk.map(ChangeEvent::Chunk))
            }
            ChangeEvent::Schema(change) => {
                let change = self.schema_change(change)?;
                Ok(change.map(ChangeEvent::Schema))
            }
            ChangeEvent::Unreadable(unreadable) => {
                Ok(self.unreadable(unreadable).map(ChangeEvent::Unreadable))
            }
            ChangeEvent::TransactionEnd(_) => Ok(Some(event)),
        }
    }

    /// A record whose table nobody knows may be anybody's.
    fn unreadable(&self, mut unreadable: Arc<Unreadable>) -> Option<Arc<Unreadable>> {
        let Some(table) = &unreadable.table else {
            return Some(unreadable);
        };
        let target = route_of(&self.routes, table)?.target(table);
        if target != *table {
            Arc::make_mut(&mut unreadable).table = Some(target);
        }
        Some(unreadable)
    }

    fn schema_change(&mut self, change: SchemaChange) -> Result<Option<SchemaChange>> {
        let route = route_of(&self.routes, change.table());
        Ok(match change {
            SchemaChange::Create(source) => self.schema(&source)?.map(SchemaChange::Create),
            SchemaChange::Alter(source) => self.schema(&source)?.map(SchemaChange::Alter),
            SchemaChange::Refill(source) => self.schema(&source)?.map(SchemaChange::Refill),
            SchemaChange::Renew(source) => self.schema(&source)?.map(SchemaChange::Renew),
            SchemaChange::RenameColumns { table, columns } => match route {
                Some(route) => {
                    definition::renamed_columns(route, &table, columns)?.map(|columns| {
                        SchemaChange::RenameColumns {
                            table: route.target(&table),
                            columns,
                        }
                    })
                }
                None => None,
            },
            SchemaChange::RenameTable { from, to } => {
                self.plans.forget(&from);
                let route_to = route_of(&self.routes, &to);
                let renamed = definition::renamed_table((&from, route), (&to, route_to))?;
                renamed.map(|(from, to)| SchemaChange::RenameTable { from, to })
            }
            SchemaChange::Truncate(table) => {
                route.map(|route| SchemaChange::Truncate(route.target(&table)))
            }
            SchemaChange::Drop(table) => {
                self.plans.forget(&table);
                route.map(|route| SchemaChange::Drop(route.target(&table)))
            }
        })
    }
}

/// The first route that the table matches.
fn route_of<'a>(routes: &'a [Route], table: &TableId) -> Option<&'a Route> {
    let name = table.to_string();
    routes.iter().find(|route| {
        if route.is_pattern {
            matches(&route.config.source, &name)
        } else {
            route.config.source == name
        }
    })
}
