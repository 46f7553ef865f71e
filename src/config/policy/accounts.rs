//! `basic_auth` and `basic_auth_file` of a route: who may sign in, each with the hash of a password.

use std::fmt;
use std::fs;

use argon2::password_hash::phc;
use bcrypt::HashParts;
use toml::de::DeValue;

use crate::config::node::Node;
use crate::config::read::{existing_file, string};
use crate::config::reader::Section;
use crate::config::values::Invalid;

/// Most memory of one Argon2 hash, in KiB: every attempt to sign in takes it.
const MOST_MEMORY: u32 = 256 * 1024;
/// Most passes of one Argon2 hash.
const MOST_PASSES: u32 = 32;
/// Highest cost of bcrypt: about two seconds for each attempt.
const MOST_COST: u32 = 15;

/// What to write instead of what is no hash.
const REMEDY: &str = "write what `unibody hash-password` prints, or a bcrypt hash of `htpasswd -B`";

/// Somebody who may sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The name, without a colon.
    pub user: String,
    /// What the password is checked against.
    pub hash: PasswordHash,
}

/// An Argon2id or bcrypt hash whose check is bounded in time and memory. `Debug` doesn't show it.
#[derive(Clone, PartialEq, Eq)]
pub enum PasswordHash {
    /// `$argon2id$v=19$m=…,t=…,p=…$salt$hash` (RFC 9106 as a PHC string).
    Argon2id(String),
    /// `$2b$…`, or `$2a$…` and `$2y$…`, which mean the same.
    Bcrypt(String),
}

/// Every account of the route in `section`.
pub(super) fn accounts(section: &Section<'_>) -> Vec<Account> {
    let mut accounts: Vec<Account> = Vec::new();
    let entries = section.open_table("basic_auth");
    if section.has("basic_auth") && section.has("basic_auth_file") {
        section.note_combination_at("basic_auth_file", "basic_auth is written, too; keep one");
        return accounts;
    }
    if section.has("basic_auth") && entries.is_empty() {
        section.note_combination_at(
            "basic_auth",
            "nobody could sign in; add a user or remove it",
        );
    }
    for (user, _, node) in entries {
        let hash = hash_text(&node).map(|text| PasswordHash::parse(&text));
        match (check_user(user), hash) {
            (Err(what), _) => node.note(what),
            // The value isn't shown: it may be a password that was meant to be hashed.
            (Ok(()), Some(Err(what))) => node.note(&what.to_string()),
            (Ok(()), None) => {}
            (Ok(()), Some(Ok(hash))) => accounts.push(Account {
                user: user.to_owned(),
                hash,
            }),
        }
    }
    let of_file = section.optional("basic_auth_file", |node| {
        let path = existing_file(node)?;
        match fs::read_to_string(&path) {
            Ok(text) => Some(file(node, &text)),
            // That it can't be opened has been said already.
            Err(_) => None,
        }
    });
    accounts.extend(of_file.unwrap_or_default());
    accounts
}

/// The text of a hash. A hash is taken as it is, dollars and all; anything else may name a variable.
fn hash_text(node: &Node<'_>) -> Option<String> {
    match node.value.get_ref() {
        DeValue::String(text) if text.starts_with("$argon2") || text.starts_with("$2") => {
            Some(text.to_string())
        }
        DeValue::String(text) if text.contains("${") => string(node),
        DeValue::String(text) => Some(text.to_string()),
        _ => {
            node.note("must be a hash in quotes");
            None
        }
    }
}

/// The lines `user:hash` of a file as `htpasswd -B` makes it; empty ones and comments don't count.
fn file(node: &Node<'_>, text: &str) -> Vec<Account> {
    let mut accounts: Vec<Account> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let account = account(line).and_then(|account| {
            if accounts.iter().any(|known| known.user == account.user) {
                return Err(Invalid::new("the user of an earlier line"));
            }
            Ok(account)
        });
        match account {
            Ok(account) => accounts.push(account),
            Err(what) => node.wrong(&format!("line {}: {what}", index + 1)),
        }
    }
    if accounts.is_empty() {
        node.wrong("nobody could sign in; a line is user:hash");
    }
    accounts
}

fn account(line: &str) -> Result<Account, Invalid> {
    let (user, hash) = line
        .split_once(':')
        .ok_or_else(|| Invalid::new("a line is user:hash"))?;
    check_user(user).map_err(Invalid::new)?;
    Ok(Account {
        user: user.to_owned(),
        hash: PasswordHash::parse(hash)?,
    })
}

/// RFC 7617, section 2.
fn check_user(user: &str) -> Result<(), &'static str> {
    if user.is_empty() || user.contains(':') || user.chars().any(char::is_control) {
        return Err("a user's name has at least one character and no colon");
    }
    Ok(())
}

impl PasswordHash {
    /// Reads a hash and what checking a password against it would cost.
    ///
    /// # Errors
    /// Says what to write instead, and never shows the text.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.starts_with("$2") {
            return parse_bcrypt(text);
        }
        let not_a_hash = || Invalid::new(format!("not a hash of a password; {REMEDY}"));
        let hash = phc::PasswordHash::new(text).map_err(|_| not_a_hash())?;
        if hash.algorithm.as_str() != "argon2id" || hash.salt.is_none() || hash.hash.is_none() {
            return Err(not_a_hash());
        }
        if hash.version.is_some_and(|version| version != 0x13) {
            return Err(Invalid::new(format!(
                "a hash of an old version of Argon2; {REMEDY}"
            )));
        }
        let parameters = argon2::Params::try_from(&hash).map_err(|_| not_a_hash())?;
        if parameters.m_cost() > MOST_MEMORY || parameters.t_cost() > MOST_PASSES {
            return Err(Invalid::new(format!(
                "each attempt to sign in would take {} MiB and {} passes; at most {} MiB and \
                 {MOST_PASSES} passes are taken",
                parameters.m_cost() / 1024,
                parameters.t_cost(),
                MOST_MEMORY / 1024,
            )));
        }
        Ok(Self::Argon2id(text.to_owned()))
    }
}

fn parse_bcrypt(text: &str) -> Result<PasswordHash, Invalid> {
    let parts: HashParts = text
        .parse()
        .map_err(|_| Invalid::new(format!("not a whole bcrypt hash; {REMEDY}")))?;
    match parts.get_cost() {
        4..=MOST_COST => Ok(PasswordHash::Bcrypt(text.to_owned())),
        cost => Err(Invalid::new(format!(
            "bcrypt's cost is {cost}; from 4 to {MOST_COST} are taken"
        ))),
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Argon2id(_) => "Argon2id(***)",
            Self::Bcrypt(_) => "Bcrypt(***)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_that_can_be_checked_are_taken() {
        let argon2 = |start: &str| {
            format!("{start}$c2FsdHNhbHRzYWx0c2FsdA$hMbfR9SBKPAp4iBzlzZ3kl6UfyEIkIWWhZ8dsDyeJsU")
        };
        let bcrypt =
            |start: &str| format!("{start}N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy");
        for (text, taken, why) in [
            (argon2("$argon2id$v=19$m=19456,t=2,p=1"), true, "ours"),
            (argon2("$argon2id$v=19$m=262144,t=32,p=4"), true, "the most"),
            (argon2("$argon2id$v=19$m=262145,t=2,p=1"), false, "memory"),
            (argon2("$argon2id$v=19$m=19456,t=33,p=1"), false, "passes"),
            (argon2("$argon2id$v=16$m=19456,t=2,p=1"), false, "version"),
            (argon2("$argon2i$v=19$m=19456,t=2,p=1"), false, "not id"),
            (
                "$argon2id$v=19$m=19456,t=2,p=1".to_owned(),
                false,
                "no hash",
            ),
            (bcrypt("$2b$10$"), true, "bcrypt"),
            (bcrypt("$2y$10$"), true, "htpasswd's"),
            (bcrypt("$2b$16$"), false, "costs too much"),
            (bcrypt("$2b$03$"), false, "costs nothing"),
            (bcrypt("$2b$10$")[..50].to_owned(), false, "cut off"),
            ("$apr1$salt$hash".to_owned(), false, "htpasswd's MD5"),
            ("{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=".to_owned(), false, "SHA"),
            ("hunter2".to_owned(), false, "the password itself"),
            (String::new(), false, "nothing"),
        ] {
            let parsed = PasswordHash::parse(&text);
            assert_eq!(parsed.is_ok(), taken, "{why}: {parsed:?}");
            let said = format!("{parsed:?}");
            assert!(
                text.is_empty() || !said.contains(&text),
                "{why} shows: {said}"
            );
        }
    }
}
