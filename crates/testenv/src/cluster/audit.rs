//! What the API server writes down about requests.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::ClusterOptions;
use crate::state::StateDir;

/// Names a folder in which every cluster leaves what its API server wrote about the operator, beyond its own end: one file
/// each. `cargo xtask permissions` reads them. Not those whose test looks itself ([`ClusterOptions::audit`]).
pub const AUDIT_LOGS: &str = "BACKSTOP_AUDIT_LOGS";

const EVERYBODY: &str = include_str!("audit-policy.yaml");
const OPERATOR: &str = include_str!("audit-policy-operator.yaml");

/// What is written, and where.
#[derive(Debug)]
pub(super) struct Audit {
    policy: &'static str,
    pub(super) log: PathBuf,
}

impl Audit {
    /// As the options and the environment say; nothing is written where neither asks for it.
    pub(super) fn chosen(
        options: &ClusterOptions,
        state: &StateDir,
    ) -> anyhow::Result<Option<Self>> {
        if options.audit {
            return Ok(Some(Self {
                policy: EVERYBODY,
                log: state.path().join("audit.log"),
            }));
        }
        let Some(folder) = std::env::var_os(AUDIT_LOGS) else {
            return Ok(None);
        };
        Ok(Some(Self {
            policy: OPERATOR,
            log: kept(Path::new(&folder), state)?,
        }))
    }

    /// The API server's flags for it.
    pub(super) fn flags(&self, state: &StateDir) -> anyhow::Result<[String; 3]> {
        let policy = state.write("audit-policy.yaml", self.policy)?;
        Ok([
            format!("--audit-policy-file={}", policy.display()),
            format!("--audit-log-path={}", self.log.display()),
            // Written before the answer goes out, so a test that has its answer finds the line.
            "--audit-log-mode=blocking".to_owned(),
        ])
    }
}

fn kept(folder: &Path, state: &StateDir) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("{AUDIT_LOGS}: could not make {}", folder.display()))?;
    let run = state.path().file_name().unwrap_or_default();
    // Made absolute, since the API server runs elsewhere.
    Ok(folder.canonicalize()?.join(run).with_extension("jsonl"))
}
