//! What the cluster itself says of a workload.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Signs of trouble in the workload's own status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "self.signals.size() == 1 || !self.signals.exists(s, s in ['Restarts', 'UnreadyShare'])"
).message("workload.signals: Restarts and UnreadyShare are numbers of their own; put each in a trigger of its own"))]
pub struct WorkloadSource {
    /// Which signs. The value is the number of the release's pods that show any of them (and one
    /// more for ProgressDeadlineExceeded); for `Restarts` the highest count of restarts, for
    /// `UnreadyShare` the share of the wanted pods that is not ready, 0 to 1.
    #[schemars(length(min = 1, max = 7))]
    pub signals: Vec<Signal>,
}

/// What the cluster says of a release.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Signal {
    /// The rollout made no progress within `progressDeadlineSeconds`.
    ProgressDeadlineExceeded,
    /// A container starts and dies, again and again.
    CrashLoopBackOff,
    /// An image cannot be pulled (ImagePullBackOff, InvalidImageName, ErrImageNeverPull). The first
    /// failure of a pull, ErrImagePull, may be a hiccup of the registry and does not count.
    ImagePullBackOff,
    /// A container cannot be made (CreateContainerConfigError, CreateContainerError), such as for a
    /// missing ConfigMap or Secret key.
    CreateContainerConfigError,
    /// A container was killed for using more memory than its limit.
    OOMKilled,
    /// The highest number of restarts of a container.
    Restarts,
    /// The share of the wanted pods that is not ready.
    UnreadyShare,
}
