//! What is found again, and what has to go.

use std::sync::Arc;

use http::Version;

use super::{answer, question, recorded};
use crate::edge::freshness::Freshness;
use crate::edge::ready::table::{Sought, Table};
use crate::edge::ready::{Question, Tape};

/// What the table says to `question`.
#[derive(Debug, PartialEq)]
enum Said {
    Found,
    /// It isn't there, and what is written now would be kept, or not.
    Missing(bool),
    Never,
}

fn seek(table: &Arc<Table>, question: &Question<&[u8]>) -> (Said, Option<Tape>) {
    match table.seek(question, |_| Some(())) {
        Sought::Found(()) => (Said::Found, None),
        Sought::Missing(tape) => (Said::Missing(tape.records()), Some(tape)),
        Sought::Never => (Said::Never, None),
    }
}

/// Asks for `target` and has it answered; says what was found before.
fn ask(table: &Arc<Table>, target: &str, freshness: &Freshness) -> Said {
    let (said, tape) = seek(table, &question(target));
    if let Some(mut tape) = tape {
        tape.begin(table, freshness, super::ID, super::cells());
        tape.take(answer("").as_bytes());
        tape.complete(5);
        tape.keep();
    }
    said
}

#[test]
fn an_answer_is_kept_from_the_second_time_until_its_freshness_ends() {
    let table = Arc::new(Table::new(1 << 20));
    let freshness = Freshness::until_ended();
    assert_eq!(ask(&table, "/", &freshness), Said::Missing(false));
    assert_eq!(ask(&table, "/", &freshness), Said::Missing(true));
    assert_eq!(ask(&table, "/", &freshness), Said::Found);
    freshness.end();
    let next = Freshness::until_ended();
    assert_eq!(
        ask(&table, "/", &next),
        Said::Missing(true),
        "known to be wanted"
    );
    assert_eq!(ask(&table, "/", &next), Said::Found);
}

#[test]
fn whatever_differs_in_a_question_makes_another() {
    let table = Arc::new(Table::new(1 << 20));
    let freshness = Freshness::until_ended();
    for _ in 0..2 {
        ask(&table, "/", &freshness);
    }
    let found = |change: &dyn Fn(&mut Question<&[u8]>)| {
        let mut question = question("/");
        change(&mut question);
        seek(&table, &question).0 == Said::Found
    };
    assert!(found(&|_| ()));
    assert!(!found(&|question| question.shape.is_head = true));
    assert!(!found(&|question| question.shape.version = Version::HTTP_2));
    assert!(!found(&|question| question.shape.is_https = true));
    assert!(!found(&|question| question.shape.has_cookies = true));
    assert!(!found(&|question| question.shape.asks_for_fresh = true));
    assert!(!found(&|question| question.host = b"b.test"));
    assert!(!found(&|question| question.target = b"/?"));
    assert!(!found(&|question| question.none_match = Some(b"*")));
    assert!(!found(&|question| question.modified_since = Some(b"")));
}

#[test]
fn an_answer_of_another_configuration_is_not_kept() {
    let (table, other) = (Arc::new(Table::new(1 << 20)), Arc::new(Table::new(1 << 20)));
    let freshness = Freshness::until_ended();
    ask(&table, "/", &freshness);
    let (_, tape) = seek(&table, &question("/"));
    let mut tape = tape.unwrap();
    tape.begin(&other, &freshness, super::ID, super::cells());
    tape.take(answer("").as_bytes());
    tape.complete(5);
    tape.keep();
    assert_eq!(seek(&table, &question("/")).0, Said::Missing(true));
    assert_eq!(seek(&other, &question("/")).0, Said::Missing(false));
}

#[test]
fn long_questions_are_left_to_the_normal_way() {
    let table = Arc::new(Table::new(1 << 20));
    let long = format!("/{}", "a".repeat(4000));
    assert_eq!(seek(&table, &question(&long)).0, Said::Never);
}

#[test]
fn what_is_used_outlives_what_is_not() {
    let max_bytes = 100_000;
    let table = Arc::new(Table::new(max_bytes));
    let freshness = Freshness::until_ended();
    for number in 0..2000 {
        for _ in 0..2 {
            ask(&table, &format!("/{number}"), &freshness);
        }
        assert!(table.bytes() <= max_bytes);
        let said = ask(&table, "/used", &freshness);
        assert!(number < 2 || said == Said::Found, "{number}: {said:?}");
    }
    assert!(table.bytes() > max_bytes / 2, "{}", table.bytes());
    let last = question("/1999");
    assert_eq!(
        seek(&table, &last).0,
        Said::Found,
        "the newest has its chance"
    );
}

#[test]
fn a_full_set_lets_go_of_one_that_is_not_used() {
    let table = Arc::new(Table::new(1 << 20));
    let freshness = Freshness::until_ended();
    // All in one set.
    for number in 0..100 {
        let recording = recorded(7, &format!("/{number}"), &answer(""), &freshness);
        table.keep(recording.unwrap());
    }
    let one = recorded(7, "/", &answer(""), &freshness).unwrap().size();
    assert!(table.bytes() <= 9 * one, "{} bytes", table.bytes());
}
