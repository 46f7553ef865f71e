//! HTTP as a client sees it.

use reqwest::{Client, ClientBuilder};

/// A client that takes our self-signed certificate and follows no redirects.
pub fn client() -> Client {
    builder().build().unwrap()
}

/// The same, to be changed before it is built.
pub fn builder() -> ClientBuilder {
    unibody::certificates::install_crypto_provider();
    Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .redirect(reqwest::redirect::Policy::none())
        .no_gzip()
}
