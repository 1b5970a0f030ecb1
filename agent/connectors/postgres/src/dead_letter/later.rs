//! What happens in a source after a letter was written: changes take their row's letter along,
//! snapshots bring the row anew, schema changes rename, empty or end tables.
//!
//! All of it inside the transaction that applies what happened, before it is applied.

use std::{collections::HashMap, sync::Arc};

use sluice_agent_api::config::SchemaPolicy;
use sluice_core::{
    Error, Reason, Result, Row, RowChange, RowOperation, SchemaChange, SnapshotChunk, TableId,
    TableSchema, event::ChunkMode,
};

use crate::{
    apply::Target,
    dead_letter::{
        parcel::{
            DELETE, Digest, INSERT, Parcel, READ, UPDATE, digest, key_of, keys_touched, unpack,
        },
        reshape::{Reshape, parse_shape},
        store_shape,
        waiting::Waiting,
    },
    link::Link,
    sql::literal,
};

/// What stands in for a change.
pub(crate) struct Substitute<P> {
    /// Where the change stands.
    pub(crate) place: P,
    /// What is applied instead; nothing when it and the letter cancel each other out.
    pub(crate) changes: Vec<RowChange>,
}

/// A letter that a later change may take along.
struct Letter {
    id: i64,
    parcel: Parcel,
    writes: Option<Digest>,
    removes: Option<Digest>,
    /// Whether anything of it was ended.
    changed: bool,
    /// Whether all of it was.
    ended: bool,
}

/// A change of a row that may have letters.
struct Hit<'e, P> {
    place: P,
    event: &'e RowChange,
    old: Option<Digest>,
    new: Option<Digest>,
}

/// Lets changes take the letters of their rows along.
pub(crate) async fn take_along<'e, P: Copy>(
    target: Target<'_>,
    waiting: &Waiting,
    events: impl Iterator<Item = (P, &'e RowChange)>,
) -> Result<Vec<Substitute<P>>> {
    let mut substitutes = Vec::new();
    for (table, hits) in hits(waiting, events) {
        let mut letters = letters_of(target, &hits).await?;
        let mut by_row = HashMap::<Digest, Vec<usize>>::new();
        for (index, letter) in letters.iter().enumerate().rev() {
            for digest in [letter.writes, letter.removes].into_iter().flatten() {
                by_row.entry(digest).or_default().push(index);
            }
        }
        for hit in &hits {
            let place = hit.place;
            let mut changes = Vec::new();
            // Where the row comes to be, what still had to go goes first.
            for &at in hit.new.iter().filter_map(|new| by_row.get(new)).flatten() {
                if letters[at].removes == hit.new {
                    changes.extend(letters[at].parcel.removal(hit.event));
                }
                letters[at].end(hit.new);
            }
            let own = hit.old.iter().filter_map(|old| by_row.get(old)).flatten();
            let own: Vec<usize> = own.copied().collect();
            let written = |at: &&usize| !letters[**at].ended && letters[**at].writes == hit.old;
            if let Some(&at) = own.iter().find(written) {
                letters[at].ended = true;
                let writes = older_row(target, hit.event, letters[at].id).await?;
                letters[at].parcel.writes = writes;
                changes.extend(letters[at].parcel.carried_by(hit.event));
                substitutes.push(Substitute { place, changes });
                continue;
            }
            for at in own {
                letters[at].end(hit.old.filter(|_| hit.event.table.has_key()));
            }
            if !changes.is_empty() {
                changes.push(hit.event.clone());
                substitutes.push(Substitute { place, changes });
            }
        }
        store(target, &table, &letters).await?;
    }
    Ok(substitutes)
}

impl Letter {
    /// Ends what it says about a row.
    fn end(&mut self, row: Option<Digest>) {
        if row.is_none() || self.ended {
            return;
        }
        if self.writes == row {
            self.writes = None;
            self.changed = true;
        }
        if self.removes == row {
            self.removes = None;
            self.parcel.removes = None;
            self.changed = true;
        }
        self.ended |= self.writes.is_none() && self.removes.is_none();
    }
}

fn hits<'e, P: Copy>(
    waiting: &Waiting,
    events: impl Iterator<Item = (P, &'e RowChange)>,
) -> HashMap<TableId, Vec<Hit<'e, P>>> {
    let mut hits = HashMap::<TableId, Vec<Hit<'e, P>>>::new();
    for (place, event) in events {
        let id = &event.table.id;
        if !waiting.has(id) {
            continue;
        }
        let (old, new) = keys_touched(event);
        let known = |key: Option<Row>| {
            let digest = digest(&key?);
            waiting.may_hold(id, &digest).then_some(digest)
        };
        let (old, new) = (known(old), known(new));
        if old.is_none() && new.is_none() {
            continue;
        }
        hits.entry(id.clone()).or_default().push(Hit {
            place,
            event,
            old,
            new,
        });
    }
    hits
}

/// The letters of the rows concerned, without the rows that are to come.
async fn letters_of<P>(target: Target<'_>, hits: &[Hit<'_, P>]) -> Result<Vec<Letter>> {
    let Some(table) = hits.first().map(|hit| Arc::clone(&hit.event.table)) else {
        return Ok(Vec::new());
    };
    let digests = hits.iter().flat_map(|hit| [hit.old, hit.new]).flatten();
    let digests: Vec<Vec<u8>> = digests.map(|digest| digest.to_vec()).collect();
    let sql = "SELECT id, operation, removes, removes_digest, writes_digest
               FROM sluice.dead_letters
               WHERE sink = $1 AND source_table = $2
                 AND (writes_digest = ANY ($3) OR removes_digest = ANY ($3))
               ORDER BY id";
    let name = table.id.to_string();
    let sink = &target.settings.pipeline;
    let found = target
        .session
        .client
        .query(sql, &[sink, &name, &digests])
        .await;
    let rows = found.map_err(|error| target.session.error(error))?;
    let letters = rows.iter().map(|row| {
        let bytes = |at: usize| row.get::<_, Option<Vec<u8>>>(at);
        let digest = |at: usize| bytes(at).and_then(|bytes| Digest::try_from(bytes).ok());
        Letter {
            id: row.get(0),
            parcel: Parcel {
                table: Arc::clone(&table),
                operation: operation(row.get(1)),
                removes: bytes(2).and_then(|bytes| unpack(&bytes)),
                writes: None,
            },
            removes: digest(3),
            writes: digest(4),
            changed: false,
            ended: false,
        }
    });
    Ok(letters.collect())
}

pub(super) fn operation(text: &str) -> &'static str {
    [INSERT, DELETE, READ]
        .into_iter()
        .find(|known| *known == text)
        .unwrap_or(UPDATE)
}

/// The row that a letter holds, in the shape of a later change, where that change leaves columns out.
async fn older_row(target: Target<'_>, event: &RowChange, id: i64) -> Result<Option<Row>> {
    match &event.operation {
        RowOperation::Update { before, after } if after.laid_over(before).has_unchanged() => {}
        _ => return Ok(None),
    }
    let sql = "SELECT l.writes, s.shape::text FROM sluice.dead_letters AS l
               JOIN sluice.dead_letter_shapes AS s ON s.sink = l.sink AND s.fingerprint = l.shape
               WHERE l.id = $1";
    let found = target.session.client.query_opt(sql, &[&id]).await;
    let found = found.map_err(|error| target.session.error(error))?;
    let Some(found) = found else { return Ok(None) };
    let bytes: Option<Vec<u8>> = found.get(0);
    let row = bytes.and_then(|bytes| unpack(&bytes));
    let shape = parse_shape(found.get(1))?;
    Ok(row.and_then(|row| Reshape::overlay(&shape, &event.table, &row)))
}

/// Takes what has ended out of the target.
async fn store(target: Target<'_>, table: &TableId, letters: &[Letter]) -> Result<()> {
    let ended = letters.iter().filter(|letter| letter.ended);
    let ended: Vec<_> = ended.map(|letter| letter.id).collect();
    let left = letters
        .iter()
        .filter(|letter| letter.changed && !letter.ended);
    let mut statements = Vec::new();
    for letter in left {
        let (part, id) = (
            if letter.writes.is_none() {
                "writes"
            } else {
                "removes"
            },
            letter.id,
        );
        statements.push(format!(
            "UPDATE sluice.dead_letters SET {part} = NULL, {part}_digest = NULL WHERE id = {id}"
        ));
    }
    if !ended.is_empty() {
        let ids = crate::sql::list(ended.iter().map(ToString::to_string));
        statements.push(format!(
            "DELETE FROM sluice.dead_letters WHERE id IN ({ids})"
        ));
        tracing::debug!(%table, count = ended.len(), "later changes took dead letters along");
    }
    run(target, &statements.join("; ")).await
}

async fn run(target: Target<'_>, statements: &str) -> Result<()> {
    let done = target.session.client.batch_execute(statements).await;
    done.map_err(|error| target.session.error(error))
}

/// Ends the letters of rows that a snapshot brings anew.
pub(crate) async fn snapshot(
    target: Target<'_>,
    waiting: &mut Waiting,
    chunk: &SnapshotChunk,
) -> Result<()> {
    let table = &chunk.table;
    if !waiting.has(&table.id) {
        return Ok(());
    }
    // The first chunk of a copy that brings every row again, or shows that it is gone.
    let from_scratch = matches!(
        chunk.mode,
        ChunkMode::ReplaceAll | ChunkMode::ReplaceRange { after: None, .. }
    );
    if from_scratch {
        waiting.remove(&table.id);
        return run(target, &format!("DELETE {}", of_table(target, &table.id))).await;
    }
    if !table.has_key() {
        return Ok(());
    }
    let digests = chunk.rows.iter().map(|row| digest(&key_of(table, row)));
    let digests: Vec<Vec<u8>> = digests
        .filter(|digest| waiting.may_hold(&table.id, digest))
        .map(|digest| digest.to_vec())
        .collect();
    if digests.is_empty() {
        return Ok(());
    }
    let client = &target.session.client;
    let (sink, name) = (&target.settings.pipeline, table.id.to_string());
    let done = async {
        for part in ["writes", "removes"] {
            let sql = format!(
                "UPDATE sluice.dead_letters SET {part} = NULL, {part}_digest = NULL
                 WHERE sink = $1 AND source_table = $2 AND {part}_digest = ANY ($3)"
            );
            client.execute(&sql, &[sink, &name, &digests]).await?;
        }
        let empty = "DELETE FROM sluice.dead_letters
                     WHERE sink = $1 AND source_table = $2 AND shape IS NOT NULL
                       AND writes_digest IS NULL AND removes_digest IS NULL";
        client.execute(empty, &[sink, &name]).await
    };
    done.await.map_err(|error| target.session.error(error))?;
    Ok(())
}

/// Follows a schema change that was made; `old` is how the table was tied to the target before.
pub(crate) async fn schema_change(
    target: Target<'_>,
    waiting: &mut Waiting,
    change: &SchemaChange,
    old: Option<&Link>,
) -> Result<()> {
    if waiting.is_empty() {
        return Ok(());
    }
    let id = change.table();
    let policies = &target.settings.schema_changes;
    match change {
        SchemaChange::RenameTable { from, to } => rename(target, waiting, from, to).await,
        _ if !waiting.has(id) => Ok(()),
        SchemaChange::Truncate(_) if policies.truncate == SchemaPolicy::Apply => {
            waiting.remove(id);
            run(target, &format!("DELETE {}", of_table(target, id))).await
        }
        SchemaChange::Truncate(_) => Ok(()),
        SchemaChange::Drop(_) if policies.drop_table == SchemaPolicy::Apply => {
            waiting.remove(id);
            run(target, &format!("DELETE {}", of_table(target, id))).await
        }
        SchemaChange::Drop(_) => close(target, waiting, id).await,
        SchemaChange::RenameColumns { .. } if !old.is_some_and(|link| link.schema.has_key()) => {
            close(target, waiting, id).await
        }
        SchemaChange::RenameColumns { columns, .. } => rename_columns(target, id, columns).await,
        SchemaChange::Create(new)
        | SchemaChange::Alter(new)
        | SchemaChange::Refill(new)
        | SchemaChange::Renew(new) => {
            let same_key = old.is_some_and(|link| has_same_key(&link.schema, new));
            let same = old.is_some_and(|link| link.schema.same_shape(new));
            if same || same_key && new.has_key() {
                return Ok(());
            }
            close(target, waiting, id).await
        }
    }
}

fn has_same_key(old: &TableSchema, new: &TableSchema) -> bool {
    let names = |schema: &TableSchema| -> Vec<String> {
        schema
            .key_columns()
            .map(|column| column.name.clone())
            .collect()
    };
    old.key_is_like(new) && names(old) == names(new)
}

async fn rename(
    target: Target<'_>,
    waiting: &mut Waiting,
    from: &TableId,
    to: &TableId,
) -> Result<()> {
    if !waiting.has(from) && !waiting.has(to) {
        return Ok(());
    }
    waiting.rename(from, to);
    let statements = format!(
        "DELETE {}; UPDATE sluice.dead_letters SET source_table = {} WHERE sink = {} AND source_table = {}",
        of_table(target, to),
        literal(&to.to_string()),
        literal(&target.settings.pipeline),
        literal(&from.to_string()),
    );
    run(target, &statements).await
}

/// Gives the shapes of a table's letters the new names.
async fn rename_columns(
    target: Target<'_>,
    id: &TableId,
    pairs: &[(String, String)],
) -> Result<()> {
    let sql = "SELECT DISTINCT s.fingerprint, s.shape::text FROM sluice.dead_letters AS l
               JOIN sluice.dead_letter_shapes AS s ON s.sink = l.sink AND s.fingerprint = l.shape
               WHERE l.sink = $1 AND l.source_table = $2";
    let (session, sink) = (target.session, &target.settings.pipeline);
    let found = session.client.query(sql, &[sink, &id.to_string()]).await;
    for row in found.map_err(|error| session.error(error))? {
        let (old, shape): (String, String) = (row.get(0), row.get(1));
        let mut shape = parse_shape(&shape)?;
        for column in &mut shape.columns {
            if let Some((_, new)) = pairs.iter().find(|(old, _)| *old == column.name) {
                column.name.clone_from(new);
            }
        }
        let new = store_shape(&session.client, sink, &shape).await;
        let new = new.map_err(|error| session.error(error))?;
        let statement = format!(
            "UPDATE sluice.dead_letters SET shape = {} WHERE sink = {} AND source_table = {} AND shape = {}",
            literal(&new),
            literal(sink),
            literal(&id.to_string()),
            literal(&old),
        );
        run(target, &statement).await?;
    }
    Ok(())
}

/// Keeps a table's letters for reading only: nothing can follow their rows any more.
async fn close(target: Target<'_>, waiting: &mut Waiting, id: &TableId) -> Result<()> {
    waiting.remove(id);
    let statement = format!(
        "UPDATE sluice.dead_letters SET shape = NULL, removes = NULL, removes_digest = NULL,
         writes = NULL, writes_digest = NULL WHERE sink = {} AND source_table = {}",
        literal(&target.settings.pipeline),
        literal(&id.to_string()),
    );
    run(target, &statement).await
}

fn of_table(target: Target<'_>, id: &TableId) -> String {
    format!(
        "FROM sluice.dead_letters WHERE sink = {} AND source_table = {}",
        literal(&target.settings.pipeline),
        literal(&id.to_string()),
    )
}

/// The error about something in the catalog that can't be read.
pub(super) fn damaged(what: &str) -> Error {
    Error::new(
        Reason::Internal,
        format!("sluice.dead_letters holds {what} that can't be read"),
    )
    .with_hint("drop the letter and copy its table again")
}
