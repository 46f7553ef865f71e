-- Notes. The id is a UUIDv7 made by the app, so ids made later are larger.
CREATE TABLE notes (
    id         uuid        PRIMARY KEY,
    title      text        NOT NULL CHECK (char_length(title) BETWEEN 1 AND 160),
    body       text        NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    -- Grows by one with each change; the API's ETag.
    version    bigint      NOT NULL DEFAULT 1
);

-- Newest first, page by page: WHERE (created_at, id) < ($1, $2) ORDER BY created_at DESC, id DESC.
CREATE INDEX notes_newest_first ON notes (created_at DESC, id DESC);
