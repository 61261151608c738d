//! Links in the pages: each leads to a file that is there, and to a heading that is in it. Addresses of the web are not
//! asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Files of the repository whose names end with `end`, relative to its root. Those of builds are left out.
fn files(end: &str) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root().to_owned()]);
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if path.is_file() && name.ends_with(end) {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found
}

fn read(file: &Path) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

/// The lines of a page that are text, with their numbers: code is left out, in blocks and in lines.
fn text(page: &str) -> Vec<(usize, String)> {
    let (mut fence, mut lines) = (None, Vec::new());
    for (number, line) in (1..).zip(page.lines()) {
        let marks = line.trim_start().chars().take_while(|c| *c == '`').count();
        match fence {
            Some(open) if marks >= open && line.trim_start()[marks..].is_empty() => fence = None,
            Some(_) => {}
            None if marks >= 3 => fence = Some(marks),
            None => lines.push((number, line.split('`').step_by(2).collect::<Vec<_>>().join("`"))),
        }
    }
    lines
}

/// The anchors of a page: its headings as GitHub and rustdoc name them.
fn anchors(page: &str) -> BTreeSet<String> {
    let (mut seen, mut anchors) = (BTreeMap::new(), BTreeSet::new());
    let mut in_code = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        let title = line.trim_start_matches('#');
        if in_code || title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let kept = title.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let anchor: String = kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect();
        let times = seen.entry(anchor.clone()).or_insert(0);
        anchors.insert(if *times == 0 { anchor } else { format!("{anchor}-{times}") });
        *times += 1;
    }
    anchors
}

/// Where the links of a line lead: `[text](target)`, `[label]: target`, and `src="…"`, `srcset="…"`, `href="…"` of HTML.
fn targets(line: &str) -> Vec<&str> {
    let mut targets: Vec<&str> = line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next()).collect();
    if let Some((_, target)) = line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")) {
        targets.push(target.trim());
    }
    for attribute in ["src=\"", "srcset=\"", "href=\""] {
        targets.extend(line.split(attribute).skip(1).filter_map(|rest| rest.split('"').next()));
    }
    targets
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => _ = plain.pop(),
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut broken = Vec::new();
    for page in files(".md") {
        for (number, line) in text(&read(&page)) {
            for target in targets(&line) {
                // Paths of Rust are rustdoc's to check.
                if target.contains("://") || target.contains("::") || target.starts_with("mailto:") {
                    continue;
                }
                let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
                let to = if file.is_empty() { page.clone() } else { plain(&page.parent().unwrap().join(file)) };
                let leads = root().join(&to).exists()
                    && (anchor.is_empty()
                        || to.extension().is_some_and(|e| e == "md") && anchors(&read(&to)).contains(anchor));
                if !leads {
                    broken.push(format!("{}:{number}: {target}", page.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// What rustdoc does not check of a link: the heading.
#[test]
fn links_of_the_documentation_to_headings_lead_to_one() {
    let source = Path::new("ndarray-ext/src");
    let front = read(&source.join("lib.rs"));
    let front: Vec<&str> = front.lines().filter_map(|line| line.strip_prefix("//!")).map(str::trim_start).collect();
    let front = anchors(&front.join("\n"));
    let mut broken = Vec::new();
    for file in files(".rs").into_iter().chain(files(".md")).filter(|file| file.starts_with(source)) {
        let text = read(&file);
        for (start, _) in text.match_indices("crate#").chain(text.match_indices("guide::")) {
            let link = text[start..].split(|c: char| !c.is_alphanumeric() && !":#-_".contains(c)).next().unwrap();
            let Some((page, anchor)) = link.split_once('#') else { continue };
            let leads = match page.strip_prefix("guide::") {
                None => front.contains(anchor),
                Some(page) => anchors(&read(&source.join("guide").join(page).with_extension("md"))).contains(anchor),
            };
            if !leads {
                broken.push(format!("{}: {link}", file.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_page_of_the_guide_is_in_the_documentation() {
    let source = read(Path::new("ndarray-ext/src/guide.rs"));
    for page in files(".md").into_iter().filter(|file| file.starts_with("ndarray-ext/src/guide")) {
        let name = page.file_name().unwrap().to_str().unwrap();
        assert!(source.contains(&format!("include_str!(\"guide/{name}\")")), "{name}");
    }
}

#[test]
fn anchors_are_those_of_github() {
    let page = "# A & B: `c` (d)\n\n```sh\n# none\n```\n\n## Same\n## Same\n### What it _does_\n";
    assert_eq!(anchors(page), ["a--b-c-d", "same", "same-1", "what-it-_does_"].map(String::from).into());
}

#[test]
fn links_are_found_outside_of_code() {
    let page = "see [a](b.md#c) and `[x](y)`\n```text\n[no](no.md)\n```\n<img src=\"d.svg\">\n[label]: e.md\n";
    let found: Vec<String> = text(page).iter().flat_map(|(_, line)| targets(line)).map(str::to_owned).collect();
    assert_eq!(found, ["b.md#c", "d.svg", "e.md"]);
}
