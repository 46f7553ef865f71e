//! When to order: tables, and what must hold whatever the numbers.

use proptest::prelude::*;
use time::macros::datetime;

use super::*;

const START: OffsetDateTime = datetime!(2027-01-01 00:00 UTC);

fn lifetime(length: Duration) -> Lifetime {
    Lifetime {
        not_before: START,
        not_after: START + length,
    }
}

fn situation(certificate: Option<Lifetime>, history: &History) -> Situation<'_> {
    Situation {
        certificate,
        suggested: None,
        history,
        neighbours: None,
        ca: Ca::Other,
        challenges: 2,
        wish: Wish::None,
    }
}

#[test]
fn lifetimes_and_windows_say_when() {
    use Decision::{Order, Wait};
    let (d, h, s) = (Duration::days(1), Duration::hours(1), Duration::seconds(1));
    let table = [
        (
            90 * d,
            None,
            59 * d,
            Wait(START + 60 * d),
            "a third of 90 days is left at day 60",
        ),
        (90 * d, None, 60 * d, Order(Reason::Due), "from then on"),
        (
            45 * d,
            None,
            30 * d,
            Order(Reason::Due),
            "the same third of 45 days",
        ),
        (
            160 * h,
            None,
            79 * h,
            Wait(START + 80 * h),
            "under 10 days: half",
        ),
        (
            160 * h,
            None,
            80 * h,
            Order(Reason::Due),
            "half of 160 hours",
        ),
        (
            90 * d,
            Some(70 * d),
            69 * d,
            Wait(START + 70 * d),
            "the CA suggests later than a third",
        ),
        (
            90 * d,
            Some(70 * d),
            70 * d,
            Order(Reason::Suggested),
            "its moment has come",
        ),
        (
            90 * d,
            Some(d),
            2 * d,
            Order(Reason::Suggested),
            "early: it will be revoked",
        ),
        (
            100 * d,
            Some(99 * d),
            95 * d - s,
            Wait(START + 95 * d),
            "a suggestion too late",
        ),
        (
            100 * d,
            Some(99 * d),
            95 * d,
            Order(Reason::Emergency),
            "does not win over a twentieth",
        ),
        (
            100 * d,
            Some(200 * d),
            100 * d,
            Order(Reason::Expired),
            "nor over the end",
        ),
        (
            75 * s,
            None,
            37 * s,
            Wait(START + 37 * s + s / 2),
            "seconds work like days",
        ),
    ];
    for (length, suggested, now, expected, why) in table {
        let history = History::default();
        let situation = Situation {
            suggested: suggested.map(|at| START + at),
            ..situation(Some(lifetime(length)), &history)
        };
        assert_eq!(decide(START + now, &situation), expected, "{why}");
    }
}

#[test]
fn what_was_before_delays() {
    use Decision::{Order, Refuse, Wait};
    let (d, m) = (Duration::days(1), Duration::minutes(1));
    let at = |offset: Duration| START + offset;
    let history = |next: Option<Duration>, issued: &[Duration], failed: &[Duration]| History {
        next_attempt: next.map(at),
        issued: issued.iter().copied().map(at).collect(),
        failed_validations: failed.iter().copied().map(at).collect(),
    };
    let h = Duration::hours(1);
    let four = [-h; 4];
    let back = Duration::days(7) / 5 - h;
    let table = [
        (
            history(None, &[], &[]),
            Wish::None,
            Order(Reason::Missing),
            "nothing was",
        ),
        (
            history(Some(5 * m), &[], &[]),
            Wish::None,
            Wait(at(5 * m)),
            "back-off",
        ),
        (
            history(Some(-m), &[], &[]),
            Wish::None,
            Order(Reason::Missing),
            "back-off is over",
        ),
        (
            history(Some(5 * m), &[], &[]),
            Wish::Renew,
            Order(Reason::Wished),
            "a person may be impatient",
        ),
        (
            history(None, &four[1..], &[]),
            Wish::None,
            Order(Reason::Missing),
            "the fourth",
        ),
        (
            history(None, &four, &[]),
            Wish::None,
            Refuse(Limit::SameNames, at(back)),
            "the fifth",
        ),
        (
            history(None, &four, &[]),
            Wish::Renew,
            Refuse(Limit::SameNames, at(back)),
            "even if wished",
        ),
        (
            history(None, &four, &[]),
            Wish::Force,
            Order(Reason::Wished),
            "unless forced",
        ),
        (
            history(None, &[-2 * d, -h, -h, -h], &[]),
            Wish::None,
            Order(Reason::Missing),
            "one of five comes back every 34 hours",
        ),
        (
            history(None, &[d, d, d, d], &[]),
            Wish::None,
            Order(Reason::Missing),
            "times to come are a clock's mistake",
        ),
        (
            history(None, &[], &[-9 * m, -8 * m, -m]),
            Wish::None,
            Order(Reason::Missing),
            "3 + 2 failures are allowed",
        ),
        (
            history(None, &[], &[-m; 4]),
            Wish::None,
            Refuse(Limit::FailedValidations, at(11 * m)),
            "6 in an hour are not",
        ),
    ];
    for (history, wish, expected, why) in table {
        let situation = Situation {
            wish,
            ..situation(None, &history)
        };
        assert_eq!(decide(START, &situation), expected, "{why}");
    }
}

#[test]
fn a_renewal_that_the_ca_suggests_is_exempt() {
    let history = History {
        issued: vec![START; 4],
        ..History::default()
    };
    let situation = Situation {
        suggested: Some(START + Duration::days(2)),
        ..situation(Some(lifetime(Duration::days(90))), &history)
    };
    let now = START + Duration::days(3);
    assert_eq!(decide(now, &situation), Decision::Order(Reason::Suggested));
}

#[test]
fn a_ca_that_suggests_to_renew_each_new_certificate_is_not_followed_for_ever() {
    let table = [
        (
            1,
            Duration::hours(1),
            true,
            "once: there may have been an incident",
        ),
        (
            4,
            Duration::hours(1),
            false,
            "again and again: some clock is wrong",
        ),
        (4, Duration::hours(25), true, "that was yesterday"),
    ];
    for (issued, since, is_ordered, why) in table {
        let history = History {
            issued: vec![START; issued],
            ..History::default()
        };
        let situation = Situation {
            suggested: Some(START - Duration::days(1)),
            ..situation(Some(lifetime(Duration::days(90))), &history)
        };
        let ordered = decide(START + since, &situation) == Decision::Order(Reason::Suggested);
        assert_eq!(ordered, is_ordered, "{why}");
    }
}

#[test]
fn failures_back_off() {
    let (m, d) = (Duration::minutes(1), Duration::days(1));
    let asked = |seconds| Some(StdDuration::from_secs(seconds));
    let table = [
        (1, None, None, m, "the first: a minute"),
        (2, None, None, 10 * m, "the second"),
        (3, None, None, 100 * m, "the third"),
        (4, None, None, d, "then daily"),
        (99, None, None, d, "for ever"),
        (1, None, asked(7200), 120 * m, "the CA asks for more"),
        (4, None, asked(30), m / 2, "or for less"),
        (
            4,
            Some(m),
            asked(7200),
            120 * m,
            "and wins over the end of validity",
        ),
        (4, Some(10 * d), None, d, "ten days are left"),
        (4, Some(d), None, d / 2, "half of what is left"),
        (
            3,
            Some(-d),
            None,
            100 * m,
            "expired: nothing is left to lose",
        ),
        (1, None, asked(u64::MAX), m, "nonsense is no instruction"),
    ];
    for (failures, left, retry_after, expected, why) in table {
        let certificate = left.map(|left| Lifetime {
            not_before: START - 90 * d,
            not_after: START + left,
        });
        let next = retry_at(START, failures, certificate, retry_after, 0.5);
        assert_eq!(next - START, expected, "{why}");
    }
    assert_eq!(
        retry_at(START, 1, None, None, 0.0) - START,
        Duration::seconds(45)
    );
    assert_eq!(
        retry_at(START, 1, None, None, 1.0) - START,
        Duration::seconds(75)
    );
}

#[test]
fn somebody_is_told_of_an_end_that_nobody_prevents() {
    let d = Duration::days(1);
    let wait = Decision::Wait(START + 89 * d);
    let refuse = Decision::Refuse(Limit::SameNames, START + 89 * d);
    let table = [
        (60 * d, wait, false, "a third is left"),
        (60 * d + Duration::SECOND, wait, true, "less is left"),
        (61 * d, refuse, true, "and a limit is in the way"),
        (
            61 * d,
            Decision::Order(Reason::Due),
            false,
            "about to be replaced",
        ),
        (91 * d, wait, true, "over"),
        (-d, wait, false, "not valid yet"),
    ];
    for (now, decision, expected, why) in table {
        let found = is_expiring(START + now, lifetime(90 * d), decision);
        assert_eq!(found, expected, "{why}");
    }
}

#[test]
fn only_long_certificates_count_towards_the_limit() {
    let table = [
        (90 * 24, true),
        (160, true),
        (84, true),
        (83, false),
        (24, false),
    ];
    for (hours, counts) in table {
        let lifetime = lifetime(Duration::hours(hours));
        assert_eq!(lifetime.counts(), counts, "{hours} hours");
    }
}

proptest! {
    #[test]
    fn nothing_waits_for_longer_than_the_certificate_lives(
        seconds in 2_i64..400 * 86_400,
        suggested in proptest::option::of(-1000_i64..800 * 86_400),
        part in 0.0..1.0_f64,
        failures in 0_usize..20,
        random in 0.0..=1.0_f64,
    ) {
        let certificate = lifetime(Duration::seconds(seconds));
        let now = START + certificate.length() * part;
        let history = History {
            next_attempt: (failures > 0)
                .then(|| retry_at(now, failures, Some(certificate), None, random)),
            ..History::default()
        };
        let situation = Situation {
            suggested: suggested.map(|at| START + Duration::seconds(at)),
            ..situation(Some(certificate), &history)
        };
        match decide(now, &situation) {
            Decision::Wait(until) => {
                prop_assert!(until > now);
                prop_assert!(until <= certificate.not_after);
            }
            Decision::Order(_) => {}
            refused @ Decision::Refuse(..) => prop_assert!(false, "{refused:?}"),
        }
    }

    #[test]
    fn what_is_due_stays_due(
        seconds in 2_i64..400 * 86_400,
        part in 0.0..1.0_f64,
        later in 0_i64..86_400 * 365,
    ) {
        let certificate = lifetime(Duration::seconds(seconds));
        let history = History::default();
        let situation = situation(Some(certificate), &history);
        let now = START + certificate.length() * part;
        if matches!(decide(now, &situation), Decision::Order(_)) {
            let later = now + Duration::seconds(later);
            prop_assert!(matches!(decide(later, &situation), Decision::Order(_)));
        }
    }
}

/// A long-lived certificate's neighbours: forty-five first certificates in its domain, or hundreds of orders.
#[test]
fn what_was_ordered_for_other_names_delays_first_certificates() {
    use Decision::{Order, Refuse};
    let (d, m) = (Duration::days(1), Duration::minutes(1));
    let history = History::default();
    let crowd = |in_domain: usize, orders: usize| Neighbours {
        in_domain: vec![START; in_domain],
        orders: vec![START; orders],
    };
    let old = Some(Lifetime {
        not_before: START - 80 * d,
        not_after: START + 10 * d,
    });
    let next = START + Duration::days(7) / 50;
    let le = Ca::LetsEncrypt;
    let table = [
        (
            crowd(44, 0),
            None,
            le,
            Wish::None,
            Order(Reason::Missing),
            "room",
        ),
        (
            crowd(45, 0),
            None,
            le,
            Wish::None,
            Refuse(Limit::Domain, next),
            "full",
        ),
        (
            crowd(45, 0),
            None,
            le,
            Wish::Renew,
            Refuse(Limit::Domain, next),
            "even if wished",
        ),
        (
            crowd(45, 0),
            None,
            le,
            Wish::Force,
            Order(Reason::Wished),
            "unless forced",
        ),
        (
            crowd(45, 0),
            old,
            le,
            Wish::None,
            Order(Reason::Due),
            "renewals are not counted",
        ),
        (
            crowd(45, 0),
            None,
            Ca::Other,
            Wish::None,
            Order(Reason::Missing),
            "another CA",
        ),
        (
            crowd(0, 278),
            None,
            le,
            Wish::None,
            Order(Reason::Missing),
            "room for two orders",
        ),
        (
            crowd(0, 279),
            None,
            le,
            Wish::None,
            Refuse(Limit::Orders, START + m * 3 / 5),
            "and not for two",
        ),
        (
            crowd(45, 299),
            None,
            le,
            Wish::None,
            Refuse(Limit::Domain, next),
            "the limit that lasts longer is told",
        ),
    ];
    for (neighbours, certificate, ca, wish, expected, why) in table {
        let situation = Situation {
            neighbours: Some(&neighbours),
            ca,
            wish,
            ..situation(certificate, &history)
        };
        assert_eq!(decide(START, &situation), expected, "{why}");
    }
}
