//! The strict reading of heads and the wire behind it.

mod head;
mod head_properties;
mod wire;
