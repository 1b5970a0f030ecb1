//! The tables that the sink knows: their links and their plans.

use std::{collections::HashMap, sync::Arc};

use sluice_agent_api::config::Deletes;
use sluice_core::{Error, Reason, Result, TableId, TableSchema};
use tokio_postgres::Client;

use crate::{
    connect::Session,
    dead_letter::Waiting,
    error::{Trouble, classify_apply},
    link::{self, Link},
    plan::{DELETED_AT, Plan, PlanOptions, incompatible},
    schema::{self, TargetTable},
    settings::Settings,
    sql::qualified,
    types::TypeOptions,
};

/// Links and plans by the source's table.
pub(crate) struct Tables {
    /// How tables are tied to the target.
    pub(crate) links: HashMap<TableId, Link>,
    /// How their rows are applied; made anew when anything they depend on changes.
    plans: HashMap<TableId, Arc<Plan>>,
    /// Choices and abilities that decide types.
    pub(crate) types: TypeOptions,
    /// The rows that have letters.
    pub(crate) waiting: Waiting,
    deletes: Deletes,
}

impl Tables {
    /// Reads what the target remembers.
    pub(crate) async fn load(session: &Session, settings: &Settings) -> Result<Self> {
        let links = link::load(session, &settings.pipeline).await?;
        let mut types = TypeOptions::new(&settings.postgres);
        types.postgis = postgis_schema(&session.client)
            .await
            .map_err(|error| session.error(error))?;
        Ok(Self {
            links,
            plans: HashMap::new(),
            types,
            waiting: Waiting::default(),
            deletes: settings.deletes,
        })
    }

    /// The plan for rows of this shape, if it is made already.
    pub(crate) fn known(&self, source: &Arc<TableSchema>) -> Option<Arc<Plan>> {
        let plan = self.plans.get(&source.id)?;
        let same = Arc::ptr_eq(&plan.source, source) || plan.source.same_shape(source);
        same.then(|| Arc::clone(plan))
    }

    /// Makes the plan for rows of a shape that the table's link knows.
    pub(crate) async fn plan(
        &mut self,
        session: &Session,
        source: &Arc<TableSchema>,
    ) -> Result<Arc<Plan>> {
        let id = &source.id;
        let Some(link) = self.links.get(id) else {
            return Err(Error::new(
                Reason::Internal,
                format!("table {id} has no link to the target"),
            ));
        };
        let mut found = read(session, &link.target).await?;
        let unmarked = |found: &TargetTable| found.column(DELETED_AT).is_none();
        if self.deletes == Deletes::Soft && found.as_ref().is_some_and(unmarked) {
            mark(session, id, &link.target).await?;
            found = read(session, &link.target).await?;
        }
        let Some(found) = found else {
            let hint = "the table was dropped by somebody";
            let message = format!("the target {} is gone", link.target);
            return Err(incompatible(id, message, hint));
        };
        if let Some(old) = self.plans.get(id)
            && *old.target == found
            && old.source.same_shape(source)
        {
            return Ok(Arc::clone(old));
        }
        let options = PlanOptions {
            types: &self.types,
            deletes: self.deletes,
            replica_role: session.replica_role,
        };
        let plan = Arc::new(Plan::new(source, link, Arc::new(found), &options)?);
        self.plans.insert(id.clone(), Arc::clone(&plan));
        Ok(plan)
    }

    /// Looks at the target's table again; the plan is the same one when nothing has changed.
    pub(crate) async fn refresh(&mut self, session: &Session, id: &TableId) -> Result<Arc<Plan>> {
        let Some(plan) = self.plans.get(id) else {
            return Err(Error::new(
                Reason::Internal,
                format!("table {id} has no plan"),
            ));
        };
        let source = Arc::clone(&plan.source);
        self.plan(session, &source).await
    }

    /// Reads a table's link again, which another agent may have changed.
    pub(crate) async fn reload(
        &mut self,
        session: &Session,
        settings: &Settings,
        id: &TableId,
    ) -> Result<()> {
        self.forget_plan(id);
        match link::read(session, &settings.pipeline, id).await? {
            Some(link) => self.links.insert(id.clone(), link),
            None => self.links.remove(id),
        };
        Ok(())
    }

    /// Forgets a plan, after its table changed.
    pub(crate) fn forget_plan(&mut self, id: &TableId) {
        self.plans.remove(id);
    }
}

async fn read(session: &Session, place: &TableId) -> Result<Option<TargetTable>> {
    let found = schema::read(&session.client, place).await;
    found.map_err(|error| session.error(error))
}

/// Gives a table that was made under another policy the column that soft deletes need.
async fn mark(session: &Session, id: &TableId, place: &TableId) -> Result<()> {
    let table = qualified(&place.schema, &place.name);
    let statement = format!(
        "ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {DELETED_AT} timestamp with time zone"
    );
    let Err(error) = session.client.batch_execute(&statement).await else {
        return Ok(());
    };
    Err(match classify_apply(&session.address, id, error) {
        Trouble::Content(refusal) => incompatible(id, refusal.object, statement),
        Trouble::Table(error) | Trouble::Session(error) => error,
    })
}

async fn postgis_schema(client: &Client) -> Result<Option<String>, tokio_postgres::Error> {
    let row = client
        .query_opt(
            "SELECT n.nspname::text FROM pg_extension AS e
             JOIN pg_namespace AS n ON n.oid = e.extnamespace WHERE e.extname = 'postgis'",
            &[],
        )
        .await?;
    Ok(row.map(|row| row.get(0)))
}
