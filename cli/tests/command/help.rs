//! The help teaches by examples: each of them runs.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::support::Place;

/// The commands that `--help` lists.
fn commands(place: &Place) -> Vec<String> {
    let help = place.run(&["--help"]).out;
    let section = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let lines = section.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = lines.map(|line| line.split_whitespace().next().unwrap().to_owned());
    names.filter(|name| name != "help").collect()
}

/// The examples of a command's help.
fn examples(help: &str) -> Vec<String> {
    let lines =
        help.lines().skip_while(|line| !line.starts_with("Example")).skip(1).take_while(|line| !line.is_empty());
    lines.map(|line| line.trim().to_owned()).collect()
}

#[test]
fn every_example_of_the_help_runs() {
    let place = Place::new();
    symlink(Path::new(env!("CARGO_MANIFEST_DIR")).join("../data"), place.path("data")).unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_bigarray")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let shell = |line: &str| {
        // A pipe fails as any of its commands does.
        let script = format!("set -o pipefail; {line}");
        let mut command = Command::new("bash");
        command.args(["-c", &script]).env("PATH", &path).current_dir(place.path("")).output().unwrap()
    };
    let runs = |line: &str| {
        let output = shell(line);
        assert!(output.status.success(), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
    };
    let all = commands(&place);
    assert!(all.len() > 20, "{all:?}");
    runs("bigarray create sea.bigarray:log --dtype '<f8' --shape 0,2");
    let mut done = 0;
    examples(&place.run(&["--help"]).out).iter().for_each(|line| runs(line));
    // The arrays that examples are of come from examples: first what makes them, and at the end what removes them.
    let last = ["mv", "rm"];
    let first = ["import", "create", "cp"];
    let rank = |name: &&String| (!first.contains(&name.as_str()), last.contains(&name.as_str()));
    let mut ordered: Vec<&String> = all.iter().collect();
    ordered.sort_by_key(rank);
    for name in ordered {
        let help = place.run(&[name.as_str(), "--help"]).out;
        let examples = examples(&help);
        assert!(!examples.is_empty(), "{name} has no example: {help}");
        for line in examples {
            done += 1;
            // What stands there already is replaced, so that each example can stand alone.
            let line =
                line.replace("import data/elnino_sst_61x12_f8.npy", "import --replace data/elnino_sst_61x12_f8.npy");
            match line.as_str() {
                // It goes on until it is ended.
                "bigarray watch sea.bigarray:log" => {
                    let ended = shell("timeout -s INT 1 bigarray watch sea.bigarray:log");
                    assert_eq!(ended.status.code(), Some(124), "{}", String::from_utf8_lossy(&ended.stderr));
                }
                line => runs(line),
            }
        }
    }
    assert!(done > 40, "{done}");
}

#[test]
fn shells_and_manuals_know_all_commands() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = place.ok(&["completions", shell]);
        assert!(script.contains("by-column") && script.contains("doctor"), "{shell}");
    }
    let man = place.ok(&["man"]);
    for name in commands(&place) {
        assert!(man.contains(&format!(".SH BIGARRAY {}\n", name.to_uppercase())), "{name}");
    }
    assert!(man.contains("130 interrupted"));
}
