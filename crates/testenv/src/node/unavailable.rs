//! Why there can be no real node here.

use std::process::Command;

/// What a machine lacks for a real node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// This process is not root.
    #[error("a real node needs root, and this process runs as user {uid}")]
    NotRoot {
        /// As whom it runs.
        uid: String,
    },
    /// A container without rights, for example.
    #[error("a real node needs the capability {0}, which this process lacks")]
    Capability(&'static str),
    /// The kernel or a sandbox does not let us make namespaces.
    #[error("a real node needs namespaces of its own: {0}")]
    Namespaces(String),
}

/// Bits in the kernel's masks, from `capabilities(7)`.
const CAPABILITIES: [(u32, &str); 3] = [
    (12, "CAP_NET_ADMIN"),
    (21, "CAP_SYS_ADMIN"),
    (27, "CAP_MKNOD"),
];

/// Looks whether this process may set up a real node.
pub(super) fn check() -> Result<(), Unavailable> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    judge(&status)?;
    let tried = Command::new("unshare")
        .args([
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--mount-proc",
            "true",
        ])
        .output();
    match tried {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(Unavailable::Namespaces(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        )),
        Err(error) => Err(Unavailable::Namespaces(format!("unshare: {error}"))),
    }
}

/// Reads user and capabilities from the text of `/proc/self/status`.
fn judge(status: &str) -> Result<(), Unavailable> {
    let field = |name: &str| {
        let mut lines = status.lines();
        let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().split_whitespace()
    };
    // Real, effective, saved, file system.
    let uid = field("Uid").nth(1).unwrap_or("unknown");
    if uid != "0" {
        return Err(Unavailable::NotRoot {
            uid: uid.to_owned(),
        });
    }
    let effective = field("CapEff").next().unwrap_or_default();
    let effective = u64::from_str_radix(effective, 16).unwrap_or(0);
    match CAPABILITIES
        .iter()
        .find(|(bit, _)| effective & (1 << bit) == 0)
    {
        Some((_, name)) => Err(Unavailable::Capability(name)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_user_is_refused() {
        let status = "Name:\tx\nUid:\t0\t1000\t0\t0\nCapEff:\t000001fffeffffff\n";
        let refused = judge(status);
        let uid = "1000".to_owned();
        assert_eq!(refused, Err(Unavailable::NotRoot { uid }));
    }

    #[test]
    fn root_without_rights_is_refused_and_told_which() {
        let all = "Uid:\t0\t0\t0\t0\nCapEff:\t000001fffeffffff\n";
        assert_eq!(judge(all), Ok(()));
        // What a container has by default.
        let few = "Uid:\t0\t0\t0\t0\nCapEff:\t00000000a80425fb\n";
        assert_eq!(judge(few), Err(Unavailable::Capability("CAP_NET_ADMIN")));
    }
}
