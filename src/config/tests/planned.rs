//! What a later version will understand is refused, never skipped.

use super::*;

#[test]
fn planned_keys_are_refused() {
    refused("[app]\nauth = \"token\"", "app.auth = \"token\"");
}

#[test]
fn what_this_version_does_anyway_may_be_written() {
    good("[app]\nauth = \"none\"");
    let environment = Environment::from([("AUTH", "none")]);
    parse("[app]\nauth = \"${AUTH}\"", site().path(), &environment).unwrap();
}

#[track_caller]
fn refused(text: &str, key: &str) {
    let mistakes = bad(text);
    assert_eq!(mistakes.lines().count(), 1, "{text}\n{mistakes}");
    let expected = format!("{key}: not part of this version yet");
    assert!(mistakes.contains(&expected), "{text}\n{mistakes}");
}
