//! What must not be seen.

use std::fmt;

use percent_encoding::percent_decode_str;

/// A value that is never printed: passwords, URLs with passwords, keys.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from being printed.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the one place that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// `text` with the passwords of a URL in it replaced by `***`: the one before the `@`, and query
/// parameters named like one. Text without `://` comes back as it is.
///
/// SECURITY: the password ends at the *last* `@`, wherever that is. A password with an unescaped
/// `@`, `/` or `?` breaks the URL's own grammar, and must not show for that.
#[must_use]
pub fn mask_url_passwords(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let (credentials, rest) = match rest.rsplit_once('@') {
        Some((credentials, rest)) => match credentials.split_once(':') {
            Some((user, _)) => (format!("{user}:***@"), rest),
            None => (format!("{credentials}@"), rest),
        },
        None => (String::new(), rest),
    };
    let Some((before, query)) = rest.split_once('?') else {
        return format!("{scheme}://{credentials}{rest}");
    };
    let query: Vec<_> = query.split('&').map(mask_parameter).collect();
    format!("{scheme}://{credentials}{before}?{}", query.join("&"))
}

/// `url` with its path and query replaced by `***`: receivers of webhooks keep their tokens there.
#[must_use]
pub fn mask_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return "***".to_owned();
    };
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let host = rest[..end].rsplit('@').next().unwrap_or_default();
    if end == rest.len() {
        return format!("{scheme}://{host}");
    }
    format!("{scheme}://{host}/***")
}

/// `sslpassword=x` becomes `sslpassword=***`.
fn mask_parameter(parameter: &str) -> String {
    let Some((name, _)) = parameter.split_once('=') else {
        return parameter.to_owned();
    };
    let plain = percent_decode_str(name).decode_utf8_lossy().to_lowercase();
    if plain.contains("password") {
        format!("{name}=***")
    } else {
        parameter.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn of_a_webhook_only_the_host_shows() {
        for (url, shown) in [
            ("https://hooks.test/T0/secret?x=1", "https://hooks.test/***"),
            ("http://127.0.0.1:9?token=a", "http://127.0.0.1:9/***"),
            ("https://u:p@hooks.test/", "https://hooks.test/***"),
            ("https://hooks.test", "https://hooks.test"),
            ("hunter2", "***"),
        ] {
            assert_eq!(mask_url(url), shown);
        }
    }

    #[test]
    fn a_secret_does_not_show() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(secret.reveal(), "hunter2");
    }

    #[test]
    fn passwords_in_urls_are_masked() {
        for (url, expected, why) in [
            (
                "postgres://u:p@h:5432/db",
                "postgres://u:***@h:5432/db",
                "the usual",
            ),
            ("postgres://u@h/db", "postgres://u@h/db", "no password"),
            (
                "postgres://h/db?sslmode=require",
                "postgres://h/db?sslmode=require",
                "no user",
            ),
            (
                "postgres://u:a@b@h/db",
                "postgres://u:***@h/db",
                "an @ in the password",
            ),
            (
                "postgres://u:a/b?c@h/db",
                "postgres://u:***@h/db",
                "a / and ? in the password",
            ),
            (
                "postgres://u:a:b@h/db",
                "postgres://u:***@h/db",
                "a : in the password",
            ),
            (
                "postgres://h/db?user=u&password=p",
                "postgres://h/db?user=u&password=***",
                "a parameter",
            ),
            (
                "postgres://h/db?sslPassword=p&a=b",
                "postgres://h/db?sslPassword=***&a=b",
                "another one",
            ),
            (
                "postgres://h/db?pass%77ord=p",
                "postgres://h/db?pass%77ord=***",
                "an encoded name",
            ),
            ("20MiB", "20MiB", "no URL"),
        ] {
            assert_eq!(mask_url_passwords(url), expected, "{why}");
        }
    }

    proptest! {
        #[test]
        fn no_password_shows(password in "[A-Z@:/?&=%]*[A-Z]{8}[A-Z@:/?&=%]*") {
            let masked = mask_url_passwords(&format!("postgres://u:{password}@h/db"));
            prop_assert_eq!(masked, "postgres://u:***@h/db");
        }
    }
}
