//! The GitOps tools, as far as they can be told from what they write.

pub mod mark;
pub mod object;
pub mod wanted;

use backstop_api::event::GitOpsTool;

/// Field managers of the tools, by the name under which each writes.
const MANAGERS: [(&str, GitOpsTool); 4] = [
    ("argocd-controller", GitOpsTool::ArgoCD),
    ("argocd-application-controller", GitOpsTool::ArgoCD),
    ("kustomize-controller", GitOpsTool::Flux),
    ("helm-controller", GitOpsTool::Flux),
];

/// The tool that writes as this field manager.
#[must_use]
pub fn tool(manager: &str) -> Option<GitOpsTool> {
    let known = MANAGERS.iter().find(|(name, _)| *name == manager);
    known.map(|(_, tool)| *tool)
}

/// A field manager, for people.
#[must_use]
pub fn named(manager: &str, tool: Option<GitOpsTool>) -> String {
    match tool {
        Some(GitOpsTool::ArgoCD) => format!("Argo CD ({manager})"),
        Some(GitOpsTool::Flux) => format!("Flux ({manager})"),
        None => manager.to_owned(),
    }
}

/// What a person does about somebody who puts a release back again and again.
#[must_use]
pub(crate) fn what_to_do(tool: Option<GitOpsTool>, workload: &str) -> String {
    let stop = match tool {
        Some(GitOpsTool::ArgoCD) => "turn automated sync of the application off",
        Some(GitOpsTool::Flux) => "suspend the object that applies it (flux suspend)",
        None => "stop what does it",
    };
    format!(
        "Revert it in Git, or {stop}; then take {workload} back with a RollbackEvent of cause Manual"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_told_by_their_field_managers() {
        assert_eq!(tool("argocd-controller"), Some(GitOpsTool::ArgoCD));
        assert_eq!(tool("helm-controller"), Some(GitOpsTool::Flux));
        assert_eq!(tool("kubectl"), None);
    }
}
