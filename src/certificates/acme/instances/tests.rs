//! Instances against a real PostgreSQL.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::certificates::acme::challenge::ProofKind;
use crate::certificates::testing::leaf;
use crate::database::migrations;
use crate::database::testing::{Server, settings};

const DIRECTORY: &str = "https://ca.test/dir";
const NAME: &str = "a.test";
const PATIENCE: Duration = Duration::from_secs(30);

/// One instance: its copy, its resolver's proofs, its way to the database.
struct Instance {
    storage: Arc<InDatabase>,
    challenges: Arc<Challenges>,
    directory: TempDir,
}

impl Instance {
    fn new(database: Database) -> Self {
        Self::with_copy(database, tempfile::tempdir().unwrap())
    }

    fn with_copy(database: Database, directory: TempDir) -> Self {
        let challenges = Arc::<Challenges>::default();
        let files = files(directory.path());
        let storage = InDatabase::new(files, DIRECTORY, None, Arc::clone(&challenges));
        storage.use_database(database);
        Self {
            storage: Arc::new(storage),
            challenges,
            directory,
        }
    }

    /// Follows, and answers what it is told: a name, or nothing for "any".
    fn follow(&self) -> UnboundedReceiver<Option<String>> {
        let (sender, told) = unbounded_channel();
        let storage = Arc::clone(&self.storage);
        tokio::spawn(async move {
            let tell = |name: Option<&str>| drop(sender.send(name.map(str::to_owned)));
            storage.follow(tell).await;
        });
        told
    }
}

fn files(directory: &Path) -> Files {
    Files::new(directory, DIRECTORY, None)
}

async fn migrated() -> Server {
    let server = Server::start().await;
    let database = server.open(&settings());
    migrations::migrate(&database).await.unwrap();
    server
}

/// Waits until `told` says `expected`.
async fn told_of(told: &mut UnboundedReceiver<Option<String>>, expected: Option<&str>) {
    let wait = async { while told.recv().await.unwrap().as_deref() != expected {} };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_instance_writes_the_other_reads() {
    let server = migrated().await;
    let one = Instance::new(server.open(&settings()));
    let two = Instance::new(server.open(&settings()));
    let (a, b) = (&one.storage, &two.storage);
    a.probe(NAME).await.unwrap();

    a.save_account(Some("{}")).await.unwrap();
    assert_eq!(b.account().await.unwrap().as_deref(), Some("{}"));
    b.save_account(None).await.unwrap();
    assert_eq!(a.account().await.unwrap(), None);

    let order = RunningOrder {
        url: "https://ca.test/order/1".into(),
        key: "key".into(),
    };
    a.save_order(NAME, Some(&order)).await.unwrap();
    assert_eq!(b.order(NAME).await.unwrap(), Some(order));
    b.save_order(NAME, None).await.unwrap();
    assert_eq!(a.order(NAME).await.unwrap(), None);

    let held = a.try_lock(NAME).await.unwrap();
    assert!(held.is_some());
    assert!(b.try_lock(NAME).await.unwrap().is_none());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_instance_writes_over_anothers_entries() {
    let server = migrated().await;
    let one = Instance::new(server.open(&settings()));
    let two = Instance::new(server.open(&settings()));
    let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
    let (mut of_one, mut of_two) = (Ledger::new(), Ledger::new());
    of_one.begin(now);
    of_two.begin(now + time::Duration::minutes(1));
    one.storage.save_ledger(NAME, &of_one).await.unwrap();
    two.storage.save_ledger(NAME, &of_two).await.unwrap();
    let ledger = one.storage.ledger(NAME).await.unwrap();
    assert_eq!(ledger.attempts().len(), 2);
    let copy = files(one.directory.path()).ledger(NAME).await.unwrap();
    assert_eq!(copy, ledger, "the copy has what was read");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_have_copies_that_outlive_the_database() {
    let server = migrated().await;
    let one = Instance::new(server.open(&settings()));
    let two = Instance::new(server.open(&settings()));
    let leaf = leaf(&[NAME]);
    assert!(one.storage.certificate(NAME).await.unwrap().is_none());
    let saved = one
        .storage
        .save_certificate(NAME, &leaf.chain, &leaf.key)
        .await;
    let serial = saved.unwrap().facts().serial.clone();
    let found = two.storage.certificate(NAME).await.unwrap().unwrap();
    assert_eq!(found.facts().serial, serial);
    for instance in [&one, &two] {
        let copy = files(instance.directory.path())
            .load(NAME)
            .unwrap()
            .unwrap();
        assert_eq!(copy.facts().serial, serial);
    }

    // A database that knows nothing gets what lies in the copy.
    let client = server.open(&settings()).client().await.unwrap();
    client
        .batch_execute("DELETE FROM acme_certificates")
        .await
        .unwrap();
    two.storage.certificate(NAME).await.unwrap().unwrap();
    let serials = client
        .query("SELECT serial FROM acme_certificates", &[])
        .await
        .unwrap();
    assert_eq!(serials[0].get::<_, String>(0), serial);

    drop(client);
    server.stop().await;
    let found = two.storage.certificate(NAME).await.unwrap().unwrap();
    assert_eq!(found.facts().serial, serial, "without the database");
    assert!(two.storage.order(NAME).await.is_err(), "it is really gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_is_known_everywhere_before_the_ca_is_told() {
    let server = migrated().await;
    let one = Instance::new(server.open(&settings()));
    let two = Instance::new(server.open(&settings()));
    let mut told = two.follow();
    told_of(&mut told, None).await;
    let http = Proof {
        name: NAME.into(),
        kind: ProofKind::Http {
            token: "token".into(),
            key_authorization: "token.thumbprint".into(),
        },
    };
    let tls = Proof {
        name: NAME.into(),
        kind: ProofKind::Tls {
            digest: vec![7; 32],
        },
    };
    one.storage.offer(&http).await.unwrap();
    one.storage.offer(&tls).await.unwrap();
    let found = two.challenges.http(NAME, "token");
    assert_eq!(found.as_deref(), Some("token.thumbprint"));
    assert!(two.challenges.tls(NAME).is_some());

    // One that does not follow finds it all the same, where it can ask.
    let three = Instance::new(server.open(&settings()));
    assert_eq!(three.challenges.http(NAME, "token"), None);
    let table = [
        (NAME, "token", true),
        ("b.test", "token", false),
        (NAME, "other", false),
        (NAME, "", false),
        (NAME, "../token", false),
    ];
    for (name, token, expected) in table {
        let found = three.challenges.http_anywhere(name, token).await;
        assert_eq!(found.is_some(), expected, "{name} {token}");
    }
    one.storage.withdraw(NAME).await.unwrap();
    assert_eq!(three.challenges.http_anywhere(NAME, "token").await, None);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_certificates_are_told_of_even_after_the_session_was_cut() {
    let server = migrated().await;
    let one = Instance::new(server.open(&settings()));
    let two = Instance::new(server.open(&settings()));
    let mut told = two.follow();
    told_of(&mut told, None).await;
    let certificate = leaf(&[NAME]);
    let save = one
        .storage
        .save_certificate(NAME, &certificate.chain, &certificate.key);
    save.await.unwrap();
    told_of(&mut told, Some(NAME)).await;

    let client = server.open(&settings()).client().await.unwrap();
    let cut = "SELECT pg_terminate_backend(pid, 10000) FROM pg_locks \
         WHERE locktype = 'advisory' AND mode = 'ShareLock'";
    assert_eq!(client.query(cut, &[]).await.unwrap().len(), 1);
    let other = leaf(&[NAME]);
    let save = one.storage.save_certificate(NAME, &other.chain, &other.key);
    save.await.unwrap();
    told_of(&mut told, Some(NAME)).await;
    told_of(&mut told, None).await;
    drop(client);
    server.stop().await;
}
