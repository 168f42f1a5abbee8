//! Who acts: one of the replicas, by a Lease.
//!
//! A Lease does not fence: a leader that hangs may wake up after it has lost it. So leadership is
//! checked before each write, and every write that matters carries a precondition as well.

use kube::Client;
use kube_lease_manager::{LeaseCreateMode, LeaseManagerBuilder};
use tokio::sync::watch;
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

/// The task that keeps the Lease.
pub type Keeper = JoinHandle<kube_lease_manager::Result<kube_lease_manager::LeaseManager>>;

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
    let (channel, task) = manager.watch().await;
    Ok((Leadership(channel), task))
}
