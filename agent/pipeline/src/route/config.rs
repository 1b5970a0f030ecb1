//! Routes as they are configured, and as they are used: checked, with their filters read.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr as _,
};

use sluice_core::{Error, Reason, Result, TableId};

use crate::route::filter::{Expression, parse};

/// Where a table goes, and in which shape. Columns are named as in the source.
///
/// Where `source` is one table, every named column must exist in it; where it is a pattern,
/// columns are excluded, renamed and masked in those tables that have them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteConfig {
    /// The source's table, `schema.table`; may hold `*` and `?` when there is no target.
    pub source: String,
    /// The target's table; the source's name without.
    pub target: Option<TableId>,
    /// Only these columns.
    pub include_columns: Option<Vec<String>>,
    /// Not these columns.
    pub exclude_columns: Vec<String>,
    /// New names of columns, by their old ones.
    pub rename_columns: BTreeMap<String, String>,
    /// Columns whose values are hidden; none of the key.
    pub mask_columns: BTreeMap<String, Mask>,
    /// Only rows for which this SQL condition is true. It sees the source's columns, left-out and
    /// masked ones included, with their true values.
    pub row_filter: Option<String>,
}

/// How a value is hidden. NULL stays NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// The SHA-256 of the value's text, as 64 hexadecimal digits.
    Sha256,
    /// NULL.
    Null,
    /// The text `***`.
    Redact,
}

/// A checked route.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) index: usize,
    pub(super) config: RouteConfig,
    /// Whether the source's name is a pattern.
    pub(super) is_pattern: bool,
    pub(super) filter: Option<Expression>,
}

impl Route {
    /// The table's name in the target.
    pub(super) fn target(&self, source: &TableId) -> TableId {
        self.config.target.as_ref().unwrap_or(source).clone()
    }

    /// Whether the sink gets the column.
    pub(super) fn keeps(&self, column: &str) -> bool {
        let is_column = |name: &String| name == column;
        let included = self.config.include_columns.as_ref();
        included.is_none_or(|names| names.iter().any(is_column))
            && !self.config.exclude_columns.iter().any(is_column)
    }

    /// Every column that the route names, and where it does.
    pub(super) fn named_columns(&self) -> Vec<(&'static str, &str)> {
        let config = &self.config;
        let mut named = Vec::new();
        for name in config.include_columns.iter().flatten() {
            named.push(("columns.include", name.as_str()));
        }
        for name in &config.exclude_columns {
            named.push(("columns.exclude", name.as_str()));
        }
        for name in config.rename_columns.keys() {
            named.push(("columns.rename", name.as_str()));
        }
        for name in config.mask_columns.keys() {
            named.push(("columns.mask", name.as_str()));
        }
        let mut filtered = Vec::new();
        if let Some(expression) = &self.filter {
            expression.column_names(&mut filtered);
        }
        named.extend(filtered.into_iter().map(|name| ("where", name)));
        named
    }

    /// Whether both routes make the same rows of a table.
    pub(super) fn shapes_as(&self, other: &Self) -> bool {
        let (a, b) = (&self.config, &other.config);
        self.index == other.index
            || (a.include_columns == b.include_columns
                && a.exclude_columns == b.exclude_columns
                && a.rename_columns == b.rename_columns
                && a.mask_columns == b.mask_columns
                && a.row_filter == b.row_filter)
    }
}

/// Checks all that can be checked before a table is seen.
pub(super) fn checked(configs: Vec<RouteConfig>) -> Result<Vec<Route>> {
    let (mut sources, mut targets) = (BTreeSet::new(), BTreeMap::new());
    let mut routes = Vec::with_capacity(configs.len());
    for (index, config) in configs.into_iter().enumerate() {
        let route = Route {
            index,
            is_pattern: config.source.contains(['*', '?']),
            filter: match &config.row_filter {
                Some(text) => Some(parse(text).map_err(|fault| {
                    invalid(&config, &format!("where: {fault}")).with_hint(
                        "a condition such as: status <> 'draft' AND (total >= 10 OR note IS NULL)",
                    )
                })?),
                None => None,
            },
            config,
        };
        check_names(&route)?;
        check_columns(&route.config)?;
        let config = &route.config;
        if !sources.insert(config.source.clone()) {
            return Err(invalid(config, "the same source has two routes"));
        }
        if let Some(target) = &config.target
            && let Some(other) = targets.insert(target.clone(), config.source.clone())
        {
            let message = format!("the target {target} is that of route {other:?}, too");
            return Err(invalid(config, &message).with_hint("give each table its own target"));
        }
        routes.push(route);
    }
    Ok(routes)
}

fn check_names(route: &Route) -> Result<()> {
    let config = &route.config;
    if TableId::from_str(&config.source).is_err() && !route.is_pattern {
        return Err(invalid(
            config,
            "the source is not of the form schema.table",
        ));
    }
    if route.is_pattern && config.target.is_some() {
        let message = "a pattern may match many tables, and one target holds one";
        return Err(invalid(config, message).with_hint("write one route per table, or no target"));
    }
    Ok(())
}

fn check_columns(config: &RouteConfig) -> Result<()> {
    if let Some(included) = &config.include_columns {
        if included.is_empty() {
            return Err(invalid(config, "columns.include is empty"));
        }
        if let Some(name) = included
            .iter()
            .find(|name| config.exclude_columns.contains(name))
        {
            let message = format!("column {name:?} is included and excluded");
            return Err(invalid(config, &message));
        }
    }
    let is_left_out = |name: &String| {
        let included = config.include_columns.as_ref();
        config.exclude_columns.contains(name) || included.is_some_and(|all| !all.contains(name))
    };
    let mut shaped = config
        .rename_columns
        .keys()
        .map(|name| ("renamed", name))
        .chain(config.mask_columns.keys().map(|name| ("masked", name)));
    if let Some((what, name)) = shaped.find(|(_, name)| is_left_out(name)) {
        return Err(invalid(
            config,
            &format!("column {name:?} is left out and {what}"),
        ));
    }
    let mut new_names = BTreeSet::new();
    for (name, new_name) in &config.rename_columns {
        if new_name.is_empty() {
            return Err(invalid(
                config,
                &format!("the new name of column {name:?} is empty"),
            ));
        }
        if !new_names.insert(new_name) {
            let message = format!("two columns are renamed to {new_name:?}");
            return Err(invalid(config, &message));
        }
    }
    Ok(())
}

fn invalid(config: &RouteConfig, message: &str) -> Error {
    Error::new(
        Reason::InvalidConfig,
        format!("route {:?}: {message}", config.source),
    )
}
