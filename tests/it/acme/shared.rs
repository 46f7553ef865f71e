//! `acme.storage = "database"`: two instances, one database, one real CA.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{BOTH, NAME, ORDERS, SERVED};
use crate::support::database::TestDatabase;
use crate::support::pebble::{self, Pebble};
use crate::support::server::{Server, Setup};

/// Instances that share a database. Every name leads to the first one's address.
struct Instances {
    ca: Pebble,
    database: TestDatabase,
    second: Ipv4Addr,
}

impl Instances {
    async fn new() -> Self {
        Self::with(Pebble::setup().start().await)
    }

    fn with(ca: Pebble) -> Self {
        Self {
            ca,
            database: TestDatabase::new(),
            second: pebble::own_address(),
        }
    }

    fn at(&self, address: Ipv4Addr, name: &str, challenges: &[&str]) -> Setup {
        self.ca
            .server_at(address, &[name], challenges, "storage = \"database\"")
            .configured_database(&self.database.url)
    }

    fn first(&self, name: &str, challenges: &[&str]) -> Setup {
        self.at(self.ca.address, name, challenges)
    }

    fn second(&self, name: &str, challenges: &[&str]) -> Setup {
        self.at(self.second, name, challenges)
    }

    /// The serial that a verified handshake with the instance at `address` gets.
    async fn serial(&self, address: Ipv4Addr) -> String {
        let client = self.ca.client().await;
        let address = SocketAddr::from((address, self.ca.tls));
        pebble::handshake(&client, address, NAME)
            .await
            .unwrap()
            .serial
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_instance_orders_and_both_serve() {
    let instances = Instances::new().await;
    // Which of them orders is chance, and the CA comes to the first in any case.
    let mut first = instances.first(NAME, &BOTH).start();
    let mut second = instances.second(NAME, &BOTH).start();
    first.wait_for_line(SERVED);
    second.wait_for_line(SERVED);
    let serial = instances.serial(instances.ca.address).await;
    assert_eq!(instances.serial(instances.second).await, serial);
    assert_eq!(instances.ca.proxy.count("/order-plz"), 1, "one order");
    assert_eq!(instances.ca.proxy.count("/sign-me-up"), 1, "one account");
    let left = "SELECT count(*) FROM acme_challenges";
    assert_eq!(
        instances.database.count(left),
        0,
        "every proof is taken back"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn any_instance_answers_over_tls() {
    another_instance_answers("tls-alpn-01").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_instance_answers_over_http() {
    another_instance_answers("http-01").await;
}

/// The second instance orders a name that leads to the first, which does not even have it.
async fn another_instance_answers(challenge: &str) {
    let instances = Instances::new().await;
    let mut first = instances.first("other.test", &[challenge]).start();
    first.line_with(SERVED);
    let mut second = instances.second(NAME, &[challenge]).start();
    second.line_with(SERVED);
    instances.serial(instances.second).await;
    assert!(
        !first.log().contains(&format!("{NAME}: ")),
        "{}",
        first.log()
    );
    assert_eq!(instances.ca.proxy.count("/sign-me-up"), 1, "one account");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_instance_orders_nothing() {
    let instances = Instances::new().await;
    let mut first = instances.first(NAME, &BOTH).start();
    first.line_with(SERVED);
    let before = instances.serial(instances.ca.address).await;
    let mut second = instances.second(NAME, &BOTH).start();
    second.line_with(SERVED);
    assert_eq!(instances.serial(instances.second).await, before);
    assert_eq!(instances.ca.proxy.count("/order-plz"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_was_asked_for_all_serve() {
    let instances = Instances::new().await;
    let mut first = instances.first(NAME, &BOTH).admin().start();
    first.line_with(SERVED);
    let mut second = instances.second(NAME, &BOTH).start();
    second.line_with(SERVED);
    let before = instances.serial(instances.second).await;
    assert!(first.ask(&["certs", "renew", NAME]).status.success());
    // By its own schedule this one would look in ten minutes.
    second.wait_for_line("serving a new certificate");
    let serial = instances.serial(instances.second).await;
    assert_ne!(serial, before);
    assert_eq!(instances.serial(instances.ca.address).await, serial);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_reaches_all_within_seconds() {
    // Half of 24 seconds, so that each certificate is served for a while by both.
    let ca = Pebble::setup()
        .validity(Duration::from_secs(24))
        .start()
        .await;
    let instances = Instances::with(ca);
    let mut servers = [
        instances.first(NAME, &BOTH).start(),
        instances.second(NAME, &BOTH).start(),
    ];
    let mut seen = Vec::new();
    for _ in 0..3 {
        let lines = servers
            .each_mut()
            .map(|server| server.wait_for_line(SERVED));
        let [one, two] = lines.map(|line| line.split_once("serial ").unwrap().1.to_owned());
        assert_eq!(one, two);
        assert!(!seen.contains(&one), "{seen:?}");
        seen.push(one);
    }
    assert_eq!(instances.ca.proxy.count("/order-plz"), seen.len());
    let orders: usize = servers
        .iter()
        .map(|server| server.log().matches(ORDERS).count())
        .sum();
    assert_eq!(orders, seen.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ca_is_told_when_all_who_listen_can_answer_or_have_had_their_time() {
    let instances = Instances::new().await;
    let frozen = instances.second(NAME, &BOTH);
    instances.ca.proxy.refuse("/", 503, None, usize::MAX);
    let mut frozen = frozen.start();
    frozen.line_with("the next attempt is at");
    // "acme", the class of the locks of those who listen.
    let listening = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted \
                     AND classid = x'61636d65'::int AND database = \
                     (SELECT oid FROM pg_database WHERE datname = current_database())";
    while instances.database.count(listening) == 0 {}
    frozen.signal(Signal::SIGSTOP);
    instances.ca.proxy.heal();

    let other = instances.at(instances.ca.address, "other.test", &BOTH);
    let mut server = other.start();
    server.line_with("1 other instances do not answer the CA yet");
    server.line_with(SERVED);
    frozen.signal(Signal::SIGCONT);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_dies_while_it_orders_is_stood_in_for() {
    // Before the CA is told of the proof, it comes to the heir; when it has accepted that, to nobody.
    for (moment, heir_is_seen) in [("/chalZ/", true), ("/finalize-order/", false)] {
        let instances = Instances::new().await;
        let seen = instances.ca.address;
        let (dying, heir) = if heir_is_seen {
            (instances.second, seen)
        } else {
            (seen, instances.second)
        };
        instances.ca.proxy.hang(moment);
        let mut dying = instances.at(dying, NAME, &BOTH).start();
        instances.ca.proxy.seen(moment, 1).await;
        let address = heir;
        let mut heir = instances.at(heir, NAME, &BOTH).start();
        dying.kill();
        assert!(!heir.log().contains(ORDERS), "{}", heir.log());
        instances.ca.proxy.heal();

        heir.wait_for_line("taking up the order that was left unfinished");
        heir.wait_for_line(SERVED);
        instances.serial(address).await;
        let mut dying = dying.restart();
        dying.line_with(SERVED);
        assert_eq!(
            instances.serial(seen).await,
            instances.serial(instances.second).await
        );
        assert_eq!(instances.ca.proxy.count("/order-plz"), 1, "{moment}");
        assert_eq!(instances.ca.proxy.count("/sign-me-up"), 1, "{moment}");
        let left = "SELECT count(*) FROM acme_orders";
        assert_eq!(instances.database.count(left), 0, "{moment}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_the_copy_is_served() {
    let instances = Instances::new().await;
    let mut first = instances.first(NAME, &BOTH).start();
    first.line_with(SERVED);
    let serial = instances.serial(instances.ca.address).await;
    first.stop();
    let config = std::fs::read_to_string(first.path("config.toml")).unwrap();
    let nowhere = "postgres://unibody@localhost/notes?host=/nonexistent";
    let gone = config.replace(&instances.database.url, nowhere);
    assert_ne!(gone, config);
    std::fs::write(first.path("config.toml"), gone).unwrap();

    let first: Server = first.restart();
    assert_eq!(instances.serial(instances.ca.address).await, serial);
    assert!(!first.log().contains(ORDERS), "{}", first.log());
    assert_eq!(instances.ca.proxy.count("/order-plz"), 1);
}
