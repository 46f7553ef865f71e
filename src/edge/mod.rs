//! The edge: from the socket to whoever answers, and back.

pub(crate) mod files;
pub(crate) mod reply;
