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

#[test]
fn values_are_left_out_as_other_languages_write_them() {
    for (line, redacted, why) in [
        (
            "{'Authorization': 'Bearer s', 'Host': 'h'}",
            "{'Authorization': '***', 'Host': 'h'}",
            "Python's map",
        ),
        (
            r#"{'cookie': "s's", 'Host': 'h'}"#,
            r#"{'cookie': "***", 'Host': 'h'}"#,
            "which has both marks",
        ),
        (
            r"{'cookie': 's\'s', 'Host': 'h'}",
            r"{'cookie': '***', 'Host': 'h'}",
            "and escapes them",
        ),
        (
            "('Authorization', b'Bearer s') x",
            "('Authorization', b'***') x",
            "Python's pair, and bytes",
        ),
        ("password='a b' user=u", "password='***' user=u", "libpq"),
        (
            "user=u password = s dbname=d",
            "user=u password = *** dbname=d",
            "and its spaces",
        ),
        (r#"password = "a b" c"#, r#"password = "***" c"#, "TOML"),
        (
            r#""token" : "a b", c"#,
            r#""token" : "***", c"#,
            "JSON by hand",
        ),
        (
            r#"{"token"=>"a b", "c"=>1}"#,
            r#"{"token"=>"***", "c"=>1}"#,
            "Ruby's map",
        ),
        ("['token' => 'a b', 1]", "['token' => '***', 1]", "PHP's"),
        (
            "GET /x?token='s's&a=1 HTTP/1.1",
            "GET /x?token='***&a=1 HTTP/1.1",
            "an apostrophe in a query",
        ),
        (
            "CREATE ROLE u LOGIN PASSWORD 's s' NOINHERIT",
            "CREATE ROLE u LOGIN PASSWORD '***' NOINHERIT",
            "SQL",
        ),
        (
            "alter role u password E's''s' valid until 'x'",
            "alter role u password E'***' valid until 'x'",
            "in any case, with marks doubled",
        ),
        (
            "assert token == 's s', 1",
            "assert token == '***', 1",
            "a comparison",
        ),
        ("PASSWORD NULL, x", "PASSWORD NULL, x", "none"),
        (
            "the password isn't the user's",
            "the password isn't the user's",
            "apostrophes",
        ),
        (
            "password authentication failed for user 'u'",
            "password authentication failed for user 'u'",
            "no value",
        ),
        (
            "expected 'token' or 'cookie' here",
            "expected 'token' or 'cookie' here",
            "names alone",
        ),
        ("token='' a='b'", "token='' a='b'", "nothing, quoted"),
    ] {
        assert_eq!(redact(line, &mask(), LogFormat::Text), redacted, "{why}");
    }
}

#[test]
fn mistakes_keep_what_is_wrong() {
    for (mistake, redacted, why) in [
        (
            "c.toml:1: database.password: unknown key; write it into database.url",
            "c.toml:1: database.password: unknown key; write it into database.url",
            "a key is no header",
        ),
        (
            r#"c.toml:2: rate_limit.key = "cookie:a": must be "ip" or "token", "cookie" is none"#,
            r#"c.toml:2: rate_limit.key = "cookie:a": must be "ip" or "token", "cookie" is none"#,
            "nor is a value",
        ),
        (
            r#"c.toml:3: route.redirect.to = "htp://h/?token=s&a=1": must be a URL"#,
            r#"c.toml:3: route.redirect.to = "htp://h/?token=***&a=1": must be a URL"#,
            "but a URL has secrets",
        ),
        (
            "c.toml:4: upstream.servers = \"http://u:s@h\": no\nc.toml:5: two",
            "c.toml:4: upstream.servers = \"http://u:***@h\": no\nc.toml:5: two",
            "two lines",
        ),
    ] {
        assert_eq!(redact_mistakes(mistake, &mask()), redacted, "{why}");
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
        (
            r#"{"message":"token=","target":"t"}"#,
            r#"{"message":"token=","target":"t"}"#,
        ),
        (
            r#"{"message":"'token': ","target":"t"}"#,
            r#"{"message":"'token': ","target":"t"}"#,
        ),
        (
            r#"{"message":"token=\\","target":"t"}"#,
            r#"{"message":"token=\\","target":"t"}"#,
        ),
        (
            r#"{"token":5,"password":-1.5,"target":"t","cookie":null}"#,
            r#"{"token":"***","password":"***","target":"t","cookie":"***"}"#,
        ),
        (
            r#"{"message":"unexpected token","target":"t"}"#,
            r#"{"message":"unexpected token","target":"t"}"#,
        ),
        (
            r#"{"message":"{'cookie': 's\\'s'}","target":"t"}"#,
            r#"{"message":"{'cookie': '***'}","target":"t"}"#,
        ),
        (
            r#"{"message":"PASSWORD 's","target":"t"}"#,
            r#"{"message":"PASSWORD '***","target":"t"}"#,
        ),
    ] {
        assert_eq!(redact(line, &mask(), LogFormat::Json), redacted);
    }
}

/// As Python shows a text: with the other mark where that is needed and suffices, or escaped.
fn repr(text: &str) -> String {
    let escaped = text.replace('\\', r"\\");
    if text.contains('\'') && !text.contains('"') {
        format!("\"{escaped}\"")
    } else {
        format!("'{}'", escaped.replace('\'', r"\'"))
    }
}

/// A line of either format that says `message`, and what is found in it when it is redacted.
fn said(message: &str) -> Result<(), TestCaseError> {
    let redacted = redact(message, &mask(), LogFormat::Text);
    prop_assert!(!redacted.contains("SECRET"), "{redacted}");

    let line = serde_json::json!({ "message": message, "target": "kept" }).to_string();
    let redacted = redact(&line, &mask(), LogFormat::Json);
    prop_assert!(!redacted.contains("SECRET"), "{redacted}");
    let read: serde_json::Value = serde_json::from_str(&redacted)
        .map_err(|error| TestCaseError::fail(format!("{error}: {redacted}")))?;
    prop_assert_eq!(read["target"].as_str(), Some("kept"));
    Ok(())
}

proptest! {
    /// Whatever a secret looks like and however deep it is quoted, JSON stays JSON and the rest stays.
    #[test]
    fn json_stays_json(secret in "[ -~]{0,8}SECRET[ -~]{0,8}", form in 0_usize..10) {
        said(&match form {
            0 => format!("headers: {:?}", [("cookie", &secret)]),
            1 => format!("cookie: {secret}"),
            2 => format!("{:?}", format!("cookie: {secret}")),
            3 => format!("{:?}", format!("{:?}", [("cookie", &secret)])),
            4 => serde_json::json!({ "cookie": secret, "a": "b" }).to_string(),
            5 => format!("{{'cookie': {}, 'a': 'b'}}", repr(&secret)),
            6 => format!("[('cookie', b{}), ('a', 'b')]", repr(&secret)),
            7 => repr(&format!("{{'cookie': {}}}", repr(&secret))),
            8 => format!("password = {secret:?} a=b"),
            _ => format!("ROLE a PASSWORD '{}' LOGIN 'b'", secret.replace('\'', "''")),
        })?;
    }

    /// What ends the parameter of a query can't be in one.
    #[test]
    fn a_word_is_hidden_to_its_end(secret in "[!#-%'-;=?-~]{0,8}SECRET[!#-%'-;=?-~]{0,8}", form in 0_usize..3) {
        said(&match form {
            0 => format!("GET /?token={secret}&a=b"),
            1 => format!("password = {secret} a=b"),
            _ => format!("{:?}", format!("token={secret} a=b")),
        })?;
    }

    #[test]
    fn no_text_makes_it_panic_or_lose_its_end(line in "[a-c=:,'\"\\\\ />@\u{e9}tokencookiePASSWORD]{0,40}") {
        for format in [LogFormat::Text, LogFormat::Json] {
            let redacted = redact(&line, &mask(), format);
            prop_assert!(redacted.contains(COVER) || redacted == line);
        }
    }

    /// Whatever is said, a line of JSON stays one, with the fields that it has.
    #[test]
    fn no_text_breaks_its_line(
        message in "([a-c=:,'\"\\\\ />@\u{e9}]|token|cookie|PASSWORD ){0,20}",
    ) {
        let line = serde_json::json!({ "message": message, "target": 1 }).to_string();
        let redacted = redact(&line, &mask(), LogFormat::Json);
        let read: serde_json::Value = serde_json::from_str(&redacted)
            .map_err(|error| TestCaseError::fail(format!("{error}: {redacted}")))?;
        prop_assert_eq!(read["target"].as_u64(), Some(1));
    }
}
