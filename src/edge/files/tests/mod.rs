//! The assembled way of a request, on real files.

mod changes;
mod paths;
mod replacement;
mod representations;
mod sidecars;
mod variants;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::BodyExt;

use super::*;
use crate::config::Config;
use crate::edge::reply::Body;

/// How long a test waits for what happens in the background.
const PATIENCE: Duration = Duration::from_mins(1);

/// A directory served under `/static/`.
struct Site {
    dir: tempfile::TempDir,
    files: StaticFiles,
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    freshness: Option<Freshness>,
}

impl Site {
    /// Serves `files`, given as path and content.
    fn of(files: &[(&str, &str)]) -> Self {
        Self::with(files, None, None)
    }

    fn with(
        files: &[(&str, &str)],
        spa: Option<&str>,
        cache_control: Option<&'static str>,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let files = open(&config(dir.path(), spa, cache_control)).unwrap();
        Self { dir, files }
    }

    /// Where `path` is on the disk.
    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    async fn get(&self, target: &str) -> Reply {
        self.ask(Method::GET, target, &[]).await
    }

    async fn ask(&self, method: Method, target: &str, fields: &[(&str, &str)]) -> Reply {
        let (uri, headers) = request(target, fields);
        let rest = uri.path().strip_prefix("/static").unwrap();
        let rest = rest.strip_prefix('/').unwrap_or(rest);
        let answered = self.files.answer(&method, &headers, &uri, rest).await;
        let (head, body) = answered.answer.into_parts();
        let body = match body {
            Body::Empty => Vec::new(),
            Body::Full(bytes) => bytes.to_vec(),
            Body::Stream(body) => body.collect().await.unwrap().to_bytes().to_vec(),
        };
        Reply {
            status: head.status,
            headers: head.headers,
            body,
            freshness: answered.freshness,
        }
    }

    /// Asks until an answer is good, and returns it.
    async fn ask_until(
        &self,
        target: &str,
        fields: &[(&str, &str)],
        is_good: impl Fn(&Reply) -> bool,
    ) -> Reply {
        let asking = async {
            loop {
                let reply = self.ask(Method::GET, target, fields).await;
                if is_good(&reply) {
                    return reply;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asking)
            .await
            .unwrap_or_else(|_| panic!("{target} never got as it should be"))
    }

    /// Asks until the answer is one that is kept.
    async fn kept(&self, target: &str, fields: &[(&str, &str)]) -> Reply {
        self.ask_until(target, fields, |reply| reply.freshness.is_some())
            .await
    }

    /// The entity tag of a file that has rested for longer than the file system's clock ticks: two
    /// answers agree on it.
    async fn settled_tag(&self, target: &str) -> String {
        let mut tag = self.get(target).await.header("etag").to_owned();
        loop {
            let again = self.get(target).await.header("etag").to_owned();
            if again == tag {
                return tag;
            }
            tag = again;
        }
    }
}

impl Reply {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.headers.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }
}

fn open(config: &Files) -> anyhow::Result<StaticFiles> {
    let compression = Arc::new(Config::default_for(Path::new("/")).compression);
    StaticFiles::open(config, None, &compression, &Shelf::new().unwrap())
}

fn config(root: &Path, spa: Option<&str>, cache_control: Option<&'static str>) -> Files {
    Files {
        root: root.to_owned(),
        spa: spa.map(str::to_owned),
        cache_control: cache_control.map(HeaderValue::from_static),
        immutable: false,
    }
}

fn request(target: &str, fields: &[(&str, &str)]) -> (Uri, HeaderMap) {
    let mut request = http::Request::get(target);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let (head, ()) = request.body(()).unwrap().into_parts();
    (head.uri, head.headers)
}
