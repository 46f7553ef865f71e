//! `[log]`: what is logged, and how.

use super::printer::Printer;
use super::read::{choice, list, text};
use super::reader::Section;
use super::values::{Mask, parse_log_level};

/// `[log]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// A `tracing` filter directive, e.g. `info` or `unibody=debug`.
    pub level: String,
    /// Text or JSON. Default text.
    pub format: LogFormat,
    /// Access log. Default combined with timings.
    pub access: AccessFormat,
    /// Headers and query parameters whose values are never written.
    pub mask: Mask,
}

/// `log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `log.access`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessFormat {
    /// nginx's combined format plus timings and the request id.
    CombinedTiming,
    /// One JSON object a line.
    Json,
    /// None.
    Off,
}

/// The keys that [`mask`] reads, and the tables on their way.
pub(super) const MASK: &[&str] = &["log", "mask"];

/// Reads `[log]`.
pub(super) fn log(section: &Section<'_>) -> Log {
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let access = [
        ("combined-timing", AccessFormat::CombinedTiming),
        ("json", AccessFormat::Json),
        ("off", AccessFormat::Off),
    ];
    Log {
        level: section.value("level", text(parse_log_level)),
        format: section.value("format", choice(&formats)),
        access: section.value("access", choice(&access)),
        mask: mask(section),
    }
}

/// Reads `log.mask`.
pub(super) fn mask(section: &Section<'_>) -> Mask {
    let name = |text: &str| match text {
        "" => Err("must name a header or query parameter"),
        text => Ok(text.to_owned()),
    };
    Mask::new(section.value("mask", list(text(name))))
}

/// Prints it.
pub(super) fn print(out: &mut Printer, log: &Log) {
    let format = match log.format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    let access = match log.access {
        AccessFormat::CombinedTiming => "combined-timing",
        AccessFormat::Json => "json",
        AccessFormat::Off => "off",
    };
    out.heading("[log]");
    out.text("level", &log.level);
    out.text("format", format);
    out.text("access", access);
    out.texts("mask", log.mask.names());
}
