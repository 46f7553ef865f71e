//! The id that follows a request through the access log, the app and the upstream.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that carries it, inward and outward.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id taken over from a trusted proxy.
const MAX_LENGTH: usize = 128;

/// A new random id: 32 hexadecimal digits.
pub(crate) fn make() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// The id a trusted proxy has given the request, if it is fit for logs and headers.
pub(crate) fn from_proxy(headers: &HeaderMap) -> Option<String> {
    headers
        .get(&X_REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .filter(|id| (1..=MAX_LENGTH).contains(&id.len()) && id.bytes().all(is_id_byte))
        .map(str::to_owned)
}

/// `id` as a header value.
pub(crate) fn header_value(id: &str) -> HeaderValue {
    HeaderValue::from_str(id).expect("ids are made of or checked for visible ASCII")
}

fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.:+/=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_ids_are_taken_over() {
        for (given, taken) in [
            ("abc-123", true),
            ("0123456789abcdef0123456789abcdef", true),
            ("", false),
            ("two words", false),
            ("quote\"", false),
            (&"x".repeat(129), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(X_REQUEST_ID, HeaderValue::from_str(given).unwrap());
            assert_eq!(from_proxy(&headers).is_some(), taken, "{given}");
        }
    }

    #[test]
    fn made_ids_pass_our_own_check_and_differ() {
        let (one, two) = (make(), make());
        assert_ne!(one, two);
        let headers = HeaderMap::from_iter([(X_REQUEST_ID, header_value(&one))]);
        assert_eq!(from_proxy(&headers), Some(one));
    }
}
