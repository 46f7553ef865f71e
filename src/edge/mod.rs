//! The edge: from the socket to whoever answers, and back.

pub(crate) mod client_address;
pub(crate) mod reply;
