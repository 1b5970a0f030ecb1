//! One operator at a time, by a Lease.
//!
//! Whoever holds the Lease renews it every third of its duration, and stops being the leader as soon
//! as it could not for two thirds: the process ends then, before anybody else can take over. Another
//! one takes the Lease when it has seen it unchanged for its whole duration by its own clock, or
//! when it was released. Two that try at once are told apart by the resource version.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams, core::ObjectMeta};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

/// How long a Lease counts after it was renewed.
const DURATION: Duration = Duration::from_secs(10);
/// How often it is renewed.
const RENEW_EVERY: Duration = Duration::from_millis(3_300);
/// Without a renewal for this long the leader stops, while nobody else may begin yet.
const GIVE_UP_AFTER: Duration = Duration::from_millis(7_500);
/// How often others look.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long one request may take.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(3);

/// This process's claim on the Lease.
#[derive(Debug)]
pub(crate) struct Leadership {
    leases: Api<Lease>,
    name: String,
    identity: String,
    /// When the Lease was last made ours, by this machine's clock, before the request.
    renewed: Mutex<Option<Instant>>,
    released: AtomicBool,
    /// Whether the API server has answered yet.
    looked: AtomicBool,
}

/// Why a Lease could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LeaseError {
    /// The API server refused or was not reached.
    #[error("the API server: {0}")]
    Request(#[from] kube::Error),
    /// It took too long.
    #[error("the API server gave no answer in {} s", REQUEST_TIME_MAX.as_secs())]
    Slow(#[from] tokio::time::error::Elapsed),
}

/// A Lease as it was seen, and since when it has been like that.
struct Seen {
    version: Option<String>,
    since: Instant,
}

impl Leadership {
    /// A claim that is not made yet.
    pub(crate) fn new(client: Client, namespace: &str, name: &str, identity: String) -> Self {
        Self {
            leases: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity,
            renewed: Mutex::new(None),
            released: AtomicBool::new(false),
            looked: AtomicBool::new(false),
        }
    }

    /// What tells this process from others.
    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }

    /// Whether nobody else can be the leader right now.
    pub(crate) fn is_leader(&self) -> bool {
        let renewed = *self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        renewed.is_some_and(|at| at.elapsed() < DURATION) && !self.released.load(Ordering::Acquire)
    }

    /// Whether the Lease was seen, whoever holds it.
    pub(crate) fn has_looked(&self) -> bool {
        self.looked.load(Ordering::Acquire)
    }

    /// Waits until this process is the leader.
    pub(crate) async fn acquire(&self) {
        let mut seen: Option<Seen> = None;
        info!(
            identity = self.identity,
            lease = self.name,
            "waits for the lease"
        );
        loop {
            match self.try_acquire(&mut seen).await {
                Ok(true) => {
                    info!(identity = self.identity, "is the leader");
                    return;
                }
                Ok(false) => {}
                Err(error) => warn!(%error, lease = self.name, "the lease can't be acquired"),
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Renews the Lease for ever; returns when it is lost.
    pub(crate) async fn keep(&self) {
        loop {
            sleep(RENEW_EVERY).await;
            loop {
                let left = GIVE_UP_AFTER.saturating_sub(self.since_renewal());
                let renewed = timeout(left, self.renew()).await;
                match renewed.unwrap_or_else(|elapsed| Err(elapsed.into())) {
                    Ok(true) => break,
                    Ok(false) => {
                        warn!(lease = self.name, "another operator holds the lease");
                        return;
                    }
                    Err(error) => warn!(%error, lease = self.name, "the lease can't be renewed"),
                }
                if self.since_renewal() >= GIVE_UP_AFTER {
                    return;
                }
                sleep(Duration::from_millis(500)).await;
            }
        }
    }

    /// Gives the Lease back, so that another operator need not wait.
    pub(crate) async fn release(&self) {
        if !self.is_leader() {
            return;
        }
        self.released.store(true, Ordering::Release);
        let released = async {
            let Some(mut lease) = self.read().await? else {
                return Ok(());
            };
            if !self.is_ours(&lease) {
                return Ok(());
            }
            if let Some(spec) = &mut lease.spec {
                spec.holder_identity = None;
                spec.lease_duration_seconds = Some(1);
            }
            self.replace(&lease).await.map(drop)
        };
        match released.await {
            Ok(()) => debug!(lease = self.name, "the lease is released"),
            Err::<(), LeaseError>(error) => warn!(%error, "the lease can't be released"),
        }
    }

    async fn try_acquire(&self, seen: &mut Option<Seen>) -> Result<bool, LeaseError> {
        let began = Instant::now();
        let Some(mut lease) = self.read().await? else {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(self.name.clone()),
                    ..ObjectMeta::default()
                },
                spec: Some(self.claim(None)),
            };
            let parameters = PostParams::default();
            let created = self.leases.create(&parameters, &lease);
            return self.outcome(began, timeout(REQUEST_TIME_MAX, created).await?);
        };
        if !self.is_ours(&lease) && !is_free(&lease) {
            let version = lease.metadata.resource_version.clone();
            let unchanged = seen.as_ref().filter(|seen| seen.version == version);
            let Some(unchanged) = unchanged else {
                *seen = Some(Seen {
                    version,
                    since: began,
                });
                return Ok(false);
            };
            if unchanged.since.elapsed() < duration_of(&lease) {
                return Ok(false);
            }
        }
        lease.spec = Some(self.claim(lease.spec.as_ref()));
        let replaced = self.replace(&lease).await;
        match replaced {
            Ok(_) => self.outcome(began, Ok(lease)),
            Err(LeaseError::Request(error)) => self.outcome(began, Err(error)),
            Err(error) => Err(error),
        }
    }

    async fn renew(&self) -> Result<bool, LeaseError> {
        let began = Instant::now();
        let Some(mut lease) = self.read().await? else {
            return Ok(false);
        };
        if !self.is_ours(&lease) {
            return Ok(false);
        }
        if let Some(spec) = &mut lease.spec {
            spec.renew_time = Some(MicroTime(Timestamp::now()));
        }
        match self.replace(&lease).await {
            Ok(_) => self.outcome(began, Ok(lease)),
            Err(error) => Err(error),
        }
    }

    /// A conflict means that somebody else was faster; anything else is an error.
    fn outcome(
        &self,
        began: Instant,
        result: Result<Lease, kube::Error>,
    ) -> Result<bool, LeaseError> {
        match result {
            Ok(_) => {
                *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = Some(began);
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn claim(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = Some(MicroTime(Timestamp::now()));
        let holder = before.and_then(|spec| spec.holder_identity.as_deref());
        let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        let changed = holder != Some(self.identity.as_str());
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: now.clone(),
            renew_time: now,
            lease_transitions: Some(transitions + i32::from(changed && before.is_some())),
            ..LeaseSpec::default()
        }
    }

    fn is_ours(&self, lease: &Lease) -> bool {
        holder(lease) == Some(self.identity.as_str())
    }

    fn since_renewal(&self) -> Duration {
        let renewed = *self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        renewed.map_or(Duration::MAX, |at| at.elapsed())
    }

    async fn read(&self) -> Result<Option<Lease>, LeaseError> {
        let lease = timeout(REQUEST_TIME_MAX, self.leases.get_opt(&self.name));
        let lease = lease.await??;
        self.looked.store(true, Ordering::Release);
        Ok(lease)
    }

    async fn replace(&self, lease: &Lease) -> Result<Lease, LeaseError> {
        let parameters = PostParams::default();
        let replaced = self.leases.replace(&self.name, &parameters, lease);
        Ok(timeout(REQUEST_TIME_MAX, replaced).await??)
    }
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref()
}

fn is_free(lease: &Lease) -> bool {
    holder(lease).is_none_or(str::is_empty)
}

fn duration_of(lease: &Lease) -> Duration {
    let seconds = lease
        .spec
        .as_ref()
        .and_then(|spec| spec.lease_duration_seconds);
    let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
    seconds.map_or(DURATION, Duration::from_secs)
}
