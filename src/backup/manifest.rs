//! What a backup says of itself: which tables it holds, how many rows, and a checksum of each.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// The schema of PostgreSQL's own tables, of which none is backed up.
pub(super) const SYSTEM: &str = "pg_catalog";
/// Stands for all large objects.
pub(super) const LARGE_OBJECT: &str = "pg_largeobject";

/// Stands at the end of every backup, see [`archive`](super::archive).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Of the database's state: when the snapshot was taken.
    #[serde(with = "time::serde::rfc3339")]
    pub taken: OffsetDateTime,
    /// Version of the program that made it.
    pub unibody: String,
    /// Major version of the PostgreSQL it is from.
    pub postgres: u32,
    /// Version of the schema, see [`migrations`](crate::database::migrations).
    pub schema_version: i32,
    /// Sorted by schema and name; last, where there are any, large objects: `pg_catalog.pg_largeobject` with one
    /// row for each.
    pub tables: Vec<Table>,
    /// Length of `pg_dump`'s archive, which comes first.
    pub archive_bytes: u64,
    /// Of the archive, in hexadecimal.
    pub archive_sha256: String,
}

/// One table's contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Such as `public`.
    pub schema: String,
    /// Such as `notes`.
    pub name: String,
    /// How many there are.
    pub rows: u64,
    /// Of all rows, in whatever order, see [`figures`](super::figures).
    pub checksum: String,
}

impl Manifest {
    /// Rows of all tables.
    #[must_use]
    pub fn rows(&self) -> u64 {
        let tables = self.tables.iter().filter(|table| table.schema != SYSTEM);
        tables.map(|table| table.rows).sum()
    }
}

/// What of `expected` is otherwise in `found`, one line each.
pub(super) fn differences(expected: &[Table], found: &[Table]) -> Vec<String> {
    let same = |one: &Table, other: &Table| one.schema == other.schema && one.name == other.name;
    let wrong = expected.iter().filter_map(|table| {
        let (schema, name) = (&table.schema, &table.name);
        let Some(there) = found.iter().find(|other| same(table, other)) else {
            return Some(format!("{schema}.{name} is missing"));
        };
        if there.rows != table.rows {
            let (expected, found) = (table.rows, there.rows);
            return Some(format!("{schema}.{name} has {found} rows, not {expected}"));
        }
        let differs = there.checksum != table.checksum;
        differs.then(|| format!("{schema}.{name} has other contents"))
    });
    let unexpected = found.iter().filter_map(|table| {
        let known = expected.iter().any(|other| same(table, other));
        (!known).then(|| format!("{}.{} should not be there", table.schema, table.name))
    });
    wrong.chain(unexpected).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, rows: u64, checksum: &str) -> Table {
        Table {
            schema: "public".to_owned(),
            name: name.to_owned(),
            rows,
            checksum: checksum.to_owned(),
        }
    }

    #[test]
    fn every_difference_is_named() {
        let notes = || table("notes", 2, "7");
        let cases = [
            (vec![notes()], vec![notes()], vec![]),
            (
                vec![notes()],
                vec![table("notes", 1, "7")],
                vec!["public.notes has 1 rows, not 2"],
            ),
            (
                vec![notes()],
                vec![table("notes", 2, "8")],
                vec!["public.notes has other contents"],
            ),
            (
                vec![notes(), table("a", 0, "0")],
                vec![notes(), table("b", 0, "0")],
                vec!["public.a is missing", "public.b should not be there"],
            ),
        ];
        for (expected, found, lines) in cases {
            assert_eq!(differences(&expected, &found), lines);
        }
    }
}
