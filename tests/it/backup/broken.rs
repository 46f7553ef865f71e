//! Files that are damaged, processes that are killed, programs that are missing.

use std::io::Read as _;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Site, contents, insert_notes, names};
use crate::support::database::TestDatabase;

#[test]
fn a_damaged_file_is_refused_before_anything_is_touched() {
    let site = Site::new();
    insert_notes(&site.database);
    site.unibody(&["backup", "notes.dump"]).assert_status(0);
    let before = contents(&site.database);
    let whole = std::fs::read(site.path("notes.dump")).unwrap();
    let length = whole.len();
    let flipped = |at: usize| {
        let mut file = whole.clone();
        file[at] ^= 0x20;
        file
    };
    let manifest = whole
        .windows(8)
        .rposition(|part| part == b"\"rows\":5")
        .unwrap();
    let table = [
        (whole[..length / 2].to_vec(), "cut off", "half of it"),
        (
            whole[..200].to_vec(),
            "cut off",
            "little more than its head",
        ),
        (flipped(length / 3), "damaged", "a bit of a table"),
        (flipped(length - 12), "damaged", "the manifest's length"),
        (b"PGDMP".to_vec(), "cut off", "the first bytes"),
        (b"notes".to_vec(), "no backup", "something else"),
        (Vec::new(), "empty", "nothing"),
        (
            [&whole[..manifest + 7], b"4", &whole[manifest + 8..]].concat(),
            "has 509 rows, not 409",
            "a manifest that tells of other contents",
        ),
    ];
    for (file, expected, why) in table {
        std::fs::write(site.path("bad.dump"), file).unwrap();
        for command in [
            &["restore", "--clean", "bad.dump"][..],
            &["backup", "rehearse", "bad.dump"],
        ] {
            let refused = site.unibody(command).assert_status(1);
            assert!(refused.stderr.contains(expected), "{why}: {refused:#?}");
            assert_eq!(refused.stderr.matches("unibody: ").count(), 1);
        }
        assert_eq!(contents(&site.database), before, "{why}");
    }
}

#[test]
fn large_objects_are_compared_as_well() {
    let site = Site::new();
    // Of three pieces, the last of which is empty, and of none.
    site.database.execute(
        "SELECT lo_from_bytea(4711, convert_to(repeat('12345678', 65536), 'UTF8')); SELECT lo_create(4712)",
    );
    let made = site.unibody(&["backup", "notes.dump"]).assert_status(0);
    made.assert_last_line(&["restored for a look"]);
    let empty = TestDatabase::empty();
    site.unibody_on(&empty, &["restore", "notes.dump"])
        .assert_status(0);
    assert_eq!(empty.count("SELECT length(lo_get(4711))::bigint"), 524_288);

    let whole = std::fs::read(site.path("notes.dump")).unwrap();
    let told = b"\"pg_largeobject\",\"rows\":2,\"checksum\":\"";
    let at = whole.windows(told.len()).rposition(|part| part == told);
    let checksum = at.expect("the manifest tells of them") + told.len();
    let length = whole[checksum..].iter().position(|byte| *byte == b'"');
    let last = checksum + length.unwrap() - 1;
    let mut other = whole;
    other[last] = if other[last] == b'1' { b'2' } else { b'1' };
    std::fs::write(site.path("other.dump"), other).unwrap();
    let refused = site.unibody(&["backup", "rehearse", "other.dump"]);
    let refused = refused.assert_status(1);
    let expected = "pg_catalog.pg_largeobject has other contents";
    assert!(refused.stderr.contains(expected), "{refused:#?}");
}

#[test]
fn a_killed_backup_leaves_nothing_under_its_name() {
    let site = Site::new();
    insert_notes(&site.database);
    let password = url::Url::parse(&site.database.url).unwrap();
    let password = password.password().unwrap().to_owned();

    let held = site.database.lock_notes();
    let mut running = site.spawn(&["backup", "notes.dump"]);
    // `pg_dump`, and ours that counts.
    site.database.wait_for_waiting(2);
    assert!(
        command_lines()
            .iter()
            .any(|line| line.contains("--snapshot="))
    );
    let tells = |line: &String| line.contains(&password);
    assert!(
        !command_lines().iter().any(tells),
        "not in the process list"
    );
    running.kill().unwrap();
    running.wait().unwrap();
    drop(held);
    let left = site.files();
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].starts_with("notes.dump.partial-"), "{left:?}");

    site.unibody(&["backup", "notes.dump"]).assert_status(0);
    assert_eq!(site.files(), ["notes.dump"], "the leftovers are gone");
}

#[test]
fn an_interrupted_backup_clears_up() {
    let site = Site::new();
    insert_notes(&site.database);
    let held = site.database.lock_notes();
    let mut running = site.spawn(&["backup", "notes.dump"]);
    site.database.wait_for_waiting(2);
    let pid = Pid::from_raw(running.id().cast_signed());
    kill(pid, Signal::SIGINT).unwrap();
    let mut said = String::new();
    running
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(1), "{said}");
    assert!(said.contains("stopped"), "{said}");
    drop(held);
    assert_eq!(site.files(), [] as [&str; 0]);
    assert_eq!(names(&site.path("tmp")), [] as [&str; 0]);
}

#[test]
fn a_file_that_exists_is_replaced_only_by_force() {
    let site = Site::new();
    std::fs::write(site.path("notes.dump"), "precious").unwrap();
    let refused = site.unibody(&["backup", "notes.dump"]).assert_status(1);
    refused.assert_error(&["exists", "--force"]);
    assert_eq!(std::fs::read(site.path("notes.dump")).unwrap(), b"precious");
    site.unibody(&["backup", "--force", "notes.dump"])
        .assert_status(0);
    assert!(
        std::fs::read(site.path("notes.dump"))
            .unwrap()
            .starts_with(b"PGDMP")
    );
    assert_eq!(site.files(), ["notes.dump"]);
}

#[test]
fn missing_programs_are_named_with_their_package() {
    let site = Site::new();
    std::fs::create_dir(site.path("bin")).unwrap();
    site.configure("[database]\nbin_dir = \"bin\"\n");
    let refused = site.unibody(&["backup", "notes.dump"]).assert_status(1);
    refused.assert_last_line(&["no pg_dump", "postgresql-client-15", "database.bin_dir"]);
    assert_eq!(site.files(), ["bin"]);
}

#[test]
fn without_a_place_to_verify_there_is_no_backup_unless_asked() {
    let site = Site::new();
    insert_notes(&site.database);
    let role = format!("plain_{}", std::process::id());
    site.database.execute(&format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}; \
         GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO {role}; \
         ALTER DATABASE {} OWNER TO {role}",
        site.database.url.rsplit_once('/').unwrap().1
    ));
    let mut url = url::Url::parse(&site.database.url).unwrap();
    url.set_username(&role).unwrap();
    url.set_password(Some("x")).unwrap();
    let plain = TestDatabase { url: url.into() };

    // With the server's programs a private cluster does.
    site.unibody_on(&plain, &["backup", "verified.dump"])
        .assert_status(0)
        .assert_last_line(&["restored for a look"]);
    assert_eq!(names(&site.path("tmp")), [] as [&str; 0], "nothing is left");

    // The client's alone can't start one.
    std::fs::create_dir(site.path("bin")).unwrap();
    for program in ["pg_dump", "pg_restore"] {
        let at = std::path::Path::new("/usr/lib/postgresql/15/bin").join(program);
        std::os::unix::fs::symlink(at, site.path("bin").join(program)).unwrap();
    }
    site.configure("[database]\nbin_dir = \"bin\"\n");
    let refused = site
        .unibody_on(&plain, &["backup", "a.dump"])
        .assert_status(1);
    refused.assert_last_line(&["CREATEDB", "postgres", "--no-verify"]);
    assert_eq!(site.files(), ["bin", "verified.dump"]);
    site.unibody_on(&plain, &["backup", "--no-verify", "a.dump"])
        .assert_status(0)
        .assert_last_line(&["not restored"]);
    site.database.execute(&format!(
        "ALTER DATABASE {} OWNER TO postgres; DROP OWNED BY {role}; DROP ROLE {role}",
        site.database.url.rsplit_once('/').unwrap().1
    ));
}

#[test]
fn one_that_cannot_be_recorded_is_a_backup_all_the_same() {
    let site = Site::new();
    site.configure("[backup]\nevery = \"1h\"\ndirectory = \"backups\"\nverify = false\n");
    site.database.turn_read_only(true);
    let made = site.unibody(&["backup"]).assert_status(0);
    made.assert_last_line(&["made, but can't be noted", "the server does not know"]);
    let kept = names(&site.path("backups"));
    assert_eq!(kept.len(), 1, "{kept:?}");
    let recorded = "SELECT count(*) FROM last_backup";
    assert_eq!(site.database.count(recorded), 0);

    site.database.turn_read_only(false);
    let made = site.unibody(&["backup"]).assert_status(0);
    made.assert_last_line(&["unibody-", "not restored"]);
    assert_eq!(site.database.count(recorded), 1);
}

#[test]
fn what_cannot_be_restored_is_no_backup() {
    let site = Site::new();
    // It dumps well, and its rows fit nowhere but here.
    site.database.execute(
        "CREATE FUNCTION is_at_home() RETURNS bool LANGUAGE sql AS \
         $$SELECT current_database() NOT LIKE 'unibody_scratch%'$$; \
         CREATE TABLE shy (a int CHECK (is_at_home())); INSERT INTO shy VALUES (1)",
    );
    let refused = site.unibody(&["backup", "notes.dump"]).assert_status(1);
    refused.assert_last_line(&["can't be restored", "shy"]);
    assert_eq!(site.files(), [] as [&str; 0]);
    site.unibody(&["backup", "--no-verify", "notes.dump"])
        .assert_status(0);
}

/// Of every process on this machine.
fn command_lines() -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .collect()
}
