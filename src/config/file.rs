//! The shape of `config.toml`.
