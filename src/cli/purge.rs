//! `unibody purge`: the running server lets go of answers that its caches keep.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use http::StatusCode;

use super::Outcome;
use super::ask;
use crate::admin::purge::{self, Wanted};

pub(super) const HELP: &str = "\
Asks the running server, and says how many answers there were. A URL is meant with its query, over HTTP and \
HTTPS; without a host (/news) it is meant on every host.

Examples:
  unibody purge https://www.example.com/news?page=2
  unibody purge --prefix https://www.example.com/news
  unibody purge --prefix /static/
  unibody purge --all";

/// The server only has to look through its memory.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").args(["url", "all"]).required(true))]
pub(super) struct Arguments {
    /// The URL, or its path alone
    url: Option<String>,
    /// Also everything that begins with it
    #[arg(long, requires = "url")]
    prefix: bool,
    /// Everything
    #[arg(long)]
    all: bool,
}

pub(super) fn run(config: Option<&Path>, arguments: &Arguments) -> Outcome {
    let wanted = wanted(arguments)?;
    let admin = super::load_admin(config)?;
    let purged = super::small_runtime()?.block_on(async {
        let (status, body) = ask::post(admin, purge::PATH, &wanted, PATIENCE).await?;
        if status != StatusCode::OK {
            let words = String::from_utf8_lossy(&body);
            return Err(anyhow!("the server answered {status}: {}", words.trim()));
        }
        let outcome: purge::Outcome = serde_json::from_slice(&body)
            .with_context(|| format!("{} answered something else", purge::PATH))?;
        Ok(outcome.purged)
    })?;
    println!("{purged} purged");
    Ok(())
}

fn wanted(arguments: &Arguments) -> anyhow::Result<Wanted> {
    let Some(url) = &arguments.url else {
        return Ok(Wanted {
            all: true,
            ..Wanted::default()
        });
    };
    let (host, path) = split(url).ok_or_else(|| {
        anyhow!("{url}: write a URL such as https://www.example.com/news, or a path such as /news")
    })?;
    let (path, prefix) = if arguments.prefix {
        (None, Some(path))
    } else {
        (Some(path), None)
    };
    Ok(Wanted {
        host,
        path,
        prefix,
        all: false,
    })
}

/// Host and path of a URL, or the path alone.
fn split(url: &str) -> Option<(Option<String>, String)> {
    let url = url.split('#').next().unwrap_or_default();
    if url.starts_with('/') {
        return Some((None, url.to_owned()));
    }
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    let slash = if path.starts_with('/') { "" } else { "/" };
    (!host.is_empty()).then(|| (Some(host.to_owned()), format!("{slash}{path}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split_as_clients_ask() {
        for (url, expected) in [
            (
                "https://A.test:8443/x?y#z",
                Some((Some("A.test:8443"), "/x?y")),
            ),
            ("http://a.test", Some((Some("a.test"), "/"))),
            ("http://a.test?y", Some((Some("a.test"), "/?y"))),
            ("/x", Some((None, "/x"))),
            ("a.test/x", None),
            ("https:///x", None),
            ("", None),
        ] {
            let expected = expected.map(|(host, path)| (host.map(str::to_owned), path.to_owned()));
            assert_eq!(split(url), expected, "{url}");
        }
    }
}
