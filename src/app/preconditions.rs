//! `If-Match` and `If-None-Match` (RFC 9110, section 13), and the entity tags they speak of.
//!
//! A note's tag is its version: `"v3"`. The letter stands for the form of the representation, and
//! changes if that ever does, or caches would keep the old form for good.
//!
//! When the edge compresses an answer it must weaken the tag to `W/"v3"` (other bytes, same note),
//! and a browser knows only that one. The strong comparison that RFC 9110 wants for `If-Match`
//! would refuse every edit made from a compressed answer. What our tag names is a version of the
//! note, which compression doesn't touch, so `W/"v3"` means version 3 to us here as well.

use std::fmt;

use axum::extract::FromRequestParts;
use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::problem::Problem;

/// What a request demands of the state it meets.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Preconditions {
    /// `If-Match`: one of these must be current.
    pub(super) required: Option<EntityTags>,
    /// `If-None-Match`: none of these may be.
    pub(super) excluded: Option<EntityTags>,
}

impl Preconditions {
    /// Whether `If-Match` lets a request for a note of this version go on.
    pub(super) fn allow(&self, version: i64) -> bool {
        self.required
            .as_ref()
            .is_none_or(|tags| tags.contain(&opaque(version)))
    }

    /// Whether `If-None-Match` names what is current: 304 to a read, 412 to a write.
    pub(super) fn is_known(&self, opaque: &str) -> bool {
        self.excluded
            .as_ref()
            .is_some_and(|tags| tags.contain(opaque))
    }

    /// The same for a version of a note.
    pub(super) fn is_known_version(&self, version: i64) -> bool {
        self.is_known(&opaque(version))
    }

    /// The versions a write may meet, for SQL; `None`: any.
    pub(super) fn required_versions(&self) -> Option<Vec<i64>> {
        match &self.required {
            None | Some(EntityTags::Any) => None,
            Some(EntityTags::Listed(tags)) => Some(versions(tags)),
        }
    }

    /// The versions a write may not meet, for SQL.
    pub(super) fn excluded_versions(&self) -> Vec<i64> {
        match &self.excluded {
            None | Some(EntityTags::Any) => Vec::new(),
            Some(EntityTags::Listed(tags)) => versions(tags),
        }
    }

    /// `If-None-Match: *`: whatever exists may not be changed.
    pub(super) fn exclude_all(&self) -> bool {
        self.excluded == Some(EntityTags::Any)
    }
}

impl<S: Sync> FromRequestParts<S> for Preconditions {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self {
            required: EntityTags::from_headers(&parts.headers, &IF_MATCH)?,
            excluded: EntityTags::from_headers(&parts.headers, &IF_NONE_MATCH)?,
        })
    }
}

/// The value of `If-Match` or `If-None-Match`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum EntityTags {
    /// `*`: anything that exists.
    Any,
    /// What is between the quotes; whether a tag was weak is forgotten.
    Listed(Vec<String>),
}

impl EntityTags {
    /// # Errors
    /// 400 for what is no list of tags: ignoring `If-Match: v3` would overwrite what it protects.
    fn from_headers(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, Problem> {
        let mut lines = headers.get_all(name).iter().peekable();
        if lines.peek().is_none() {
            return Ok(None);
        }
        // RFC 9110, section 5.3: several lines are one list.
        let parsed = lines
            .map(|line| line.to_str().ok())
            .collect::<Option<Vec<_>>>()
            .and_then(|lines| Self::parse(&lines.join(",")));
        match parsed {
            Some(tags) => Ok(Some(tags)),
            None => Err(Problem::new(
                StatusCode::BAD_REQUEST,
                format!("{name} must be * or a list of entity tags in quotes, as in \"v3\"."),
            )),
        }
    }

    /// RFC 9110, section 8.8.3. A comma may stand inside of a tag, and empty elements are nothing.
    fn parse(text: &str) -> Option<Self> {
        if text.trim() == "*" {
            return Some(Self::Any);
        }
        let mut tags = Vec::new();
        let mut rest = text;
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                break;
            }
            let quoted = rest.strip_prefix("W/").unwrap_or(rest);
            let (tag, after) = quoted.strip_prefix('"')?.split_once('"')?;
            if tag.contains([' ', '\t']) {
                return None;
            }
            tags.push(tag.to_owned());
            rest = after.trim_start_matches([' ', '\t']);
            if !rest.is_empty() && !rest.starts_with(',') {
                return None;
            }
        }
        (!tags.is_empty()).then_some(Self::Listed(tags))
    }

    fn contain(&self, opaque: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(tags) => tags.iter().any(|tag| tag == opaque),
        }
    }
}

/// The tag of a note of this version, as a header.
pub(super) fn entity_tag(version: i64) -> HeaderValue {
    header(format_args!("\"{}\"", opaque(version)))
}

/// A weak tag, as a header.
pub(super) fn weak_entity_tag(opaque: &str) -> HeaderValue {
    header(format_args!("W/\"{opaque}\""))
}

fn header(tag: fmt::Arguments<'_>) -> HeaderValue {
    // Only our own letters and digits come here.
    HeaderValue::try_from(tag.to_string()).unwrap_or(HeaderValue::from_static("\"\""))
}

fn opaque(version: i64) -> String {
    format!("v{version}")
}

/// The versions among the tags; foreign tags name none.
fn versions(tags: &[String]) -> Vec<i64> {
    tags.iter()
        .filter_map(|tag| {
            let version = tag.strip_prefix('v')?.parse().ok()?;
            // "v03" and "v+3" are not how we write 3.
            (opaque(version) == *tag).then_some(version)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(tags: &[&str]) -> EntityTags {
        EntityTags::Listed(tags.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn lists_of_tags_are_read_as_rfc_9110_writes_them() {
        for (text, expected) in [
            ("*", Some(EntityTags::Any)),
            (" * ", Some(EntityTags::Any)),
            (r#""v3""#, Some(listed(&["v3"]))),
            (r#"W/"v3""#, Some(listed(&["v3"]))),
            (r#""v3", W/"v4" ,"x""#, Some(listed(&["v3", "v4", "x"]))),
            (r#","v3",,"#, Some(listed(&["v3"]))),
            (r#""a,b""#, Some(listed(&["a,b"]))),
            (r#""""#, Some(listed(&[""]))),
            ("", None),
            (",", None),
            ("v3", None),
            ("3", None),
            (r#""v3"#, None),
            (r#"v3""#, None),
            (r#"w/"v3""#, None),
            (r#""v3" "v4""#, None),
            (r#"*, "v3""#, None),
            (r#""v3", *"#, None),
            (r#""v 3""#, None),
        ] {
            assert_eq!(EntityTags::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn only_our_spelling_of_a_version_is_one() {
        let tags = [
            "v3",
            "v03",
            "v+3",
            "3",
            "v",
            "v-1",
            "V3",
            "v99999999999999999999",
            "v12",
        ];
        assert_eq!(versions(&tags.map(str::to_owned)), [3, -1, 12]);
    }

    #[test]
    fn several_header_lines_are_one_list() {
        let mut headers = HeaderMap::new();
        headers.append(IF_MATCH, HeaderValue::from_static("\"v1\""));
        headers.append(IF_MATCH, HeaderValue::from_static("W/\"v2\""));
        let tags = EntityTags::from_headers(&headers, &IF_MATCH).expect("a list");
        assert_eq!(tags, Some(listed(&["v1", "v2"])));
    }
}
