//! Where we differ from nginx, and why.

/// One difference.
pub struct Difference {
    pub field: &'static str,
    pub nginx: &'static str,
    pub ours: &'static str,
    /// Why ours is as good or better.
    #[allow(dead_code, reason = "for whoever reads the list")]
    pub why: &'static str,
    /// Exactly those in which it is to be seen. `…` stands for anything.
    pub requests: &'static [&'static str],
}

pub const ALL: &[Difference] = &[
    Difference {
        field: "status",
        nginx: "200",
        ours: "304",
        why: "An `If-Modified-Since` after the last change is met as well as one at it (RFC 9110, \
              section 13.1.3); nginx wants the very date unless told otherwise.",
        requests: &["… [If-Modified-Since: Wed, 01 May 2024 12:00:01 GMT]"],
    },
    Difference {
        field: "status",
        nginx: "200",
        ours: "304",
        why: "Where there is an `If-None-Match`, `If-Modified-Since` is ignored (RFC 9110, section \
              13.1.3); nginx wants both to hold.",
        requests: &["… [If-None-Match: {etag}] [If-Modified-Since: Wed, 01 May 2024 11:59:59 GMT]"],
    },
    Difference {
        field: "status",
        nginx: "200",
        ours: "304",
        why: "The client has the content without a coding, and may go on using it: the 304 names \
              its tag (RFC 9111, section 4.3.4). nginx sends all of it again.",
        requests: &["… [If-None-Match: {plain}]"],
    },
    Difference {
        field: "status",
        nginx: "412",
        ours: "200",
        why: "The same for `If-Match`: the client's version is the current one, in whichever \
              coding.",
        requests: &["… [If-Match: {plain}]"],
    },
    Difference {
        field: "status",
        nginx: "412",
        ours: "200",
        why: "An `If-Unmodified-Since` that is no date is ignored (RFC 9110, section 13.1.4).",
        requests: &["… [If-Unmodified-Since: yesterday]"],
    },
    Difference {
        field: "status",
        nginx: "412",
        ours: "200",
        why: "Where there is an `If-Match`, `If-Unmodified-Since` is ignored (RFC 9110, section \
              13.1.4); nginx wants both to hold.",
        requests: &["… [If-Match: {etag}] [If-Unmodified-Since: Wed, 01 May 2024 11:59:59 GMT]"],
    },
    Difference {
        field: "vary",
        nginx: "none",
        ours: "Accept-Encoding",
        why: "A 304 repeats the `Vary` of the 200 (RFC 9110, section 15.4.5), or caches forget it. \
              nginx does so only for a sidecar.",
        requests: &[
            "GET /page.html [If-None-Match: {etag}]",
            "GET /style.css [If-None-Match: {etag}]",
            "GET /logo.svg [If-None-Match: {etag}]",
            "GET /data.json [If-None-Match: {etag}]",
            "GET /dot.png [If-None-Match: {etag}]",
            "GET /notes.txt [If-None-Match: {etag}]",
            "GET /font.woff2 [If-None-Match: {etag}]",
            "GET /LICENSE [If-None-Match: {etag}]",
            "GET /data.unheard-of [If-None-Match: {etag}]",
            "GET /empty.txt [If-None-Match: {etag}]",
            "GET /one.txt [If-None-Match: {etag}]",
            "GET /a%20b.txt [If-None-Match: {etag}]",
            "GET /caf%C3%A9.txt [If-None-Match: {etag}]",
            "GET /100%25.txt [If-None-Match: {etag}]",
            "GET /inside.txt [If-None-Match: {etag}]",
            "GET /large.txt [If-None-Match: {etag}]",
            "GET /.well-known/security.txt [If-None-Match: {etag}]",
            "GET / [If-None-Match: {etag}]",
            "GET /docs/ [If-None-Match: {etag}]",
            "GET /notes.txt [If-None-Match: W/{etag}]",
            "HEAD /notes.txt [If-None-Match: W/{etag}]",
            r#"GET /notes.txt [If-None-Match: "x", {etag}]"#,
            r#"HEAD /notes.txt [If-None-Match: "x", {etag}]"#,
            "GET /notes.txt [If-None-Match: *]",
            "HEAD /notes.txt [If-None-Match: *]",
            "GET /notes.txt [If-Modified-Since: Wed, 01 May 2024 12:00:00 GMT]",
            "HEAD /notes.txt [If-Modified-Since: Wed, 01 May 2024 12:00:00 GMT]",
            "GET /notes.txt [If-Match: {etag}] [If-None-Match: {etag}]",
            "HEAD /notes.txt [If-Match: {etag}] [If-None-Match: {etag}]",
            "HEAD /notes.txt [If-None-Match: {etag}]",
            "GET /large.txt [Range: bytes=0-9] [If-None-Match: {etag}]",
        ],
    },
    Difference {
        field: "vary",
        nginx: "Accept-Encoding",
        ours: "none",
        why: "Nobody keeps a 412 or 416 unless it says how long (RFC 9110, section 15.1), and ours \
              say `no-store`.",
        requests: &[
            "GET /app.js [Accept-Encoding: gzip] [If-Match: W/{etag}]",
            r#"GET /app.js [Accept-Encoding: gzip] [If-Match: "x"]"#,
            "GET /app.js [Accept-Encoding: gzip] [If-Unmodified-Since: Wed, 01 May 2024 11:59:59 GMT]",
            r#"GET /app.js [Accept-Encoding: gzip] [If-Match: "x"] [If-Unmodified-Since: Wed, 01 May 2024 12:00:01 GMT]"#,
            "GET /large.txt [Range: bytes=204800-]",
            "GET /large.txt [Range: bytes=999999-1000000]",
            "GET /large.txt [Range: bytes=-0]",
        ],
    },
    Difference {
        field: "accept-ranges",
        nginx: "none",
        ours: "bytes",
        why: "A 206 that announces ranges tells caches and players what they may ask for next (RFC \
              9110, section 14.3).",
        requests: &[
            "GET /large.txt [Range: bytes=0-0]",
            "GET /large.txt [Range: bytes=0-99]",
            "GET /large.txt [Range: bytes=100-]",
            "GET /large.txt [Range: bytes=-100]",
            "GET /large.txt [Range: bytes=0-]",
            "GET /large.txt [Range: bytes=0-999999]",
            "GET /large.txt [Range: bytes=-999999]",
            "GET /large.txt [Range: BYTES=0-9]",
            "GET /large.txt [Range: bytes=0-9,20-29]",
            "GET /large.txt [Range: bytes=20-29,0-9]",
            "GET /large.txt [Range: bytes=0-9, 20-29]",
            "GET /large.txt [Range: bytes=0-9,999999-]",
            "GET /one.txt [Range: bytes=0-9]",
            "GET /one.txt [Range: bytes=-1]",
            "GET /large.txt [Range: bytes=0-9] [If-Range: {etag}]",
            "GET /large.txt [Range: bytes=0-9] [If-Range: Wed, 01 May 2024 12:00:00 GMT]",
        ],
    },
    Difference {
        field: "status",
        nginx: "206",
        ours: "200",
        why: "Only GET has ranges (RFC 9110, section 14.2).",
        requests: &["HEAD /large.txt [Range: …"],
    },
    Difference {
        field: "status",
        nginx: "206",
        ours: "200",
        why: "Ranges that overlap are a way to have the same bytes sent often (RFC 9110, section \
              17.15): they get the whole once.",
        requests: &["GET /large.txt [Range: bytes=0-9,5-14]"],
    },
    Difference {
        field: "status",
        nginx: "416",
        ours: "200",
        why: "A malformed range is ignored (RFC 9110, section 14.2); 416 is for what is well- \
              formed and not there.",
        requests: &[
            "GET /large.txt [Range: bytes=9-5]",
            "GET /large.txt [Range: bytes=a-b]",
        ],
    },
    Difference {
        field: "status",
        nginx: "416",
        ours: "200",
        why: "Of an empty file all ranges are answered alike: with all of it, which a server may \
              always do (RFC 9110, section 14.2). nginx does so for `bytes=0-9` and not for this.",
        requests: &["GET /empty.txt [Range: bytes=5-]"],
    },
    Difference {
        field: "status",
        nginx: "200",
        ours: "206",
        why: "Ranges are of the content without a coding, so that also who accepts gzip can resume \
              (RFC 9110, section 14.2). nginx ignores the range.",
        requests: &["… [Range: bytes=0-9] [Accept-Encoding: gzip]"],
    },
    Difference {
        field: "content-encoding",
        nginx: "gzip",
        ours: "none",
        why: "Identity has the greater weight (RFC 9110, section 12.5.3); nginx compares no \
              weights.",
        requests: &[
            "GET /app.js [Accept-Encoding: identity, gzip;q=0.5]",
            "GET /data.json [Accept-Encoding: identity, gzip;q=0.5]",
        ],
    },
    Difference {
        field: "content-encoding",
        nginx: "none",
        ours: "gzip",
        why: "`x-gzip` is the same (RFC 9110, section 8.4.1.3).",
        requests: &[
            "GET /app.js [Accept-Encoding: x-gzip]",
            "GET /data.json [Accept-Encoding: x-gzip]",
        ],
    },
    Difference {
        field: "content-encoding",
        nginx: "none",
        ours: "gzip",
        why: "A star accepts every coding that is not named (RFC 9110, section 12.5.3).",
        requests: &[
            "GET /app.js [Accept-Encoding: *]",
            "GET /data.json [Accept-Encoding: *]",
        ],
    },
    Difference {
        field: "content-type",
        nginx: "application/octet-stream",
        ours: "application/gzip",
        why: "The registered type (RFC 6713).",
        requests: &["GET /app.js.gz", "HEAD /app.js.gz"],
    },
    Difference {
        field: "allow",
        nginx: "none",
        ours: "GET, HEAD",
        why: "A 405 has to name what is allowed (RFC 9110, section 15.5.6).",
        requests: &[
            "OPTIONS /app.js",
            "OPTIONS /docs/",
            "OPTIONS /missing",
            "POST /app.js",
            "POST /docs/",
        ],
    },
    Difference {
        field: "status",
        nginx: "404",
        ours: "405",
        why: "Nothing here takes a POST, whether or not there is a file: a client learns of the \
              method first, as it does from nginx with OPTIONS.",
        requests: &["POST /missing"],
    },
    Difference {
        field: "status",
        nginx: "200",
        ours: "404",
        why: "A link that leaves the root is not followed. nginx follows every link, or with \
              `disable_symlinks` none.",
        requests: &["GET /outside.txt", "HEAD /outside.txt"],
    },
    Difference {
        field: "status",
        nginx: "200",
        ours: "404",
        why: "A file has one path. Empty segments are another path (RFC 3986, section 3.3): merged \
              here, they would lead past the rules of whoever compares the path as it is written.",
        requests: &[
            "GET //app.js",
            "HEAD //app.js",
            "GET /docs//index.html",
            "HEAD /docs//index.html",
        ],
    },
    Difference {
        field: "status",
        nginx: "200",
        ours: "404",
        why: "An encoded slash is part of a name, and no file has it in its own (RFC 3986, section \
              2.2).",
        requests: &["GET /docs%2Findex.html", "HEAD /docs%2Findex.html"],
    },
    Difference {
        field: "status",
        nginx: "200",
        ours: "404",
        why: "No client encodes a dot unless it hides one; names are read once and literally.",
        requests: &["GET /app%2Ejs", "HEAD /app%2Ejs"],
    },
    Difference {
        field: "status",
        nginx: "200",
        ours: "400",
        why: "Clients resolve dot segments themselves (RFC 3986, section 5.2.4); in a request they \
              are an attempt to be read in two ways.",
        requests: &[
            "GET /docs/./index.html",
            "HEAD /docs/./index.html",
            "GET /docs/../app.js",
            "HEAD /docs/../app.js",
            "GET /docs/%2e%2e/app.js",
            "HEAD /docs/%2e%2e/app.js",
        ],
    },
    Difference {
        field: "status",
        nginx: "404",
        ours: "400",
        why: "A backslash is a slash to some programs: the path is refused wherever it leads.",
        requests: &["GET /docs%5Cindex.html", "HEAD /docs%5Cindex.html"],
    },
    Difference {
        field: "status",
        nginx: "301",
        ours: "404",
        why: "A directory without an index is as good as missing: its name is not given away (RFC \
              9110, section 15.5.4, allows the 404).",
        requests: &["GET /bare", "HEAD /bare"],
    },
    Difference {
        field: "status",
        nginx: "403",
        ours: "404",
        why: "The same with the slash.",
        requests: &[
            "GET /bare/",
            "HEAD /bare/",
            "GET /.well-known/",
            "HEAD /.well-known/",
        ],
    },
];
