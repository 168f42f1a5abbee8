//! A policy that cannot work is told so at once.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use backstop_api::RollbackPolicy;
use backstop_api::condition::{ACCEPTED, ConditionStatus};
use serde_json::Value;

use crate::world::{APP, World};

/// Whoever applies a policy looks once, and not again later.
const AT_ONCE: Duration = Duration::from_secs(1);
/// It takes some tens of milliseconds. While other tests keep the machine busy one answer may come late, but not each of
/// so many.
const TRIES: usize = 3;

impl World {
    /// Applies a policy that cannot work, and expects to be told within a second: by the condition Accepted, which is
    /// False and has all of these words. Returns what it says.
    pub async fn refused_at_once(&self, spec: &Value, words: &[&str]) -> anyhow::Result<String> {
        let mut took = Vec::new();
        for _ in 0..TRIES {
            let began = Instant::now();
            self.policy(spec.clone()).await?;
            let said = self
                .eventually("the policy to be refused", async || {
                    self.refused(words).await
                })
                .await?;
            took.push(began.elapsed());
            if began.elapsed() <= AT_ONCE {
                println!("refused after {:.2?}: {said}", began.elapsed());
                return Ok(said);
            }
            self.delete_policy(APP).await?;
        }
        bail!("refused in words, but each time after more than {AT_ONCE:?}: {took:?}")
    }

    async fn refused(&self, words: &[&str]) -> anyhow::Result<String> {
        let policy = self.api::<RollbackPolicy>().get(APP).await?;
        let status = policy.status.context("no status")?;
        let accepted = status.conditions.iter().find(|c| c.type_ == ACCEPTED);
        let accepted = accepted.context("no condition")?;
        ensure!(
            accepted.observed_generation == policy.metadata.generation,
            "about an older one: {accepted:?}"
        );
        ensure!(accepted.status == ConditionStatus::False, "{accepted:?}");
        for word in words {
            ensure!(accepted.message.contains(word), "no '{word}': {accepted:?}");
        }
        Ok(accepted.message.clone())
    }
}
