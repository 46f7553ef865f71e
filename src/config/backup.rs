//! `[backup]`: what the server backs up by itself, when, and where to.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::time::Duration;

use time::Time;
use time::macros::format_description;

use super::node::Node;
use super::printer::Printer;
use super::read::{
    DECADE, boolean, duration_up_to, future_directory, integer, list, string, text, unless_empty,
};
use super::reader::Section;
use super::values::print_duration;

/// `[backup]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// When one is due.
    pub schedule: Schedule,
    /// Where they go.
    pub destination: Destination,
    /// Which of those in the directory stay.
    pub keep: Keep,
    /// Whom they are encrypted for, as `age1…`; empty leaves them readable.
    pub age_recipients: Vec<String>,
    /// Whether each is restored into a scratch database and compared. Default true.
    pub verify: bool,
}

/// `backup.at` or `backup.every`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schedule {
    /// Each day at this time, UTC.
    At(Time),
    /// This long after the last one.
    Every(Duration),
}

/// `backup.directory` or `backup.command`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Files in this directory.
    Directory(PathBuf),
    /// The standard input of this command of the shell's.
    Command(String),
}

/// How many backups stay, besides all of the last 24 hours: the last one of each of so many days,
/// weeks and months that have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Default 7.
    pub daily: usize,
    /// Default 4.
    pub weekly: usize,
    /// Default 12.
    pub monthly: usize,
}

impl Keep {
    /// As `keys` has them.
    pub(super) const DEFAULT: Self = Self {
        daily: 7,
        weekly: 4,
        monthly: 12,
    };
}

/// The most backups of a kind that can be asked for.
const MOST: usize = 10_000;

/// Reads `[backup]`; `None` where no backups are asked for.
pub(super) fn backup(section: &Section<'_>) -> Option<Backup> {
    let noted = section.reader.noted.borrow().len();
    let at = section.value("at", unless_empty(text(parse_time)));
    let every = section.value("every", unless_empty(duration_up_to(DECADE)));
    let directory = section.value("directory", unless_empty(future_directory));
    let command = section.value("command", unless_empty(string));
    let keep = Keep {
        daily: section.value("keep_daily", integer(0..=MOST)),
        weekly: section.value("keep_weekly", integer(0..=MOST)),
        monthly: section.value("keep_monthly", integer(0..=MOST)),
    };
    let age_recipients = section.value("age_recipients", list(recipient));
    let verify = section.value("verify", boolean);

    let schedule = match (at, every) {
        (Some(_), Some(_)) => {
            section.note_combination_at("every", "at is set as well; keep one of them");
            None
        }
        (Some(at), None) => Some(Schedule::At(at)),
        (None, Some(every)) => Some(Schedule::Every(every)),
        (None, None) => None,
    };
    let destination = match (directory, command) {
        (Some(_), Some(_)) => {
            section.note_combination_at("command", "directory is set as well; keep one of them");
            None
        }
        (Some(directory), None) => Some(Destination::Directory(directory)),
        (None, Some(command)) => {
            if keep != Keep::DEFAULT {
                let what = "what a command has stored is not ours to remove; remove keep_daily, \
                            keep_weekly and keep_monthly, and let the storage's own rules expire backups";
                section.note_combination_at("command", what);
            }
            Some(Destination::Command(command))
        }
        (None, None) => None,
    };
    // What is wrong with one of these is said already; it is not missing.
    let is_whole = noted == section.reader.noted.borrow().len();
    if keep.daily + keep.weekly + keep.monthly == 0 {
        let what = "no backup older than a day would stay; keep at least one";
        section.note_combination_at("keep_daily", what);
    }
    match (schedule, destination) {
        (Some(schedule), Some(destination)) => Some(Backup {
            schedule,
            destination,
            keep,
            age_recipients,
            verify,
        }),
        (Some(_), None) if is_whole => {
            section.note_combination(
                "backup: nowhere to put backups; write for example directory = \"/var/backups/unibody\""
                    .to_owned(),
            );
            None
        }
        (None, Some(_)) if is_whole => {
            section.note_combination(
                "backup: no backup would ever be made; write for example at = \"03:15\" (UTC)"
                    .to_owned(),
            );
            None
        }
        _ => None,
    }
}

/// Prints it; where no backups are asked for, the defaults.
pub(super) fn print(out: &mut Printer, backup: Option<&Backup>) {
    let (mut at, mut every) = (String::new(), String::new());
    let (mut directory, mut command) = (String::new(), "");
    match backup.map(|backup| backup.schedule) {
        Some(Schedule::At(time)) => at = format!("{:02}:{:02}", time.hour(), time.minute()),
        Some(Schedule::Every(interval)) => every = print_duration(interval),
        None => {}
    }
    match backup.map(|backup| &backup.destination) {
        Some(Destination::Directory(path)) => directory = path.display().to_string(),
        Some(Destination::Command(line)) => command = line,
        None => {}
    }
    let keep = backup.map_or(Keep::DEFAULT, |backup| backup.keep);
    out.heading("[backup]");
    out.text("at", at);
    out.text("every", every);
    out.text("directory", directory);
    out.text("command", command);
    out.plain("keep_daily", keep.daily);
    out.plain("keep_weekly", keep.weekly);
    out.plain("keep_monthly", keep.monthly);
    let recipients = backup.map(|backup| backup.age_recipients.as_slice());
    out.texts("age_recipients", recipients.unwrap_or_default());
    out.plain("verify", backup.is_none_or(|backup| backup.verify));
}

fn parse_time(text: &str) -> Result<Time, &'static str> {
    Time::parse(text, format_description!("[hour]:[minute]"))
        .map_err(|_| "must be a time of the day in UTC, such as \"03:15\"")
}

/// A public key of age's. SECURITY: whoever writes the secret one must not find it in the log.
fn recipient(node: &Node<'_>) -> Option<String> {
    let text = string(node)?;
    if text.parse::<age::x25519::Recipient>().is_ok() {
        return Some(text);
    }
    if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
        node.note("that is the secret key, which must not lie here; write the public one, age1…");
    } else {
        node.wrong("is no age recipient; write one as age-keygen prints it, age1…");
    }
    None
}

impl Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(at) => write!(f, "at {:02}:{:02} UTC", at.hour(), at.minute()),
            Self::Every(every) => write!(f, "every {}", print_duration(*every)),
        }
    }
}
