//! `unibody doctor`: what keeps the server from working here, each with its remedy.
//!
//! Advice, not a gate: nothing is changed, and the server starts whatever the doctor says. Each file
//! gathers the facts of one family of checks and judges them in pure functions. In running order:
//! 1. [`directories`]: can we write, and will it still be there tomorrow?
//! 2. [`ports`]: can we listen, or do we already?
//! 3. [`dns`]: do the names lead here, and those of upstreams somewhere?
//! 4. [`ca`]: does the CA answer, and offer what we ask for? Its clock against ours ([`clock`]).
//! 5. [`ledger`]: may we still order?
//! 6. [`own_certificates`]: are the user's own pairs good, and for how long?
//! 7. [`database`]: is it there, and may we use it as we must?
//! 8. [`open_files`]: are there as many as connections?

mod ca;
mod clock;
mod database;
mod directories;
mod dns;
mod finding;
mod ledger;
mod open_files;
mod own_certificates;
mod ports;

use std::io::{IsTerminal, Write as _};
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use self::finding::{Finding, Grade};
use super::{Failure, Outcome};
use crate::config::{Config, TlsMode};

pub(super) const HELP: &str = "\
Changes nothing. Exit status 1 when something would surely fail, 0 otherwise, warnings or not.

Examples:
  unibody doctor
  unibody doctor --json            for programs";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// One JSON object instead of lines
    #[arg(long)]
    json: bool,
}

/// The report for programs.
#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    findings: &'a [Finding],
}

pub(super) fn run(config: Option<&Path>, arguments: &Arguments) -> Outcome {
    let config = super::load(config)?;
    let findings = super::small_runtime()?.block_on(examine(&config));
    if arguments.json {
        print_json(&findings)?;
    } else {
        print_lines(&findings)?;
    }
    if worst(&findings) == Grade::Fail {
        return Err(Failure::Reported);
    }
    Ok(())
}

async fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = directories::check(config);
    findings.extend(ports::check(config).await);
    findings.extend(dns::check(config).await);
    if config.tls.mode == TlsMode::Acme {
        findings.extend(ca::check(&config.acme).await);
        findings.extend(ledger::check(config).await);
    }
    if let TlsMode::Files(files) = &config.tls.mode {
        findings.extend(own_certificates::check(files));
    }
    findings.extend(database::check(config).await);
    findings.push(open_files::check(config));
    // SECURITY: a CA's words, a resolver's and PostgreSQL's are among them.
    let mask = &config.log.mask;
    let findings = findings.into_iter().map(|it| it.without_secrets(mask));
    findings.collect()
}

fn worst(findings: &[Finding]) -> Grade {
    let grades = findings.iter().map(|finding| finding.grade);
    grades.max().unwrap_or(Grade::Ok)
}

fn print_json(findings: &[Finding]) -> anyhow::Result<()> {
    let report = Report {
        ok: worst(findings) != Grade::Fail,
        findings,
    };
    let json = serde_json::to_string_pretty(&report).context("cannot write the report")?;
    writeln!(std::io::stdout(), "{json}").context("cannot write the report")
}

fn print_lines(findings: &[Finding]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    for finding in findings {
        writeln!(out, "{}", finding.line(colour)).context("cannot write the report")?;
    }
    writeln!(out, "{}", summary(findings)).context("cannot write the report")
}

fn summary(findings: &[Finding]) -> String {
    let count = |grade| findings.iter().filter(|found| found.grade == grade).count();
    let (failures, warnings) = (count(Grade::Fail), count(Grade::Warn));
    let verdict = match (failures, warnings) {
        (0, 0) => "everything is in order",
        (0, _) => "nothing will surely fail",
        _ => "something will surely fail",
    };
    let counted = [
        count_of(findings.len(), "check"),
        count_of(warnings, "warning"),
        count_of(failures, "failure"),
    ];
    format!("{verdict}: {}", counted.join(", "))
}

/// `1 check`, `2 checks`.
fn count_of(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_decides() {
        let (ok, warn, fail) = (
            Finding::ok("a"),
            Finding::warn("b", "c"),
            Finding::fail("d", "e"),
        );
        let table = [
            (
                vec![],
                Grade::Ok,
                "everything is in order: 0 checks, 0 warnings, 0 failures",
            ),
            (
                vec![ok.clone()],
                Grade::Ok,
                "everything is in order: 1 check, 0 warnings, 0 failures",
            ),
            (
                vec![ok.clone(), warn.clone()],
                Grade::Warn,
                "nothing will surely fail: 2 checks, 1 warning, 0 failures",
            ),
            (
                vec![fail, warn, ok],
                Grade::Fail,
                "something will surely fail: 3 checks, 1 warning, 1 failure",
            ),
        ];
        for (findings, grade, text) in table {
            assert_eq!(worst(&findings), grade, "{text}");
            let summary = summary(&findings);
            assert_eq!(summary, text);
        }
    }
}
