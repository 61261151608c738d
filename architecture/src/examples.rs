//! Public items of a crate whose documentation has no example that runs.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, UseTree, Visibility};

use crate::reader::is_test;

/// Types that `lib.rs` below the directory `src` exports, functions that it does, and their methods, where the documentation
/// has no example that runs: `file: name`. Functions in the body of a macro are among them. Fields, variants, aliases and
/// what is hidden are not.
///
/// # Errors
/// A file that cannot be read, or that is not Rust.
pub fn without_example(src: &Path) -> io::Result<Vec<String>> {
    let mut found = Found { exported: exported(&parse(&src.join("lib.rs"))?), ..Found::default() };
    for file in rust_files(src)? {
        found.file = file.strip_prefix(src).expect("a file below `src`").display().to_string();
        found.visit_file(&parse(&file)?);
    }
    Ok(found.missing)
}

fn parse(file: &Path) -> io::Result<syn::File> {
    let invalid = |e| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {e}", file.display()));
    syn::parse_file(&fs::read_to_string(file)?).map_err(invalid)
}

/// The names that a file exports from its modules.
fn exported(file: &syn::File) -> HashSet<String> {
    fn leaves(tree: &UseTree, names: &mut HashSet<String>) {
        match tree {
            UseTree::Path(path) => leaves(&path.tree, names),
            UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, names)),
            UseTree::Name(name) => drop(names.insert(name.ident.to_string())),
            UseTree::Rename(rename) => drop(names.insert(rename.rename.to_string())),
            UseTree::Glob(_) => {}
        }
    }
    let mut names = HashSet::new();
    for item in &file.items {
        if let Item::Use(exports) = item
            && matches!(exports.vis, Visibility::Public(_))
        {
            leaves(&exports.tree, &mut names);
        }
    }
    names
}

fn rust_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[derive(Default)]
struct Found {
    /// Names of the items that count.
    exported: HashSet<String>,
    file: String,
    missing: Vec<String>,
}

impl Found {
    fn is_exported(&self, name: &syn::Ident) -> bool {
        self.exported.contains(&name.to_string())
    }

    fn is_of_an_export(&self, methods: &syn::ItemImpl) -> bool {
        let syn::Type::Path(of) = &*methods.self_ty else { return false };
        of.path.segments.last().is_some_and(|name| self.is_exported(&name.ident))
    }

    fn item(&mut self, visibility: &Visibility, attrs: &[Attribute], name: &syn::Ident) {
        if matches!(visibility, Visibility::Public(_)) && !is_hidden(attrs) && !has_example(attrs) {
            self.missing.push(format!("{}: {name}", self.file));
        }
    }
}

impl<'ast> Visit<'ast> for Found {
    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Fn(f) if self.is_exported(&f.sig.ident) => self.item(&f.vis, &f.attrs, &f.sig.ident),
            Item::Struct(s) if self.is_exported(&s.ident) => self.item(&s.vis, &s.attrs, &s.ident),
            Item::Enum(e) if self.is_exported(&e.ident) => self.item(&e.vis, &e.attrs, &e.ident),
            Item::Trait(t) if self.is_exported(&t.ident) => self.item(&t.vis, &t.attrs, &t.ident),
            // Methods of a trait are documented there.
            Item::Impl(i) if i.trait_.is_some() || !self.is_of_an_export(i) => return,
            Item::Mod(m) if is_test(&m.attrs) => return,
            Item::Macro(m) if !is_test(&m.attrs) => {
                if m.attrs.iter().any(|attr| attr.path().is_ident("macro_export")) {
                    self.item(
                        &Visibility::Public(Default::default()),
                        &m.attrs,
                        m.ident.as_ref().expect("an exported macro has a name"),
                    );
                }
                self.functions_in(m.mac.tokens.clone());
            }
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        if let ImplItem::Fn(f) = item {
            self.item(&f.vis, &f.attrs, &f.sig.ident);
        }
    }
}

impl Found {
    /// Functions that a macro makes: they stand in it with all that a function has, between other tokens.
    fn functions_in(&mut self, tokens: TokenStream) {
        for token in tokens {
            let TokenTree::Group(group) = token else { continue };
            let methods = syn::parse2::<syn::ItemImpl>(in_an_impl(group.stream()));
            for item in methods.iter().flat_map(|methods| &methods.items) {
                self.visit_impl_item(item);
            }
        }
    }
}

/// `impl T { … }` around the body of one.
fn in_an_impl(body: TokenStream) -> TokenStream {
    let word = |name| TokenTree::Ident(proc_macro2::Ident::new(name, proc_macro2::Span::call_site()));
    let braces = proc_macro2::Group::new(proc_macro2::Delimiter::Brace, body);
    [word("impl"), word("T"), TokenTree::Group(braces)].into_iter().collect()
}

fn docs(attrs: &[Attribute]) -> String {
    let lines = attrs.iter().filter(|attr| attr.path().is_ident("doc")).filter_map(|attr| match &attr.meta {
        syn::Meta::NameValue(syn::MetaNameValue { value: syn::Expr::Lit(lit), .. }) => match &lit.lit {
            syn::Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A block of code that is run, or compiled where only a server could run it.
fn has_example(attrs: &[Attribute]) -> bool {
    let docs = docs(attrs);
    let fences = docs.lines().map(str::trim).filter(|line| line.starts_with("```"));
    // Every second fence ends a block.
    fences.step_by(2).any(|fence| matches!(fence, "```" | "```rust" | "```no_run"))
}

fn is_hidden(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attr| match &attr.meta {
        syn::Meta::List(list) if list.path.is_ident("doc") => list.tokens.to_string().contains("hidden"),
        _ => false,
    })
}
