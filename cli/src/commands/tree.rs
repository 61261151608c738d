//! `tree`: the arrays of a database by the slashes in their names.

use std::collections::BTreeMap;

use bigarray::ArrayInfo;

use super::How;
use crate::address::Address;
use crate::args::OfDatabase;
use crate::failure::{Failure, Result};
use crate::output::print;
use crate::{open, units};

/// What is below a name.
#[derive(Default)]
struct Node {
    array: Option<ArrayInfo>,
    below: BTreeMap<String, Node>,
}

pub(crate) fn run(args: &OfDatabase, how: How) -> Result<()> {
    let address = Address::parse(&args.database)?;
    if !address.name.is_empty() {
        return Err(Failure::usage(format!("tree takes a whole database; bigarray tree {}", address.database)));
    }
    if how.json {
        return super::ls::run(args, how);
    }
    let mut root = Node::default();
    for info in open::to_read(&address.database)?.snapshot()?.arrays()? {
        let mut node = &mut root;
        for part in info.name.split('/') {
            node = node.below.entry(part.to_owned()).or_default();
        }
        node.array = Some(info);
    }
    let mut text = format!("{}\n", address.database);
    draw(&root, "", &mut text);
    print(&text)
}

fn draw(node: &Node, before: &str, text: &mut String) {
    for (n, (name, below)) in node.below.iter().enumerate() {
        let is_last = n + 1 == node.below.len();
        let told = below.array.as_ref().map(|info| format!("  {} {}", info.dtype, units::shape(&info.shape)));
        text.push_str(&format!(
            "{before}{}{name}{}\n",
            if is_last { "└── " } else { "├── " },
            told.unwrap_or_default()
        ));
        draw(below, &format!("{before}{}", if is_last { "    " } else { "│   " }), text);
    }
}
