//! Which request goes where, and what each kind of route answers.

mod actions;
mod clients;
mod plain_http;
mod selection;
