//! Prints the files of each crate by floors, from the top down, what each imports, and every circle.

use std::path::Path;
use std::process::ExitCode;

use bigarray_architecture::floors::{HOUSES, House};
use bigarray_architecture::graph::Graph;
use bigarray_architecture::reader;

fn main() -> ExitCode {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = asked.iter().find(|name| !HOUSES.iter().any(|house| house.dir == **name)) {
        let known: Vec<&str> = HOUSES.iter().map(|house| house.dir).collect();
        eprintln!("no crate {unknown:?}: there are {}", known.join(", "));
        return ExitCode::FAILURE;
    }
    for house in HOUSES.iter().filter(|house| asked.is_empty() || asked.iter().any(|name| name == house.dir)) {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(house.dir).join("src");
        match reader::read(&src) {
            Ok(krate) => print(house, &Graph::of(&krate)),
            Err(error) => {
                eprintln!("{}: {error}", house.dir);
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn print(house: &House, graph: &Graph) {
    println!("== {}", house.dir);
    for floor in (0..house.floors.len()).rev() {
        println!("floor {floor}");
        for file in graph.files().filter(|file| house.place(file).is_some_and(|(of, _)| of == floor)) {
            let imported: Vec<String> = graph.imports(file).map(|(to, _)| to.display().to_string()).collect();
            println!("  {}{}{}", file.display(), if imported.is_empty() { "" } else { " <- " }, imported.join(", "));
        }
    }
    for upward in house.upward(graph) {
        println!("against the floors: {} <- {}", upward.from.display(), upward.to.display());
    }
    for unknown in house.unknown(graph) {
        println!("{unknown}");
    }
    let circles = graph.circles();
    for circle in &circles {
        println!("circle of {} files:", circle.len());
        for from in circle {
            for (to, names) in graph.imports(from).filter(|(to, _)| circle.contains(*to)) {
                if !graph.are_parent_and_child(from, to) {
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    println!("  {} <- {}: {}", from.display(), to.display(), names.join(", "));
                }
            }
        }
    }
    if circles.is_empty() {
        println!("no circles");
    }
}
