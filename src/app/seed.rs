//! Sample notes, for `unibody seed`.

use anyhow::Context as _;

use super::input::NewNote;
use super::{Body, Title, store};
use crate::database::Database;

/// Title and text; repeated with a number from the second round on.
const SAMPLES: &[(&str, &str)] = &[
    (
        "Groceries",
        "Oats, lemons, black beans, coffee.\nAsk whether the bakery takes orders for Saturday.",
    ),
    (
        "Call the plumber",
        "The kitchen tap again. Mornings before nine are best.",
    ),
    (
        "Book club",
        "Next: The Left Hand of Darkness. Bring the questions from last time.",
    ),
    (
        "Trip to the coast",
        "Train at 8:12, change once. Tide tables are pinned to the fridge.",
    ),
    (
        "Release checklist",
        "Changelog, tag, image, smoke test, tell support.",
    ),
    (
        "Idea",
        "A map of every bench in town with the hour its shade begins.",
    ),
    (
        "Sourdough",
        "Feed at noon. 72 % hydration was too wet for this flour; try 68 %.",
    ),
    (
        "Reading list",
        "RFC 9110, section 13.2.2, once more and slowly.",
    ),
    ("Garden", "Garlic in by the first frost. Cover the fig."),
    (
        "Thank-you letters",
        "Inès, the neighbours, and 田中さん for the photographs.",
    ),
];

/// Inserts `count` sample notes, one after the other; calls `inserted` with their number after each.
///
/// # Errors
/// The first note that could not be inserted; those before it stay.
pub async fn seed(
    database: &Database,
    count: u64,
    mut inserted: impl FnMut(u64),
) -> anyhow::Result<()> {
    for (number, (title, body)) in (0..count).zip(SAMPLES.iter().cycle()) {
        let round = number / SAMPLES.len() as u64 + 1;
        let title = if round == 1 {
            (*title).to_owned()
        } else {
            format!("{title} ({round})")
        };
        let note = NewNote {
            title: Title::parse(&title)?,
            body: Body::parse((*body).to_owned())?,
        };
        store::insert(database, note)
            .await
            .with_context(|| format!("note {} of {count} was not inserted", number + 1))?;
        inserted(number + 1);
    }
    Ok(())
}
