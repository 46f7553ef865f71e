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

mod known;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::{PasswordVerifier, phc};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;

use self::known::{Known, Tag};
use crate::config::{Account, PasswordHash};
use crate::edge::client_address::network_key;
use crate::edge::reply::{self, Answer};

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
    user: String,
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
    /// This user has signed in before.
    Known(String),
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
            return Credentials::Known(user);
        }
        Credentials::Unknown(Box::new(Login {
            passwords: self.passwords.clone(),
            user,
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
    /// Checks the password, once it is its turn; the user who has signed in by it.
    ///
    /// # Errors
    /// The answer: 401 for a wrong one, 503 where too many wait.
    pub(crate) async fn verify(self) -> Result<String, Box<Answer>> {
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
            Ok(None) => return Ok(self.user),
            Ok(Some(turn)) => turn,
            Err(_) => return Err(busy()),
        };
        let Self {
            passwords,
            user,
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
            return Ok(user);
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
