//! Writes what is made from the types: `yaml/*.yaml` and `REFERENCE.md`.

use std::{fs, io, path::PathBuf};

/// The generated files: path below the crate, and content.
pub(crate) fn files() -> Vec<(PathBuf, String)> {
    let definitions = sluice_crds::definitions();
    let mut files: Vec<(PathBuf, String)> = definitions
        .iter()
        .map(|definition| {
            let name = format!("yaml/{}.yaml", definition.spec.names.plural);
            let yaml = serde_yaml::to_string(definition).expect("a definition is plain data");
            let header =
                "# Generated from crds/src by `cargo run -p sluice-crds --example generate`.\n";
            (PathBuf::from(name), format!("{header}{yaml}"))
        })
        .collect();
    files.push((
        PathBuf::from("REFERENCE.md"),
        sluice_crds::reference::markdown(),
    ));
    files
}

#[allow(
    dead_code,
    reason = "the test that compares the files includes this module, too"
)]
fn main() -> io::Result<()> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    for (path, content) in files() {
        fs::write(root.join(&path), content)?;
        println!("wrote crds/{}", path.display());
    }
    Ok(())
}
