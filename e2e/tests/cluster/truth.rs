//! Status truth: whatever stands in the way, the resource says so within seconds, with the right
//! reason and what to do, although the pod runs; and is Ready again when it is gone.

mod agents;
mod ends;
