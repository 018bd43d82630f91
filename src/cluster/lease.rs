//! Who of the replicas leads: one Lease object, written with its version as guard.
//!
//! The judgement is [`evaluate`], pure. Clocks of other machines are never compared: a lease has run out when it
//! was not seen to change for its whole duration, by this machine's own monotonic clock (the rule of client-go's
//! leaderelection). The leader stops its work [`RENEWAL_DEADLINE`] after the last renewal that succeeded was sent, well
//! before anybody else may take the lease. An answer that comes later than that makes nobody a leader: what it tells may
//! be over.

use std::pin::pin;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How long a lease holds after it was last seen to be renewed.
pub const DURATION: Duration = Duration::from_secs(15);
/// How long the leader goes on without a renewal that succeeded.
pub const RENEWAL_DEADLINE: Duration = Duration::from_secs(10);
/// How often a lease is renewed, or looked at by those who wait.
pub const INTERVAL: Duration = Duration::from_secs(2);

/// How long reading the lease and writing it may take together; some attempts fit in before [`RENEWAL_DEADLINE`].
pub const ANSWER: Duration = Duration::from_secs(3);

/// A lease as it was last read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Empty: given up.
    pub holder: String,
    /// Changes with every renewal.
    pub version: String,
    /// When this version was first seen, by the own clock.
    pub since: Instant,
}

/// What a replica may do about a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState {
    /// It is ours; renew it.
    Ours,
    /// Nobody's, given up or run out: take it.
    Free,
    /// Somebody else's for at least this long.
    Theirs(Duration),
}

/// How a lease stands for the replica called `me`.
pub fn evaluate(seen: Option<&Seen>, me: &str, now: Instant) -> LeaseState {
    match seen {
        None => LeaseState::Free,
        Some(seen) if seen.holder == me => LeaseState::Ours,
        Some(seen) if seen.holder.is_empty() => LeaseState::Free,
        Some(seen) => match (seen.since + DURATION).checked_duration_since(now) {
            Some(left) if !left.is_zero() => LeaseState::Theirs(left),
            _ => LeaseState::Free,
        },
    }
}

/// One replica's part in the election.
pub struct Elector {
    leases: Api<Lease>,
    name: String,
    me: String,
    seen: Option<Seen>,
    transitions: i32,
}

impl Elector {
    /// Stands for election as `me`, which no other replica is called, for the Lease `name` in `namespace`.
    pub fn new(client: Client, namespace: &str, name: &str, me: &str) -> Self {
        let leases = Api::namespaced(client, namespace);
        Self { leases, name: name.to_owned(), me: me.to_owned(), seen: None, transitions: 0 }
    }

    /// Runs `work` whenever this replica leads, and drops it before anybody else may lead. Ends when `work` ends by
    /// itself, or with `stop`; the lease is given up then.
    pub async fn lead<W: Future>(mut self, stop: impl Future<Output = ()>, mut work: impl FnMut() -> W) {
        let mut stop = pin!(stop);
        loop {
            let renewed = tokio::select! {
                renewed = self.acquire() => renewed,
                () = &mut stop => return self.release().await,
            };
            tracing::info!(lease = self.name, me = self.me, "leading");
            tokio::select! {
                // First whether it may still be done: a process that was stopped for a while goes on here.
                biased;
                () = self.keep(renewed) => {
                    tracing::warn!(lease = self.name, me = self.me, "no longer leading");
                }
                () = &mut stop => return self.release().await,
                _ = work() => return self.release().await,
            }
        }
    }

    /// Waits until the lease is ours; since when.
    async fn acquire(&mut self) -> Instant {
        loop {
            let asked = Instant::now();
            match timeout(ANSWER, self.attempt()).await {
                Ok(Ok(true)) => return asked,
                Ok(Ok(false)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(lease = self.name, %error, "the lease cannot be read or written");
                }
                Err(_) => tracing::warn!(lease = self.name, "the lease was not answered within {ANSWER:?}"),
            }
            sleep(INTERVAL).await;
        }
    }

    /// Renews the lease for as long as that works.
    async fn keep(&mut self, mut renewed: Instant) {
        loop {
            let deadline = renewed + RENEWAL_DEADLINE;
            if timeout_at(deadline, sleep(INTERVAL)).await.is_err() {
                return;
            }
            let asked = Instant::now();
            match timeout_at(deadline.min(asked + ANSWER), self.attempt()).await {
                Ok(Ok(true)) => renewed = asked,
                // Somebody else has it.
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::warn!(lease = self.name, %error, "the lease cannot be renewed"),
                Err(_) => tracing::warn!(lease = self.name, "the lease's renewal was not answered in time"),
            }
        }
    }

    /// Reads the lease and writes it where that is allowed; whether it is ours now.
    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        let lease = self.leases.get_opt(&self.name).await?;
        self.note(lease.as_ref());
        let standing = evaluate(self.seen.as_ref(), &self.me, Instant::now());
        if let LeaseState::Theirs(_) = standing {
            return Ok(false);
        }
        let post = PostParams::default();
        let written = match lease {
            None => self.leases.create(&post, &self.claim(None, standing)).await,
            Some(lease) => self.leases.replace(&self.name, &post, &self.claim(Some(lease), standing)).await,
        };
        match written {
            Ok(lease) => {
                self.note(Some(&lease));
                Ok(true)
            }
            // Somebody was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Remembers what was read, and since when it is so.
    fn note(&mut self, lease: Option<&Lease>) {
        let Some(lease) = lease else {
            self.seen = None;
            return;
        };
        let spec = lease.spec.as_ref();
        let holder = spec.and_then(|s| s.holder_identity.clone()).unwrap_or_default();
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        self.transitions = spec.and_then(|s| s.lease_transitions).unwrap_or_default();
        if self.seen.as_ref().is_none_or(|seen| seen.version != version) {
            self.seen = Some(Seen { holder, version, since: Instant::now() });
        }
    }

    /// The lease as this replica's, guarded by the version that was read.
    fn claim(&self, read: Option<Lease>, standing: LeaseState) -> Lease {
        let now = MicroTime(Timestamp::now());
        let mut lease = read.unwrap_or_default();
        lease.metadata = ObjectMeta { name: Some(self.name.clone()), ..lease.metadata };
        let old = lease.spec.unwrap_or_default();
        let ours = standing == LeaseState::Ours;
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.me.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: if ours { old.acquire_time } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(if ours { self.transitions } else { self.transitions.saturating_add(1) }),
            ..LeaseSpec::default()
        });
        lease
    }

    /// Gives the lease up, so that the next leader need not wait for it to run out. Where that fails, it runs out.
    async fn release(&self) {
        let given_up = async {
            let Some(mut lease) = self.leases.get_opt(&self.name).await? else { return Ok(()) };
            let Some(spec) = lease.spec.as_mut().filter(|s| s.holder_identity.as_deref() == Some(&self.me))
            else {
                return Ok(());
            };
            spec.holder_identity = None;
            self.leases.replace(&self.name, &PostParams::default(), &lease).await.map(drop)
        };
        match timeout(ANSWER, given_up).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::info!(lease = self.name, %error, "the lease was not given up"),
            Err(_) => tracing::info!(lease = self.name, "the lease was not given up within {ANSWER:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_taken_only_when_it_was_still_for_its_whole_duration() {
        let start = Instant::now();
        let seen = |holder: &str| Seen { holder: holder.to_owned(), version: "1".to_owned(), since: start };
        assert_eq!(evaluate(None, "a", start), LeaseState::Free);
        assert_eq!(evaluate(Some(&seen("a")), "a", start + 2 * DURATION), LeaseState::Ours);
        assert_eq!(evaluate(Some(&seen("")), "a", start), LeaseState::Free);
        assert_eq!(evaluate(Some(&seen("b")), "a", start), LeaseState::Theirs(DURATION));
        let almost = start + DURATION - Duration::from_millis(1);
        assert_eq!(evaluate(Some(&seen("b")), "a", almost), LeaseState::Theirs(Duration::from_millis(1)));
        assert_eq!(evaluate(Some(&seen("b")), "a", start + DURATION), LeaseState::Free);
    }

    #[test]
    fn the_leader_stops_before_anybody_else_may_start() {
        assert!(RENEWAL_DEADLINE + 2 * INTERVAL < DURATION);
        assert!(2 * (INTERVAL + ANSWER) <= RENEWAL_DEADLINE, "one answer that is lost costs no leadership");
    }
}
