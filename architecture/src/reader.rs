//! Reads the modules of a crate, beginning at `lib.rs` and following `mod` declarations.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, ItemMod, UseTree};

use crate::module::{Module, Segments};

/// The modules of one crate. The first is the root.
pub struct Crate {
    pub(crate) modules: Vec<Module>,
}

/// Reads the crate whose source is in the directory `src`.
///
/// # Errors
/// A file that cannot be read, or that is not Rust.
pub fn read(src: &Path) -> io::Result<Crate> {
    let mut sources = HashMap::new();
    collect(src, src, &mut sources)?;
    parse(&sources).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn collect(src: &Path, dir: &Path, sources: &mut HashMap<PathBuf, String>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(src, &path, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(src).expect("a file below `src`").to_owned();
            sources.insert(relative, fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

/// Parses the crate whose files are `sources`, by paths relative to its `src`.
pub(crate) fn parse(sources: &HashMap<PathBuf, String>) -> Result<Crate, String> {
    let mut reader = Reader { sources, modules: Vec::new(), current: 0, dir: PathBuf::new(), error: None };
    reader.file(Path::new("lib.rs"), None);
    match reader.error {
        Some(error) => Err(error),
        None => Ok(Crate { modules: reader.modules }),
    }
}

struct Reader<'a> {
    sources: &'a HashMap<PathBuf, String>,
    modules: Vec<Module>,
    current: usize,
    /// Where files of child modules of the current one are.
    dir: PathBuf,
    /// The first failure.
    error: Option<String>,
}

impl Reader<'_> {
    fn add(&mut self, file: &Path, parent: Option<usize>) -> usize {
        self.modules.push(Module { file: file.to_owned(), parent, ..Module::default() });
        self.modules.len() - 1
    }

    /// Reads `file`, of a module that `parent` declares.
    fn file(&mut self, file: &Path, parent: Option<usize>) -> Option<usize> {
        let parsed = match self.sources.get(file).map(|source| syn::parse_file(source)) {
            Some(Ok(parsed)) => parsed,
            Some(Err(error)) => return self.fail(format!("{}: {error}", file.display())),
            None => return self.fail(format!("{}: no such file", file.display())),
        };
        if is_test(&parsed.attrs) {
            return None;
        }
        let module = self.add(file, parent);
        let is_root_of_dir = matches!(file.file_stem().and_then(|stem| stem.to_str()), Some("lib" | "mod"));
        let dir = if is_root_of_dir { file.with_file_name("") } else { file.with_extension("") };
        self.inside(module, dir, |reader| reader.visit_file(&parsed));
        Some(module)
    }

    fn fail(&mut self, error: String) -> Option<usize> {
        self.error.get_or_insert(error);
        None
    }

    fn inside(&mut self, module: usize, dir: PathBuf, visit: impl FnOnce(&mut Self)) {
        let outer = (self.current, std::mem::replace(&mut self.dir, dir));
        self.current = module;
        visit(self);
        (self.current, self.dir) = outer;
    }

    fn here(&mut self) -> &mut Module {
        &mut self.modules[self.current]
    }

    fn define(&mut self, name: &syn::Ident) {
        let name = name.to_string();
        self.here().items.insert(name);
    }

    fn use_tree(&mut self, prefix: &[String], tree: &UseTree) {
        let with = |name: &syn::Ident| -> Segments {
            let name = name.to_string();
            // `use path::{self}` names the path.
            if name == "self" && !prefix.is_empty() { prefix.to_vec() } else { [prefix, &[name]].concat() }
        };
        match tree {
            UseTree::Path(path) => self.use_tree(&with(&path.ident), &path.tree),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.use_tree(prefix, tree)),
            UseTree::Glob(_) => {
                self.here().globs.push(prefix.to_vec());
                self.here().mentioned.insert([prefix, &["*".to_owned()]].concat());
            }
            UseTree::Name(name) => self.bind(with(&name.ident), None),
            UseTree::Rename(rename) => self.bind(with(&rename.ident), Some(rename.rename.to_string())),
        }
    }

    fn bind(&mut self, path: Segments, name: Option<String>) {
        let name = name.or_else(|| path.last().cloned()).expect("`use` names something");
        self.here().mentioned.insert(path.clone());
        self.here().bound.insert(name, path);
    }

    /// Paths between the tokens of a macro's call, which is not parsed: what it means is the macro's affair.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path = Segments::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.mention(&mut path);
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Punct(_) | TokenTree::Literal(_) => {
                    self.mention(&mut path);
                    colons = 0;
                }
                TokenTree::Group(group) => {
                    self.mention(&mut path);
                    colons = 0;
                    self.tokens(group.stream());
                }
            }
        }
        self.mention(&mut path);
    }

    fn mention(&mut self, path: &mut Segments) {
        let path = std::mem::take(path);
        if path.iter().any(|name| name == "unsafe") {
            self.here().has_unsafe = true;
        } else if !path.is_empty() {
            self.here().mentioned.insert(path);
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Const(item) => &item.attrs,
            Item::Enum(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::ForeignMod(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Macro(item) => &item.attrs,
            Item::Mod(item) => &item.attrs,
            Item::Static(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            Item::Trait(item) => &item.attrs,
            Item::Type(item) => &item.attrs,
            Item::Union(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if is_test(attributes) {
            return;
        }
        match item {
            Item::Const(item) => self.define(&item.ident),
            Item::Enum(item) => self.define(&item.ident),
            Item::Fn(item) => self.define(&item.sig.ident),
            Item::Static(item) => self.define(&item.ident),
            Item::Struct(item) => self.define(&item.ident),
            Item::Trait(item) => {
                self.define(&item.ident);
                self.here().has_unsafe |= item.unsafety.is_some();
            }
            Item::Type(item) => self.define(&item.ident),
            Item::Union(item) => self.define(&item.ident),
            Item::Macro(item) => item.ident.iter().for_each(|name| self.define(name)),
            Item::Impl(item) => self.here().has_unsafe |= item.unsafety.is_some(),
            Item::ForeignMod(_) => self.here().has_unsafe = true,
            Item::Use(item) => return self.use_tree(&[], &item.tree),
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let name = item.ident.to_string();
        let declaring = self.current;
        let child = match &item.content {
            Some((_, items)) => {
                let file = self.here().file.clone();
                let module = self.add(&file, Some(declaring));
                let dir = self.dir.join(&name);
                self.inside(module, dir, |reader| items.iter().for_each(|item| reader.visit_item(item)));
                Some(module)
            }
            None => {
                let file = self.dir.join(&name).with_extension("rs");
                let file = if self.sources.contains_key(&file) { file } else { self.dir.join(&name).join("mod.rs") };
                self.file(&file, Some(declaring))
            }
        };
        if let Some(child) = child {
            self.here().children.insert(name, child);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let is_for_tests = match item {
            ImplItem::Const(item) => is_test(&item.attrs),
            ImplItem::Fn(item) => is_test(&item.attrs),
            ImplItem::Type(item) => is_test(&item.attrs),
            _ => false,
        };
        if !is_for_tests {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.here().mentioned.insert(segments);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        visit::visit_macro(self, call);
        self.tokens(call.tokens.clone());
    }

    /// Attributes name derives and lints, none of which is an import.
    fn visit_attribute(&mut self, _: &'ast Attribute) {}

    /// What `pub(in path)` names is a module above.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        self.here().has_unsafe |= matches!(signature.safety, syn::Safety::Unsafe(_));
        visit::visit_signature(self, signature);
    }

    fn visit_expr_unsafe(&mut self, expr: &'ast syn::ExprUnsafe) {
        self.here().has_unsafe = true;
        visit::visit_expr_unsafe(self, expr);
    }
}

/// Whether an attribute is `cfg(test)`.
pub(crate) fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Ident>().is_ok_and(|name| name == "test")
    })
}
