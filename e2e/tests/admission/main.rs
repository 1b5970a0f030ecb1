//! What a real API server lets in, refuses and shows, and what the chart renders to. No operator runs.
//!
//! Needs the cluster of `e2e/cluster up --no-image`, by its variables; without them every test fails.
//! The definitions are brought up to date in the cluster first. Wrong objects are tried by server-side dry
//! run; the few that are stored live in a namespace of their test's own.

mod accepted;
mod chart;
mod columns;
mod immutable;
mod kubectl;
mod refused;
mod specs;
