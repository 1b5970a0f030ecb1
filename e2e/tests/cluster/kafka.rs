//! Through Kafka on the cluster: a source's own agent writes topics, and the agents of its sinks apply
//! them. Needs `eval "$(e2e/cluster databases kafka registry)"` beside the cluster.

mod fed;
mod path;
mod scale;
mod truth;
