//! Who acts: one of the replicas, by a Lease.
//!
//! A Lease does not fence: a leader that hangs may wake up after it has lost it. So leadership is
//! checked before each write, and every write that matters carries a precondition as well.

use std::time::Duration;

use kube::Client;
use kube_lease_manager::{LeaseCreateMode, LeaseManager, LeaseManagerBuilder};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::settings::Settings;

/// Whether this replica is the leader.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<bool>);

impl Leadership {
    /// Whether this replica is the leader now.
    #[must_use]
    pub fn is_held(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until this replica is the leader.
    pub async fn gained(&mut self) -> bool {
        self.0.wait_for(|held| *held).await.is_ok()
    }

    /// Waits until this replica is not the leader any more.
    pub async fn lost(&mut self) {
        // An error means that nobody holds the lease for us any more, which is the same.
        let _ = self.0.wait_for(|held| !*held).await;
    }
}

impl From<watch::Receiver<bool>> for Leadership {
    fn from(held: watch::Receiver<bool>) -> Self {
        Self(held)
    }
}

/// The Lease is given back within this time, or runs out.
const GIVEN_BACK: Duration = Duration::from_secs(5);

/// Keeps the Lease.
///
/// The manager gives it back when nobody listens to it any more. Whoever has a [`Leadership`] listens to us instead, or
/// one of them that is forgotten somewhere would keep the next replica waiting.
pub struct Keeper {
    stop: oneshot::Sender<()>,
    manager: JoinHandle<kube_lease_manager::Result<LeaseManager>>,
}

impl Keeper {
    /// Gives the Lease back, so that another replica need not wait for it to run out. Nothing is written from here on.
    pub async fn give_back(self) {
        let _ = self.stop.send(());
        let given = tokio::time::timeout(GIVEN_BACK, self.manager).await;
        if !matches!(given, Ok(Ok(Ok(_)))) {
            tracing::warn!(
                "the lease could not be given back; another replica waits until it runs out"
            );
        }
    }
}

/// Tells on what the manager tells, until it ends or is to stop.
async fn tell(
    mut manager: watch::Receiver<bool>,
    everybody: watch::Sender<bool>,
    mut stop: oneshot::Receiver<()>,
) {
    loop {
        tokio::select! {
            changed = manager.changed() => if changed.is_err() { break },
            _ = &mut stop => break,
        }
        everybody.send_replace(*manager.borrow_and_update());
    }
    everybody.send_replace(false);
}

/// Begins to compete for the Lease.
pub async fn compete(client: Client, settings: &Settings) -> anyhow::Result<(Leadership, Keeper)> {
    let manager = LeaseManagerBuilder::new(client, &settings.lease_name)
        .with_namespace(&settings.leader_election_namespace)
        .with_identity(&settings.identity)
        .with_duration(settings.lease_duration_seconds)
        .with_grace(settings.lease_duration_seconds / 3)
        .with_field_manager(backstop_api::names::FIELD_MANAGER)
        .with_create_mode(LeaseCreateMode::AutoCreate)
        .build()
        .await?;
    let (held, manager) = manager.watch().await;
    let (everybody, leadership) = watch::channel(*held.borrow());
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(tell(held, everybody, stopped));
    Ok((Leadership(leadership), Keeper { stop, manager }))
}
