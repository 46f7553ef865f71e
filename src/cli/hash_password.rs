//! `unibody hash-password`: what `basic_auth` wants in the place of a password.

use std::io::{self, IsTerminal, Read};

use anyhow::{Context, anyhow, bail};
use argon2::Argon2;
use argon2::password_hash::PasswordHasher;
use argon2::password_hash::phc::PasswordHash;
use console::Term;

use super::Outcome;

pub(super) const HELP: &str = "\
Asks for the password without showing it, or reads it from standard input; a line break at its end \
does not count. Prints an Argon2id hash for basic_auth of a route.

Examples:
  unibody hash-password
  printf %s \"$PASSWORD\" | unibody hash-password";

/// Longest password in bytes; what is longer is something else.
const LONGEST: u64 = 4096;

pub(super) fn run() -> Outcome {
    let password = if io::stdin().is_terminal() {
        ask()?
    } else {
        read()?
    };
    println!("{}", hash(&password)?);
    Ok(())
}

/// Argon2id with the memory and passes of OWASP's recommendation (19 MiB, 2) and a random salt.
fn hash(password: &str) -> anyhow::Result<String> {
    if password.is_empty() {
        bail!("the password is empty; nothing was hashed");
    }
    let hash: PasswordHash = Argon2::default()
        .hash_password(password.as_bytes())
        .map_err(|error| anyhow!("the password cannot be hashed: {error}"))?;
    Ok(hash.to_string())
}

fn ask() -> anyhow::Result<String> {
    let terminal = Term::stderr();
    let ask = |prompt: &str| {
        terminal.write_str(prompt)?;
        terminal.read_secure_line()
    };
    let password = ask("Password: ").context("cannot read the password from the terminal")?;
    let again = ask("Once more: ").context("cannot read the password from the terminal")?;
    if password != again {
        bail!("the two passwords differ; nothing was hashed");
    }
    Ok(password)
}

fn read() -> anyhow::Result<String> {
    let mut password = String::new();
    io::stdin()
        .take(LONGEST + 1)
        .read_to_string(&mut password)
        .context("cannot read the password from standard input as UTF-8 text")?;
    if password.len() as u64 > LONGEST {
        bail!("more than {LONGEST} bytes on standard input: that is no password");
    }
    let end = password.strip_suffix('\n').map(str::len);
    let end = end.map(|end| password[..end].strip_suffix('\r').map_or(end, str::len));
    password.truncate(end.unwrap_or(password.len()));
    Ok(password)
}
