//! The CA: whether it answers, and whether it offers what the configuration asks for.

use std::time::{Duration, SystemTime};

use tokio::time::timeout;

use super::clock;
use super::finding::{Finding, Grade};
use crate::certificates::acme::inspect::{self, Ca};
use crate::config::Acme;

/// A CA that takes longer is as good as none to somebody who waits for this report.
const PATIENCE: Duration = Duration::from_secs(15);

pub(super) async fn check(acme: &Acme) -> Vec<Finding> {
    let looked = timeout(PATIENCE, inspect::ca(acme)).await;
    let ours = SystemTime::now();
    match looked {
        Ok(Ok(ca)) => {
            let clock = ca.clock.map(|theirs| clock::judge(ours, theirs, &ca.host));
            judge(acme, &ca).into_iter().chain(clock).collect()
        }
        Ok(Err(error)) => vec![unreachable(&format!("{error:#}"))],
        Err(_) => {
            let seconds = PATIENCE.as_secs();
            vec![unreachable(&format!(
                "{} did not answer within {seconds} s",
                acme.directory
            ))]
        }
    }
}

fn unreachable(why: &str) -> Finding {
    Finding::of_message(
        Grade::Fail,
        &format!("certificate authority: {why}"),
        "let this machine reach acme.directory (network, firewall, name resolution, clock, acme.ca_file)",
    )
}

fn judge(acme: &Acme, ca: &Ca) -> Vec<Finding> {
    let answers = Finding::ok(format!(
        "certificate authority: {} answers, and offers {}",
        ca.host,
        ca.offered()
    ));
    let unmet = inspect::unmet(acme, ca).into_iter().map(|unmet| {
        let message = format!("certificate authority: {unmet}");
        Finding::of_message(Grade::Fail, &message, "see what it offers")
    });
    std::iter::once(answers).chain(unmet).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, Eab, Secret};

    #[test]
    fn what_is_asked_for_must_be_offered() {
        let eab = Eab {
            kid: "1".into(),
            hmac_key: Secret::new("k".into()),
        };
        let table = [
            (None, None, false, &[][..], "the usual"),
            (Some("shortlived"), None, false, &[][..], "offered"),
            (Some("longlived"), None, false, &["no profile"][..], "not"),
            (None, None, true, &["known customers"][..], "a stranger"),
            (None, Some(eab), true, &[][..], "a customer"),
            (
                Some("x"),
                None,
                true,
                &["no profile", "known customers"][..],
                "both",
            ),
        ];
        for (profile, eab, external_account_required, wrong, why) in table {
            let acme = Acme {
                profile: profile.map(str::to_owned),
                eab,
                ..Config::default_for(Path::new("/")).acme
            };
            let ca = Ca {
                host: "ca.test".into(),
                profiles: vec!["classic".into(), "shortlived".into()],
                external_account_required,
                clock: None,
            };
            let findings = judge(&acme, &ca);
            assert_eq!(findings[0].grade, Grade::Ok, "{why}");
            assert_eq!(findings.len(), wrong.len() + 1, "{why}");
            for (finding, text) in findings[1..].iter().zip(wrong) {
                assert_eq!(finding.grade, Grade::Fail, "{why}");
                assert!(finding.what.contains(text), "{why}: {}", finding.what);
            }
        }
    }
}
