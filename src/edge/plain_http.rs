//! What a plain listener does with requests that belong on HTTPS.

use std::fmt::Write as _;

use http::{HeaderValue, Method, StatusCode, header};

use super::reply::{Answer, Body};

/// The ports a redirect has to reckon with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    /// The first plain listener's.
    pub(crate) http: Option<u16>,
    /// The first TLS listener's.
    pub(crate) https: u16,
}

/// Sends the client to the same place on HTTPS: 301 for GET and HEAD, else 308, which keeps the
/// method and body (RFC 9110, section 15.4).
///
/// The https port is named where it isn't 443, but only to a client that came to the port we listen
/// on: one that came through another (a container's published port 80) would be sent astray.
pub(crate) fn redirect(
    method: &Method,
    host: &str,
    port: Option<u16>,
    path_and_query: &str,
    ports: Ports,
) -> Answer {
    let status = if matches!(*method, Method::GET | Method::HEAD) {
        StatusCode::MOVED_PERMANENTLY
    } else {
        StatusCode::PERMANENT_REDIRECT
    };
    let mut location = format!("https://{host}");
    let came_to_our_port = Some(port.unwrap_or(80)) == ports.http;
    if ports.https != 443 && came_to_our_port {
        let _ = write!(location, ":{}", ports.https);
    }
    location.push_str(path_and_query);
    let mut answer = Answer::new(Body::Empty);
    *answer.status_mut() = status;
    // Host and target have been read strictly: nothing in them could break out of the header.
    if let Ok(location) = HeaderValue::from_str(&location) {
        answer.headers_mut().insert(header::LOCATION, location);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_keep_host_path_and_query() {
        let ours = Ports {
            http: Some(8080),
            https: 8443,
        };
        let standard = Ports {
            http: Some(80),
            https: 443,
        };
        for (method, port, ports, status, location) in [
            (
                Method::GET,
                Some(8080),
                ours,
                301,
                "https://a.test:8443/x?y=1",
            ),
            (
                Method::HEAD,
                Some(8080),
                ours,
                301,
                "https://a.test:8443/x?y=1",
            ),
            (
                Method::POST,
                Some(8080),
                ours,
                308,
                "https://a.test:8443/x?y=1",
            ),
            (Method::GET, None, ours, 301, "https://a.test/x?y=1"),
            (Method::GET, None, standard, 301, "https://a.test/x?y=1"),
            (Method::GET, Some(80), standard, 301, "https://a.test/x?y=1"),
        ] {
            let answer = redirect(&method, "a.test", port, "/x?y=1", ports);
            assert_eq!(answer.status().as_u16(), status);
            assert_eq!(answer.headers()[header::LOCATION], location);
        }
    }
}
