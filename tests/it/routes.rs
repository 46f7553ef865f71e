//! Which request goes where, and what each kind of route answers.

mod actions;
mod clients;
mod error_pages;
mod plain_http;
mod selection;
