//! The folders are the data path: who may depend on whom, and how long a file may be.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// A file that is longer has more than one subject.
const LINES_MAX: usize = 800;

/// A crate of this workspace.
struct Member {
    /// Its folder below the workspace's root.
    folder: String,
    /// What it depends on, tests and build scripts included: package names, and features asked for.
    dependencies: BTreeMap<String, Vec<String>>,
}

#[test]
fn only_the_agents_binary_knows_the_custom_resources_and_kubernetes() -> Result<()> {
    let members = members()?;
    for (name, member) in &members {
        if member.folder.starts_with("agent/") {
            for reached in reached(&members, name) {
                let is_kubernetes = reached == "sluice-crds"
                    || reached == "sluice-convert"
                    || reached.starts_with("kube")
                    || reached.starts_with("k8s-");
                ensure!(!is_kubernetes, "{name} depends on {reached}");
            }
        }
    }
    Ok(())
}

#[test]
fn the_control_plane_does_not_contain_the_data_path() -> Result<()> {
    let members = members()?;
    for (name, member) in &members {
        if member.folder == "operator" || member.folder.starts_with("operator/") {
            for reached in reached(&members, name) {
                let folder = members
                    .get(&reached)
                    .map_or("", |member| member.folder.as_str());
                let is_data_path =
                    folder == "agent" || (folder.starts_with("agent/") && folder != "agent/api");
                ensure!(!is_data_path, "{name} depends on {reached}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_connector_knows_the_core_and_no_other_connector() -> Result<()> {
    let members = members()?;
    for (name, member) in &members {
        let Some(own) = member.folder.strip_prefix("agent/connectors/") else {
            continue;
        };
        for reached in reached(&members, name) {
            let folder = members
                .get(&reached)
                .map_or("", |member| member.folder.as_str());
            let is_avro_for_kafka = own == "kafka" && folder == "agent/connectors/avro";
            ensure!(
                !folder.starts_with("agent/connectors/") || is_avro_for_kafka,
                "{name} depends on {reached}"
            );
            ensure!(
                reached != "sluice-pipeline",
                "{name} depends on the pipeline"
            );
        }
    }
    Ok(())
}

#[test]
fn the_pipeline_knows_the_core_alone_and_the_core_nobody() -> Result<()> {
    let members = members()?;
    let of_workspace = |name: &str| -> Vec<String> {
        let all = reached(&members, name).into_iter();
        all.filter(|reached| members.contains_key(reached))
            .collect()
    };
    ensure!(
        of_workspace("sluice-pipeline") == ["sluice-core"],
        "{:?}",
        of_workspace("sluice-pipeline")
    );
    ensure!(of_workspace("sluice-core").is_empty());
    // No runtime, no driver: what does no I/O can't depend on what does.
    for name in [
        "tokio",
        "mysql_async",
        "tokio-postgres",
        "rustls",
        "hyper",
        "reqwest",
        "rdkafka",
    ] {
        let core = &members["sluice-core"].dependencies;
        ensure!(!core.contains_key(name), "sluice-core depends on {name}");
    }
    Ok(())
}

#[test]
fn the_users_api_is_types_alone() -> Result<()> {
    let members = members()?;
    let crds = &members["sluice-crds"].dependencies;
    for (name, features) in crds {
        ensure!(
            !name.starts_with("sluice-") && name != "tokio",
            "sluice-crds depends on {name}"
        );
        let has_client = features
            .iter()
            .any(|feature| feature == "client" || feature == "runtime");
        ensure!(!has_client, "sluice-crds asks for a client of {name}");
    }
    Ok(())
}

#[test]
fn no_source_file_is_longer_than_one_subject() -> Result<()> {
    let mut long = Vec::new();
    for path in files()? {
        let is_source =
            path.extension().is_some_and(|ending| ending == "rs") || path.ends_with("e2e/servers");
        // A file may be on its way out while somebody works on it.
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        let lines = text.lines().count();
        if is_source && lines > LINES_MAX {
            long.push(format!("{} has {lines} lines", path.display()));
        }
    }
    ensure!(long.is_empty(), "{}", long.join("\n"));
    Ok(())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn files() -> Result<Vec<PathBuf>> {
    let listed = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root())
        .output()?;
    let names = String::from_utf8(listed.stdout)?;
    let files: Vec<PathBuf> = names
        .split_terminator('\0')
        .map(|name| root().join(name))
        .collect();
    ensure!(!files.is_empty(), "git lists no files");
    Ok(files)
}

fn members() -> Result<BTreeMap<String, Member>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(root())
        .output()?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let workspace = text(&metadata["workspace_root"]);
    let mut members = BTreeMap::new();
    for package in metadata["packages"].as_array().context("no packages")? {
        let manifest = text(&package["manifest_path"]);
        let folder = Path::new(&manifest)
            .parent()
            .and_then(|path| path.strip_prefix(&workspace).ok());
        let mut dependencies: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let features = dependency["features"]
                .as_array()
                .into_iter()
                .flatten()
                .map(text);
            dependencies
                .entry(text(&dependency["name"]))
                .or_default()
                .extend(features);
        }
        let member = Member {
            folder: folder
                .context("a package outside the workspace")?
                .display()
                .to_string(),
            dependencies,
        };
        members.insert(text(&package["name"]), member);
    }
    ensure!(
        members.contains_key("sluice-core"),
        "no sluice-core in the workspace"
    );
    Ok(members)
}

/// Everything that a member depends on, by way of other members as well.
fn reached(members: &BTreeMap<String, Member>, name: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![name.to_owned()];
    while let Some(next) = open.pop() {
        let dependencies = members
            .get(&next)
            .into_iter()
            .flat_map(|member| member.dependencies.keys());
        for dependency in dependencies {
            if found.insert(dependency.clone()) {
                open.push(dependency.clone());
            }
        }
    }
    found
}
