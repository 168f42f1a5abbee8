//! The rights of the operator and of those who use it: one table, from which come the roles in the chart, those in the
//! plain manifests, and the page that explains them.

use std::fmt::Write as _;

use super::Files;

/// Where the plain manifests install the operator.
pub(super) const NAMESPACE: &str = "backstop-system";
/// Who the operator is.
pub(super) const SERVICE_ACCOUNT: &str = "backstop";

const BACKSTOP: &str = backstop_api::GROUP;
const READ: &[&str] = &["get", "list", "watch"];
const READ_AND_PATCH: &[&str] = &["get", "list", "watch", "patch"];

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
    /// Whether it is given only where an administrator asks for it: the plain manifests leave it out.
    on_demand: bool,
    about: &'static str,
    rules: &'static [Rule],
}

enum Scope {
    /// Given to the operator in every namespace that it works in.
    Workloads,
    /// Given to the operator in its own namespace.
    Own,
    /// Given to whoever has Kubernetes' own role of these names.
    Users(&'static [&'static str]),
}

const ROLES: [Role; 7] = [
    Role {
        file: "operator",
        name: "backstop",
        scope: Scope::Workloads,
        on_demand: false,
        about: "What the operator needs where it works: in all namespaces, or in those of `watchNamespaces`.",
        rules: &[
            Rule {
                group: BACKSTOP,
                resources: &["rollbackpolicies"],
                verbs: READ,
                why: "to know what to watch, and when to act",
            },
            Rule {
                group: BACKSTOP,
                resources: &["rollbackpoints"],
                verbs: &[
                    "get", "list", "watch", "create", "update", "patch", "delete",
                ],
                why: "to record releases, fill in those that people name, and let old ones go",
            },
            Rule {
                group: BACKSTOP,
                resources: &["rollbackevents"],
                verbs: &["get", "list", "watch", "create"],
                why: "to record a rollback before it is made; a record is never changed or deleted",
            },
            Rule {
                group: BACKSTOP,
                resources: &[
                    "rollbackpolicies/status",
                    "rollbackpoints/status",
                    "rollbackevents/status",
                ],
                verbs: &["update", "patch"],
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
                group: "networking.k8s.io",
                resources: &["networkpolicies"],
                verbs: &["create", "patch"],
                why: "for IsolateAndRollback: to keep traffic from suspect pods",
            },
            Rule {
                group: "events.k8s.io",
                resources: &["events"],
                verbs: &["create", "patch"],
                why: "to tell what happened in kubectl describe and kubectl events",
            },
        ],
    },
    Role {
        file: "secrets",
        name: "backstop-secrets",
        scope: Scope::Workloads,
        on_demand: false,
        about: "Apart from the rest, so that it can be left out (`rbac.readSecrets: false`) or bound in some namespaces only.",
        rules: &[Rule {
            group: "",
            resources: &["secrets"],
            verbs: &["get", "create", "patch"],
            why: "to sign in to Prometheus with the Secret that a policy names, and to keep the configuration of a release \
                  and put it back; Secrets are never listed or watched",
        }],
    },
    Role {
        file: "routes",
        name: "backstop-routes",
        scope: Scope::Workloads,
        on_demand: false,
        about: "Apart from the rest, so that it can be left out (`rbac.routes: false`) where no policy has the strategy \
                Canary. A kind of route that the operator's `--routes-file` adds needs a role of its own, with the same \
                verbs.",
        rules: &[
            Rule {
                group: "gateway.networking.k8s.io",
                resources: &["httproutes", "grpcroutes"],
                verbs: READ_AND_PATCH,
                why: "for Canary with the Gateway API: to see and to shift the weights of the route",
            },
            Rule {
                group: "traefik.io",
                resources: &["traefikservices", "ingressroutes"],
                verbs: READ_AND_PATCH,
                why: "for Canary with Traefik: to see and to shift the weights of the route",
            },
            Rule {
                group: "networking.istio.io",
                resources: &["virtualservices"],
                verbs: READ_AND_PATCH,
                why: "for Canary with Istio: to see and to shift the weights of the route",
            },
            Rule {
                group: "policy.linkerd.io",
                resources: &["httproutes"],
                verbs: READ_AND_PATCH,
                why: "for Canary with Linkerd's own routes: to see and to shift the weights of the route",
            },
            Rule {
                group: "projectcontour.io",
                resources: &["httpproxies"],
                verbs: READ_AND_PATCH,
                why: "for Canary with Contour: to see and to shift the weights of the route",
            },
            Rule {
                group: "apisix.apache.org",
                resources: &["apisixroutes"],
                verbs: READ_AND_PATCH,
                why: "for Canary with APISIX: to see and to shift the weights of the route",
            },
            Rule {
                group: "kuma.io",
                resources: &["meshhttproutes"],
                verbs: READ_AND_PATCH,
                why: "for Canary with Kuma: to see and to shift the weights of the route",
            },
            Rule {
                group: "zalando.org",
                resources: &["routegroups"],
                verbs: READ_AND_PATCH,
                why: "for Canary with Skipper's RouteGroups: to see and to shift the weights of the route",
            },
            Rule {
                group: "split.smi-spec.io",
                resources: &["trafficsplits"],
                verbs: READ_AND_PATCH,
                why: "for Canary with SMI: to see and to shift the weights of the route",
            },
            Rule {
                group: "networking.k8s.io",
                resources: &["ingresses"],
                verbs: READ_AND_PATCH,
                why: "for Canary with AWS ALB, Ingress NGINX and Skipper: to see and to shift the weights of the route",
            },
        ],
    },
    Role {
        file: "gitops",
        name: "backstop-gitops",
        scope: Scope::Workloads,
        on_demand: true,
        about: "Given with `rbac.gitops: true` only, and needed for `gitops.onConflict: Suspend`. Bound in the namespaces \
                of `gitops.namespaces` too.",
        rules: &[
            Rule {
                group: "kustomize.toolkit.fluxcd.io",
                resources: &["kustomizations"],
                verbs: &["get", "patch"],
                why: "to suspend a Kustomization of Flux that would undo a rollback, and to resume it",
            },
            Rule {
                group: "helm.toolkit.fluxcd.io",
                resources: &["helmreleases"],
                verbs: &["get", "patch"],
                why: "the same for a HelmRelease of Flux",
            },
            Rule {
                group: "argoproj.io",
                resources: &["applications"],
                verbs: &["get", "patch"],
                why: "to take automated sync from an Application of Argo CD, and to give it back",
            },
            Rule {
                group: "source.toolkit.fluxcd.io",
                resources: &[
                    "gitrepositories",
                    "ocirepositories",
                    "buckets",
                    "externalartifacts",
                ],
                verbs: &["get"],
                why: "to see that Git has another revision, so that Flux may go on",
            },
        ],
    },
    Role {
        file: "leader-election",
        name: "backstop-leader-election",
        scope: Scope::Own,
        on_demand: false,
        about: "What the replicas of the operator need in its own namespace to agree on one that works.",
        rules: &[
            Rule {
                group: "coordination.k8s.io",
                resources: &["leases"],
                verbs: &["get", "list", "watch", "create", "update", "patch"],
                why: "to hold the lease that says which replica works",
            },
            Rule {
                group: "",
                resources: &["secrets"],
                verbs: &["get", "create", "patch"],
                why: "to make and read the keys under which configuration is kept",
            },
        ],
    },
    Role {
        file: "view",
        name: "backstop-view",
        scope: Scope::Users(&["view", "edit", "admin"]),
        on_demand: false,
        about: "To look, without being able to change anything.",
        rules: &[Rule {
            group: BACKSTOP,
            resources: &["rollbackpolicies", "rollbackpoints", "rollbackevents"],
            verbs: READ,
            why: "to see policies, points and rollbacks",
        }],
    },
    Role {
        file: "edit",
        name: "backstop-edit",
        scope: Scope::Users(&["edit", "admin"]),
        on_demand: false,
        about: "To protect workloads and to roll back. The admission policies ask besides for the right to patch the \
                Deployment in question, and what else a policy reaches.",
        rules: &[
            Rule {
                group: BACKSTOP,
                resources: &["rollbackpolicies", "rollbackpoints"],
                verbs: &["create", "update", "patch", "delete", "deletecollection"],
                why: "to write policies, and to name releases good",
            },
            Rule {
                group: BACKSTOP,
                resources: &["rollbackevents"],
                verbs: &["create", "update", "patch"],
                why: "to roll back by hand, and to call a rollback off; records stay",
            },
        ],
    },
];

pub(super) fn files() -> Files {
    let mut files = Files::new();
    for role in &ROLES {
        files.insert(
            format!("charts/backstop/files/rbac/{}.yaml", role.file),
            format!("{HEADER}{}", rules(role.rules)),
        );
    }
    files.insert("manifests/rbac.yaml".to_owned(), manifests());
    files.insert("docs/reference/permissions.md".to_owned(), page());
    files
}

const HEADER: &str =
    "# Written by `cargo xtask generate` from its table of rights. Change it there.\n";

/// The rules as a YAML list.
fn rules(rules: &[Rule]) -> String {
    let mut text = String::new();
    for Rule {
        group,
        resources,
        verbs,
        why,
    } in rules
    {
        let _ = write!(
            text,
            "# {why}\n- apiGroups: [\"{group}\"]\n  resources: [{}]\n  verbs: [{}]\n",
            resources.join(", "),
            verbs.join(", ")
        );
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
            Scope::Own => ("Role", format!("  namespace: {NAMESPACE}\n")),
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
            rules(role.rules)
        );
        if !matches!(role.scope, Scope::Users(_)) {
            let _ = write!(
                text,
                "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}Binding\nmetadata:\n  name: {name}\n{metadata}\
                 roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: {kind}\n  name: {name}\n{subject}"
            );
        }
    }
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
        for rule in role.rules {
            let group = if rule.group.is_empty() {
                "core"
            } else {
                rule.group
            };
            let _ = writeln!(
                text,
                "| {group} | {} | {} | {} |",
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
| everybody with the right to delete | delete a RollbackEvent that has ended |

A refusal says which field is meant, what its value is and what it has to be. To mend something by hand that only
Backstop may write, a cluster administrator deletes the binding first, and puts it back afterwards:
`kubectl delete validatingadmissionpolicybinding backstop-status`.
";

#[cfg(test)]
mod tests {
    use backstop_traffic::Table;

    use super::*;

    #[test]
    fn every_kind_of_route_may_be_seen_and_patched() {
        let role = ROLES.iter().find(|role| role.file == "routes").unwrap();
        for provider in Table::builtin().iter() {
            let covered = role.rules.iter().any(|rule| {
                rule.group == provider.group
                    && rule.resources.contains(&provider.plural.as_str())
                    && rule.verbs == READ_AND_PATCH
            });
            assert!(covered, "no right to the kind of {}", provider.name);
        }
    }

    #[test]
    fn the_operator_cannot_list_secrets_or_touch_roles() {
        for rule in ROLES.iter().flat_map(|role| role.rules) {
            assert!(!rule.verbs.contains(&"*") && !rule.resources.contains(&"*"));
            assert!(!rule.group.starts_with("rbac."));
            if rule.resources.contains(&"secrets") {
                let allowed = ["get", "create", "patch"];
                assert!(rule.verbs.iter().all(|verb| allowed.contains(verb)));
            }
        }
    }

    #[test]
    fn a_rule_stands_under_the_reason_for_it() {
        let text = rules(&ROLES[1].rules[..1]);
        assert!(text.starts_with("# to sign in"), "{text}");
        let end = "- apiGroups: [\"\"]\n  resources: [secrets]\n  verbs: [get, create, patch]\n";
        assert!(text.ends_with(end), "{text}");
    }
}
