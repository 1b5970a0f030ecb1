//! Golden statuses: what `kubectl get` and `kubectl describe` show in every situation.

mod kafka;
mod sinks;
pub(crate) mod situation;
mod sources;
mod truth;
