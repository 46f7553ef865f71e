//! `[compression]`: which bodies are compressed, and how.

use super::MediaPattern;
use super::node::Node;
use super::printer::Printer;
use super::read::{choice, integer, integer_within, list, size, text};
use super::reader::Section;
use super::values::print_size;

/// `[compression]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Compression {
    /// The server's preference among what the client accepts equally; empty switches compression off.
    pub algorithms: Vec<Coding>,
    /// Bodies shorter than this many bytes are sent as they are. Default 1 KiB.
    pub min_length: u64,
    /// Media types that are compressed.
    pub types: Vec<MediaPattern>,
    /// Level of live compression, one that all `algorithms` have; 0 chooses per algorithm.
    pub level: u32,
}

/// A content coding (RFC 9110, section 8.4.1) that the server can produce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    /// `zstd` (RFC 8878).
    Zstd,
    /// `br` (RFC 7932).
    Br,
    /// `gzip` (RFC 1952).
    Gzip,
}

impl Coding {
    /// Every coding.
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Br, Self::Gzip];

    /// The name in `Content-Encoding`, and in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Br => "br",
            Self::Gzip => "gzip",
        }
    }

    /// The highest level; the lowest is 1. Zstandard's 20 to 22 are left out: their windows are
    /// larger than what clients must accept (RFC 9659).
    #[must_use]
    pub const fn highest_level(self) -> u32 {
        match self {
            Self::Zstd => 19,
            Self::Br => 11,
            Self::Gzip => 9,
        }
    }
}

/// Reads `[compression]`.
pub(super) fn compression(section: &Section<'_>) -> Compression {
    let algorithms = section.value("algorithms", algorithms);
    Compression {
        level: section.value("level", |node| level(node, &algorithms)),
        algorithms,
        min_length: section.value("min_length", size),
        types: section.value("types", list(text(MediaPattern::parse))),
    }
}

/// Prints it.
pub(super) fn print(out: &mut Printer, compression: &Compression) {
    let names = compression.algorithms.iter().map(|coding| coding.name());
    out.heading("[compression]");
    out.texts("algorithms", names);
    out.text("min_length", print_size(compression.min_length));
    out.texts("types", &compression.types);
    out.plain("level", compression.level);
}

fn algorithms(node: &Node<'_>) -> Option<Vec<Coding>> {
    let words = Coding::ALL.map(|coding| (coding.name(), coding));
    let mut algorithms = Vec::new();
    for coding in list(choice(&words))(node)? {
        if algorithms.contains(&coding) {
            node.wrong(&format!("\"{}\" stands there twice", coding.name()));
            return None;
        }
        algorithms.push(coding);
    }
    Some(algorithms)
}

/// A level that each of the algorithms has.
fn level(node: &Node<'_>, algorithms: &[Coding]) -> Option<u32> {
    let least = algorithms
        .iter()
        .min_by_key(|coding| coding.highest_level());
    let Some(least) = least else {
        return integer(0..=Coding::Zstd.highest_level())(node);
    };
    let why = format!(", the highest of {}", least.name());
    integer_within(0..=least.highest_level(), &why)(node)
}
