//! `[error_pages]`: pages of one's own in the place of the server's.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;
use http::StatusCode;

use super::node::Node;
use super::printer::{Printer, quoted};
use super::read::existing_file;
use super::reader::Section;

/// Bytes of the largest page: each is kept in memory, and sent again and again while something is wrong.
const LARGEST: u64 = 1024 * 1024;

/// Pages for people, read when the configuration was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorPages(BTreeMap<Which, Page>);

/// Which answers a page is for; one status comes before a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Which {
    Status(u16),
    /// By the first digit.
    Class(u16),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Page {
    path: PathBuf,
    html: Bytes,
}

impl ErrorPages {
    /// The page for an answer with `status`, if there is one.
    #[must_use]
    pub fn of(&self, status: StatusCode) -> Option<&Bytes> {
        let status = status.as_u16();
        let page = self.0.get(&Which::Status(status));
        let page = page.or_else(|| self.0.get(&Which::Class(status / 100)));
        page.map(|page| &page.html)
    }
}

impl Which {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "4xx" => Some(Self::Class(4)),
            "5xx" => Some(Self::Class(5)),
            _ => {
                let status = text.parse().ok()?;
                (text.len() == 3 && (400..600).contains(&status)).then_some(Self::Status(status))
            }
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::Class(class) => write!(f, "{class}xx"),
        }
    }
}

/// Reads the files that the table names.
pub(super) fn error_pages(root: &Section<'_>) -> ErrorPages {
    let mut pages = BTreeMap::new();
    for (name, _, node) in root.open_table("error_pages") {
        let page = page(&node);
        match Which::parse(name) {
            Some(which) => pages.extend(page.map(|page| (which, page))),
            None => node.wrong("is for no error; name a status from 400 to 599, 4xx or 5xx"),
        }
    }
    ErrorPages(pages)
}

fn page(node: &Node<'_>) -> Option<Page> {
    let path = existing_file(node)?;
    // That it can't be opened is noted already.
    let length = path.metadata().ok()?.len();
    if length > LARGEST {
        node.wrong(&format!("{} is larger than 1 MiB", path.display()));
        return None;
    }
    let html = std::fs::read(&path).ok()?.into();
    Some(Page { path, html })
}

pub(super) fn print(out: &mut Printer, pages: &ErrorPages) {
    if pages.0.is_empty() {
        return;
    }
    out.heading("[error_pages]");
    for (which, page) in &pages.0 {
        out.text(&quoted(&which.to_string()), page.path.display());
    }
}
