//! Hosts that are refused.

use super::{expect_refusals, get, host};

#[test]
fn there_is_exactly_one_valid_host() {
    expect_refusals(
        [
            ("", "an empty Host"),
            (" :80", "a port alone"),
            (" a.test b.test", "two names"),
            (" a.test, b.test", "a list"),
            (" a.test/../x", "a path"),
            (" a.test?x", "a query"),
            (" u@a.test", "user information"),
            (" http://a.test", "a URL"),
            (" a..test", "an empty label"),
            (" .a.test", "a leading dot"),
            (" a.test:", "a colon without a port"),
            (" a.test:99999", "no such port"),
            (" a.test:0", "port 0"),
            (" a.test:+80", "a signed port"),
            (" a.test:80:80", "two ports"),
            (" 127.1", "an address in short"),
            (" 0x7f000001", "an address in hexadecimal"),
            (" 256.1.1.1", "no such address"),
            (" ::1", "an IPv6 address without brackets"),
            (" [::1", "half a bracket"),
            (" [::1]x", "something after the bracket"),
            (" a%2etest", "an escaped dot"),
            (" a\\test", "a backslash"),
            (" *.test", "a pattern"),
            (" b\u{fc}cher.test", "a name beyond ASCII"),
        ]
        .map(|(value, why)| (400, host(value).into_bytes(), why)),
    );
    expect_refusals([
        (400, b"GET / HTTP/1.1\r\n\r\n".into(), "no Host"),
        (
            400,
            b"GET / HTTP/1.1\r\nHost: a\xff.test\r\n\r\n".into(),
            "not even text",
        ),
        (
            400,
            get("Host: a.test\r\n").into_bytes(),
            "two, even equal ones",
        ),
        (
            400,
            get("HOST: b.test\r\n").into_bytes(),
            "two in different case",
        ),
        (
            400,
            b"GET http://a.test/ HTTP/1.1\r\n\r\n".into(),
            "absolute form doesn't replace it",
        ),
        (
            400,
            b"GET / HTTP/1.0\r\nHost: a b\r\n\r\n".into(),
            "HTTP/1.0 needs none, but no wrong one",
        ),
    ]);
}
