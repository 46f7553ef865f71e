//! `acme.storage = "database"` through PgBouncer, as `docs/certificates.md` promises.

use std::net::Ipv4Addr;

use super::{BOTH, NAME, ORDERS, SERVED};
use crate::support::database::TestDatabase;
use crate::support::pebble::{self, Pebble};
use crate::support::pgbouncer::PgBouncer;
use crate::support::server::{Server, Setup};

/// What an instance says that hears nothing of the others.
const DEAF: &str = "does database.url lead through PgBouncer in transaction mode?";

/// Two instances whose way to the database leads through PgBouncer.
struct Instances {
    ca: Pebble,
    database: TestDatabase,
    pgbouncer: PgBouncer,
}

impl Instances {
    async fn behind(pool_mode: &str) -> Self {
        let database = TestDatabase::new();
        Self {
            ca: Pebble::setup().start().await,
            pgbouncer: PgBouncer::before(&database, pool_mode),
            database,
        }
    }

    fn at(&self, address: Ipv4Addr, challenges: &[&str]) -> Setup {
        let shared = "storage = \"database\"";
        self.ca
            .server_at(address, &[NAME], challenges, shared)
            .configured_database(&self.pgbouncer.url)
    }

    fn start(&self, challenges: &[&str]) -> [Server; 2] {
        [self.ca.address, pebble::own_address()].map(|address| self.at(address, challenges).start())
    }

    /// Both serve the one certificate that was ordered.
    fn see_one_order(&self, servers: &mut [Server; 2]) {
        for server in &mut *servers {
            server.wait_for_line(SERVED);
        }
        let orders = servers.iter().map(Server::log);
        let orders: usize = orders.map(|log| log.matches(ORDERS).count()).sum();
        assert_eq!(orders, 1, "one of them ordered");
        assert_eq!(self.ca.proxy.count("/order-plz"), 1);
        assert_eq!(self.ca.proxy.count("/sign-me-up"), 1);
        let left = "SELECT count(*) FROM acme_challenges";
        assert_eq!(self.database.count(left), 0, "every proof is taken back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_session_mode_everything_works() {
    let instances = Instances::behind("session").await;
    let mut servers = instances.start(&BOTH);
    instances.see_one_order(&mut servers);
    for server in &servers {
        let log = server.log();
        assert!(!log.contains("with a delay"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_transaction_mode_the_lock_holds_and_the_delay_is_told() {
    let instances = Instances::behind("transaction").await;
    let mut servers = instances.start(&["http-01"]);
    instances.see_one_order(&mut servers);
    for server in &mut servers {
        let line = server.line_with(DEAF);
        assert!(line.contains("with a delay of a few seconds"), "{line}");
        assert!(line.contains("Name PostgreSQL itself"), "{line}");
    }
}
