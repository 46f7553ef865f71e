//! The whole of `config.toml`, table by table, and what takes more than one table to tell.

use super::reader::Section;
use super::{
    Config, acme, backup, compression, database, error_pages, header_tables, log, policy, routes,
    server, telemetry, tls, upstreams,
};

/// Reads the whole file. Whether the result may be used is the reader's to say.
pub(super) fn config(root: &Section<'_>) -> Config {
    let listeners = root.table("server");
    let mut server = server::server(&listeners);
    let tls = tls::tls(&root.table("tls"), &listeners, &mut server);
    let headers = header_tables::headers(root, &tls);
    let upstreams = upstreams::upstreams(root);
    let rate_limits = policy::rate_limits(root);
    let routes = routes::routes(root, &upstreams, &rate_limits, &server.hosts);
    // `[app]` has only keys of later versions yet; opening it checks them.
    root.table("app");
    let config = Config {
        server,
        tls,
        acme: acme::acme(&root.table("acme")),
        database: database::database(&root.table("database")),
        backup: backup::backup(&root.table("backup")),
        headers,
        error_pages: error_pages::error_pages(root),
        compression: compression::compression(&root.table("compression")),
        upstreams,
        rate_limits,
        routes,
        log: log::log(&root.table("log")),
        telemetry: telemetry::telemetry(&root.table("telemetry")),
    };
    acme::check(root, &config);
    config
}
