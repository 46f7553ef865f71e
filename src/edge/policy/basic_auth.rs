//! Who may sign in: `basic_auth` (RFC 7617).
//!
//! Checking a password is meant to be slow, so it must not become a lever against the server:
//!
//! 1. A password that was right once is known again by a keyed hash, at the cost of that hash.
//! 2. All others are checked on threads of their own, a few at a time, and one at a time for each
//!    network: whoever guesses waits for his own guesses, and others sign in meanwhile. Whoever has
//!    waited for too long gets 503.
//! 3. A name that nobody has costs the same as one that somebody has: it is checked against the hash
//!    of one of the users, always the same one.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::{PasswordVerifier, phc};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;

use crate::config::{Account, PasswordHash};
use crate::edge::client_address::network_key;
use crate::edge::reply::{self, Answer};

/// Passwords known to be right, of all routes together.
const KNOWN: usize = 1024;
/// Queues that networks are spread over.
const QUEUES: usize = 64;
/// How long a password may wait for its check.
const PATIENCE: Duration = Duration::from_secs(5);

/// The users of one route.
pub(super) struct Accounts {
    hashes: HashMap<String, PasswordHash>,
    /// Every hash, one of which an unknown name is checked against.
    decoys: Vec<PasswordHash>,
    /// `WWW-Authenticate`; the route's path tells its users from another route's.
    challenge: HeaderValue,
    passwords: Arc<Passwords>,
}

/// What all routes share to check passwords.
pub(super) struct Passwords {
    known: Known,
    queues: Vec<Arc<Mutex<()>>>,
    running: Arc<Semaphore>,
    /// Spreads networks over queues and unknown names over decoys.
    hasher: RandomState,
}

/// A password whose check is still to be made.
pub(crate) struct Login {
    passwords: Arc<Passwords>,
    hash: PasswordHash,
    /// Whether the hash is the user's own.
    is_user: bool,
    password: Vec<u8>,
    tag: Tag,
    network: IpAddr,
    challenge: HeaderValue,
}

/// What is to be done about a request's credentials.
pub(super) enum Credentials {
    Known,
    Unknown(Box<Login>),
    None,
}

impl Accounts {
    /// The users of the route with this path; `None` where nobody has to sign in.
    pub(super) fn new(
        accounts: &[Account],
        path: &str,
        passwords: &Arc<Passwords>,
    ) -> Option<Self> {
        if accounts.is_empty() {
            return None;
        }
        let pair = |account: &Account| (account.user.clone(), account.hash.clone());
        let realm = path.replace('\\', "\\\\").replace('"', "\\\"");
        let challenge = format!("Basic realm=\"{realm}\", charset=\"UTF-8\"");
        Some(Self {
            hashes: accounts.iter().map(pair).collect(),
            decoys: accounts
                .iter()
                .map(|account| account.hash.clone())
                .collect(),
            challenge: HeaderValue::try_from(challenge).expect("paths are visible ASCII"),
            passwords: passwords.clone(),
        })
    }

    /// Looks at the credentials of a request from `client`.
    pub(super) fn look(&self, client: IpAddr, headers: &HeaderMap) -> Credentials {
        let Some((user, password)) = credentials(headers) else {
            return Credentials::None;
        };
        let own = self.hashes.get(&user);
        let hash = own.unwrap_or_else(|| {
            let index = self.passwords.hash_of(&user) % self.decoys.len();
            &self.decoys[index]
        });
        let tag = self.passwords.known.tag(hash, &password);
        if own.is_some() && self.passwords.known.has(tag) {
            return Credentials::Known;
        }
        Credentials::Unknown(Box::new(Login {
            passwords: self.passwords.clone(),
            hash: hash.clone(),
            is_user: own.is_some(),
            password,
            tag,
            network: network_key(client),
            challenge: self.challenge.clone(),
        }))
    }

    /// The answer to who has not signed in.
    pub(super) fn ask(&self) -> Box<Answer> {
        unauthorized(&self.challenge)
    }
}

impl Passwords {
    pub(super) fn new() -> Self {
        // Half of the cores go on serving, whatever is guessed.
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            known: Known::new(),
            queues: (0..QUEUES).map(|_| Arc::default()).collect(),
            running: Arc::new(Semaphore::new(cores.div_ceil(2))),
            hasher: RandomState::new(),
        }
    }

    fn hash_of(&self, key: impl std::hash::Hash) -> usize {
        // All bits are as good as half of them.
        #[allow(clippy::cast_possible_truncation)]
        let hash = self.hasher.hash_one(key) as usize;
        hash
    }
}

impl Login {
    /// Checks the password, once it is its turn.
    ///
    /// # Errors
    /// The answer: 401 for a wrong one, 503 where too many wait.
    pub(crate) async fn verify(self) -> Result<(), Box<Answer>> {
        let passwords = &self.passwords;
        let queue = &passwords.queues[passwords.hash_of(self.network) % QUEUES];
        let waiting = async {
            let first_in_queue = queue.clone().lock_owned().await;
            // A page's requests come together: the first may have answered for all.
            if self.is_user && passwords.known.has(self.tag) {
                return None;
            }
            let permit = passwords.running.clone().acquire_owned().await;
            Some((first_in_queue, permit))
        };
        let turn = match timeout(PATIENCE, waiting).await {
            Ok(None) => return Ok(()),
            Ok(Some(turn)) => turn,
            Err(_) => return Err(busy()),
        };
        let Self {
            passwords,
            hash,
            is_user,
            password,
            tag,
            challenge,
            ..
        } = self;
        let check = tokio::task::spawn_blocking(move || {
            let matches = matches(&hash, &password);
            // Held until here even if the client has gone: the work went on.
            drop(turn);
            matches
        });
        // A check that panicked has proven nothing.
        if check.await.unwrap_or(false) && is_user {
            passwords.known.add(tag);
            return Ok(());
        }
        Err(unauthorized(&challenge))
    }
}

fn matches(hash: &PasswordHash, password: &[u8]) -> bool {
    match hash {
        PasswordHash::Argon2id(text) => phc::PasswordHash::new(text)
            .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok()),
        PasswordHash::Bcrypt(text) => bcrypt::verify(password, text).unwrap_or(false),
    }
}

fn unauthorized(challenge: &HeaderValue) -> Box<Answer> {
    let mut answer = reply::boxed(StatusCode::UNAUTHORIZED);
    let headers = answer.headers_mut();
    headers.insert(header::WWW_AUTHENTICATE, challenge.clone());
    answer
}

fn busy() -> Box<Answer> {
    let mut answer = reply::boxed(StatusCode::SERVICE_UNAVAILABLE);
    let headers = answer.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from(1));
    answer
}

/// The name and password of `Authorization`, if it is there once and Basic.
fn credentials(headers: &HeaderMap) -> Option<(String, Vec<u8>)> {
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    let line = lines.next()?.to_str().ok()?;
    // SECURITY: of two lines another program might read the other one.
    if lines.next().is_some() {
        return None;
    }
    let (scheme, token) = line.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    let mut user = BASE64_STANDARD.decode(token.trim()).ok()?;
    let colon = user.iter().position(|&byte| byte == b':')?;
    let password = user.split_off(colon + 1);
    user.pop();
    Some((String::from_utf8(user).ok()?, password))
}

/// Passwords that were right, as keyed hashes in a table of fixed size; a new one takes the place of
/// whichever was there.
struct Known {
    key: hmac::Key,
    tags: Box<[[AtomicU64; 2]]>,
}

/// SECURITY: what stands for a password and the hash it belongs to. 128 bits of HMAC-SHA-256 under a
/// key that never leaves the process, so nothing of the password can be had from it, and nobody can
/// look for another password with the same tag. A reader that meets a tag being replaced sees half of
/// each of two, which is the tag of nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Tag([u64; 2]);

impl Known {
    fn new() -> Self {
        // The system's random numbers have served TLS before; without them nothing would run.
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .expect("the system has random numbers");
        Self {
            key,
            tags: (0..KNOWN).map(|_| Default::default()).collect(),
        }
    }

    fn tag(&self, hash: &PasswordHash, password: &[u8]) -> Tag {
        let (PasswordHash::Argon2id(hash) | PasswordHash::Bcrypt(hash)) = hash;
        let mut context = hmac::Context::with_key(&self.key);
        context.update(hash.as_bytes());
        // A hash has no NUL, so no other pair reads the same.
        context.update(&[0]);
        context.update(password);
        let signed = context.sign();
        let half = |at: usize| {
            let bytes = signed.as_ref()[at..at + 8].try_into();
            u64::from_ne_bytes(bytes.expect("SHA-256 has 32 bytes"))
        };
        Tag([half(0), half(8)])
    }

    fn has(&self, tag: Tag) -> bool {
        let place = self.place(tag);
        Tag([
            place[0].load(Ordering::Relaxed),
            place[1].load(Ordering::Relaxed),
        ]) == tag
    }

    fn add(&self, tag: Tag) {
        let place = self.place(tag);
        place[0].store(tag.0[0], Ordering::Relaxed);
        place[1].store(tag.0[1], Ordering::Relaxed);
    }

    fn place(&self, tag: Tag) -> &[AtomicU64; 2] {
        // The remainder is below KNOWN.
        #[allow(clippy::cast_possible_truncation)]
        let index = (tag.0[0] % KNOWN as u64) as usize;
        &self.tags[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: &str = "$2b$04$";

    fn accounts(users: &[(&str, &str)]) -> Accounts {
        let account = |(user, password): &(&str, &str)| {
            let parts = bcrypt::hash_with_salt(password, 4, [7; 16]).unwrap();
            let hash = parts.format_for_version(bcrypt::Version::TwoB);
            assert!(hash.starts_with(FAST));
            Account {
                user: (*user).to_owned(),
                hash: PasswordHash::parse(&hash).unwrap(),
            }
        };
        let accounts: Vec<_> = users.iter().map(account).collect();
        Accounts::new(&accounts, "/a\"b/", &Arc::new(Passwords::new())).unwrap()
    }

    fn headers(values: &[&str]) -> HeaderMap {
        let lines = values.iter().map(|value| {
            (
                header::AUTHORIZATION,
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            )
        });
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, value);
        }
        headers
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", BASE64_STANDARD.encode(text))
    }

    #[test]
    fn credentials_have_one_reading() {
        type Login = Option<(&'static str, &'static str)>;
        let table: &[(&[&str], Login, &str)] = &[
            (&[&basic("a:b")], Some(("a", "b")), "the usual"),
            (&[&basic("a:b:c")], Some(("a", "b:c")), "the first colon"),
            (&[&basic("a:")], Some(("a", "")), "no password"),
            (
                &[&basic("j\u{f6}rg:\u{20ac}")],
                Some(("j\u{f6}rg", "\u{20ac}")),
                "UTF-8",
            ),
            (&["bAsIc YTpi"], Some(("a", "b")), "any case"),
            (&["Bearer YTpi"], None, "another scheme"),
            (&["Basic YTpi=="], None, "not base64"),
            (&["Basic YWI="], None, "no colon"),
            (&["Basic"], None, "nothing"),
            (&[&basic("a:b"), &basic("c:d")], None, "two lines"),
            (&[], None, "no line"),
        ];
        for (lines, expected, why) in table {
            let read = credentials(&headers(lines));
            let read = read
                .as_ref()
                .map(|(user, password)| (user.as_str(), std::str::from_utf8(password).unwrap()));
            assert_eq!(read, *expected, "{why}");
        }
    }

    #[tokio::test]
    async fn who_has_signed_in_once_is_known_again() {
        let accounts = accounts(&[("alice", "secret"), ("bob", "other")]);
        let client = "203.0.113.9".parse().unwrap();
        for (login, lets_in, why) in [
            ("alice:secret", true, "right"),
            ("bob:other", true, "another user"),
            ("alice:other", false, "another user's password"),
            ("carol:secret", false, "a name that nobody has"),
            ("alice:", false, "no password"),
            ("Alice:secret", false, "names have a case"),
        ] {
            let headers = headers(&[&basic(login)]);
            let Credentials::Unknown(first) = accounts.look(client, &headers) else {
                panic!("{why}: not to be checked")
            };
            let outcome = first.verify().await;
            assert_eq!(outcome.is_ok(), lets_in, "{why}");
            let known = matches!(accounts.look(client, &headers), Credentials::Known);
            assert_eq!(known, lets_in, "{why}, the second time");
            if let Err(answer) = outcome {
                assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{why}");
                let challenge = "Basic realm=\"/a\\\"b/\", charset=\"UTF-8\"";
                assert_eq!(answer.headers()[header::WWW_AUTHENTICATE], challenge);
            }
        }
    }

    #[test]
    fn an_unknown_name_is_checked_against_a_users_hash() {
        let accounts = accounts(&[("alice", "secret"), ("bob", "other")]);
        let client = "203.0.113.9".parse().unwrap();
        let hash_of = |user: &str| match accounts.look(client, &headers(&[&basic(user)])) {
            Credentials::Unknown(login) => login.hash.clone(),
            _ => panic!("{user}"),
        };
        let mut seen = std::collections::HashSet::new();
        for index in 0..64 {
            let user = format!("nobody{index}:x");
            let PasswordHash::Bcrypt(hash) = hash_of(&user) else {
                panic!("{user}")
            };
            assert!(hash.starts_with(FAST));
            assert_eq!(
                PasswordHash::Bcrypt(hash.clone()),
                hash_of(&user),
                "always the same"
            );
            seen.insert(hash);
        }
        assert_eq!(seen.len(), 2, "all users serve");
    }

    #[tokio::test(start_paused = true)]
    async fn one_networks_guesses_wait_for_each_other_and_not_for_ever() {
        let accounts = accounts(&[("alice", "secret")]);
        let guess = |client: &str| match accounts
            .look(client.parse().unwrap(), &headers(&[&basic("alice:x")]))
        {
            Credentials::Unknown(login) => login,
            _ => panic!("known"),
        };
        let passwords = &accounts.passwords;
        let network: IpAddr = "203.0.113.9".parse().unwrap();
        let queue = passwords.hash_of(network) % QUEUES;
        let held = passwords.queues[queue].clone().lock_owned().await;
        let refused = guess("203.0.113.9").verify().await.unwrap_err();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.headers()[header::RETRY_AFTER], "1");

        let elsewhere = (1..=255)
            .map(|last| format!("198.51.100.{last}"))
            .find(|client| {
                let network: IpAddr = client.parse().unwrap();
                passwords.hash_of(network) % QUEUES != queue
            });
        let answer = guess(&elsewhere.unwrap()).verify().await.unwrap_err();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "not held up");
        drop(held);
        let answer = guess("203.0.113.9").verify().await.unwrap_err();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "its turn now");
    }
}
