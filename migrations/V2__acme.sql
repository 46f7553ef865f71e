-- What instances with acme.storage = "database" share. The first column tells CAs apart: the URL of
-- the directory, so that a trial with a staging CA never meets the real one.
CREATE TABLE acme_accounts (
    directory   text NOT NULL,
    email       text NOT NULL,
    -- JSON with the account's private key.
    credentials text NOT NULL,
    PRIMARY KEY (directory, email)
);

CREATE TABLE acme_certificates (
    directory   text        NOT NULL,
    name        text        NOT NULL,
    serial      text        NOT NULL,
    not_before  timestamptz NOT NULL,
    not_after   timestamptz NOT NULL,
    chain       text        NOT NULL,
    private_key text        NOT NULL,
    PRIMARY KEY (directory, name)
);

CREATE TABLE acme_ledgers (
    directory text NOT NULL,
    name      text NOT NULL,
    ledger    text NOT NULL,
    PRIMARY KEY (directory, name)
);

-- Orders that run, or ran when an instance died.
CREATE TABLE acme_orders (
    directory   text NOT NULL,
    name        text NOT NULL,
    url         text NOT NULL,
    private_key text NOT NULL,
    PRIMARY KEY (directory, name)
);

-- Proofs that the CA may ask any instance for.
CREATE TABLE acme_challenges (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    directory  text        NOT NULL,
    name       text        NOT NULL,
    -- Of http-01; empty for tls-alpn-01.
    token      text        NOT NULL,
    -- The key authorization for http-01, its SHA-256 for tls-alpn-01.
    proof      bytea       NOT NULL,
    expires_at timestamptz NOT NULL,
    UNIQUE (directory, name, token)
);

-- Which listening sessions (their process ids in pg_stat_activity) answer with which proof already.
CREATE TABLE acme_seen (
    challenge bigint NOT NULL REFERENCES acme_challenges ON DELETE CASCADE,
    pid       integer NOT NULL,
    PRIMARY KEY (challenge, pid)
);

COMMENT ON TABLE acme_accounts IS 'Holds private keys: grant nothing on it but to unibody itself';
COMMENT ON TABLE acme_certificates IS 'Holds private keys: grant nothing on it but to unibody itself';
COMMENT ON TABLE acme_orders IS 'Holds private keys: grant nothing on it but to unibody itself';

-- Even where ALTER DEFAULT PRIVILEGES opens new tables to everybody.
REVOKE ALL ON acme_accounts, acme_certificates, acme_ledgers, acme_orders, acme_challenges, acme_seen FROM PUBLIC;
