//! A step of CI and its recipe have one name.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)).unwrap()
}

#[test]
fn every_step_runs_by_default_and_has_a_recipe() {
    let (script, recipes) = (read(".ci/run"), read("justfile"));
    let steps: BTreeSet<&str> =
        script.lines().filter_map(|line| Some(line.strip_prefix("step_")?.split_once("()")?.0)).collect();
    assert!(steps.contains("test"), "{steps:?}");

    let (_, default) = script.split_once("|| steps=(").expect("the steps that run by default");
    let (default, _) = default.split_once(')').unwrap();
    assert_eq!(default.split_whitespace().collect::<BTreeSet<_>>(), steps);

    let mut recipe = "";
    let mut called = BTreeSet::new();
    for line in recipes.lines() {
        if let Some(step) = line.strip_prefix("    bash .ci/run ") {
            assert_eq!(step, recipe, "the recipe has the name of its step");
            called.insert(step);
        } else if let Some((name, _)) = line.split_once(':').filter(|_| !line.starts_with([' ', '#'])) {
            recipe = name;
        }
    }
    assert_eq!(called, steps);
}
