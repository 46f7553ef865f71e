//! `[telemetry]`.

use super::*;

#[test]
fn a_collector_is_named_by_its_base() {
    for (otlp, base) in [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318"),
        ("http://127.0.0.1:4318/", "http://127.0.0.1:4318"),
        ("https://otel.test/v1/traces", "https://otel.test"),
        ("https://otel.test/tenant/", "https://otel.test/tenant"),
    ] {
        let config = good(&format!("[telemetry]\notlp = \"{otlp}\"\nsample = 0.25"));
        assert_eq!(config.telemetry.otlp.as_deref(), Some(base));
        assert!((config.telemetry.sample - 0.25).abs() < f64::EPSILON);
    }
    let off = good("").telemetry;
    assert_eq!((off.otlp, off.service.as_str()), (None, "unibody"));
}

#[test]
fn headers_are_lines_and_never_shown() {
    let config = good(
        "[telemetry]\notlp = \"http://127.0.0.1:4318\"\nheaders = \"Authorization: Basic aHVudGVyMg==\\n\\nX-Tenant: a:b\"",
    );
    let headers: Vec<_> = config.telemetry.headers.iter().collect();
    assert_eq!(headers[0].1, "Basic aHVudGVyMg==");
    assert_eq!(
        (headers[1].0.as_str(), headers[1].1.as_bytes()),
        ("x-tenant", &b"a:b"[..])
    );
    assert!(!format!("{config:?}").contains("aHVudGVyMg"));
    let printed = config.effective_toml();
    assert!(!printed.contains("aHVudGVyMg"), "{printed}");
    assert!(printed.contains("headers = \"***\""), "{printed}");
}

#[test]
fn mistakes_say_what_to_write() {
    for (keys, message) in [
        (
            "otlp = \"127.0.0.1:4318\"",
            "must be an http:// or https:// URL",
        ),
        ("otlp = \"http://u:p@h\"", "without user, password"),
        (
            "headers = \"hunter2\"",
            "telemetry.headers = ***: must be headers, one a line",
        ),
        ("sample = 1.5", "must be a number from 0 to 1"),
        ("sample = \"all\"", "must be a number from 0 to 1"),
        ("service = \"\"", "must name the service"),
    ] {
        let text = format!("[telemetry]\n{keys}");
        let wrong = parse(&text, site().path(), &Environment::empty()).unwrap_err();
        assert!(wrong.to_string().contains(message), "{keys}: {wrong}");
    }
}
