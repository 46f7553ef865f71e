//! What `packaging/`, the Dockerfile and compose.yaml promise agrees with what the program does, and
//! with what docs/upgrade.md says.

use std::path::{Path, PathBuf};
use std::time::Duration;

use unibody::config::{self, Config, Environment};

const UNIT: &str = "packaging/systemd/unibody.service";
const SOCKET: &str = "packaging/systemd/unibody.socket";

fn read(path: &str) -> String {
    std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// What follows `key` on each line of `path` that begins with it, wherever that is on the line.
fn values(path: &str, key: &str) -> Vec<String> {
    let text = read(path);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let values = lines.filter_map(|line| line.split_once(key));
    let values = values.map(|(_, value)| value.split_whitespace().next().unwrap_or_default());
    values.map(str::to_owned).collect()
}

fn value(path: &str, key: &str) -> String {
    let [value] = &values(path, key)[..] else {
        panic!("{path} has not exactly one {key}");
    };
    value.clone()
}

fn duration(value: &str) -> Duration {
    let end = value.find(|c: char| !c.is_ascii_digit()).unwrap();
    let (number, unit) = value.split_at(end);
    let seconds = match unit {
        "s" => 1,
        "min" => 60,
        unit => panic!("{value}: {unit}"),
    };
    Duration::from_secs(number.parse::<u64>().unwrap() * seconds)
}

/// The first block of this kind in docs/upgrade.md's part on systemd.
fn documented(kind: &str) -> String {
    let text = read("docs/upgrade.md");
    let (_, part) = text.split_once("\n## systemd\n").unwrap();
    let (_, block) = part.split_once(&format!("\n```{kind}\n")).unwrap();
    block.split_once("\n```").unwrap().0.to_owned()
}

fn documented_config() -> Config {
    let parsed = config::parse(
        &documented("toml"),
        Path::new("/etc/unibody"),
        &Environment::empty(),
    );
    parsed.unwrap_or_else(|mistakes| panic!("docs/upgrade.md: {mistakes}"))
}

#[test]
fn whoever_starts_and_stops_it_has_the_patience_that_it_needs() {
    let defaults = Config::default_for(Path::new("/nowhere"));
    let drain = defaults.server.drain + Duration::from_secs(5);
    let start = defaults.database.wait + Duration::from_secs(10);
    for (file, key, least, why) in [
        (UNIT, "TimeoutStopSec=", drain, "requests finish before"),
        (
            "compose.yaml",
            "stop_grace_period: ",
            drain,
            "requests finish before",
        ),
        (UNIT, "TimeoutStartSec=", start, "the database is awaited"),
        (
            "Dockerfile",
            "--start-period=",
            start,
            "the database is awaited",
        ),
    ] {
        // compose.yaml has the database's own, after ours.
        let patience = values(file, key).first().map(|value| duration(value));
        assert!(
            patience.is_some_and(|patience| patience >= least),
            "{file}: {key}{patience:?}, at least {least:?}: {why}"
        );
    }
}

#[test]
fn the_unit_and_its_docs_mean_the_same_places() {
    let config = documented_config();
    let state = Path::new("/var/lib").join(value(UNIT, "StateDirectory="));
    for directory in [&config.server.data_dir, &config.tls.certs_dir] {
        assert!(
            directory.starts_with(&state),
            "not writable: {}",
            directory.display()
        );
    }
    let ports = config.server.http.iter().chain(&config.server.https);
    let ports: Vec<_> = ports.map(ToString::to_string).collect();
    assert_eq!(values(SOCKET, "ListenStream="), ports);

    let program = value(UNIT, "ExecStart=");
    let file = value(UNIT, " --config ");
    let commands = documented("sh");
    for (part, why) in [
        (Path::new(&program).parent().unwrap(), "the program"),
        (Path::new(&file), "its configuration"),
        (
            Path::new("useradd --system --home-dir /var/lib/unibody"),
            "its user's home",
        ),
    ] {
        assert!(commands.contains(part.to_str().unwrap()), "{part:?}: {why}");
    }
    let user = value(UNIT, "User=");
    assert!(commands.contains(&format!(" {user}\n")), "{user}");
}

#[test]
fn the_unit_leans_on_what_the_program_does() {
    for (line, why) in [
        ("Type=notify-reload", "SIGHUP reloads, READY=1 follows"),
        ("NotifyAccess=main", "the old process says MAINPID="),
        ("KillMode=mixed", "the embedded PostgreSQL is stopped by us"),
        (
            "RestartPreventExitStatus=78",
            "a mistake in config.toml stays one",
        ),
        (
            "Restart=on-failure",
            "after a handover the old process ends with 0",
        ),
        (
            "LogRateLimitIntervalSec=0",
            "the access log is told line by line",
        ),
        (
            "ReadWritePaths=-/var/backups/unibody",
            "docs/backup.md's directory",
        ),
    ] {
        assert!(
            read(UNIT).lines().any(|own| own == line),
            "{line} is not in {UNIT}: {why}"
        );
    }
    assert!(read("docs/backup.md").contains("directory = \"/var/backups/unibody\""));
    assert!(read("src/cli/mod.rs").contains("EXIT_CONFIG: u8 = 78"));
}
