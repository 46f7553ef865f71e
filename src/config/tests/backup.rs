//! `[backup]`.

use std::time::Duration;

use time::macros::time;

use super::*;
use crate::config::{Destination, Keep, Schedule};

const RECIPIENT: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

#[test]
fn what_is_written_is_meant() {
    assert_eq!(good("").backup, None, "off unless asked for");
    assert_eq!(good("[backup]\nat = \"\"\ndirectory = \"\"").backup, None);

    let text = format!(
        "[backup]\nat = \"03:15\"\ndirectory = \"/var/backups\"\nkeep_weekly = 0\n\
         age_recipients = [\"{RECIPIENT}\"]\nverify = false"
    );
    let backup = good(&text).backup.unwrap();
    assert_eq!(backup.schedule, Schedule::At(time!(03:15)));
    assert_eq!(
        backup.destination,
        Destination::Directory("/var/backups".into())
    );
    let keep = Keep {
        daily: 7,
        weekly: 0,
        monthly: 12,
    };
    assert_eq!(backup.keep, keep);
    assert_eq!(backup.age_recipients, [RECIPIENT]);
    assert!(!backup.verify);

    let backup = good("[backup]\nevery = \"6h\"\ncommand = \"cat > $$NAME\"").backup;
    let backup = backup.unwrap();
    assert_eq!(backup.schedule, Schedule::Every(Duration::from_hours(6)));
    assert_eq!(
        backup.destination,
        Destination::Command("cat > $NAME".to_owned()),
        "a dollar of the shell's"
    );
    assert!(backup.verify);
}

#[test]
fn what_would_make_no_backup_is_a_mistake() {
    let table = [
        ("at = \"03:15\"", "nowhere to put backups"),
        ("directory = \"/b\"", "no backup would ever be made"),
        (
            "at = \"03:15\"\nevery = \"1h\"\ndirectory = \"/b\"",
            "keep one of them",
        ),
        (
            "at = \"03:15\"\ndirectory = \"/b\"\ncommand = \"cat\"",
            "keep one of them",
        ),
        ("at = \"25:00\"\ndirectory = \"/b\"", "\"03:15\""),
        ("at = \"3 am\"\ndirectory = \"/b\"", "\"03:15\""),
        ("every = \"0s\"\ndirectory = \"/b\"", "longer than 0"),
        (
            "at = \"03:15\"\ncommand = \"cat\"\nkeep_daily = 1",
            "not ours to remove",
        ),
        (
            "at = \"03:15\"\ndirectory = \"/b\"\nkeep_daily = 0\nkeep_weekly = 0\nkeep_monthly = 0",
            "keep at least one",
        ),
        (
            "at = \"03:15\"\ndirectory = \"/b\"\nage_recipients = [\"me@example.com\"]",
            "no age recipient",
        ),
        (
            "at = \"03:15\"\ndirectory = \"/b\"\nage_recipients = [\"AGE-SECRET-KEY-1X\"]",
            "secret key",
        ),
    ];
    for (keys, expected) in table {
        let text = format!("[backup]\n{keys}");
        let mistakes = bad(&text);
        assert!(mistakes.contains(expected), "{keys}: {mistakes}");
        assert_eq!(mistakes.lines().count(), 1, "{keys}: {mistakes}");
        assert!(!mistakes.contains("KEY-1X"), "a secret: {mistakes}");
    }
}
