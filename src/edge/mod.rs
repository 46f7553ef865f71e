//! The edge: from the socket to whoever answers, and back.

pub(crate) mod client_address;
pub(crate) mod host_name;
pub(crate) mod request_path;
pub(crate) mod route;

pub(crate) mod compression;
pub(crate) mod error_page;
pub(crate) mod reply;
pub(crate) mod security_headers;
