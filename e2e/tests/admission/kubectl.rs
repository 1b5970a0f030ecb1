//! kubectl and Helm as processes, and the definitions in the cluster.

use std::{
    env, fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::{LazyLock, OnceLock},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

/// How long anything in the API server may take to come into force.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the schema is published; it changes when a new one is in force.
const PUBLISHED: &str = "/openapi/v3/apis/sluice.dev/v1alpha1";

/// The repository.
pub(crate) static ROOT: LazyLock<PathBuf> =
    LazyLock::new(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")));

/// What a command said.
pub(crate) struct Said {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    /// Errors and warnings.
    pub(crate) stderr: String,
}

/// Runs kubectl with a document on its standard input, or none.
pub(crate) fn kubectl(arguments: &[&str], input: Option<&Value>) -> Result<Said> {
    let input = input.map(Value::to_string).unwrap_or_default();
    kubectl_text(arguments, &input)
}

/// Runs kubectl with text on its standard input.
pub(crate) fn kubectl_text(arguments: &[&str], input: &str) -> Result<Said> {
    ensure!(
        env::var_os("KUBECONFIG").is_some(),
        "KUBECONFIG is not set: eval \"$(e2e/cluster up --no-image)\""
    );
    run("SLUICE_KUBECTL", arguments, input)
}

/// Runs Helm.
pub(crate) fn helm(arguments: &[&str]) -> Result<Said> {
    run("SLUICE_HELM", arguments, "")
}

/// Runs kubectl and expects it to succeed.
pub(crate) fn succeed(arguments: &[&str], input: Option<&Value>) -> Result<String> {
    let said = kubectl(arguments, input)?;
    ensure!(
        said.success,
        "kubectl {}: {}",
        arguments.join(" "),
        said.stderr
    );
    Ok(said.stdout)
}

fn run(variable: &str, arguments: &[&str], input: &str) -> Result<Said> {
    let program = env::var_os(variable)
        .with_context(|| format!("{variable} is not set: eval \"$(e2e/cluster up --no-image)\""))?;
    let mut child = Command::new(&program)
        .args(arguments)
        .current_dir(&*ROOT)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}", program.display()))?;
    let mut stdin = child.stdin.take().context("standard input is piped")?;
    // Small documents fit the pipe; a program that ends without reading says why on its own.
    let written = stdin.write_all(input.as_bytes());
    drop(stdin);
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output()?;
    if status.success() {
        written.context("write to standard input")?;
    }
    Ok(Said {
        success: status.success(),
        stdout: String::from_utf8(stdout)?,
        stderr: String::from_utf8(stderr)?,
    })
}

/// Tries to create an object, without storing it.
pub(crate) fn try_create(object: &Value) -> Result<Said> {
    definitions()?;
    kubectl(
        &[
            "create",
            "--dry-run=server",
            "--validate=strict",
            "-o",
            "json",
            "-f",
            "-",
        ],
        Some(object),
    )
}

/// Tries a merge patch on a stored object, without storing the outcome.
pub(crate) fn try_patch(namespace: &str, object: &str, patch: &Value) -> Result<Said> {
    let patch = patch.to_string();
    let arguments = [
        "patch",
        "-n",
        namespace,
        object,
        "--type=merge",
        "--dry-run=server",
        "-p",
        &patch,
    ];
    kubectl(&arguments, None)
}

/// A namespace of one test's own; it goes with the value.
pub(crate) struct Namespace(pub(crate) String);

impl Namespace {
    pub(crate) fn create(test: &str) -> Result<Self> {
        definitions()?;
        let name = format!("admission-{}-{test}", std::process::id());
        let labels = json!({"pod-security.kubernetes.io/warn": "restricted"});
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        succeed(&["create", "-f", "-"], Some(&object))?;
        Ok(Self(name))
    }

    /// Stores an object here.
    pub(crate) fn store(&self, object: &Value) -> Result<()> {
        succeed(&["create", "-n", &self.0, "-f", "-"], Some(object)).map(drop)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = succeed(&["delete", "namespace", &self.0, "--wait=false"], None) {
            eprintln!("{error:#}");
        }
    }
}

/// Brings the cluster's definitions up to date, once.
pub(crate) fn definitions() -> Result<()> {
    static INSTALLED: OnceLock<Result<(), String>> = OnceLock::new();
    INSTALLED
        .get_or_init(|| install().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(anyhow::Error::msg)
}

fn install() -> Result<()> {
    let published = kubectl(&["get", "--raw", PUBLISHED], None)?;
    let mut has_changed = false;
    for plural in ["replicationsources", "replicasinks"] {
        has_changed |= install_one(plural)?;
    }
    let names = [
        "crd/replicationsources.sluice.dev",
        "crd/replicasinks.sluice.dev",
    ];
    let mut wait = vec!["wait", "--for=condition=Established", "--timeout=30s"];
    wait.extend(names);
    succeed(&wait, None)?;
    let deadline = Instant::now() + PATIENCE;
    while has_changed && kubectl(&["get", "--raw", PUBLISHED], None)?.stdout == published.stdout {
        if Instant::now() > deadline {
            bail!("the changed schema is not published after {PATIENCE:?}");
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Whether the definition had to be changed.
fn install_one(plural: &str) -> Result<bool> {
    let name = format!("crd/{plural}.sluice.dev");
    let path = ROOT.join(format!("crds/yaml/{plural}.yaml"));
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let definition: Value = serde_yaml::from_str(&text)?;
    let generation = || -> Result<String> {
        let arguments = [
            "get",
            &name,
            "--ignore-not-found",
            "-o",
            "jsonpath={.metadata.generation}",
        ];
        succeed(&arguments, None)
    };
    let before = generation()?;
    if before.is_empty() {
        create_adoptable(&definition)?;
    }
    let apply = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager=sluice-admission",
        "-f",
        "-",
    ];
    succeed(&apply, Some(&definition))?;
    Ok(generation()? != before)
}

/// Creates a definition such that a later `helm install sluice -n sluice-system` takes it over. Under
/// another field manager: an apply without these annotations is not to remove them.
fn create_adoptable(definition: &Value) -> Result<()> {
    let mut definition = definition.clone();
    definition["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "Helm"});
    definition["metadata"]["annotations"] = json!({
        "meta.helm.sh/release-name": "sluice",
        "meta.helm.sh/release-namespace": "sluice-system",
        "helm.sh/resource-policy": "keep",
    });
    succeed(&["create", "-f", "-"], Some(&definition)).map(drop)
}
