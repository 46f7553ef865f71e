//! The database: whether it is there, and whether we may use it as we must.

use anyhow::Context;

use super::count_of;
use super::finding::{Finding, Grade};
use crate::config::{Config, Secret};
use crate::database::migrations::{self, State};
use crate::database::{Database, embedded};

/// What was seen in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Facts {
    /// As it calls itself, e.g. `15.6`.
    server: String,
    /// Whether our role may make tables where ours would be.
    may_create: bool,
    /// What `database.migrate` says.
    migrates: bool,
    /// Of each migration.
    schema: Vec<State>,
    /// Connections it allows in all.
    max_connections: Option<usize>,
    /// What `database.pool_size` says.
    pool_size: usize,
}

pub(super) async fn check(config: &Config) -> Vec<Finding> {
    if config.needs_database().is_none() {
        return vec![Finding::ok(
            "database: none is needed, for no route leads to the app",
        )];
    }
    let settings = &config.database;
    if let Some(url) = &settings.url {
        return reach(config, url).await;
    }
    let mut findings = Vec::new();
    match embedded::check_programs(settings.bin_dir.as_deref()) {
        Ok(()) => findings.push(Finding::ok("database: PostgreSQL's programs are here")),
        Err(error) => findings.push(Finding::of_message(
            Grade::Fail,
            &format!("database: {error:#}"),
            "install PostgreSQL, or set database.url",
        )),
    }
    match embedded::url_of_running(&config.server.data_dir) {
        Ok(Some(url)) => findings.extend(reach(config, &url).await),
        Ok(None) => {}
        Err(error) => findings.push(Finding::of_message(
            Grade::Warn,
            &format!("database: {error:#}"),
            "run this command as the user that runs the server",
        )),
    }
    findings
}

async fn reach(config: &Config, url: &Secret) -> Vec<Finding> {
    match facts(config, url).await {
        Ok(facts) => judge(&facts),
        Err(error) => vec![Finding::of_message(
            Grade::Fail,
            &format!("database: {error:#}"),
            "check database.url, or DATABASE_URL if it is set, and that PostgreSQL runs and lets this machine in",
        )],
    }
}

fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![schema(facts)];
    // PostgreSQL keeps three for administrators, and the pool has a probe beside it.
    if let Some(allowed) = facts.max_connections
        && facts.pool_size + 4 > allowed
    {
        findings.push(Finding::warn(
            format!(
                "database: PostgreSQL allows {allowed} connections in all, and database.pool_size = {} takes as many",
                facts.pool_size
            ),
            "lower database.pool_size, or raise max_connections of PostgreSQL",
        ));
    }
    findings
}

fn schema(facts: &Facts) -> Finding {
    let count = |state| facts.schema.iter().filter(|found| **found == state).count();
    let (pending, server) = (count(State::Pending), &facts.server);
    if count(State::Unknown) > 0 {
        return Finding::fail(
            "database: a newer unibody has migrated it",
            "run the newer unibody",
        );
    }
    if count(State::Changed) > 0 {
        return Finding::fail(
            "database: a migration was applied with another text than this binary has",
            "see `unibody migrate --status`; restore the file and put the change into a new migration",
        );
    }
    if pending == 0 {
        return Finding::ok(format!(
            "database: PostgreSQL {server} answers, and the schema is current"
        ));
    }
    let pending = count_of(pending, "migration");
    if !facts.may_create {
        return Finding::fail(
            format!("database: {pending} not applied yet, and our role may not make tables"),
            "GRANT CREATE ON SCHEMA public TO the role in database.url, or migrate with another role",
        );
    }
    if !facts.migrates {
        return Finding::fail(
            format!(
                "database: {pending} not applied yet, and database.migrate is off: the app answers 503"
            ),
            "run `unibody migrate`",
        );
    }
    Finding::ok(format!(
        "database: PostgreSQL {server} answers; {pending} will be applied at the next start"
    ))
}

async fn facts(config: &Config, url: &Secret) -> anyhow::Result<Facts> {
    let settings = &config.database;
    let database = Database::open(settings, url)?;
    let client = database.client().await?;
    let query = "SELECT current_setting('server_version'), \
                 coalesce(has_schema_privilege(current_schema(), 'CREATE'), false), \
                 current_setting('max_connections')";
    let row = client
        .query_one(query, &[])
        .await
        .context("PostgreSQL refuses a simple query")?;
    let schema = migrations::status(&database).await?;
    Ok(Facts {
        server: row.get(0),
        may_create: row.get(1),
        migrates: settings.migrate,
        schema: schema
            .into_iter()
            .map(|migration| migration.state)
            .collect(),
        max_connections: row.get::<_, String>(2).parse().ok(),
        pool_size: settings.pool_size,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_judged() {
        use State::{Applied, Changed, Pending, Unknown};
        #[rustfmt::skip]
        let table: [(&[State], bool, bool, Grade, &str); 8] = [
            (&[Applied], true, true, Grade::Ok, "is current"),
            (&[Applied], false, true, Grade::Ok, "is current"),
            (&[Applied, Pending], true, true, Grade::Ok, "1 migration will be applied"),
            (&[Pending], false, true, Grade::Fail, "GRANT CREATE"),
            (&[Pending], true, false, Grade::Fail, "unibody migrate"),
            (&[Pending], false, false, Grade::Fail, "GRANT CREATE"),
            (&[Changed], true, true, Grade::Fail, "another text"),
            (&[Applied, Unknown], true, true, Grade::Fail, "newer"),
        ];
        for (schema, may_create, migrates, grade, text) in table {
            let findings = judge(&Facts {
                server: "15".into(),
                may_create,
                migrates,
                schema: schema.to_vec(),
                max_connections: Some(100),
                pool_size: 10,
            });
            assert_eq!(findings.len(), 1, "{schema:?}");
            assert_eq!(findings[0].grade, grade, "{schema:?}");
            assert!(findings[0].line(false).contains(text), "{findings:?}");
        }
    }

    #[test]
    fn the_pool_must_fit() {
        for (allowed, grades) in [
            (Some(14), &[Grade::Ok][..]),
            (Some(13), &[Grade::Ok, Grade::Warn]),
            (None, &[Grade::Ok]),
        ] {
            let findings = judge(&Facts {
                server: "15".into(),
                may_create: true,
                migrates: true,
                schema: Vec::new(),
                max_connections: allowed,
                pool_size: 10,
            });
            let found: Vec<_> = findings.iter().map(|finding| finding.grade).collect();
            assert_eq!(found, grades, "{allowed:?}");
        }
    }
}
