//! The media type of a file, from the extension of its name.

use std::path::Path;

use http::HeaderValue;

/// What the registry behind `mime_guess` lacks, has under an outdated name, or must not get a charset for.
const OURS: &[(&str, &str)] = &[
    ("avif", "image/avif"),
    ("cjs", "text/javascript; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("htm", "text/html; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("m4a", "audio/mp4"),
    ("map", "application/json"),
    ("md", "text/markdown; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("otf", "font/otf"),
    ("svg", "image/svg+xml"),
    ("toml", "application/toml"),
    // Transport streams of HLS; TypeScript sources are compiled before they are served.
    ("ts", "video/mp2t"),
    ("ttf", "font/ttf"),
    ("txt", "text/plain; charset=utf-8"),
    ("wasm", "application/wasm"),
    ("webmanifest", "application/manifest+json"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    // An XML document declares its encoding itself, and a charset here would overrule it (RFC 7303, section 3).
    ("xml", "application/xml"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("zst", "application/zstd"),
];

/// What is sent for a name that says nothing: browsers store it and do not guess.
const UNKNOWN: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// The `Content-Type` of the file called `name`. Text is declared as UTF-8.
#[must_use]
pub(super) fn of(name: &Path) -> HeaderValue {
    let Some(extension) = name.extension().and_then(|extension| extension.to_str()) else {
        return UNKNOWN;
    };
    if let Some((_, media_type)) = OURS
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(extension))
    {
        return HeaderValue::from_static(media_type);
    }
    match mime_guess::from_ext(extension).first_raw() {
        Some(text) if text.starts_with("text/") => {
            HeaderValue::try_from(format!("{text}; charset=utf-8")).unwrap_or(UNKNOWN)
        }
        Some(other) => HeaderValue::from_static(other),
        None => UNKNOWN,
    }
}

/// Whether this is a page, which links to everything else and so must not be stale.
#[must_use]
pub(super) fn is_page(content_type: &HeaderValue) -> bool {
    let bytes = content_type.as_bytes();
    bytes.starts_with(b"text/html") || bytes.starts_with(b"application/xhtml+xml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_follow_the_extension() {
        for (name, expected) in [
            ("index.html", "text/html; charset=utf-8"),
            ("INDEX.HTML", "text/html; charset=utf-8"),
            ("app.js", "text/javascript; charset=utf-8"),
            ("app.mjs", "text/javascript; charset=utf-8"),
            ("app.wasm", "application/wasm"),
            ("logo.svg", "image/svg+xml"),
            ("font.woff2", "font/woff2"),
            ("site.webmanifest", "application/manifest+json"),
            ("app.js.map", "application/json"),
            ("photo.avif", "image/avif"),
            ("photo.jpeg", "image/jpeg"),
            ("readme.md", "text/markdown; charset=utf-8"),
            ("table.csv", "text/csv; charset=utf-8"),
            ("feed.xml", "application/xml"),
            ("paper.pdf", "application/pdf"),
            ("archive.tar.gz", "application/gzip"),
            ("data.unheard-of", "application/octet-stream"),
            ("LICENSE", "application/octet-stream"),
            ("", "application/octet-stream"),
        ] {
            assert_eq!(of(Path::new(name)), expected, "{name}");
        }
    }

    #[test]
    fn only_documents_are_pages() {
        for (name, expected) in [
            ("a.html", true),
            ("a.xhtml", true),
            ("a.js", false),
            ("a", false),
        ] {
            assert_eq!(is_page(&of(Path::new(name))), expected, "{name}");
        }
    }
}
