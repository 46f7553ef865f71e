//! Values as people write them: each has a `parse` that says what to write instead, and prints the
//! way it is read.

mod address;
mod amount;
mod host;
mod level;
mod mask;
mod media;
mod path;
mod secret;

pub(in crate::config) use address::parse_port;
pub use address::{parse_listener, parse_network};
pub use amount::{parse_duration, parse_size, print_duration, print_size};
pub use host::HostPattern;
pub use level::parse_log_level;
pub use mask::Mask;
pub use media::MediaPattern;
pub use path::PathPattern;
pub use secret::{Secret, mask_url, mask_url_passwords};

/// What is wrong with a value and what to write instead, without the value itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

impl Invalid {
    /// An explanation that follows the value and a colon.
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}
