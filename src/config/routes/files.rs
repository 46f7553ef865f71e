//! `files` of a route: the directory, and how what lies there is served.

use std::path::{Component, Path, PathBuf};

use http::HeaderValue;

use crate::config::printer::{Printer, shown};
use crate::config::read::{boolean, existing_directory, header_value, string};
use crate::config::reader::Section;

/// `files = "…"` with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The directory.
    pub root: PathBuf,
    /// File (relative to `root`) that answers unknown paths, for single-page applications.
    pub spa: Option<String>,
    /// `Cache-Control` of the answers; `None` chooses by type.
    pub cache_control: Option<HeaderValue>,
    /// Whether files whose name carries a hash of their content are `immutable` (RFC 8246).
    pub immutable: bool,
}

/// Reads `files` of the route in `section`, and what belongs to it.
pub(super) fn files(section: &Section<'_>) -> Option<Files> {
    let root = section.optional("files", existing_directory);
    let spa = section.optional("spa", |node| {
        let spa = string(node)?;
        let is_inside = |part: Component<'_>| matches!(part, Component::Normal(_));
        if spa.is_empty() || !Path::new(&spa).components().all(is_inside) {
            node.wrong("must name a file below the route's files, such as \"index.html\"");
            return None;
        }
        if let Some(root) = &root
            && root.is_dir()
            && !root.join(&spa).is_file()
        {
            node.wrong(&format!("no file {}", root.join(&spa).display()));
        }
        Some(spa)
    });
    let cache_control = section.optional("cache_control", header_value);
    let immutable = section.optional("immutable", boolean).unwrap_or(false);
    Some(Files {
        root: root?,
        spa,
        cache_control,
        immutable,
    })
}

/// Prints them.
pub(super) fn print(out: &mut Printer, files: &Files) {
    out.text("files", files.root.display());
    if let Some(spa) = &files.spa {
        out.text("spa", spa);
    }
    if let Some(value) = &files.cache_control {
        out.text("cache_control", shown(value));
    }
    if files.immutable {
        out.plain("immutable", true);
    }
}
