//! The lines, byte for byte.

use super::text::push_seconds;
use super::*;
use crate::config::Mask;

fn written(format: AccessFormat, line: &Line<'_>) -> String {
    let mask = Mask::new(["token".to_owned()]);
    let mut text = Vec::new();
    match format {
        AccessFormat::Json => json::push(line, &mask, &mut text),
        _ => combined::push(line, &mask, &mut text),
    }
    String::from_utf8(text).unwrap()
}

fn line<'a>(fields: [Option<&'a str>; 2], target: &'a str) -> Line<'a> {
    let [referer, user_agent] = fields.map(|field| field.map(str::as_bytes));
    Line {
        client: "192.0.2.7".parse().unwrap(),
        user: None,
        request: Some(Request {
            method: "GET",
            target,
            version: Version::HTTP_11,
            host: "A.test:80",
            referer,
            user_agent,
        }),
        status: 200,
        body_bytes: 12,
        took: Duration::from_millis(34),
        tries: None,
        cache: None,
        id: "abc",
    }
}

#[test]
fn text_is_combined_with_times_and_id() {
    let line = line([None, Some("a \"b\"")], "/x?q=1");
    let text = written(AccessFormat::CombinedTiming, &line);
    let (start, rest) = text.split_once(" [").unwrap();
    let (time, rest) = rest.split_once("] ").unwrap();
    assert_eq!(start, "192.0.2.7 - -");
    assert!(time.ends_with(" +0000") && time.len() == 26, "{time}");
    assert_eq!(
        rest,
        "\"GET /x?q=1 HTTP/1.1\" 200 12 \"-\" \"a \\x22b\\x22\" rt=0.034 uct=\"-\" uhtt=\"-\" urt=\"-\" upstream=\"-\" id=abc\n"
    );
}

#[test]
fn seconds_have_rounded_thousandths() {
    for (micros, reads) in [
        (0, "0.000"),
        (499, "0.000"),
        (500, "0.001"),
        (34_000, "0.034"),
        (999_500, "1.000"),
        (61_070_123, "61.070"),
    ] {
        let mut text = Vec::new();
        push_seconds(&mut text, Duration::from_micros(micros));
        assert_eq!(text, reads.as_bytes(), "{micros}");
    }
}

#[test]
fn masked_parameters_are_not_written() {
    let fields = [Some("https://a.test/?token=s3cret"), None];
    for target in [
        "/x?a=1&token=s3cret",
        "/x?TOKEN=s3cret",
        "/x?%74oken=s3cret",
    ] {
        for format in [AccessFormat::CombinedTiming, AccessFormat::Json] {
            let text = written(format, &line(fields, target));
            assert!(!text.contains("s3cret"), "{text}");
            assert!(text.contains("=***"), "{text}");
        }
    }
}

#[test]
fn json_is_one_parsable_line() {
    let text = written(AccessFormat::Json, &line([None, Some("\u{e9}")], "/x"));
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["status"], 200);
    assert_eq!(value["request_id"], "abc");
    assert_eq!(value["host"], "a.test");
    assert_eq!(value["user_agent"], "-", "not plain text");
    assert_eq!(text.matches('\n').count(), 1);
}

#[test]
fn a_users_name_ends_neither_its_field_nor_the_line() {
    for (user, field) in [
        (None, "-"),
        (Some(""), "-"),
        (Some("ada"), "ada"),
        (Some("ada lovelace"), r"ada\x20lovelace"),
        (Some("a\" 200 \n- -"), r"a\x22\x20200\x20\x0A-\x20-"),
        (Some("\u{e9}"), r"\xC3\xA9"),
    ] {
        let line = Line {
            user,
            ..line([None, None], "/")
        };
        let text = written(AccessFormat::CombinedTiming, &line);
        let start = format!("192.0.2.7 - {field} [");
        assert!(text.starts_with(&start), "{user:?}: {text}");
        let json: serde_json::Value =
            serde_json::from_str(&written(AccessFormat::Json, &line)).unwrap();
        assert_eq!(json["user"].as_str(), user);
    }
}
