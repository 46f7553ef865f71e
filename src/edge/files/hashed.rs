//! Names that carry a hash of their content, as bundlers write them: what has such a name never
//! changes, so that nobody need ask again.
//!
//! In doubt a name carries none. Then a file is revalidated, which costs a round trip; the other
//! mistake would keep an old file in browsers for a year.

/// A shorter hash would be found in too many words.
const SHORTEST: usize = 8;

/// Whether the last part of the stem of `name` can only be a hash: `app.3f9a1c2b.js`,
/// `index-BfE2x9aQ.css`, `chunk.3f9a1c2b.js.map`.
pub(super) fn is_hashed(name: &str) -> bool {
    let mut parts: Vec<&str> = name.split('.').collect();
    // The endings: what is left is the stem, which is not empty.
    while parts.len() > 1 && is_ending(parts[parts.len() - 1]) {
        parts.pop();
    }
    if parts.len() == name.split('.').count() {
        return false;
    }
    let Some(last) = parts.pop() else {
        return false;
    };
    if !parts.is_empty() && is_hash(last) {
        return true;
    }
    // Of base64url, a hash may itself have a hyphen: the longest tail that fits is it.
    let hyphens = last.match_indices('-').map(|(place, _)| place);
    let mut starts = hyphens.filter(|place| *place > 0).map(|place| place + 1);
    starts.any(|start| is_hash(&last[start..]))
}

/// `js`, `css`, `woff2`, `map`: short, and a hash is not.
fn is_ending(part: &str) -> bool {
    (1..SHORTEST - 2).contains(&part.len())
        && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && part.bytes().any(|byte| byte.is_ascii_alphabetic())
}

fn is_hash(part: &str) -> bool {
    let bytes = part.as_bytes();
    let has = |class: fn(&u8) -> bool| bytes.iter().any(class);
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    // A date or a version has no letter, a word no digit.
    bytes.len() >= SHORTEST
        && bytes.iter().all(is_word)
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_alphabetic)
        && !has_words(bytes)
}

/// Whether a part between hyphens or underscores is a word or a number of its own, as in
/// `summer-2024-draft`: a hash has none so often that what has one is taken for a name.
fn has_words(bytes: &[u8]) -> bool {
    let parts: Vec<&[u8]> = bytes.split(|byte| matches!(byte, b'-' | b'_')).collect();
    parts.len() > 1
        && parts.iter().any(|part| {
            part.len() > 2
                && (part.iter().all(u8::is_ascii_lowercase) || part.iter().all(u8::is_ascii_digit))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_nothing_else_is_a_hash() {
        let cases = [
            ("app.3f9a1c2b.js", true, "webpack"),
            ("main.8a9b0c1d2e3f4a5b6c7d.css", true, "a long one"),
            ("index-BfE2x9aQ.css", true, "Vite"),
            ("index-Bf_2x-aQ.js", true, "base64url has hyphens"),
            ("chunk.3f9a1c2b.js.map", true, "its source map"),
            ("inter-v12-latin.3f9a1c2b.woff2", true, "a hyphenated stem"),
            (
                "3f9a1c2b4d5e.js",
                false,
                "a hash alone may be an identifier of what changes",
            ),
            ("app.js", false, "none"),
            ("app.min.js", false, "none"),
            ("jquery-3.7.1.min.js", false, "a version"),
            ("report-20240131.pdf", false, "a date"),
            ("report.20240131.pdf", false, "a date"),
            ("my-component.js", false, "words"),
            (
                "my-sha256sum.js",
                true,
                "eight of letters and digits look like one",
            ),
            ("photo-summer-2024-draft.jpg", false, "words and a year"),
            ("index-DiwrgTda.js", false, "no digit: could be a word"),
            (
                "app-3f9a1c2b",
                false,
                "no ending: no file that a bundler wrote",
            ),
            ("app.3f9a1.js", false, "too short"),
            (
                ".3f9a1c2b.js",
                true,
                "no stem but a dot; such names are refused elsewhere",
            ),
            ("", false, "nothing"),
            ("-3f9a1c2b.js", false, "no stem"),
        ];
        for (name, expected, why) in cases {
            assert_eq!(is_hashed(name), expected, "{name}: {why}");
        }
    }
}
