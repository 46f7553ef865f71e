//! `[telemetry]`: where traces go.

use http::{HeaderName, HeaderValue};
use toml::de::DeValue;
use url::Url;

use super::Secret;
use super::node::Node;
use super::printer::Printer;
use super::read::{string, text, unless_empty};
use super::reader::Section;
use super::secrets::secret;

/// `[telemetry]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Telemetry {
    /// The collector's base URL for OTLP over HTTP, without a slash at its end; `None` makes no traces.
    pub otlp: Option<String>,
    /// Headers for the collector.
    pub headers: CollectorHeaders,
    /// The part of requests that is traced, 0 to 1, where no trusted proxy has decided. Default all.
    pub sample: f64,
    /// `service.name` of everything that is sent. Default `unibody`.
    pub service: String,
}

/// `telemetry.headers`, a secret of lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CollectorHeaders(Option<Secret>);

impl CollectorHeaders {
    /// The headers, their values marked as sensitive.
    pub fn iter(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let lines = self.0.as_ref().map_or("", Secret::reveal);
        // They were read once already.
        lines.lines().filter_map(|line| header(line).ok().flatten())
    }

    /// The lines themselves.
    pub(super) fn secret(&self) -> Option<&Secret> {
        self.0.as_ref()
    }
}

/// Reads `[telemetry]`.
pub(super) fn telemetry(section: &Section<'_>) -> Telemetry {
    Telemetry {
        otlp: section.value("otlp", unless_empty(text(parse_collector))),
        headers: CollectorHeaders(secret(section, "headers", "headers_file", check_headers)),
        sample: section.value("sample", part),
        service: section.value("service", |node| {
            let service = string(node)?;
            if service.is_empty() {
                node.wrong("must name the service, such as \"unibody\"");
                return None;
            }
            Some(service)
        }),
    }
}

/// Prints it.
pub(super) fn print(out: &mut Printer, telemetry: &Telemetry) {
    out.heading("[telemetry]");
    out.text("otlp", telemetry.otlp.as_deref().unwrap_or_default());
    out.secret("headers", telemetry.headers.secret(), |_| "***".to_owned());
    out.plain("sample", format_args!("{:?}", telemetry.sample));
    out.text("service", &telemetry.service);
}

/// Of the usual forms of the URL, the base is kept.
fn parse_collector(text: &str) -> Result<String, &'static str> {
    const WHAT: &str = "must be an http:// or https:// URL such as \"http://127.0.0.1:4318\", without user, password and query";
    let url = Url::parse(text).map_err(|_| WHAT)?;
    let is_plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !["http", "https"].contains(&url.scheme()) || url.host_str().is_none() || !is_plain {
        return Err(WHAT);
    }
    let base = url.as_str().trim_end_matches('/');
    Ok(base.strip_suffix("/v1/traces").unwrap_or(base).to_owned())
}

fn check_headers(text: &str) -> Result<(), String> {
    text.lines().try_for_each(|line| header(line).map(drop))
}

/// One `Name: value`; `None` for an empty line.
fn header(line: &str) -> Result<Option<(HeaderName, HeaderValue)>, String> {
    const WHAT: &str = "must be headers, one a line, such as \"Authorization: Bearer …\"";
    if line.trim().is_empty() {
        return Ok(None);
    }
    let (name, value) = line.split_once(':').ok_or(WHAT)?;
    let name: HeaderName = name.trim().parse().map_err(|_| WHAT)?;
    let mut value = HeaderValue::from_str(value.trim()).map_err(|_| WHAT)?;
    value.set_sensitive(true);
    Ok(Some((name, value)))
}

/// A number from 0 to 1.
fn part(node: &Node<'_>) -> Option<f64> {
    let number = match node.value.get_ref() {
        DeValue::Float(number) => number.as_str().replace('_', "").parse().ok(),
        DeValue::Integer(number) => number.as_str().parse().ok(),
        DeValue::String(text) if text.contains("${") => string(node)?.parse().ok(),
        _ => None,
    };
    let number = number.filter(|part| (0.0..=1.0).contains(part));
    if number.is_none() {
        node.wrong("must be a number from 0 to 1, such as 0.1 for every tenth request");
    }
    number
}
