//! The rights of the operator and of those who use it: one table, from which come the roles in the chart, those in the
//! plain manifests, and the page that explains them.

use std::fmt::Write as _;

use backstop_traffic::{Provider, Table};

use super::Files;

/// Where the plain manifests install the operator.
pub(crate) const NAMESPACE: &str = "backstop-system";
/// Who the operator is.
pub(crate) const SERVICE_ACCOUNT: &str = "backstop";
/// The ConfigMap that pauses it.
const SWITCH: &str = "backstop";

const BACKSTOP: &str = backstop_api::GROUP;
const READ: &[&str] = &["get", "list", "watch"];
const READ_AND_PATCH: &[&str] = &["get", "list", "watch", "patch"];
const SUSPEND: &[&str] = &["get", "list", "patch"];

/// Some rights, and why they are needed.
struct Rule {
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
    why: &'static str,
}

/// Rights that are given together.
struct Role {
    /// The file in the chart.
    file: &'static str,
    /// The object.
    name: &'static str,
    scope: Scope,
    /// The names of the objects that it is about; of all where there are none.
    names: &'static [&'static str],
    /// Whether it is given only where an administrator asks for it: the plain manifests leave it out.
    on_demand: bool,
    about: &'static str,
    rules: Rules,
}

enum Rules {
    Listed(&'static [Rule]),
    /// To see and to patch every kind of route that Backstop knows by itself.
    Routes,
}

/// A rule as it is written down.
struct Granted {
    group: String,
    resources: Vec<String>,
    verbs: &'static [&'static str],
    why: String,
}

impl Role {
    fn granted(&self) -> Vec<Granted> {
        match self.rules {
            Rules::Listed(rules) => rules.iter().map(Granted::from).collect(),
            Rules::Routes => routes(&Table::builtin()),
        }
    }
}

impl From<&Rule> for Granted {
    fn from(rule: &Rule) -> Self {
        Self {
            group: rule.group.to_owned(),
            resources: rule.resources.iter().map(ToString::to_string).collect(),
            verbs: rule.verbs,
            why: rule.why.to_owned(),
        }
    }
}

/// What Canary needs of the kinds in a table: one rule for each API group.
fn routes(table: &Table) -> Vec<Granted> {
    let mut groups: Vec<(&str, Vec<&Provider>)> = Vec::new();
    for provider in table.iter() {
        match groups
            .iter_mut()
            .find(|(group, _)| *group == provider.group)
        {
            Some((_, providers)) => providers.push(provider),
            None => groups.push((&provider.group, vec![provider])),
        }
    }
    let granted = groups.into_iter().map(|(group, providers)| {
        let names: Vec<&str> = providers.iter().map(|p| p.name.as_str()).collect();
        let mut resources: Vec<String> = Vec::new();
        for provider in &providers {
            if !resources.contains(&provider.plural) {
                resources.push(provider.plural.clone());
            }
        }
        Granted {
            group: group.to_owned(),
            resources,
            verbs: READ_AND_PATCH,
            why: format!(
                "for Canary with {}: to see and to shift the weights of the route",
                names.join(", ")
            ),
        }
    });
    granted.collect()
}

enum Scope {
    /// Given to the operator in every namespace that it works in.
    Workloads,
    /// Given to the operator in its own namespace.
    Own,
    /// Given to whoever has Kubernetes' own role of these names.
    Users(&'static [&'static str]),
    /// In the operator's namespace, given to nobody until an administrator binds it.
    OwnUsers,
}

const ROLES: [Role; 11] = [
    Role {
        file: "operator",
        name: "backstop",
        scope: Scope::Workloads,
        names: &[],
        on_demand: false,
        about: "What the operator needs where it works: in all namespaces, or in those of `watchNamespaces`.",
        rules: Rules::Listed(&[
            Rule {
                group: BACKSTOP,
                resources: &["rollbackpolicies"],
                verbs: READ,
                why: "to know what to watch, and when to act",
            },
            Rule {
                group: BACKSTOP,
                resources: &["rollbackpoints"],
                verbs: &["get", "list", "watch", "create", "patch", "delete"],
                why: "to record releases, fill in those that people name, and let old ones go",
            },
            Rule {
                group: BACKSTOP,
                resources: &["rollbackevents"],
                verbs: &["get", "list", "watch", "create", "delete"],
                why: "to record a rollback before it is made, and to let its record go when its time is over (`--event-retention-days`); \
                      a record is never changed",
            },
            Rule {
                group: BACKSTOP,
                resources: &[
                    "rollbackpolicies/status",
                    "rollbackpoints/status",
                    "rollbackevents/status",
                ],
                verbs: &["patch"],
                why: "to say where a policy stands, and how far a rollback has come",
            },
            Rule {
                group: "apps",
                resources: &["deployments"],
                verbs: READ_AND_PATCH,
                why: "to see the live release, and to write the good template",
            },
            Rule {
                group: "",
                resources: &["configmaps"],
                verbs: &["get", "create", "patch"],
                why: "to keep the configuration of a release, and to put it back",
            },
            Rule {
                group: "apps",
                resources: &["statefulsets", "daemonsets"],
                verbs: &["list"],
                why: "to leave configuration alone that others use as well",
            },
            Rule {
                group: "batch",
                resources: &["jobs", "cronjobs"],
                verbs: &["list"],
                why: "the same",
            },
            Rule {
                group: "autoscaling",
                resources: &["horizontalpodautoscalers"],
                verbs: &["get", "list", "patch"],
                why: "to raise an autoscaler's minimum for the time of a rollback, and to put it back",
            },
            Rule {
                group: "",
                resources: &["services"],
                verbs: READ_AND_PATCH,
                why: "for BlueGreen: to see what a Service selects, and to swap it",
            },
            Rule {
                group: "discovery.k8s.io",
                resources: &["endpointslices"],
                verbs: &["list"],
                why: "for BlueGreen: to see that the endpoints follow",
            },
            Rule {
                group: "apps",
                resources: &["replicasets"],
                verbs: &["get", "list", "watch", "delete"],
                why: "to tell which pods are of which release; for IsolateAndRollback: to let its pods go",
            },
            Rule {
                group: "",
                resources: &["pods"],
                verbs: &["get", "list", "watch", "patch", "delete"],
                why: "to see crash loops, failed image pulls, restarts and readiness; for IsolateAndRollback: to take \
                      labels from suspect pods, and to delete those that are not kept",
            },
            Rule {
                group: "metrics.k8s.io",
                resources: &["pods"],
                verbs: &["list"],
                why: "for triggers of the source resource: to see what the pods of a release use",
            },
            Rule {
                group: "networking.k8s.io",
                resources: &["networkpolicies"],
                verbs: &["create", "patch"],
                why: "for IsolateAndRollback: to keep traffic from suspect pods",
            },
            Rule {
                group: "aquasecurity.github.io",
                resources: &["vulnerabilityreports"],
                verbs: &["list", "watch"],
                why: "for the source and the gate of vulnerabilities: to see what Trivy Operator has found",
            },
            Rule {
                group: "events.k8s.io",
                resources: &["events"],
                verbs: &["create", "patch"],
                why: "to tell what happened in kubectl describe and kubectl events",
            },
        ]),
    },
    Role {
        file: "secrets",
        name: "backstop-secrets",
        scope: Scope::Workloads,
        names: &[],
        on_demand: false,
        about: "Apart from the rest, so that it can be left out (`rbac.readSecrets: false`) or bound in some namespaces only.",
        rules: Rules::Listed(&[Rule {
            group: "",
            resources: &["secrets"],
            verbs: &["get", "create", "patch"],
            why: "to sign in to Prometheus, to web services and to notification channels with the Secrets that a policy names, \
                  to know who may post alerts about a namespace, and to keep the configuration of a release and put it back; \
                  Secrets are never listed or watched",
        }]),
    },
    Role {
        file: "routes",
        name: "backstop-routes",
        scope: Scope::Workloads,
        names: &[],
        on_demand: false,
        about: "Apart from the rest, so that it can be left out (`rbac.routes: false`) where no policy has the strategy \
                Canary. A kind of route that the operator's `--routes-file` adds needs a role of its own, with the same \
                verbs.",
        rules: Rules::Routes,
    },
    Role {
        file: "gitops",
        name: "backstop-gitops",
        scope: Scope::Workloads,
        names: &[],
        on_demand: true,
        about: "Given with `rbac.gitops: true` only, and needed for `gitops.onConflict: Suspend`. Bound in the namespaces \
                of `gitops.namespaces` too.",
        rules: Rules::Listed(&[
            Rule {
                group: "kustomize.toolkit.fluxcd.io",
                resources: &["kustomizations"],
                verbs: SUSPEND,
                why: "to suspend a Kustomization of Flux that would undo a rollback, to resume it, and to find what a policy \
                      that was deleted has left suspended",
            },
            Rule {
                group: "helm.toolkit.fluxcd.io",
                resources: &["helmreleases"],
                verbs: SUSPEND,
                why: "the same for a HelmRelease of Flux",
            },
            Rule {
                group: "argoproj.io",
                resources: &["applications"],
                verbs: SUSPEND,
                why: "the same for the automated sync of an Application of Argo CD",
            },
            Rule {
                group: "source.toolkit.fluxcd.io",
                resources: &[
                    "gitrepositories",
                    "ocirepositories",
                    "buckets",
                    "externalartifacts",
                    "helmcharts",
                ],
                verbs: &["get"],
                why: "to see that Git has another revision, so that Flux may go on",
            },
        ]),
    },
    Role {
        file: "leader-election",
        name: "backstop-leader-election",
        scope: Scope::Own,
        names: &[],
        on_demand: false,
        about: "What the replicas of the operator need in its own namespace to agree on one that works.",
        rules: Rules::Listed(&[
            Rule {
                group: "coordination.k8s.io",
                resources: &["leases"],
                verbs: &["get", "create", "patch"],
                why: "to hold the lease that says which replica works",
            },
            Rule {
                group: "",
                resources: &["secrets"],
                verbs: &["get", "create", "patch"],
                why: "to make and read the keys under which configuration is kept, and to sign in to the operator's own \
                      notification channels",
            },
        ]),
    },
    Role {
        file: "switch",
        name: "backstop-switch",
        scope: Scope::Own,
        names: &[SWITCH],
        on_demand: false,
        about: "What the operator needs to see whether it is paused for the whole cluster.",
        rules: Rules::Listed(&[Rule {
            group: "",
            resources: &["configmaps"],
            verbs: READ,
            why: "to heed `paused`",
        }]),
    },
    Role {
        file: "user-viewer",
        name: "backstop-viewer",
        scope: Scope::Users(&["view", "edit", "admin"]),
        names: &[],
        on_demand: false,
        about: "To look, without being able to change anything.",
        rules: Rules::Listed(&[Rule {
            group: BACKSTOP,
            resources: &["rollbackpolicies", "rollbackpoints", "rollbackevents"],
            verbs: READ,
            why: "to see policies, points and rollbacks",
        }]),
    },
    Role {
        file: "user-operator",
        name: "backstop-operator",
        scope: Scope::Users(&["edit", "admin"]),
        names: &[],
        on_demand: false,
        about: "For whoever is on call: to name releases good, to roll back and to call rollbacks off, and to set the mode of a \
                policy. The admission policies ask besides for the right to patch the Deployment in question, and what else a \
                policy reaches.",
        rules: Rules::Listed(&[
            Rule {
                group: BACKSTOP,
                resources: &["rollbackpolicies"],
                verbs: &["update", "patch"],
                why: "to set `spec.mode`; an admission policy refuses everything else",
            },
            Rule {
                group: BACKSTOP,
                resources: &["rollbackpoints", "rollbackevents"],
                verbs: &["create", "update", "patch"],
                why: "to name releases good, to roll back by hand, and to call a rollback off; records stay",
            },
        ]),
    },
    Role {
        file: "user-admin",
        name: "backstop-admin",
        scope: Scope::Users(&["admin"]),
        names: &[],
        on_demand: false,
        about: "Besides what backstop-operator may: to write policies and their gates, to override, to run drills, and to let \
                records of releases go. `configure`, `override` and `drill` are verbs that admission policies ask for.",
        rules: Rules::Listed(&[
            Rule {
                group: BACKSTOP,
                resources: &["rollbackpolicies"],
                verbs: &[
                    "create",
                    "update",
                    "patch",
                    "delete",
                    "deletecollection",
                    "configure",
                    "override",
                ],
                why: "to write policies, and to take a Deployment over (`backstop.dev/override`)",
            },
            Rule {
                group: BACKSTOP,
                resources: &["rollbackpoints"],
                verbs: &["create", "update", "patch", "delete", "deletecollection"],
                why: "to name releases good, and to lift a quarantine by deleting its record",
            },
            Rule {
                group: BACKSTOP,
                resources: &["rollbackevents"],
                verbs: &["create", "update", "patch", "drill"],
                why: "to roll back by hand, to try that out in a drill, and to call a rollback off; records stay",
            },
        ]),
    },
    Role {
        file: "user-pause",
        name: "backstop-pause",
        scope: Scope::OwnUsers,
        names: &[SWITCH],
        on_demand: false,
        about: "To pause Backstop for the whole cluster, and to let it act again.",
        rules: Rules::Listed(&[Rule {
            group: "",
            resources: &["configmaps"],
            verbs: &["get", "update", "patch"],
            why: "to set `paused`",
        }]),
    },
    Role {
        file: "user-logs",
        name: "backstop-logs",
        scope: Scope::OwnUsers,
        names: &[],
        on_demand: false,
        about: "To read what the operator logs, which is about every namespace that it works in.",
        rules: Rules::Listed(&[
            Rule {
                group: "",
                resources: &["pods"],
                verbs: &["get", "list"],
                why: "to find the operator's pods",
            },
            Rule {
                group: "",
                resources: &["pods/log"],
                verbs: &["get"],
                why: "to read their logs",
            },
        ]),
    },
];

/// One thing that the operator may do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Right {
    /// The role that gives it.
    pub(crate) role: &'static str,
    /// Whether it is given in the operator's own namespace alone.
    pub(crate) own: bool,
    /// The API group, empty for the core.
    pub(crate) group: String,
    /// The resource, with the subresource behind a slash.
    pub(crate) resource: String,
    /// The verb.
    pub(crate) verb: &'static str,
}

/// Everything that the operator may do.
pub(crate) fn of_operator() -> Vec<Right> {
    let mut rights = Vec::new();
    for role in &ROLES {
        let own = match role.scope {
            Scope::Workloads => false,
            Scope::Own => true,
            Scope::Users(_) | Scope::OwnUsers => continue,
        };
        for rule in role.granted() {
            for resource in &rule.resources {
                rights.extend(rule.verbs.iter().map(|verb| Right {
                    role: role.name,
                    own,
                    group: rule.group.clone(),
                    resource: resource.clone(),
                    verb,
                }));
            }
        }
    }
    rights
}

pub(super) fn files() -> Files {
    let mut files = Files::new();
    for role in &ROLES {
        files.insert(
            format!("charts/backstop/files/rbac/{}.yaml", role.file),
            format!("{HEADER}{}", rules(role.names, &role.granted())),
        );
    }
    files.insert("manifests/rbac.yaml".to_owned(), manifests());
    files.insert("docs/reference/permissions.md".to_owned(), page());
    files
}

const HEADER: &str =
    "# Written by `cargo xtask generate` from its table of rights. Change it there.\n";

/// The rules as a YAML list.
fn rules(names: &[&str], rules: &[Granted]) -> String {
    let mut text = String::new();
    for Granted {
        group,
        resources,
        verbs,
        why,
    } in rules
    {
        let _ = write!(
            text,
            "# {why}\n- apiGroups: [\"{group}\"]\n  resources: [{}]\n",
            resources.join(", ")
        );
        if !names.is_empty() {
            let _ = writeln!(text, "  resourceNames: [{}]", names.join(", "));
        }
        let _ = writeln!(text, "  verbs: [{}]", verbs.join(", "));
    }
    text
}

/// Service account, roles and bindings, as objects of their own.
fn manifests() -> String {
    let subject = format!(
        "subjects:\n- kind: ServiceAccount\n  name: {SERVICE_ACCOUNT}\n  namespace: {NAMESPACE}\n"
    );
    let mut text = format!(
        "{HEADER}apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {SERVICE_ACCOUNT}\n  namespace: {NAMESPACE}\n"
    );
    for role in ROLES.iter().filter(|role| !role.on_demand) {
        let (kind, mut metadata) = match role.scope {
            Scope::Own | Scope::OwnUsers => ("Role", format!("  namespace: {NAMESPACE}\n")),
            Scope::Workloads | Scope::Users(_) => ("ClusterRole", String::new()),
        };
        if let Scope::Users(into) = role.scope {
            metadata.push_str("  labels:\n");
            for name in into {
                let _ = writeln!(
                    metadata,
                    "    rbac.authorization.k8s.io/aggregate-to-{name}: \"true\""
                );
            }
        }
        let name = role.name;
        let _ = write!(
            text,
            "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {name}\n{metadata}rules:\n{}",
            rules(role.names, &role.granted())
        );
        if !matches!(role.scope, Scope::Users(_) | Scope::OwnUsers) {
            let _ = write!(
                text,
                "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}Binding\nmetadata:\n  name: {name}\n{metadata}\
                 roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: {kind}\n  name: {name}\n{subject}"
            );
        }
    }
    let _ = write!(
        text,
        "---\n# `paused: \"true\"` in its data stops everything that Backstop does.\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  \
         name: {SWITCH}\n  namespace: {NAMESPACE}\n"
    );
    text
}

/// The page that explains them.
fn page() -> String {
    let mut text = String::from(
        "# Permissions\n\n\
         <!-- Written by `cargo xtask generate` from its table of rights. Change it there. -->\n\n\
         Everything that the chart and the plain manifests grant, and why. Admission policies bound it further: see\n\
         [Who may do what](#who-may-do-what).\n",
    );
    for role in &ROLES {
        let to = match role.scope {
            Scope::Workloads => "A ClusterRole for the operator.".to_owned(),
            Scope::Own => "A Role for the operator.".to_owned(),
            Scope::OwnUsers => {
                "A Role in the operator's namespace, for whom an administrator binds it to."
                    .to_owned()
            }
            Scope::Users(into) => format!(
                "A ClusterRole that becomes part of Kubernetes' own {}, unless `rbac.aggregate` is `false`.",
                into.iter()
                    .map(|name| format!("`{name}`"))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        };
        let _ = write!(
            text,
            "\n## `{}`\n{to} {}\n\n| API group | resources | verbs | why |\n|---|---|---|---|\n",
            role.name, role.about
        );
        for rule in role.granted() {
            let group = if rule.group.is_empty() {
                "core"
            } else {
                &rule.group
            };
            let names = if role.names.is_empty() {
                String::new()
            } else {
                format!(" named {}", role.names.join(", "))
            };
            let _ = writeln!(
                text,
                "| {group} | {}{names} | {} | {} |",
                rule.resources.join(", "),
                rule.verbs.join(", "),
                rule.why
            );
        }
    }
    text.push_str(WHO_MAY);
    text
}

const WHO_MAY: &str = "
## Who may do what
Roles say who may write Backstop's objects at all. Validating admission policies, which the API server evaluates by
itself, see to it that nobody gains rights through them. They come with the chart and the plain manifests, and they
fail closed: they concern Backstop's own objects alone.

| who | may |
|---|---|
| whoever may patch the Deployment | write a RollbackPolicy for it; make, change and delete its RollbackPoints; ask for a rollback (a RollbackEvent with `cause: Manual`) in their own name; call one off (`backstop.dev/cancel`) |
| whoever may patch every Deployment that is named, and the Service or the route | write a RollbackPolicy for several Deployments, for BlueGreen or for Canary; of a kind of route from `--routes-file` whoever may patch `*` in `*` |
| whoever may patch HorizontalPodAutoscalers in the namespace, besides | write a RollbackPolicy with BlueGreen, Canary or ScaleAndRollback |
| whoever may patch ConfigMaps, and Secrets, in the namespace, besides | write a RollbackPolicy without `points.config: Ignore`, and without `points.secrets: Ignore` |
| whoever may patch all that a RollbackPolicy reaches | ask for a rollback by it; for its RollbackPoints every Deployment counts |
| Backstop alone | fill `spec.release` of a point; quarantine; say that a point soaked; record a rollback that a trigger caused, with its evidence; write status; change the `backstop.dev/` labels of points and events, and such annotations of points; give events names that end in a number |
| whoever has the verb `configure` on RollbackPolicies | change more of a RollbackPolicy than `spec.mode` |
| whoever has the verb `drill` on RollbackEvents | ask for a drill (a RollbackEvent with `cause: Drill`), where they may ask for a rollback |
| whoever has the verb `override` on RollbackPolicies | take a Deployment over (`backstop.dev/override`), in their own name; change or take away the gates of a RollbackPolicy |
| whoever has the right to delete, and the verb `purge` on RollbackEvents | delete a RollbackEvent that has ended, before its time; no role here has it |

A refusal says which field is meant, what its value is and what it has to be. To mend something by hand that only
Backstop may write, a cluster administrator deletes the binding first, and puts it back afterwards:
`kubectl delete validatingadmissionpolicybinding backstop-status`.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_route_may_be_seen_and_patched() {
        let granted = routes(&Table::builtin());
        for provider in Table::builtin().iter() {
            let covers = |rule: &&Granted| {
                rule.group == provider.group && rule.resources.contains(&provider.plural)
            };
            let rules: Vec<_> = granted.iter().filter(covers).collect();
            assert_eq!(
                rules.len(),
                1,
                "{} rules for {}",
                rules.len(),
                provider.name
            );
            assert_eq!(rules[0].verbs, READ_AND_PATCH);
            assert!(rules[0].why.contains(&provider.name), "{}", rules[0].why);
        }
    }

    #[test]
    fn the_operator_cannot_list_secrets_or_touch_roles() {
        for rule in ROLES.iter().flat_map(Role::granted) {
            assert!(!rule.verbs.contains(&"*") && !rule.resources.contains(&"*".to_owned()));
            assert!(!rule.group.starts_with("rbac."));
            if rule.resources.contains(&"secrets".to_owned()) {
                let allowed = ["get", "create", "patch"];
                assert!(rule.verbs.iter().all(|verb| allowed.contains(verb)));
            }
        }
    }

    #[test]
    fn a_rule_stands_under_the_reason_for_it() {
        let text = rules(&[], &ROLES[1].granted()[..1]);
        assert!(text.starts_with("# to sign in"), "{text}");
        let end = "- apiGroups: [\"\"]\n  resources: [secrets]\n  verbs: [get, create, patch]\n";
        assert!(text.ends_with(end), "{text}");
    }
}
