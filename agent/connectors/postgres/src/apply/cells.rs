//! One row's values into an output, under the policy for values that the target can't hold.

use bytes::{BufMut, Bytes, BytesMut};
use sluice_agent_api::config::Unrepresentable;
use sluice_core::{Row, Value};

use crate::{
    encode::{Unfit, put_array_header},
    plan::{Plan, PlanColumn},
};

const HEADER_BYTES: usize = 20;

/// A value that keeps its row out of the target.
#[derive(Debug, Clone)]
pub(crate) struct Misfit {
    /// The source's column.
    pub(crate) column: String,
    /// Why.
    pub(crate) reason: Unfit,
}

/// Writes cells and counts those that became NULL.
#[derive(Debug)]
pub(crate) struct CellWriter {
    policy: Unrepresentable,
    /// How many values became NULL, by the column's place in the plan.
    pub(crate) nulled: Vec<u64>,
}

impl CellWriter {
    pub(crate) fn new(plan: &Plan, policy: Unrepresentable) -> Self {
        Self {
            policy,
            nulled: vec![0; plan.columns.len()],
        }
    }

    pub(crate) fn policy(&self) -> Unrepresentable {
        self.policy
    }

    /// Writes one cell with its length in front; answers whether it is NULL.
    pub(crate) fn put(
        &mut self,
        plan: &Plan,
        at: usize,
        value: &Value<'_>,
        form: Form,
        out: &mut BytesMut,
    ) -> Result<bool, Misfit> {
        let column = &plan.columns[at];
        if matches!(value, Value::Null) {
            out.put_i32(-1);
            return Ok(true);
        }
        let start = out.len();
        out.put_i32(0);
        let written = if form == Form::Element && column.encoder.is_array() {
            column.encoder.put_array_literal(value, out)
        } else {
            column.encoder.put(value, out)
        };
        match written {
            Ok(()) => {
                let length = (out.len() - start - 4) as u32;
                out[start..start + 4].copy_from_slice(&length.to_be_bytes());
                Ok(false)
            }
            Err(reason) => {
                out.truncate(start);
                self.refuse(column, at, reason)?;
                out.put_i32(-1);
                Ok(true)
            }
        }
    }

    /// What becomes of a value that does not fit: NULL, counted, or the end of its row.
    pub(crate) fn refuse(
        &mut self,
        column: &PlanColumn,
        at: usize,
        reason: Unfit,
    ) -> Result<(), Misfit> {
        if self.policy == Unrepresentable::Null && column.nullable {
            self.nulled[at] += 1;
            return Ok(());
        }
        Err(Misfit {
            column: column.source_name.clone(),
            reason,
        })
    }
}

/// Where a cell goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A field of a COPY row.
    Field,
    /// An element of a parameter array.
    Element,
}

/// Parameter arrays, one for each column of a statement, filled row by row.
pub(crate) struct Arrays {
    /// Places in the plan: the key's columns (from the row as it was), then the values'.
    keys: Vec<usize>,
    values: Vec<usize>,
    buffers: Vec<BytesMut>,
    nulls: Vec<bool>,
    /// Where each buffer stood before the row at hand.
    starts: Vec<usize>,
    rows: usize,
    bytes: usize,
}

impl Arrays {
    pub(crate) fn new(keys: &[usize], values: &[usize]) -> Self {
        let count = keys.len() + values.len();
        let buffer = || {
            let mut buffer = BytesMut::with_capacity(4096);
            buffer.put_bytes(0, HEADER_BYTES);
            buffer
        };
        Self {
            keys: keys.to_vec(),
            values: values.to_vec(),
            buffers: (0..count).map(|_| buffer()).collect(),
            nulls: vec![false; count],
            starts: Vec::with_capacity(count),
            rows: 0,
            bytes: 0,
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a row: the key from `before`, the values from `after`. A row that does not fit leaves
    /// nothing behind.
    pub(crate) fn push(
        &mut self,
        plan: &Plan,
        cells: &mut CellWriter,
        before: &Row,
        after: &Row,
    ) -> Result<(), Misfit> {
        self.starts.clear();
        self.starts.extend(self.buffers.iter().map(BytesMut::len));
        let keys = self.keys.iter().map(|&at| (at, before));
        let values = self.values.iter().map(|&at| (at, after));
        for (slot, (at, row)) in keys.chain(values).enumerate() {
            let value = row.get(plan.columns[at].source);
            match cells.put(plan, at, &value, Form::Element, &mut self.buffers[slot]) {
                Ok(null) => self.nulls[slot] |= null,
                Err(misfit) => {
                    for (buffer, start) in self.buffers.iter_mut().zip(&self.starts) {
                        buffer.truncate(*start);
                    }
                    return Err(misfit);
                }
            }
        }
        let added = self.buffers.iter().zip(&self.starts);
        self.bytes += added
            .map(|(buffer, start)| buffer.len() - start)
            .sum::<usize>();
        self.rows += 1;
        Ok(())
    }

    /// The finished parameters.
    pub(crate) fn finish(self, plan: &Plan) -> Vec<Bytes> {
        let places = self.keys.iter().chain(&self.values);
        let slots = places.zip(self.buffers).zip(self.nulls);
        let rows = self.rows;
        slots
            .map(|((&at, mut buffer), nulls)| {
                let mut header = BytesMut::with_capacity(HEADER_BYTES);
                put_array_header(rows, nulls, plan.columns[at].element_oid, &mut header);
                buffer[..HEADER_BYTES].copy_from_slice(&header);
                buffer.freeze()
            })
            .collect()
    }
}
