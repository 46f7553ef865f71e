//! What `pg_restore` prints, in pieces that a connection can be given.
//!
//! `pg_restore` writes for `psql`: commands of psql's own (`\restrict`), and rows in the midst of
//! statements. Rows are in the section called "data" alone, which has nothing but `COPY`, sequences'
//! values and large objects; so a function's text that looks like `COPY` leads nobody astray.

use anyhow::bail;

/// Bytes of statements that are worth a round trip: large objects come as statements.
const BATCH: usize = 256 * 1024;

/// The statements of a section without rows, as one text; `server` is the major version they are for.
pub(super) fn statements(section: &str, server: u32) -> String {
    let mut kept = String::with_capacity(section.len());
    let mut word: Option<&str> = None;
    for line in section.split_inclusive('\n') {
        let bare = line.trim_end();
        // With a random word that the dump cannot know, so no text of the dump ends it.
        if word.is_none() && bare.starts_with("\\restrict ") {
            word = bare.split_once(' ').map(|(_, word)| word);
            continue;
        }
        if word.is_some() && bare.strip_prefix("\\unrestrict ") == word {
            continue;
        }
        if is_unknown(bare, server) {
            continue;
        }
        kept.push_str(line);
    }
    kept
}

/// A setting that newer programs set for servers that don't have it.
fn is_unknown(line: &str, server: u32) -> bool {
    line == "SET transaction_timeout = 0;" && server < 17
}

/// Takes the section "data" apart, line by line.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    server: u32,
    pending: String,
    copying: bool,
}

/// What a line leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing yet.
    Wait,
    /// These statements are to be run.
    Run(String),
    /// These statements, then this `COPY`, whose rows follow.
    Copy {
        /// May be empty.
        before: String,
        /// The statement.
        copy: String,
    },
    /// The line is a row of the last `COPY`.
    Row,
    /// The rows are over.
    End,
}

impl Splitter {
    pub(super) fn new(server: u32) -> Self {
        Self {
            server,
            ..Self::default()
        }
    }

    /// The next line, with its line break.
    ///
    /// # Errors
    /// A dump that was made otherwise than ours are.
    pub(super) fn line(&mut self, line: &[u8]) -> anyhow::Result<Step> {
        if self.copying {
            if line != b"\\.\n" {
                return Ok(Step::Row);
            }
            self.copying = false;
            return Ok(Step::End);
        }
        let Ok(text) = std::str::from_utf8(line) else {
            bail!("the dump is not in UTF-8: make it with pg_dump --encoding=UTF8");
        };
        let bare = text.trim_end();
        if bare.starts_with("COPY ") && bare.ends_with(" FROM stdin;") {
            self.copying = true;
            return Ok(Step::Copy {
                before: std::mem::take(&mut self.pending),
                copy: bare.to_owned(),
            });
        }
        if bare.starts_with("INSERT INTO ") {
            bail!(
                "the dump was made with pg_dump --inserts, whose rows can't be told from statements: \
                 restore it with pg_restore"
            );
        }
        // Around large objects; we have a transaction already.
        let is_ours = ["BEGIN;", "COMMIT;", ""].contains(&bare);
        let is_psqls = bare.starts_with("\\restrict ") || bare.starts_with("\\unrestrict ");
        if is_ours || is_psqls || bare.starts_with("--") || is_unknown(bare, self.server) {
            return Ok(Step::Wait);
        }
        self.pending.push_str(text);
        if self.pending.len() >= BATCH && bare.ends_with(';') {
            return Ok(Step::Run(std::mem::take(&mut self.pending)));
        }
        Ok(Step::Wait)
    }

    /// What is left at the end.
    pub(super) fn finish(self) -> anyhow::Result<String> {
        if self.copying {
            bail!("the dump ends in the midst of a table");
        }
        Ok(self.pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_psql_are_left_out_and_only_those() {
        let section = "\\restrict w0rd\nSET transaction_timeout = 0;\nSELECT '\n\\restrict x\n\
                       \\unrestrict x\n';\n\\unrestrict w0rd\n";
        let kept = statements(section, 16);
        assert_eq!(kept, "SELECT '\n\\restrict x\n\\unrestrict x\n';\n");
        assert!(statements(section, 17).starts_with("SET transaction_timeout"));
    }

    #[test]
    fn rows_are_told_from_statements() {
        let section = "\\restrict w\n\n-- Data\nSET a = 1;\n\
                       COPY public.notes (id) FROM stdin;\n1\n\\\\.\nCOPY x FROM stdin;\n\\.\n\
                       BEGIN;\nSELECT pg_catalog.setval('s', 1);\nCOMMIT;\n\
                       COPY public.empty (id) FROM stdin;\n\\.\n\\unrestrict w\nSELECT 2;\n";
        let mut splitter = Splitter::new(15);
        let mut steps = Vec::new();
        for line in section.split_inclusive('\n') {
            match splitter.line(line.as_bytes()).unwrap() {
                Step::Wait => {}
                step => steps.push(step),
            }
        }
        let expected = [
            Step::Copy {
                before: "SET a = 1;\n".to_owned(),
                copy: "COPY public.notes (id) FROM stdin;".to_owned(),
            },
            Step::Row,
            Step::Row,
            Step::Row,
            Step::End,
            Step::Copy {
                before: "SELECT pg_catalog.setval('s', 1);\n".to_owned(),
                copy: "COPY public.empty (id) FROM stdin;".to_owned(),
            },
            Step::End,
        ];
        assert_eq!(steps, expected);
        assert_eq!(splitter.finish().unwrap(), "SELECT 2;\n");
    }

    #[test]
    fn what_cannot_be_taken_apart_is_refused() {
        let mut splitter = Splitter::new(15);
        assert!(splitter.line(b"INSERT INTO a VALUES ('\n").is_err());
        assert!(splitter.line(b"SELECT '\xff';\n").is_err());
        splitter.line(b"COPY a FROM stdin;\n").unwrap();
        assert!(splitter.finish().is_err(), "cut off among the rows");
    }
}
