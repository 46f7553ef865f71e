//! The configuration as it is in effect, printed as TOML that [`load`](super::load()) accepts again.

use std::fmt::Write as _;

use super::printer::{Printer, Secrets, Section};
use super::{
    Config, Mask, acme, backup, compression, database, error_pages, header_tables, log, routes,
    server, telemetry, tls, upstreams,
};

impl Config {
    /// Every key with its value in effect; passwords are `***`. Routes that are there without being
    /// written, because they are defaults or the health endpoints, stand as comments: a file in the
    /// same directory has them again.
    #[must_use]
    pub fn effective_toml(&self) -> String {
        let mut text = String::new();
        for section in self.sections(Secrets::Masked) {
            if !text.is_empty() {
                text.push('\n');
            }
            let comment = if section.is_default { "# " } else { "" };
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "{comment}{}", section.heading);
            for (key, value) in &section.entries {
                let _ = writeln!(text, "{comment}{key} = {value}");
            }
        }
        text
    }

    /// The same, table by table.
    pub(super) fn sections(&self, secrets: Secrets) -> Vec<Section> {
        let mut out = Printer {
            mask: match secrets {
                Secrets::Masked => self.log.mask.clone(),
                Secrets::Told => Mask::default(),
            },
            secrets,
            sections: Vec::new(),
            is_default: false,
        };
        server::print(&mut out, &self.server);
        tls::print(&mut out, &self.tls);
        acme::print(&mut out, &self.acme);
        database::print(&mut out, &self.database);
        backup::print(&mut out, self.backup.as_ref());
        header_tables::print(&mut out, &self.headers);
        error_pages::print(&mut out, &self.error_pages);
        compression::print(&mut out, &self.compression);
        let mut by_name: Vec<_> = self.upstreams.values().collect();
        by_name.sort_by_key(|upstream| &upstream.name);
        for each in by_name {
            upstreams::print(&mut out, each);
        }
        let mut limits: Vec<_> = self.rate_limits.values().collect();
        limits.sort_by_key(|limit| &limit.name);
        for each in limits {
            each.print(&mut out);
        }
        for each in &self.routes {
            routes::print(&mut out, each);
        }
        log::print(&mut out, &self.log);
        telemetry::print(&mut out, &self.telemetry);
        out.sections
    }
}
