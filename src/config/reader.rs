//! Reading a parsed TOML document key by key, noting every mistake and going on.
//!
//! A [`Section`] is one table beside its [`Table`] of known keys: opening it reports unknown and
//! planned keys, and its methods read the known ones with the functions of [`super::read`]. A value
//! that is absent or wrong reads as its default, so that reading always ends; whether the result
//! may be used is asked once, at the end, with [`Reader::mistakes`].

use std::cell::RefCell;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::environment::Environment;
use super::keys::{self, Key, Kind, Table};
use super::mistakes::{Mistake, Mistakes};
use super::nearest::{nearest, unknown};
use super::node::{Node, one_line};

/// One reading of one file.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    /// The file as messages name it.
    pub(super) name: &'a str,
    pub(super) text: &'a str,
    /// What relative paths are relative to.
    pub(super) dir: &'a Path,
    pub(super) environment: &'a Environment,
    /// Where the text is not TOML.
    pub(super) broken: Vec<Range<usize>>,
    /// The keys that are read, where not all are: of others nothing is said.
    pub(super) only: Option<&'static [&'static str]>,
    pub(super) noted: RefCell<Vec<Mistake>>,
}

/// One table of the file, or of its absence.
#[derive(Debug)]
pub(super) struct Section<'a> {
    pub(super) reader: &'a Reader<'a>,
    shape: &'static Table,
    table: Option<&'a DeTable<'a>>,
    /// Byte where the table begins.
    at: usize,
}

/// How a key stands in the file.
enum Written<'a> {
    Not,
    /// In a piece that is not TOML, which has its own mistake.
    Broken,
    Here(Node<'a>),
}

impl<'a> Reader<'a> {
    /// A reader of `text`, which messages call `name`.
    pub(super) fn new(
        name: &'a str,
        text: &'a str,
        dir: &'a Path,
        environment: &'a Environment,
    ) -> Self {
        Self {
            name,
            text,
            dir,
            environment,
            broken: Vec::new(),
            only: None,
            noted: RefCell::default(),
        }
    }

    /// The whole document.
    pub(super) fn root(&'a self, table: &'a DeTable<'a>) -> Section<'a> {
        Section::open(self, &keys::ROOT, Some(table), 0)
    }

    /// Everything noted so far.
    pub(super) fn mistakes(&self) -> Option<Mistakes> {
        Mistakes::of(self.noted.take())
    }

    pub(super) fn note(&self, at: Option<usize>, text: String) {
        self.noted.borrow_mut().push(Mistake {
            source: self.name.to_owned(),
            line: at.map(|at| self.line(at)),
            text,
        });
    }

    pub(super) fn note_line(&self, line: usize, text: String) {
        self.noted.borrow_mut().push(Mistake {
            source: self.name.to_owned(),
            line: Some(line),
            text,
        });
    }

    /// A mistake outside the file, such as in a variable of the environment.
    pub(super) fn note_of(&self, source: &str, text: String) {
        self.noted.borrow_mut().push(Mistake {
            source: source.to_owned(),
            line: None,
            text,
        });
    }

    /// A mistake of something absent or of several values together. It is not noted while the
    /// syntax is broken: what it misses may stand in the piece that could not be read.
    pub(super) fn note_combination(&self, at: Option<usize>, text: String) {
        if self.broken.is_empty() {
            self.note(at, text);
        }
    }

    /// 1-based line of a byte.
    pub(super) fn line(&self, at: usize) -> usize {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        before.split(|&byte| byte == b'\n').count()
    }

    /// Whether a key that `shape` does not know is nobody's business, because it is hardly a misspelt one
    /// of those that are read.
    fn passes_over(&self, shape: &Table, name: &str) -> bool {
        self.only.is_some_and(|only| {
            let meant = nearest(name, shape.keys.iter().map(|key| key.name));
            meant.is_none_or(|meant| !only.contains(&meant))
        })
    }

    /// Notes, where only some keys are read, that `key` is not found while a piece of the file that is not
    /// TOML may have it: its default would be a guess.
    fn note_if_lost(&self, key: &str) {
        if self.only.is_none() || self.broken.is_empty() {
            return;
        }
        let mut in_list = false;
        for line in self.text.lines().map(str::trim_start) {
            if line.starts_with('[') {
                // The tables `[[route]]` and the like have keys of the same name.
                in_list = line.starts_with("[[");
            }
            let rest = line.trim_start_matches("server.").strip_prefix(key);
            if !in_list && rest.is_some_and(|rest| rest.trim_start().starts_with('=')) {
                return self.note(None, format!("{key} stands where the file is not TOML"));
            }
        }
    }

    fn is_broken(&self, key: &Range<usize>, value: &Range<usize>) -> bool {
        let (start, end) = (key.start.min(value.start), key.end.max(value.end));
        self.broken
            .iter()
            .any(|broken| broken.start <= end && broken.end >= start)
    }
}

impl<'a> Section<'a> {
    fn open(
        reader: &'a Reader<'a>,
        shape: &'static Table,
        table: Option<&'a DeTable<'a>>,
        at: usize,
    ) -> Self {
        let section = Self {
            reader,
            shape,
            table,
            at,
        };
        for (name, value) in table.into_iter().flatten() {
            if reader.is_broken(&name.span(), &value.span()) {
                continue;
            }
            let (at, name) = (name.span().start, name.get_ref());
            match shape.key(name).map(|key| (key, &key.kind)) {
                None if reader.passes_over(shape, name) => {}
                None => reader.note(Some(at), unknown(shape, name)),
                Some(_) if reader.only.is_some() => {}
                Some((key, Kind::Planned { accepted })) => {
                    section.check_planned(key, *accepted, value);
                }
                Some(_) => {}
            }
        }
        section
    }

    /// The value of `key`, or its default.
    pub(super) fn value<T>(&self, key: &str, read: impl Fn(&Node<'_>) -> Option<T>) -> T {
        if let Written::Here(node) = self.written(key)
            && let Some(value) = read(&node)
        {
            return value;
        }
        if !matches!(self.written(key), Written::Here(_)) {
            self.reader.note_if_lost(key);
        }
        let known = self.known(key);
        let default = match known.kind {
            Kind::Value {
                default: Some(default),
                ..
            } => default,
            Kind::Secret => r#""""#,
            _ => unreachable!("{key} has no default: read it with optional or required"),
        };
        // Both hold for every key: `every_default_reads` in `file.rs` reads them all.
        let value = DeValue::parse(default).expect("a default is TOML");
        read(&self.node(known, &value, false)).expect("a default is valid")
    }

    /// The value of `key` if it is written.
    pub(super) fn optional<T>(
        &self,
        key: &str,
        read: impl Fn(&Node<'_>) -> Option<T>,
    ) -> Option<T> {
        match self.written(key) {
            Written::Here(node) => read(&node),
            Written::Not | Written::Broken => None,
        }
    }

    /// The value of `key`, whose absence is a mistake; `example` says how to write it.
    pub(super) fn required<T>(
        &self,
        key: &str,
        example: &str,
        read: impl Fn(&Node<'_>) -> Option<T>,
    ) -> Option<T> {
        if let Written::Not = self.written(key) {
            let path = self.shape.path_of(key);
            self.note_combination(format!(
                "{path} is missing; write for example {key} = {example}"
            ));
        }
        self.optional(key, read)
    }

    /// The table `key`, empty if it is not written.
    pub(super) fn table(&self, key: &str) -> Section<'a> {
        self.optional_table(key)
            .unwrap_or_else(|| Self::open(self.reader, self.below(key), None, self.at))
    }

    /// The table `key` if it is written.
    pub(super) fn optional_table(&self, key: &str) -> Option<Section<'a>> {
        let Written::Here(node) = self.written(key) else {
            return None;
        };
        let Some(table) = node.value.get_ref().as_table() else {
            let inline = match self.below(key).keys {
                [first, ..] if node.path.contains('.') => {
                    format!(" or {key} = {{ {} = … }}", first.name)
                }
                _ => String::new(),
            };
            node.wrong_type(&format!("a table, [{}]{inline}", node.path));
            return None;
        };
        Some(Self::open(
            self.reader,
            self.below(key),
            Some(table),
            node.value.span().start,
        ))
    }

    /// The tables written `[[key]]`, in order.
    pub(super) fn tables(&self, key: &str) -> Vec<Section<'a>> {
        let Written::Here(node) = self.written(key) else {
            return Vec::new();
        };
        let shape = self.below(key);
        let tables = node.value.get_ref().as_array().map(|array| {
            let each = array
                .iter()
                .map(|item| Some((item.get_ref().as_table()?, item.span().start)));
            each.collect::<Option<Vec<_>>>()
        });
        let Some(Some(tables)) = tables else {
            node.wrong_type(&format!("tables, each under [[{}]]", node.path));
            return Vec::new();
        };
        let open = |(table, at)| Self::open(self.reader, shape, Some(table), at);
        tables.into_iter().map(open).collect()
    }

    /// The entries of the table `key`, whose names are the user's, with the byte of each name.
    pub(super) fn open_table(&self, key: &str) -> Vec<(&'a str, usize, Node<'a>)> {
        let Written::Here(node) = self.written(key) else {
            return Vec::new();
        };
        let Some(table) = node.value.get_ref().as_table() else {
            node.wrong_type(&format!("a table, [{}]", node.path));
            return Vec::new();
        };
        let named = |(name, value): (&'a Spanned<_>, &'a Spanned<DeValue<'a>>)| {
            let text: &'a str = AsRef::<str>::as_ref(name.get_ref());
            let path = format!("{}.\"{}\"", node.path, one_line(text));
            let entry = Node {
                path,
                value,
                ..self.node(self.known(key), value, true)
            };
            (text, name.span().start, entry)
        };
        table
            .iter()
            .filter(|(name, value)| !self.reader.is_broken(&name.span(), &value.span()))
            .map(named)
            .collect()
    }

    /// Whether `key` is written, rightly or wrongly.
    pub(super) fn has(&self, key: &str) -> bool {
        !matches!(self.written(key), Written::Not)
    }

    /// Byte where `key` is written, or where the table begins.
    pub(super) fn at(&self, key: &str) -> Option<usize> {
        let key = self.table.and_then(|table| table.get_key_value(key));
        key.map(|(name, _)| name.span().start)
            .or(self.table.map(|_| self.at))
    }

    /// 1-based line where the table begins.
    pub(super) fn line(&self) -> usize {
        self.reader.line(self.at)
    }

    /// A mistake of the table as a whole, see [`Reader::note_combination`].
    pub(super) fn note_combination(&self, text: String) {
        self.reader
            .note_combination(self.table.map(|_| self.at), text);
    }

    /// A mistake of `key` together with others, see [`Reader::note_combination`].
    pub(super) fn note_combination_at(&self, key: &str, text: &str) {
        let text = format!("{}: {text}", self.shape.path_of(key));
        self.reader.note_combination(self.at(key), text);
    }

    fn written(&self, key: &str) -> Written<'a> {
        let known = self.known(key);
        match self.table.and_then(|table| table.get_key_value(key)) {
            None => Written::Not,
            Some((name, value)) if self.reader.is_broken(&name.span(), &value.span()) => {
                Written::Broken
            }
            Some((_, value)) => Written::Here(self.node(known, value, true)),
        }
    }

    fn node<'n>(
        &self,
        key: &'static Key,
        value: &'n Spanned<DeValue<'n>>,
        written: bool,
    ) -> Node<'n>
    where
        'a: 'n,
    {
        Node {
            reader: self.reader,
            path: self.shape.path_of(key.name),
            kind: &key.kind,
            value,
            written,
        }
    }

    fn known(&self, key: &str) -> &'static Key {
        // Keys are literals in the code, and the key table is where they are declared.
        self.shape
            .key(key)
            .expect("every key that is read stands in the key table")
    }

    fn below(&self, key: &str) -> &'static Table {
        match self.known(key).kind {
            Kind::Table(table) | Kind::Tables(table) => table,
            _ => unreachable!("{key} is no table"),
        }
    }

    fn check_planned(
        &self,
        key: &'static Key,
        accepted: Option<&'static str>,
        value: &'a Spanned<DeValue<'a>>,
    ) {
        let node = self.node(key, value, true);
        let Some(accepted) = accepted else {
            return node.note("not part of this version yet; remove it");
        };
        let written = match value.get_ref() {
            DeValue::String(text) => match self.reader.environment.fill_in(text) {
                Ok(text) => format!("\"{text}\""),
                Err(wrong) => {
                    for what in wrong {
                        node.wrong(&what);
                    }
                    return;
                }
            },
            _ => node.source().to_owned(),
        };
        if written != accepted {
            node.wrong(&format!(
                "not part of this version yet; remove it or write {accepted}"
            ));
        }
    }
}
