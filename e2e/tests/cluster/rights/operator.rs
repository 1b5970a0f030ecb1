//! The operator's own rights: what the chart's role says, and nothing more.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    rbac::v1::{ClusterRole, PolicyRule},
};
use kube::{Api, api::PostParams};
use sluice_e2e::{
    Cluster,
    cluster::{OPERATOR_NAMESPACE, Operator, RELEASE},
};

use crate::orders::Orders;

/// Verbs by resource (`statefulsets.apps`) as `kubectl auth can-i --list` has them.
type Rights = BTreeMap<String, BTreeSet<String>>;

/// What the operator must not be able to do in a namespace of a user's: verb, group, resource.
const FORBIDDEN: [(&str, &str, &str); 38] = [
    ("create", "", "pods"),
    ("delete", "", "pods"),
    ("patch", "", "pods"),
    ("create", "", "pods/exec"),
    ("get", "", "pods/log"),
    ("create", "", "pods/portforward"),
    ("create", "", "pods/attach"),
    ("create", "", "pods/ephemeralcontainers"),
    ("create", "", "secrets"),
    ("update", "", "secrets"),
    ("patch", "", "secrets"),
    ("delete", "", "secrets"),
    ("list", "", "configmaps"),
    ("create", "", "serviceaccounts/token"),
    ("impersonate", "", "serviceaccounts"),
    ("impersonate", "", "users"),
    ("impersonate", "", "groups"),
    ("get", "", "namespaces"),
    ("delete", "", "namespaces"),
    ("get", "", "nodes"),
    ("get", "", "nodes/proxy"),
    ("get", "", "persistentvolumeclaims"),
    ("create", "apps", "deployments"),
    ("create", "apps", "daemonsets"),
    ("create", "batch", "cronjobs"),
    ("create", "rbac.authorization.k8s.io", "roles"),
    ("bind", "rbac.authorization.k8s.io", "clusterroles"),
    ("escalate", "rbac.authorization.k8s.io", "roles"),
    ("create", "rbac.authorization.k8s.io", "clusterrolebindings"),
    ("get", "apiextensions.k8s.io", "customresourcedefinitions"),
    (
        "create",
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
    ),
    (
        "create",
        "certificates.k8s.io",
        "certificatesigningrequests",
    ),
    ("get", "coordination.k8s.io", "leases"),
    ("create", "sluice.dev", "replicasinks"),
    ("delete", "sluice.dev", "replicasinks"),
    ("delete", "sluice.dev", "replicationsources"),
    ("update", "sluice.dev", "replicasinks"),
    ("deletecollection", "apps", "statefulsets"),
];

#[tokio::test]
async fn the_operator_may_do_what_its_role_says_and_nothing_more() -> Result<()> {
    let cluster = Cluster::connect().await?;
    Operator::installed(&cluster).await?;
    let namespace = cluster.namespace("rights").await?;
    let roles: Api<ClusterRole> = Api::all(cluster.client.clone());
    let role = roles
        .get(&format!("{OPERATOR_NAMESPACE}:{RELEASE}"))
        .await?;
    let everybody = format!("system:serviceaccount:{}:default", namespace.name);
    let everybody = rights(&cluster, &namespace.name, &everybody).await?;
    let mut has = rights(&cluster, &namespace.name, &account()).await?;
    for resource in everybody.keys() {
        has.remove(resource);
    }
    let granted = of_role(&role.rules.unwrap_or_default());
    ensure!(
        has == granted,
        "the operator has {has:#?}, and its role says {granted:#?}"
    );

    // In its own namespace also the lease by which it leads, and no other.
    let mut at_home = rights(&cluster, OPERATOR_NAMESPACE, &account()).await?;
    at_home
        .retain(|resource, _| !everybody.contains_key(resource) && !granted.contains_key(resource));
    let lease = verbs(&["create", "get", "update"]);
    ensure!(
        at_home.len() == 1 && at_home.get("leases.coordination.k8s.io") == Some(&lease),
        "{at_home:?}"
    );
    Ok(())
}

#[tokio::test]
async fn the_operator_can_not_do_harm() -> Result<()> {
    let cluster = Cluster::connect().await?;
    Operator::installed(&cluster).await?;
    let namespace = cluster.namespace("harm").await?;
    let mut allowed = Vec::new();
    for (verb, group, resource) in FORBIDDEN {
        if may(&cluster, &namespace.name, (verb, group, resource)).await? {
            allowed.push(format!("{verb} {resource}.{group}"));
        }
    }
    ensure!(allowed.is_empty(), "the operator may {allowed:?}");
    // The question itself works.
    ensure!(
        may(
            &cluster,
            &namespace.name,
            ("create", "apps", "statefulsets")
        )
        .await?,
        "no agents"
    );
    Ok(())
}

#[tokio::test]
async fn the_operator_is_never_refused_anything() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let operator = Operator::installed(&cluster).await?;
    // Through every kind of write: start, another spec, a new copy, the end.
    let orders = Orders::started(&cluster, "refused").await?;
    let namespace = orders.namespace();
    let again = format!("sluice.dev/resnapshot={}.orders", orders.replica.mysql.name);
    namespace
        .kubectl(&["annotate", "rsink", "shop-pg", &again])
        .await?;
    orders
        .patch_sink(&serde_json::json!({"spec": {"paused": true}}))
        .await?;
    orders
        .replica
        .wait_not_ready("Paused", crate::orders::PATIENCE)
        .await?;
    namespace
        .kubectl(&["delete", "rsink,rsrc", "--all", "--timeout=60s"])
        .await?;
    let logs = operator.logs().await?;
    let refused = |line: &&str| line.to_lowercase().contains("forbidden") && !is_terminating(line);
    let refused: Vec<&str> = logs.lines().filter(refused).collect();
    ensure!(refused.is_empty(), "{}", refused.join("\n"));
    ensure!(!logs.is_empty(), "the operator has logged nothing");
    Ok(())
}

/// A namespace that is going refuses new objects, whoever makes them.
fn is_terminating(line: &str) -> bool {
    line.contains("because it is being terminated")
}

fn account() -> String {
    format!("system:serviceaccount:{OPERATOR_NAMESPACE}:{RELEASE}")
}

async fn may(
    cluster: &Cluster,
    namespace: &str,
    (verb, group, resource): (&str, &str, &str),
) -> Result<bool> {
    let (resource, subresource) = match resource.split_once('/') {
        Some((resource, part)) => (resource, Some(part.to_owned())),
        None => (resource, None),
    };
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(account()),
            groups: Some(vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{OPERATOR_NAMESPACE}"),
                "system:authenticated".to_owned(),
            ]),
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(namespace.to_owned()),
                verb: Some(verb.to_owned()),
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource,
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews: Api<SubjectAccessReview> = Api::all(cluster.client.clone());
    let answered = reviews.create(&PostParams::default(), &review).await?;
    Ok(answered.status.context("no answer")?.allowed)
}

/// What somebody may do in a namespace, as `kubectl auth can-i --list` says it.
pub(super) async fn rights(cluster: &Cluster, namespace: &str, user: &str) -> Result<Rights> {
    let whom = format!("--as={user}");
    let list = [
        "auth",
        "can-i",
        "--list",
        "--no-headers",
        "--namespace",
        namespace,
        &whom,
    ];
    let said = cluster.kubectl(&list).await?;
    let mut rights = Rights::new();
    for line in said.lines() {
        // Resources, non-resource URLs, names and verbs; the last two or three are in brackets.
        let (resource, rest) = line.split_at(line.find('[').unwrap_or(line.len()));
        let verbs = rest.rsplit_once('[').map_or("", |(_, verbs)| verbs);
        let verbs = verbs.trim_end().trim_end_matches(']').split_whitespace();
        let resource = resource.trim().to_owned();
        rights
            .entry(resource)
            .or_default()
            .extend(verbs.map(str::to_owned));
    }
    rights.remove("");
    Ok(rights)
}

fn of_role(rules: &[PolicyRule]) -> Rights {
    let mut rights = Rights::new();
    for rule in rules {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                let name = match resource.split_once('/') {
                    _ if group.is_empty() => resource.clone(),
                    Some((resource, part)) => format!("{resource}.{group}/{part}"),
                    None => format!("{resource}.{group}"),
                };
                rights
                    .entry(name)
                    .or_default()
                    .extend(rule.verbs.iter().cloned());
            }
        }
    }
    rights
}

fn verbs(verbs: &[&str]) -> BTreeSet<String> {
    verbs.iter().map(|&verb| verb.to_owned()).collect()
}
