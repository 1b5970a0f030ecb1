//! A pod that has a node and does not start: perhaps something that it is made of was deleted.
//!
//! ConfigMaps and Services of agents are not watched, for which the operator would need the right to
//! list everybody's. What is missing is noticed where it matters instead: when a pod can't start
//! without it. Everything is applied again then, and the kubelet finds it at its next try.

use std::time::{Duration, Instant};

use k8s_openapi::{
    api::core::v1::Pod,
    jiff::{SignedDuration, Timestamp},
};

use crate::{
    context::Context,
    controller::{
        APPLY_AGAIN_AFTER,
        sink::{SinkMemory, pass},
    },
    model::ObjectKey,
    names,
};

/// A pod that has all it needs takes less, unless its image is pulled.
const START_TIME: SignedDuration = SignedDuration::from_secs(8);
/// A pod that does not start for another reason costs no more writes than this.
const APPLY_EVERY: Duration = Duration::from_secs(60);

/// Has everything of an agent applied again that may lack something.
pub(super) fn mend(context: &Context, key: &ObjectKey, memory: &SinkMemory) {
    let pod = pass::pod(context, key);
    if !pod.is_some_and(|pod| does_not_start(&pod, Timestamp::now())) {
        return;
    }
    let mut state = memory.lock();
    if state
        .done_at
        .is_some_and(|at| at.elapsed() >= APPLY_EVERY && at.elapsed() < APPLY_AGAIN_AFTER)
    {
        context
            .applied
            .forget(&key.sibling(names::agent(&key.name)));
        state.done_at = Instant::now().checked_sub(APPLY_AGAIN_AFTER);
    }
}

/// Whether a kubelet has had a pod for a while that still waits for its containers.
fn does_not_start(pod: &Pod, now: Timestamp) -> bool {
    let Some(status) = &pod.status else {
        return false;
    };
    let since = status.start_time.as_ref().map(|time| time.0);
    status.phase.as_deref() == Some("Pending")
        && since.is_some_and(|since| now.duration_since(since) >= START_TIME)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{api::core::v1::PodStatus, apimachinery::pkg::apis::meta::v1::Time};

    use super::*;

    #[test]
    fn only_a_pod_that_a_node_has_had_for_a_while_may_lack_something() {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_000);
        let pod = |phase: &str, seconds: Option<i64>| Pod {
            status: Some(PodStatus {
                phase: Some(phase.to_owned()),
                start_time: seconds.map(|seconds| Time(now - SignedDuration::from_secs(seconds))),
                ..PodStatus::default()
            }),
            ..Pod::default()
        };
        assert!(does_not_start(&pod("Pending", Some(20)), now));
        assert!(!does_not_start(&pod("Pending", Some(2)), now));
        assert!(!does_not_start(&pod("Pending", None), now));
        assert!(!does_not_start(&pod("Running", Some(20)), now));
    }
}
