//! The forms in which names and values are met.

use proptest::prelude::*;

use super::*;

fn mask() -> Mask {
    Mask::new(["authorization", "cookie", "x-api-key", "token"].map(str::to_owned))
}

#[test]
fn values_are_left_out_in_every_form_they_are_written_in() {
    for (line, redacted, why) in [
        (
            "GET /x?a=1&token=s HTTP/1.1",
            "GET /x?a=1&token=*** HTTP/1.1",
            "a query",
        ),
        (
            "uri: /x?%74oken=s, version",
            "uri: /x?%74oken=*** version",
            "its comma may be the value's",
        ),
        ("Cookie: a=s; b=s", "Cookie: ***", "a header as sent"),
        (
            r#"b"GET /\r\nX-Api-Key: s\r\n\r\n""#,
            r#"b"GET /\r\nX-Api-Key: ***"#,
            "and as bytes",
        ),
        (
            r#"{"cookie": "a=\"s\"; b=s", "host": "h"}"#,
            r#"{"cookie": "***", "host": "h"}"#,
            "a map",
        ),
        (
            r#"("Authorization", "Bearer s") x"#,
            r#"("Authorization", "***") x"#,
            "a pair",
        ),
        (
            r#"name: "cookie", value: b"s" }"#,
            r#"name: "cookie", value: b"***" }"#,
            "a struct",
        ),
        (
            r#"Header { name: "cookie", value: [115, 51] }"#,
            r#"Header { name: "cookie", value: ***"#,
            "numbers",
        ),
        (
            r#"x_api_key: Some("s"), b: 1 }"#,
            r"x_api_key: ***",
            "a field can't be told from a header",
        ),
        (r#"Cookie: "s" s"#, "Cookie: ***", "whose value begins so"),
        (
            r#"{"token": Some("s"), "b": 1}"#,
            r#"{"token": Some("***"), "b": 1}"#,
            "a map's value",
        ),
        (r#"token="s s" b=1"#, r#"token="***" b=1"#, "quoted words"),
        ("password=s user=u", "password=*** user=u", "libpq"),
        ("sslpassword=s", "sslpassword=***", "whatever the mask says"),
        (
            "postgres://u:s@h/db",
            "postgres://u:***@h/db",
            "a database's URL",
        ),
        (
            "postgres://u:s@s/s?@h/db",
            "postgres://u:***@h/db",
            "one that is broken",
        ),
        (
            "postgres://u@h/db",
            "postgres://u@h/db",
            "a name is no password",
        ),
        ("\"https://u:s@h/p\"", "\"https://u:***@h/p\"", "any other"),
        ("https://s@h/p", "https://***@h/p", "a token"),
        (
            "https://h/?mail=a@b",
            "https://h/?mail=a@b",
            "no credentials",
        ),
        (
            "https://h/?token=s",
            "https://h/?token=***",
            "a URL's query",
        ),
        ("unexpected token: s", "unexpected token: ***", "in doubt"),
        (
            "crate::token::Token",
            "crate::token::Token",
            "a path of modules",
        ),
        ("tokens=1 token", "tokens=1 token", "other words"),
        ("token=", "token=", "nothing"),
    ] {
        assert_eq!(redact(line, &mask(), LogFormat::Text), redacted, "{why}");
    }
}

/// The backslash that a value ends with is not the one of a quotation mark.
#[test]
fn a_value_ends_with_its_json_string() {
    for (line, redacted) in [
        (
            r#"{"message":"cookie: \"s\\","target":"t"}"#,
            r#"{"message":"cookie: ***","target":"t"}"#,
        ),
        (
            r#"{"cookie":"s\\","target":"t"}"#,
            r#"{"cookie":"***","target":"t"}"#,
        ),
        (
            r#"{"message":"token=\"s\\\\","target":"t"}"#,
            r#"{"message":"token=\"***","target":"t"}"#,
        ),
    ] {
        assert_eq!(redact(line, &mask(), LogFormat::Json), redacted);
    }
}

proptest! {
    /// Whatever a secret looks like and however deep it is quoted, JSON stays JSON and the rest stays.
    #[test]
    fn json_stays_json(secret in "[ -~]{0,8}SECRET[ -~]{0,8}", form in 0_usize..5) {
        let message = match form {
            0 => format!("headers: {:?}", [("cookie", &secret)]),
            1 => format!("cookie: {secret}"),
            2 => format!("{:?}", format!("cookie: {secret}")),
            3 => format!("{:?}", format!("{:?}", [("cookie", &secret)])),
            _ => serde_json::json!({ "cookie": secret, "a": "b" }).to_string(),
        };
        let line = serde_json::json!({ "message": message, "target": "kept" }).to_string();
        let redacted = redact(&line, &mask(), LogFormat::Json);
        prop_assert!(!redacted.contains("SECRET"), "{redacted}");
        let read: serde_json::Value = serde_json::from_str(&redacted).unwrap();
        prop_assert_eq!(read["target"].as_str(), Some("kept"));
    }

    #[test]
    fn no_text_makes_it_panic_or_lose_its_end(line in "[a-c=:,\"\\\\ /@\u{e9}tokencookie]{0,40}") {
        for format in [LogFormat::Text, LogFormat::Json] {
            let redacted = redact(&line, &mask(), format);
            prop_assert!(redacted.contains(COVER) || redacted == line);
        }
    }
}
