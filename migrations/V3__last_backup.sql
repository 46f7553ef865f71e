-- The last backup that [backup] of the configuration has made, which instances tell each other: one
-- row at most.
CREATE TABLE last_backup (
    only_row    boolean          PRIMARY KEY DEFAULT true CHECK (only_row),
    finished_at timestamptz      NOT NULL,
    name        text             NOT NULL,
    bytes       bigint           NOT NULL,
    seconds     double precision NOT NULL
);
