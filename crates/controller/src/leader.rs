//! Who acts: one of the replicas, by a Lease.
//!
//! A Lease does not fence: a leader that hangs may wake up after it has lost it. So leadership is
//! checked before each write, and every write that matters carries a precondition as well.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use kube_lease_manager::{LeaseCreateMode, LeaseManager, LeaseManagerBuilder, LeaseParams};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use crate::settings::Settings;

/// Whether this replica is the leader, and until when that is certain: a leader that does not reach the API server any
/// more does not hear that another one has taken its place.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<Option<Instant>>);

impl Leadership {
    /// Whether this replica is the leader now.
    #[must_use]
    pub fn is_held(&self) -> bool {
        lasts(*self.0.borrow())
    }

    /// Waits until this replica is the leader.
    pub async fn gained(&mut self) -> bool {
        self.0.wait_for(|until| lasts(*until)).await.is_ok()
    }

    /// Waits until this replica is not the leader any more.
    pub async fn lost(&mut self) {
        loop {
            let until = *self.0.borrow_and_update();
            let Some(until) = until.filter(|until| lasts(Some(*until))) else {
                return;
            };
            tokio::select! {
                // An error means that nobody holds the lease for us any more.
                changed = self.0.changed() => if changed.is_err() { return },
                () = sleep_until(until) => {}
            }
        }
    }
}

fn lasts(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() < until)
}

impl From<watch::Receiver<Option<Instant>>> for Leadership {
    fn from(until: watch::Receiver<Option<Instant>>) -> Self {
        Self(until)
    }
}

/// How long the Lease is this replica's, by the Lease itself.
struct Term {
    leases: Api<Lease>,
    name: String,
    identity: String,
    length: Duration,
}

impl Term {
    /// So often it is read, and so long that may take at most: several times between two renewals.
    fn pause(&self) -> Duration {
        (self.length / 10).max(Duration::from_millis(100))
    }

    /// Until when; `Err` where the Lease could not be read.
    async fn ends(&self) -> Result<Option<Instant>, ()> {
        let asked = Instant::now();
        match timeout(self.length / 3, self.leases.get(&self.name)).await {
            Ok(Ok(lease)) => Ok(ends(&lease, &self.identity, asked, Timestamp::now())),
            Ok(Err(error)) => {
                tracing::warn!(%error, lease = self.name, "the lease could not be read");
                Err(())
            }
            Err(_) => {
                tracing::warn!(lease = self.name, "the lease could not be read in time");
                Err(())
            }
        }
    }
}

/// Until when a Lease that was read at `asked` is this replica's, if it is.
fn ends(lease: &Lease, identity: &str, asked: Instant, now: Timestamp) -> Option<Instant> {
    let spec = lease.spec.as_ref()?;
    let renewed = spec.renew_time.as_ref()?.0;
    let length = Duration::from_secs(spec.lease_duration_seconds?.try_into().ok()?);
    // Where the clock was put back meanwhile, no time has passed rather than less than none.
    let age = Duration::try_from(now.duration_since(renewed)).unwrap_or_default();
    let left = length.checked_sub(age)?;
    (spec.holder_identity.as_deref() == Some(identity)).then(|| asked + left)
}

/// The Lease is given back within this time, or runs out.
const GIVEN_BACK: Duration = Duration::from_secs(5);

/// Keeps the Lease.
///
/// The manager gives it back when nobody listens to it any more. Whoever has a [`Leadership`] listens to us instead, or
/// one of them that is forgotten somewhere would keep the next replica waiting.
pub struct Keeper {
    stop: oneshot::Sender<()>,
    manager: JoinHandle<kube_lease_manager::Result<()>>,
}

impl Keeper {
    /// Gives the Lease back, so that another replica need not wait for it to run out. Nothing is written from here on.
    pub async fn give_back(self) {
        let _ = self.stop.send(());
        let given = tokio::time::timeout(GIVEN_BACK, self.manager).await;
        if !matches!(given, Ok(Ok(Ok(())))) {
            tracing::warn!(
                "the lease could not be given back; another replica waits until it runs out"
            );
        }
    }
}

/// Competes for the Lease until nobody listens any more, and then gives it back. After an error it is tried again soon,
/// and not later each time as the manager would by itself: renewals are among what fails.
async fn contend(
    manager: LeaseManager,
    held: watch::Sender<bool>,
    pause: Duration,
) -> kube_lease_manager::Result<()> {
    loop {
        let changed = tokio::select! {
            biased;
            () = held.closed() => return manager.release().await,
            changed = manager.changed() => changed,
        };
        match changed {
            Ok(is_holder) => {
                held.send_replace(is_holder);
            }
            Err(error) => {
                tracing::warn!(%error, "the lease could not be asked for or renewed; trying again");
                tokio::select! {
                    biased;
                    () = held.closed() => return manager.release().await,
                    () = sleep(pause) => {}
                }
            }
        }
    }
}

/// Tells on what the manager tells, as far as the Lease bears it out, until it ends or is to stop.
async fn tell(
    mut manager: watch::Receiver<bool>,
    term: Term,
    everybody: watch::Sender<Option<Instant>>,
    mut stop: oneshot::Receiver<()>,
) {
    let mut looks = interval(term.pause());
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            changed = manager.changed() => if changed.is_err() { break },
            _ = looks.tick() => {}
            _ = &mut stop => break,
        }
        if !*manager.borrow_and_update() {
            if everybody.borrow().is_some() {
                everybody.send_replace(None);
            }
            continue;
        }
        let ends = tokio::select! {
            ends = term.ends() => ends,
            _ = &mut stop => break,
        };
        // What could not be read runs out by itself.
        if let Ok(until) = ends {
            everybody.send_replace(until);
        }
    }
    everybody.send_replace(None);
}

/// Begins to compete for the Lease.
pub async fn compete(client: Client, settings: &Settings) -> anyhow::Result<(Leadership, Keeper)> {
    let term = Term {
        leases: Api::namespaced(client.clone(), &settings.leader_election_namespace),
        name: settings.lease_name.clone(),
        identity: settings.identity.clone(),
        length: Duration::from_secs(settings.lease_duration_seconds),
    };
    let seconds = settings.lease_duration_seconds;
    // Renewed at half of its time, so that it may be missed and be read several times before it runs out.
    let params = LeaseParams::new(&settings.identity, seconds, seconds / 2);
    let manager = LeaseManagerBuilder::new(client, &settings.lease_name)
        .with_namespace(&settings.leader_election_namespace)
        .with_parameters(params.with_field_manager(backstop_api::names::FIELD_MANAGER))
        .with_create_mode(LeaseCreateMode::AutoCreate)
        .build()
        .await?;
    let (holds, held) = watch::channel(false);
    let manager = tokio::spawn(contend(manager, holds, term.pause()));
    let (everybody, leadership) = watch::channel(None);
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(tell(held, term, everybody, stopped));
    Ok((Leadership(leadership), Keeper { stop, manager }))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

    use super::*;

    fn lease(holder: &str, renewed: Timestamp) -> Lease {
        Lease {
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                renew_time: Some(MicroTime(renewed)),
                lease_duration_seconds: Some(15),
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        }
    }

    #[test]
    fn a_lease_is_held_for_as_long_as_it_was_renewed_for_and_by_its_holder_alone() {
        let (asked, now) = (Instant::now(), Timestamp::from_second(1_000).unwrap());
        let ends = |holder, renewed| {
            let renewed = Timestamp::from_second(renewed).unwrap();
            ends(&lease(holder, renewed), "a", asked, now).map(|until| until - asked)
        };
        assert_eq!(ends("a", 1_000), Some(Duration::from_secs(15)));
        assert_eq!(ends("a", 990), Some(Duration::from_secs(5)));
        assert_eq!(ends("a", 984), None);
        assert_eq!(ends("b", 1_000), None);
        // The clock was put back.
        assert_eq!(ends("a", 1_100), Some(Duration::from_secs(15)));
    }

    /// Safety rule 8: whoever hears nothing more of his lease does not write on.
    #[tokio::test]
    async fn leadership_runs_out_by_itself() {
        let (_lease, until) = watch::channel(Some(Instant::now() + Duration::from_secs(1)));
        let mut leadership = Leadership::from(until);
        assert!(leadership.is_held() && leadership.gained().await);
        leadership.lost().await;
        assert!(!leadership.is_held());
    }
}
