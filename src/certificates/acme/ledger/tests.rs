//! What a ledger remembers, and what it forgets.

use time::macros::datetime;

use super::*;

const START: OffsetDateTime = datetime!(2027-01-01 00:00 UTC);
const QUARTER: Lifetime = Lifetime {
    not_before: START,
    not_after: datetime!(2027-04-01 00:00 UTC),
};

fn eventful() -> Ledger {
    let mut ledger = Ledger::new();
    ledger.begin(START);
    ledger.issued("0A1B", QUARTER);
    ledger.begin(START + Duration::days(1));
    ledger.validation_failed(START + Duration::days(1));
    ledger.failed(
        "no \"way\"",
        START + Duration::days(1),
        Some(QUARTER),
        None,
        0.5,
    );
    ledger.proven_by = Some(ProvenBy::Http01);
    ledger
}

#[test]
fn what_is_written_reads_the_same() {
    for ledger in [Ledger::new(), eventful()] {
        assert_eq!(Ledger::parse(ledger.to_json().as_bytes()).unwrap(), ledger);
    }
}

#[test]
fn a_ledger_cut_off_anywhere_is_damaged_and_never_another_ledger() {
    let json = eventful().to_json();
    for length in 0..json.trim_end().len() {
        let cut = Ledger::parse(&json.as_bytes()[..length]);
        assert!(
            matches!(cut, Err(Unreadable::Damaged(_))),
            "cut at {length}"
        );
    }
}

#[test]
fn a_newer_ledger_is_not_misread() {
    let newer = br#"{"version":2,"attempts":{"another":"shape"}}"#;
    assert_eq!(Ledger::parse(newer), Err(Unreadable::Newer));
}

#[test]
fn issued_and_failed_are_told_apart() {
    let ledger = eventful();
    let history = ledger.history(START + Duration::days(1));
    assert_eq!(history.issued, [START]);
    assert_eq!(history.failed_validations, [START + Duration::days(1)]);
    let retry = START + Duration::days(1) + Duration::minutes(1);
    assert_eq!(history.next_attempt, Some(retry));
    assert_eq!(ledger.last_error(), Some("no \"way\""));
}

#[test]
fn one_crash_costs_nothing_and_a_crash_loop_slows_down() {
    let mut ledger = Ledger::new();
    let waits: Vec<_> = (0..4)
        .map(|_| {
            ledger.begin(START);
            let next = ledger.history(START).next_attempt;
            next.map(|next| (next - START).whole_minutes())
        })
        .collect();
    assert_eq!(waits, [None, Some(10), Some(100), Some(24 * 60)]);
    ledger.issued("01", QUARTER);
    ledger.begin(START);
    assert_eq!(ledger.history(START).next_attempt, None, "success forgives");
}

#[test]
fn a_pause_of_a_clock_that_was_ahead_is_none() {
    let mut ledger = Ledger::new();
    let (ahead, minute) = (Duration::days(3650), Duration::minutes(1));
    ledger.begin(START + ahead);
    let next = ledger.failed(
        "the CA's certificate has expired",
        START + ahead,
        None,
        None,
        0.5,
    );
    let table = [
        (next - minute, Some(next), "the clock goes on"),
        (START, None, "it was put right"),
    ];
    for (now, expected, why) in table {
        assert_eq!(ledger.history(now).next_attempt, expected, "{why}");
    }
    ledger.begin(START);
    let next = ledger.failed("no", START, None, None, 0.5);
    assert_eq!(
        ledger.history(START).next_attempt,
        Some(next),
        "a pause of now"
    );
}

#[test]
fn first_certificates_are_told_from_renewals() {
    let at = |hours| START + Duration::hours(hours);
    let mut ledger = Ledger::new();
    ledger.begin(at(0));
    ledger.validation_failed(at(0) + Duration::minutes(1));
    ledger.issued("01", QUARTER);
    ledger.begin_renewal(at(1));
    ledger.issued("02", QUARTER);
    ledger.begin(at(2));
    ledger.failed("no", at(2), None, None, 0.5);
    ledger.begin(at(3));
    let orders: Vec<_> = ledger.first_orders().collect();
    assert_eq!(orders, [at(0), at(0) + Duration::minutes(1), at(2), at(3)]);
    let table = [
        (at(3), vec![at(0), at(3)], "one runs"),
        (at(5), vec![at(0)], "and never ended"),
    ];
    for (now, expected, why) in table {
        let found: Vec<_> = ledger.first_certificates(now).collect();
        assert_eq!(found, expected, "{why}");
    }
}

#[test]
fn a_ledger_of_before_reads_as_it_was_meant() {
    let before = br#"{"version":1,"attempts":[{"at":"2027-01-01T00:00:00Z","outcome":"begun"}],
        "failures":1,"next_attempt":null,"last_error":null,"suggestion":null,"proven_by":null}"#;
    let ledger = Ledger::parse(before).unwrap();
    assert_eq!(ledger.first_orders().collect::<Vec<_>>(), [START]);
}

#[test]
fn what_no_limit_asks_for_is_forgotten() {
    let mut ledger = Ledger::new();
    for day in 0..40 {
        ledger.begin(START + Duration::days(day));
        ledger.issued("01", QUARTER);
    }
    assert_eq!(ledger.attempts().len(), 16, "of 15 days, and of today");
    let mut failing = Ledger::new();
    for day in 0..40 {
        failing.begin(START + Duration::days(day));
        failing.failed("no", START, None, None, 0.5);
    }
    assert_eq!(failing.attempts().len(), KEPT);
    let mut busy = Ledger::new();
    for minute in 0..40 {
        busy.begin(START + Duration::minutes(minute));
        busy.issued("01", QUARTER);
    }
    assert_eq!(busy.attempts().len(), 40, "all of them count still");
}

#[test]
fn certificates_of_a_day_count_towards_no_limit() {
    let mut ledger = Ledger::new();
    ledger.begin(START);
    let day = Lifetime {
        not_before: START,
        not_after: START + Duration::days(1),
    };
    ledger.issued("01", day);
    assert!(ledger.history(START).issued.is_empty());
}
