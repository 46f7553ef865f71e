//! `[[upstream]]`: servers to forward to.

use std::collections::HashMap;
use std::sync::Arc;

use super::read::{LONGEST_TIMEOUT, duration_up_to, integer, some, text};
use super::reader::Section;
use super::{Upstream, UpstreamAddress, UpstreamServer};

/// Upstreams by their names.
pub(super) type Upstreams = HashMap<String, Arc<Upstream>>;

/// Every `[[upstream]]` by its name.
pub(super) fn upstreams(root: &Section<'_>) -> Upstreams {
    let mut lines: HashMap<String, usize> = HashMap::new();
    let mut upstreams = Upstreams::new();
    for section in root.tables("upstream") {
        let Some(upstream) = upstream(&section) else {
            continue;
        };
        if let Some(line) = lines.get(&upstream.name) {
            let what = format!(
                "\"{}\" is the name of the upstream of line {line}",
                upstream.name
            );
            section.note_combination_at("name", &what);
        }
        lines.insert(upstream.name.clone(), section.line());
        upstreams.insert(upstream.name.clone(), Arc::new(upstream));
    }
    upstreams
}

fn upstream(section: &Section<'_>) -> Option<Upstream> {
    let nonempty = |name: &str| match name {
        "" => Err("must not be empty"),
        name => Ok(name.to_owned()),
    };
    let name = section.required("name", r#""backend""#, text(nonempty));
    let servers = section.required(
        "servers",
        r#"["127.0.0.1:3000"]"#,
        some(text(UpstreamServer::parse)),
    );
    let upstream = Upstream {
        name: name.clone().unwrap_or_default(),
        servers: servers
            .into_iter()
            .flatten()
            .map(|server| server.resolved(section.reader.dir))
            .collect(),
        connect_timeout: section.value("connect_timeout", duration_up_to(LONGEST_TIMEOUT)),
        read_timeout: section.value("read_timeout", duration_up_to(LONGEST_TIMEOUT)),
        send_timeout: section.value("send_timeout", duration_up_to(LONGEST_TIMEOUT)),
        keepalive: section.value("keepalive", integer(0..=65_535)),
    };
    for server in &upstream.servers {
        // 107 bytes and a NUL is what `sockaddr_un` holds on Linux; elsewhere it is less.
        if let UpstreamAddress::Unix(path) = &server.address
            && path.as_os_str().len() > 107
        {
            let what = format!(
                "the path of the socket {} is longer than 107 bytes",
                path.display()
            );
            section.note_combination_at("servers", &what);
        }
    }
    // Without its servers it still has its name, so that its routes are not blamed as well.
    name.is_some().then_some(upstream)
}
