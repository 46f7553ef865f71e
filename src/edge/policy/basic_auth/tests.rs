//! Signing in, in every way that is wrong and the one that is right.

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
        let known = matches!(accounts.look(client, &headers), Credentials::Known(_));
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
