//! What is seen of agents and checks: pods and Jobs as the API server has them, and what the agents
//! themselves answer.
//!
//! [`pod`] and [`check`] only read objects that the watches already brought. [`Observer`] asks: an
//! agent by HTTP, and the API server for the warning events of an object that makes no headway. No
//! question fails a reconcile: an agent that does not answer, and an event that can't be read, are
//! answers, too.

mod agent;
pub(crate) mod check;
pub(crate) mod pod;
mod replicas;
mod warnings;

use std::sync::Arc;

use futures_util::future::join_all;
use k8s_openapi::{
    api::{apps::v1::StatefulSet, batch::v1::Job, core::v1::Pod},
    jiff::{SignedDuration, Timestamp},
};
use kube::{Client, ResourceExt as _};

use crate::model::{AgentAnswer, CheckState, PodState, PodTrouble, StatefulSetState};

pub(crate) use check::check_state;

use agent::Agents;
use warnings::Warnings;

/// An object that makes no headway for this long may have a warning that says why.
const HEADWAY_DUE: SignedDuration = SignedDuration::from_secs(4);

/// What was seen of an agent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sighting {
    /// Its StatefulSet.
    pub(crate) stateful_set: Option<StatefulSetState>,
    /// Its pod; of several, the one that is worst off.
    pub(crate) pod: Option<PodState>,
    /// What it answered; of several that all did, their answers together.
    pub(crate) agent: AgentAnswer,
    /// How many of several answered and have nothing in their way.
    pub(crate) ready_replicas: i32,
}

/// Looks at agents and remembers when each of them answered last.
#[derive(Debug)]
pub(crate) struct Observer {
    agents: Agents,
    warnings: Warnings,
}

impl Observer {
    /// An observer that has not seen anything yet.
    pub(crate) fn new(client: Client) -> Self {
        Self {
            agents: Agents::default(),
            warnings: Warnings::new(client),
        }
    }

    /// Looks at the agent of `pipeline`, whose pods are `pods`, and asks it how it is doing.
    pub(crate) async fn agent(
        &self,
        pipeline: &str,
        stateful_set: Option<&StatefulSet>,
        pods: &[Arc<Pod>],
    ) -> Sighting {
        let Some(stateful_set) = stateful_set else {
            return Sighting::default();
        };
        let now = Timestamp::now();
        let mut state = stateful_set_state(stateful_set);
        let seen = pods.iter().map(|pod| self.see(pod, pipeline, now));
        let seen = join_all(seen).await;
        let expected = usize::try_from(state.replicas).unwrap_or(0);
        if seen.len() < expected && is_due(state.created_at, now) {
            state.problem = self.warnings.latest(stateful_set, now).await;
        }
        let ready_replicas = replicas::ready(&seen);
        let (pod, agent) = replicas::together(pipeline, seen, expected);
        Sighting {
            stateful_set: Some(state),
            pod,
            agent,
            ready_replicas,
        }
    }

    /// Looks at one pod, and asks the agent in it.
    async fn see(&self, pod: &Arc<Pod>, pipeline: &str, now: Timestamp) -> (PodState, AgentAnswer) {
        let mut state = pod::pod_state(pod);
        self.explain(&mut state, std::slice::from_ref(pod), now)
            .await;
        let answer = self.agents.ask(&state, pipeline).await;
        (state, answer)
    }

    /// How a check stands, with the reason why its pod does not start, if it does not.
    pub(crate) async fn check(&self, job: &Job, pods: &[Arc<Pod>]) -> CheckState {
        let now = Timestamp::now();
        let created_at = job.creation_timestamp().map(|time| time.0);
        match check_state(job, pods) {
            CheckState::Running(None) if pods.is_empty() && is_due(created_at, now) => {
                let warning = self.warnings.latest(job, now).await;
                CheckState::Running(warning.map(|message| PodTrouble {
                    reason: pod::NOT_STARTED,
                    message,
                }))
            }
            state => state,
        }
    }

    /// Forgets the agents of pods that are not there any more.
    pub(crate) fn keep_only(&self, pods: impl Iterator<Item = Arc<Pod>>) {
        self.agents.keep_only(pods);
        self.warnings.forget_old(Timestamp::now());
    }

    /// How many agents have answered lately, out of how many that were asked.
    pub(crate) fn answering(&self) -> (usize, usize) {
        self.agents.answering()
    }

    /// Adds the reason why a pod's container is still not made: a volume's Secret that is not
    /// there, for example, is only in an event.
    async fn explain(&self, state: &mut PodState, pods: &[Arc<Pod>], now: Timestamp) {
        let waits = !state.running && !state.terminating;
        if !(waits && state.trouble.is_none() && is_due(state.created_at, now)) {
            return;
        }
        let object = pods
            .iter()
            .find(|pod| pod.uid().is_some_and(|uid| uid == state.uid));
        let Some(object) = object else { return };
        let warning = self.warnings.latest(object.as_ref(), now).await;
        state.trouble = warning.map(|message| PodTrouble {
            reason: pod::NOT_STARTED,
            message,
        });
    }
}

/// What matters of a StatefulSet, as far as it says it itself.
pub(crate) fn stateful_set_state(stateful_set: &StatefulSet) -> StatefulSetState {
    let status = stateful_set.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let problem = conditions.into_iter().flatten().find_map(|condition| {
        let failed = condition.type_ == "ReplicaFailure" && condition.status == "True";
        failed.then(|| condition.message.clone()).flatten()
    });
    StatefulSetState {
        replicas: stateful_set
            .spec
            .as_ref()
            .and_then(|spec| spec.replicas)
            .unwrap_or(1),
        replicas_present: status.map_or(0, |status| status.replicas),
        created_at: stateful_set.creation_timestamp().map(|time| time.0),
        problem: problem.map(|message| pod::shortened(&message)),
    }
}

fn is_due(created_at: Option<Timestamp>, now: Timestamp) -> bool {
    created_at.is_some_and(|at| now.duration_since(at) >= HEADWAY_DUE)
}
