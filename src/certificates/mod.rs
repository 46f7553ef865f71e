//! certificates
mod pair;
mod pem;
#[cfg(test)]
mod testing;
