//! COPY in binary, streamed in pieces.
//!
//! A piece is about 64 KiB however large a row is: a huge value is sent slice by slice, so that it
//! is never held twice. While one piece is on its way the next is encoded.

use std::pin::{Pin, pin};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt;
use sluice_core::{Row, Value};
use tokio_postgres::{Client, CopyInSink};

use crate::{
    apply::cells::{CellWriter, Form, Misfit},
    encode::{Parts, Unfit},
    plan::{Plan, StatementKey},
    types::payload_bytes,
};

const PIECE_BYTES: usize = 64 << 10;
/// Values beyond this are sent slice by slice.
const WHOLE_BYTES_MAX: usize = 128 << 10;
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Why a COPY ended early.
#[derive(Debug)]
pub(crate) enum CopyError {
    /// A row does not fit and the policy is to stop.
    Misfit(Misfit),
    /// The server or the connection.
    Postgres(tokio_postgres::Error),
    /// The copy could not even begin. The driver ends it all the same and then takes the server's
    /// second answer for that to the next statement, so that the session is of no more use.
    NotBegun(tokio_postgres::Error),
}

impl From<tokio_postgres::Error> for CopyError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

/// Copies rows into a plan's table. Rows that don't fit go to `misfit`, which may end the copy.
pub(crate) async fn copy_rows<'r>(
    client: &Client,
    plan: &Plan,
    cells: &mut CellWriter,
    rows: impl Iterator<Item = &'r Row>,
    misfit: impl FnMut(usize, Misfit) -> Result<(), Misfit>,
) -> Result<u64, CopyError> {
    let statement = plan.statement(client, StatementKey::Copy).await?;
    let all: Vec<_> = (0..plan.columns.len()).collect();
    let fields = Fields {
        plan,
        keys: &[],
        values: &all,
    };
    let sink = client
        .copy_in(&statement)
        .await
        .map_err(CopyError::NotBegun)?;
    stream(sink, &fields, cells, rows.map(|row| (row, row)), misfit).await
}

/// Which fields a copied row has: the key's from the row as it was, then values.
pub(crate) struct Fields<'p> {
    pub(crate) plan: &'p Plan,
    pub(crate) keys: &'p [usize],
    pub(crate) values: &'p [usize],
}

/// Streams rows into an open COPY.
pub(crate) async fn stream<'r>(
    sink: CopyInSink<Bytes>,
    fields: &Fields<'_>,
    cells: &mut CellWriter,
    rows: impl Iterator<Item = (&'r Row, &'r Row)>,
    mut misfit: impl FnMut(usize, Misfit) -> Result<(), Misfit>,
) -> Result<u64, CopyError> {
    let mut sink = pin!(sink);
    let mut out = BytesMut::with_capacity(2 * PIECE_BYTES);
    out.put_slice(SIGNATURE);
    for (index, (before, after)) in rows.enumerate() {
        let start = out.len();
        let outcome = if after.size_bytes() > WHOLE_BYTES_MAX {
            put_large(sink.as_mut(), fields, cells, (before, after), &mut out).await?
        } else {
            put_row(fields, cells, (before, after), &mut out)
        };
        if let Err(reason) = outcome {
            out.truncate(start);
            misfit(index, reason).map_err(CopyError::Misfit)?;
        }
        if out.len() >= PIECE_BYTES {
            sink.as_mut().feed(next_piece(&mut out)).await?;
        }
    }
    out.put_i16(-1);
    sink.as_mut().feed(out.freeze()).await?;
    Ok(sink.finish().await?)
}

fn next_piece(out: &mut BytesMut) -> Bytes {
    let piece = out.split().freeze();
    out.reserve(2 * PIECE_BYTES);
    piece
}

fn put_row(
    fields: &Fields<'_>,
    cells: &mut CellWriter,
    (before, after): (&Row, &Row),
    out: &mut BytesMut,
) -> Result<(), Misfit> {
    out.put_u16((fields.keys.len() + fields.values.len()) as u16);
    let keys = fields.keys.iter().map(|&at| (at, before));
    let values = fields.values.iter().map(|&at| (at, after));
    for (at, row) in keys.chain(values) {
        let value = row.get(fields.plan.columns[at].source);
        cells.put(fields.plan, at, &value, Form::Field, out)?;
    }
    Ok(())
}

/// Writes a row that has large values. Every value is looked at first: once a part of the row is
/// sent it can't be taken back.
async fn put_large(
    mut sink: Pin<&mut CopyInSink<Bytes>>,
    fields: &Fields<'_>,
    cells: &mut CellWriter,
    (before, after): (&Row, &Row),
    out: &mut BytesMut,
) -> Result<Result<(), Misfit>, tokio_postgres::Error> {
    let plan = fields.plan;
    let places = || {
        let keys = fields.keys.iter().map(|&at| (at, before));
        keys.chain(fields.values.iter().map(|&at| (at, after)))
    };
    let mut scratch = BytesMut::new();
    let mut trial = CellWriter::new(plan, cells.policy());
    for (at, row) in places() {
        let value = row.get(plan.columns[at].source);
        scratch.clear();
        let outcome = match large(plan, at, &value) {
            Some(Ok(_)) => Ok(()),
            Some(Err(reason)) => trial.refuse(&plan.columns[at], at, reason),
            None => trial
                .put(plan, at, &value, Form::Field, &mut scratch)
                .map(|_| ()),
        };
        if let Err(misfit) = outcome {
            return Ok(Err(misfit));
        }
    }
    drop(scratch);
    out.put_u16((fields.keys.len() + fields.values.len()) as u16);
    for (at, row) in places() {
        let value = row.get(plan.columns[at].source);
        let Some(Ok((prefix, body))) = large(plan, at, &value) else {
            // Every misfit was found above; this one is NULL by policy.
            let written = cells.put(plan, at, &value, Form::Field, out);
            written.expect("a value that fitted once fits again");
            continue;
        };
        out.put_u32((prefix.len() + body.len()) as u32);
        out.put_slice(prefix);
        for slice in body.chunks(PIECE_BYTES) {
            out.put_slice(slice);
            sink.as_mut().feed(next_piece(out)).await?;
        }
    }
    Ok(Ok(()))
}

/// A value that is sent slice by slice.
fn large<'v>(plan: &Plan, at: usize, value: &Value<'v>) -> Option<Result<Parts<'v>, Unfit>> {
    if payload_bytes(value) <= WHOLE_BYTES_MAX {
        return None;
    }
    plan.columns[at].encoder.verbatim(value).transpose()
}
