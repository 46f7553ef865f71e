//! `[tls]`, and what listens where with it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::node::Node;
use super::printer::Printer;
use super::read::{
    DECADE, boolean, choice, duration_up_to, existing_file, future_directory, list, text,
    unless_empty,
};
use super::reader::Section;
use super::values::print_duration;
use super::{HostPattern, Server};

/// `[tls]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Tls {
    /// Where certificates come from. Default self-signed.
    pub mode: TlsMode,
    /// Where certificates are kept. Default `certs`.
    pub certs_dir: PathBuf,
    /// Whether plain HTTP redirects to HTTPS. Default true; false with `mode = "off"`.
    pub redirect: bool,
    /// Oldest version of TLS accepted. Default 1.2.
    pub min_version: TlsVersion,
    /// What a client gets that asks for a name without a certificate. Default refusal; with a
    /// self-signed certificate, that one.
    pub unknown_names: UnknownNames,
    /// `Strict-Transport-Security` max-age; `None` sends no header. Default none.
    pub hsts: Option<Duration>,
}

/// `tls.mode`, with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsMode {
    /// A certificate of our own making, kept in `certs_dir`.
    SelfSigned,
    /// Certificates from a CA, as `[acme]` says.
    Acme,
    /// The user's own pairs, at least one.
    Files(Vec<TlsFiles>),
    /// No TLS: a load balancer in front terminates it.
    Off,
}

/// `[[tls.files]]`: one certificate chain and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Names this pair serves; empty means the names in the certificate itself.
    pub hosts: Vec<HostPattern>,
    /// PEM chain, leaf first.
    pub cert: PathBuf,
    /// PEM key.
    pub key: PathBuf,
}

/// What a client gets that asks for a name nobody configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownNames {
    /// No handshake: another site's certificate would only look like an attack.
    Refuse,
    /// The default certificate: right where clients verify nothing anyway, as with a self-signed one.
    Default,
}

/// Oldest accepted version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246) and newer.
    Tls12,
    /// TLS 1.3 (RFC 8446) only.
    Tls13,
}

/// Reads `[tls]` and settles with it what listens where: with `mode = "off"` no port is HTTPS.
pub(super) fn tls(section: &Section<'_>, listeners: &Section<'_>, server: &mut Server) -> Tls {
    let files = section.tables("files");
    let pairs: Vec<_> = files.iter().filter_map(tls_files).collect();
    let mode = match section.value("mode", string_choice_of_mode) {
        Mode::SelfSigned => TlsMode::SelfSigned,
        Mode::Acme => TlsMode::Acme,
        Mode::Off => TlsMode::Off,
        Mode::Files => {
            if files.is_empty() {
                let what = "\"files\" needs at least one [[tls.files]] with cert and key";
                section.note_combination_at("mode", what);
            }
            TlsMode::Files(pairs)
        }
    };
    if let (Some(first), false) = (files.first(), matches!(mode, TlsMode::Files(_))) {
        first.note_combination("tls.files: is used with tls.mode = \"files\" only".to_owned());
    }
    let mut redirect = section.value("redirect", boolean);
    if mode == TlsMode::Off {
        if listeners.has("https") && !server.https.is_empty() {
            let what =
                "nothing can listen there with tls.mode = \"off\"; remove it, or switch TLS on";
            listeners.note_combination_at("https", what);
        }
        if section.has("redirect") && redirect {
            let what = "there is no HTTPS to redirect to with tls.mode = \"off\"";
            section.note_combination_at("redirect", what);
        }
        server.https.clear();
        redirect = false;
    } else if server.https.is_empty() {
        let what = "is empty; name an address, or write tls.mode = \"off\"";
        listeners.note_combination_at("https", what);
    }
    check_listeners(listeners, server);
    let unknown = choice(&[
        ("refuse", UnknownNames::Refuse),
        ("default", UnknownNames::Default),
    ]);
    let unknown = section.value("unknown_names", unless_empty(unknown));
    // Clients cannot verify a self-signed certificate by its name anyway, and on a machine under test
    // any name is as good; of a CA's or the user's own certificates each has its sites.
    let unknown_names = unknown.unwrap_or(match mode {
        TlsMode::SelfSigned => UnknownNames::Default,
        TlsMode::Acme | TlsMode::Files(_) | TlsMode::Off => UnknownNames::Refuse,
    });
    Tls {
        mode,
        unknown_names,
        certs_dir: section.value("certs_dir", future_directory),
        redirect,
        min_version: section.value(
            "min_version",
            choice(&[("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)]),
        ),
        hsts: section.value("hsts", unless_empty(duration_up_to(DECADE))),
    }
}

/// Prints it.
pub(super) fn print(out: &mut Printer, tls: &Tls) {
    let (mode, files) = match &tls.mode {
        TlsMode::SelfSigned => ("self-signed", [].as_slice()),
        TlsMode::Acme => ("acme", [].as_slice()),
        TlsMode::Files(files) => ("files", files.as_slice()),
        TlsMode::Off => ("off", [].as_slice()),
    };
    let version = match tls.min_version {
        TlsVersion::Tls12 => "1.2",
        TlsVersion::Tls13 => "1.3",
    };
    out.heading("[tls]");
    out.text("mode", mode);
    out.text("certs_dir", tls.certs_dir.display());
    out.plain("redirect", tls.redirect);
    out.text("min_version", version);
    let unknown = match tls.unknown_names {
        UnknownNames::Refuse => "refuse",
        UnknownNames::Default => "default",
    };
    out.text("unknown_names", unknown);
    out.text("hsts", tls.hsts.map(print_duration).unwrap_or_default());
    for pair in files {
        out.heading("[[tls.files]]");
        out.texts("hosts", &pair.hosts);
        out.text("cert", pair.cert.display());
        out.text("key", pair.key.display());
    }
}

/// `tls.mode` before its files are known.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    SelfSigned,
    Acme,
    Files,
    Off,
}

/// Whether the server has no TLS at all.
pub(super) fn is_off(section: &Section<'_>) -> bool {
    section.value("mode", string_choice_of_mode) == Mode::Off
}

fn string_choice_of_mode(node: &Node<'_>) -> Option<Mode> {
    choice(&[
        ("self-signed", Mode::SelfSigned),
        ("acme", Mode::Acme),
        ("files", Mode::Files),
        ("off", Mode::Off),
    ])(node)
}

fn tls_files(section: &Section<'_>) -> Option<TlsFiles> {
    let hosts = section.value("hosts", list(text(HostPattern::parse)));
    let cert = section.required("cert", r#""fullchain.pem""#, existing_file);
    let key = section.required("key", r#""privkey.pem""#, existing_file);
    Some(TlsFiles {
        hosts,
        cert: cert?,
        key: key?,
    })
}

fn check_listeners(section: &Section<'_>, server: &Server) {
    let http = server.http.iter().map(|address| ("http", *address));
    let all: Vec<_> = http
        .chain(server.https.iter().map(|address| ("https", *address)))
        .collect();
    if all.is_empty() {
        section.note_combination_at("http", "no listener at all; name an address");
    }
    for (index, (key, address)) in all.iter().enumerate() {
        let taken = all[..index]
            .iter()
            .find(|(_, other)| overlap(*address, *other));
        if let Some((other_key, other)) = taken {
            let what = format!("{address} is taken already by {other} of server.{other_key}");
            section.note_combination_at(key, &what);
        }
    }
}

/// Whether two listeners cannot both be bound. `[::]` takes the IPv4 addresses as well. Port 0 is
/// another port each time.
fn overlap(one: SocketAddr, two: SocketAddr) -> bool {
    let covers = |wide: IpAddr, narrow: IpAddr| match wide {
        IpAddr::V6(wide) => wide.is_unspecified(),
        IpAddr::V4(wide) => wide.is_unspecified() && narrow.is_ipv4(),
    };
    let (a, b) = (one.ip(), two.ip());
    one.port() != 0 && one.port() == two.port() && (a == b || covers(a, b) || covers(b, a))
}
