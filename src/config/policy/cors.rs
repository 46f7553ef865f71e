//! `cors` of a route: which pages of other origins may ask it.

use std::time::Duration;

use http::{HeaderName, Method};
use url::Url;

use super::rate_limit::method;
use crate::config::printer::Printer;
use crate::config::read::{LONGEST_TIMEOUT, boolean, duration, list, some, text};
use crate::config::reader::Section;
use crate::config::values::{Invalid, print_duration};

/// `cors = { … }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// The pages that may ask.
    pub origins: Origins,
    /// Methods they may use. Default GET, HEAD and POST.
    pub methods: Vec<Method>,
    /// Headers they may send beyond those that every page may.
    pub headers: Vec<HeaderName>,
    /// Whether they may send cookies and read what comes back. Default false.
    pub credentials: bool,
    /// How long a browser may remember the answer to its preflight. Default 10 minutes.
    pub max_age: Duration,
}

/// Where pages come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// Anywhere: `["*"]`.
    Any,
    /// Exactly these, as browsers write them: `https://app.example.com`.
    These(Vec<String>),
}

/// Reads `cors` of the route in `section`.
pub(super) fn cors(route: &Section<'_>) -> Option<Cors> {
    let section = route.optional_table("cors")?;
    let origins = section.required(
        "origins",
        r#"["https://app.example.com"]"#,
        some(text(origin)),
    );
    let credentials = section.value("credentials", boolean);
    let methods = section.value("methods", some(text(method)));
    let headers = section.value("headers", list(text(request_header)));
    let max_age = section.value("max_age", |node| {
        let age = duration(node)?;
        if age > LONGEST_TIMEOUT {
            node.wrong("must be at most 1d; browsers keep it no longer");
            return None;
        }
        Some(age)
    });
    let origins = origins?;
    let any = origins.iter().any(|origin| origin == "*");
    if any && origins.len() > 1 {
        section.note_combination_at("origins", "\"*\" means all of them; keep it or the others");
    } else if any && credentials {
        let what = "browsers take no credentials with origins = [\"*\"]; name the origins";
        section.note_combination_at("credentials", what);
    }
    Some(Cors {
        origins: if any {
            Origins::Any
        } else {
            Origins::These(origins)
        },
        methods,
        headers,
        credentials,
        max_age,
    })
}

/// An origin as browsers write it (RFC 6454, section 6.2): lower case, without the scheme's own
/// port, and without a path.
fn origin(text: &str) -> Result<String, Invalid> {
    const EXAMPLE: &str = r#"write for example "https://app.example.com""#;
    if text == "*" {
        return Ok(text.to_owned());
    }
    if text == "null" {
        return Err(Invalid::new(
            "any page can say it is \"null\"; name the real origins",
        ));
    }
    if text.contains('*') {
        return Err(Invalid::new(format!(
            "origins are exact, or \"*\" alone; {EXAMPLE}"
        )));
    }
    let not_an_origin = || Invalid::new(format!("not an origin; {EXAMPLE}"));
    let url = Url::parse(text).map_err(|_| not_an_origin())?;
    let is_bare = url.path().is_empty() || (url.path() == "/" && !text.ends_with('/'));
    let has_more = url.query().is_some() || url.fragment().is_some() || text.contains('@');
    if url.host_str().is_none_or(str::is_empty) || has_more {
        return Err(not_an_origin());
    }
    if !is_bare {
        return Err(Invalid::new(format!(
            "an origin has no path, not even a slash; {EXAMPLE}"
        )));
    }
    // A scheme that URLs don't know (an app's own) has an opaque origin there, but browsers write it so.
    let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
    Ok(match url.port() {
        Some(port) => format!("{}://{host}:{port}", url.scheme()),
        None => format!("{}://{host}", url.scheme()),
    })
}

fn request_header(text: &str) -> Result<HeaderName, Invalid> {
    if text == "*" {
        return Err(Invalid::new(
            "\"*\" doesn't cover Authorization, and nothing with credentials; name the headers",
        ));
    }
    text.parse()
        .map_err(|_| Invalid::new("not the name of a header"))
}

impl Cors {
    /// Prints it.
    pub(in crate::config) fn print(&self, out: &mut Printer) {
        out.texts("cors.origins", self.origins.texts());
        out.texts("cors.methods", &self.methods);
        out.texts("cors.headers", &self.headers);
        out.plain("cors.credentials", self.credentials);
        out.text("cors.max_age", print_duration(self.max_age));
    }
}

impl Origins {
    /// As the file writes them.
    fn texts(&self) -> Vec<String> {
        match self {
            Self::Any => vec!["*".to_owned()],
            Self::These(origins) => origins.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_what_browsers_write() {
        for (text, expected, why) in [
            (
                "https://app.example.com",
                Some("https://app.example.com"),
                "the usual",
            ),
            (
                "HTTPS://App.Example.COM",
                Some("https://app.example.com"),
                "lower case",
            ),
            (
                "https://app.example.com:443",
                Some("https://app.example.com"),
                "the scheme's port",
            ),
            (
                "http://localhost:5173",
                Some("http://localhost:5173"),
                "another port",
            ),
            ("http://[::1]:80", Some("http://[::1]"), "IPv6"),
            (
                "https://bücher.example",
                Some("https://xn--bcher-kva.example"),
                "punycode",
            ),
            (
                "capacitor://localhost",
                Some("capacitor://localhost"),
                "an app's scheme",
            ),
            ("*", Some("*"), "any"),
            ("https://*.example.com", None, "a wildcard inside"),
            ("null", None, "what anybody can say"),
            ("https://app.example.com/", None, "a slash"),
            ("https://app.example.com/x", None, "a path"),
            ("https://app.example.com?x", None, "a query"),
            ("https://u@app.example.com", None, "a user"),
            ("app.example.com", None, "no scheme"),
            ("data:text/plain,x", None, "no host"),
            ("", None, "nothing"),
        ] {
            assert_eq!(origin(text).ok().as_deref(), expected, "{text}: {why}");
        }
    }
}
