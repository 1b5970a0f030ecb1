//! Wrong specs, each with the words that tell a person what is wrong.

use std::{collections::BTreeMap, fs};

use anyhow::{Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    kubectl::{ROOT, try_create},
    specs::{changed, sink, source},
};

/// A message that is longer is not read to its end.
const MESSAGE_CHARACTERS_MAX: usize = 500;

/// One entry of wrong-specs.yaml.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrongSpec {
    kind: String,
    set: BTreeMap<String, Value>,
    says: Vec<String>,
}

#[test]
fn wrong_specs_are_refused_with_a_message_that_a_person_understands() -> Result<()> {
    let text = fs::read_to_string(ROOT.join("e2e/tests/admission/wrong-specs.yaml"))?;
    let specs: Vec<WrongSpec> = serde_yaml::from_str(&text)?;
    ensure!(specs.len() >= 50, "{} specs", specs.len());
    // All of them before it fails, so that one run tells everything.
    let mut surprises = Vec::new();
    for spec in &specs {
        let sound = if spec.kind == "ReplicaSink" {
            sink()
        } else {
            source()
        };
        let said = try_create(&changed(sound, &spec.set))?;
        println!("{} {:?}\n  {}", spec.kind, spec.set, said.stderr.trim());
        let has_all = spec.says.iter().all(|words| said.stderr.contains(words));
        let is_short = said.stderr.chars().count() <= MESSAGE_CHARACTERS_MAX;
        if said.success || !has_all || !is_short {
            surprises.push(format!("{spec:?}\n  found {:?}", said.stderr));
        }
    }
    ensure!(
        surprises.is_empty(),
        "{} of {} are not refused as expected:\n{}",
        surprises.len(),
        specs.len(),
        surprises.join("\n")
    );
    Ok(())
}
