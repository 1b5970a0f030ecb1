//! Schema changes: every line of FIELD.md 1.3b while writers go on, and each policy for each kind
//! of change.

mod databases;
mod policies;
mod scripts;
mod under_load;
mod writers;
