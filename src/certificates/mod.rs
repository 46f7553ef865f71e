//! certificates
mod durable;
pub mod pair;
pub mod pem;
pub mod self_signed;
pub mod store;
#[cfg(test)]
mod testing;
