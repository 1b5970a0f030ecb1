//! The chart: what it renders to, what its schema refuses, and that generated files are up to date.

use std::{collections::BTreeSet, env, fs, process::Command};

use anyhow::{Context, Result, ensure};
use serde::Deserialize as _;
use serde_json::Value;

use crate::kubectl::{Namespace, ROOT, helm, kubectl_text};

const CHART: &str = "charts/sluice";

/// A version by name: Helm otherwise assumes the one that it was compiled with.
const KUBERNETES: &str = "--kube-version=1.34.0";

fn template(arguments: &[&str]) -> Result<String> {
    let mut all = vec![
        "template",
        "sluice",
        CHART,
        "--namespace=sluice-system",
        KUBERNETES,
    ];
    all.extend(arguments);
    let said = helm(&all)?;
    ensure!(said.success, "helm {}: {}", all.join(" "), said.stderr);
    Ok(said.stdout)
}

fn objects(yaml: &str) -> Result<Vec<Value>> {
    let documents = serde_yaml::Deserializer::from_str(yaml).map(Value::deserialize);
    let objects: Vec<Value> = documents.collect::<Result<_, _>>()?;
    Ok(objects
        .into_iter()
        .filter(|object| !object.is_null())
        .collect())
}

#[test]
fn generated_files_are_up_to_date() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let status = Command::new(ROOT.join("charts/generate"))
        .arg(folder.path())
        .status()?;
    ensure!(status.success(), "charts/generate: {status}");
    for path in [
        "charts/sluice/files/crds/replicasinks.yaml",
        "charts/sluice/files/crds/replicationsources.yaml",
        "deploy/install.yaml",
    ] {
        let committed = fs::read_to_string(ROOT.join(path)).unwrap_or_default();
        ensure!(
            committed == fs::read_to_string(folder.path().join(path))?,
            "{path} is stale: run `make generate` and commit the result"
        );
    }
    Ok(())
}

#[test]
fn the_chart_lints() -> Result<()> {
    let said = helm(&["lint", "--strict", KUBERNETES, CHART])?;
    ensure!(said.success, "{}{}", said.stdout, said.stderr);
    Ok(())
}

/// `golden/NAME.values.yaml` renders to `golden/NAME.yaml`; SLUICE_GOLDEN=write makes it so.
#[test]
fn values_render_to_the_golden_manifests() -> Result<()> {
    for name in ["everything", "namespaced", "minimal"] {
        let golden = format!("e2e/tests/admission/golden/{name}.yaml");
        let values = format!("--values=e2e/tests/admission/golden/{name}.values.yaml");
        let rendered = template(&[&values, "--set=crds.install=false"])?;
        if env::var_os("SLUICE_GOLDEN").is_some_and(|mode| mode == "write") {
            fs::write(ROOT.join(&golden), &rendered)?;
        }
        let expected = fs::read_to_string(ROOT.join(&golden)).with_context(|| golden.clone())?;
        ensure!(
            rendered == expected,
            "{golden} is not what the chart renders to; look at the difference after \
             SLUICE_GOLDEN=write cargo test -p sluice-e2e --test admission golden"
        );
    }
    Ok(())
}

#[test]
fn misspelt_and_impossible_values_are_refused() -> Result<()> {
    for (set, expected) in [
        ("replica=2", "replica"),
        ("image.tags=1", "tags"),
        ("replicas=-1", "replicas"),
        ("replicas=many", "replicas"),
        ("logLevel=loud", "logLevel"),
        ("image.digest=sha256:abc", "digest"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("watchNamespaces={Not_A_Name}", "watchNamespaces"),
        ("agent.resources.request.cpu=1", "request"),
        ("preflight.parallelism=0", "parallelism"),
        (
            "serviceAccount.create=false",
            "serviceAccount.name is needed",
        ),
    ] {
        let said = helm(&["template", "sluice", CHART, KUBERNETES, "--set", set])?;
        ensure!(
            !said.success && said.stderr.contains(expected),
            "{set}: expected {expected:?}, found {:?}",
            said.stderr
        );
    }
    Ok(())
}

#[test]
fn every_value_is_documented_and_has_a_schema() -> Result<()> {
    let text = fs::read_to_string(ROOT.join(CHART).join("values.yaml"))?;
    let values: Value = serde_yaml::from_str(&text)?;
    let schema = fs::read_to_string(ROOT.join(CHART).join("values.schema.json"))?;
    let schema: Value = serde_json::from_str(&schema)?;
    let names = |object: &Value| -> BTreeSet<String> {
        object
            .as_object()
            .into_iter()
            .flat_map(|fields| fields.keys().cloned())
            .collect()
    };
    let mut described = names(&schema["properties"]);
    ensure!(described.remove("global"), "Helm sets global in a subchart");
    assert_eq!(names(&values), described);
    for (name, value) in values.as_object().context("values.yaml is a map")? {
        let schema = &schema["properties"][name];
        if schema["additionalProperties"] == false {
            assert_eq!(names(value), names(&schema["properties"]), "{name}");
        }
    }
    Ok(())
}

#[test]
fn definitions_stay_on_uninstall_and_can_be_left_out() -> Result<()> {
    let is_definition = |object: &Value| object["kind"] == "CustomResourceDefinition";
    let all = objects(&template(&[])?)?;
    let definitions: Vec<&Value> = all.iter().filter(|object| is_definition(object)).collect();
    assert_eq!(definitions.len(), 2);
    for definition in definitions {
        let annotations = &definition["metadata"]["annotations"];
        assert_eq!(annotations["helm.sh/resource-policy"], "keep");
        // What the chart renders must be the definition itself, numbers and all.
        let plural = definition["spec"]["names"]["plural"]
            .as_str()
            .unwrap_or_default();
        let original = fs::read_to_string(ROOT.join(format!("crds/yaml/{plural}.yaml")))?;
        let original: Value = serde_yaml::from_str(&original)?;
        assert!(is_same(&definition["spec"], &original["spec"]), "{plural}");
    }
    let without = objects(&template(&["--set=crds.install=false"])?)?;
    ensure!(!without.iter().any(is_definition), "crds.install=false");
    Ok(())
}

/// Equal, where 1 and 1.0 are.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(name, value)| other.get(name).is_some_and(|other| is_same(value, other)))
        }
        (one, other) => one == other,
    }
}

#[test]
fn the_operators_role_has_no_wildcard_and_writes_no_secret() -> Result<()> {
    let namespaces = "--set=watchNamespaces={shop,billing}";
    for arguments in [&[][..], &[namespaces]] {
        let all = objects(&template(arguments)?)?;
        let roles = all
            .iter()
            .filter(|object| matches!(object["kind"].as_str(), Some("Role" | "ClusterRole")));
        for rule in roles.flat_map(|role| role["rules"].as_array().into_iter().flatten()) {
            let text = rule.to_string();
            ensure!(!text.contains('*'), "{text}");
            for name in ["secrets", "pods"] {
                let is_about = rule["resources"]
                    .as_array()
                    .is_some_and(|all| all.contains(&name.into()));
                ensure!(
                    !is_about || rule["verbs"] == serde_json::json!(["get", "list", "watch"]),
                    "{text}"
                );
            }
        }
        let cluster_wide = all
            .iter()
            .filter(|object| object["kind"] == "ClusterRoleBinding")
            .count();
        assert_eq!(
            cluster_wide,
            usize::from(arguments.is_empty()),
            "{arguments:?}"
        );
    }
    Ok(())
}

#[test]
fn a_restricted_namespace_takes_the_chart_without_a_warning() -> Result<()> {
    let namespace = Namespace::create("chart")?;
    let values = "--values=e2e/tests/admission/golden/everything.values.yaml";
    // The Prometheus operator's kinds are not in this cluster.
    let rendered = template(&[
        values,
        "--set=crds.install=false,podMonitor.enabled=false",
        &format!("--namespace={}", namespace.0),
    ])?;
    let said = kubectl_text(
        &["apply", "--dry-run=server", "--validate=strict", "-f", "-"],
        &rendered,
    )?;
    ensure!(
        said.success && said.stderr.is_empty(),
        "{}{}",
        said.stdout,
        said.stderr
    );
    Ok(())
}
