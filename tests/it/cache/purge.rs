//! What the owner has forgotten is not said again.

use std::thread;

use serde_json::{Value, json};
use unibody::edge::cache::{Purge, PurgedPath};

use super::origin::Gate;
use super::{Answer, Origin, get, outcome, talk};
use crate::support::edge::Edge;
use crate::support::server::Setup;
use crate::support::upstream::Upstream;

fn purge(edge: &Edge, host: Option<&str>, path: PurgedPath) -> usize {
    let host = host.map(str::to_owned);
    edge.figures().cached_answers().purge(&Purge { host, path })
}

#[test]
fn what_is_meant_goes_and_the_rest_stays() {
    let exactly = |path: &str| PurgedPath::Exactly(path.to_owned());
    let prefix = |path: &str| PurgedPath::Prefix(path.to_owned());
    let paths = ["/t/a", "/t/a?x", "/t/b/c", "/t/b/d"];
    for (host, path, gone) in [
        (None, exactly("/t/a"), &[0][..]),
        (Some("localhost"), exactly("/t/a?x"), &[1]),
        (Some("LOCALHOST:99"), prefix("/t/a"), &[0, 1]),
        (None, prefix("/t/b/"), &[2, 3]),
        (Some("other.test"), PurgedPath::Any, &[]),
        (None, exactly("/t"), &[]),
        (None, PurgedPath::Any, &[0, 1, 2, 3]),
    ] {
        let origin = Origin::start();
        let edge = origin.edge("", "");
        for path in paths {
            origin.say(path, [Answer::new("200", "x")]);
            // Ready at the door by then.
            assert_eq!(outcome(&talk(&edge, path, "")[4]), "hit");
        }
        assert_eq!(purge(&edge, host, path.clone()), gone.len(), "{path:?}");
        for (number, each) in paths.iter().enumerate() {
            let expected = if gone.contains(&number) {
                "miss"
            } else {
                "hit"
            };
            assert_eq!(outcome(&get(&edge, each)), expected, "{path:?}: {each}");
        }
    }
}

#[test]
fn what_was_asked_for_before_does_not_come_back() {
    let origin = Origin::start();
    let edge = origin.edge("", "");
    let gate = Gate::default();
    origin.say(
        "/t/x",
        [
            Answer::new("200", "old").behind(&gate),
            Answer::new("200", "new"),
        ],
    );
    thread::scope(|scope| {
        let old = scope.spawn(|| get(&edge, "/t/x"));
        origin.wait_for("/t/x", 1);
        assert_eq!(purge(&edge, None, PurgedPath::Any), 0);
        gate.open();
        assert_eq!(old.join().unwrap().text(), "old");
    });
    assert_eq!(get(&edge, "/t/x").text(), "new");
    assert_eq!(outcome(&get(&edge, "/t/x")), "hit");
}

#[tokio::test]
async fn the_admin_listener_and_the_command_purge() {
    let upstream = Upstream::saying("hello");
    let server = Setup::new()
        .plain()
        .admin()
        .config(&upstream.table(""))
        .config("[[route]]\npath = \"/\"\nupstream = \"backend\"\ncache = { ttl = \"1m\" }")
        .start();
    let client = reqwest::Client::new();
    let fill = async || {
        for path in ["/a", "/b", "/b/c"] {
            let url = format!("http://{}{path}", server.http.unwrap());
            client.get(url).send().await.unwrap();
        }
    };
    let url = format!("http://{}/cache/purge", server.admin.unwrap());
    for (wanted, status, purged) in [
        (json!({"path": "/a"}), 200, json!(1)),
        (json!({"host": "127.0.0.1", "prefix": "/b"}), 200, json!(2)),
        (json!({"host": "a.test", "prefix": "/b"}), 200, json!(0)),
        (json!({"all": true}), 200, json!(3)),
        (json!({}), 400, Value::Null),
        (json!({"path": "/a", "all": true}), 400, Value::Null),
        (json!({"paths": "/a"}), 422, Value::Null),
    ] {
        fill().await;
        let answer = client.post(&url).json(&wanted).send().await.unwrap();
        assert_eq!(answer.status(), status, "{wanted}");
        let body: Value = answer.json().await.unwrap_or_default();
        assert_eq!(body["purged"], purged, "{wanted}");
    }
    for (arguments, status, said) in [
        (&["http://127.0.0.1/b"][..], 0, "1 purged\n"),
        (&["--prefix", "/b"], 0, "2 purged\n"),
        (&["--all"], 0, "3 purged\n"),
        (&["b"], 1, ""),
        (&[], 2, ""),
        (&["/b", "--all"], 2, ""),
    ] {
        fill().await;
        let mut all = vec!["purge"];
        all.extend_from_slice(arguments);
        let done = server.ask(&all);
        let seen = (done.status.code(), String::from_utf8_lossy(&done.stdout));
        assert_eq!(
            seen,
            (Some(status), said.into()),
            "{arguments:?}: {done:#?}"
        );
    }
}
