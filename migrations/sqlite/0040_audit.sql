-- The audit trail: who did or saw what, without patient data. Rows are added and never changed; each
-- holds the hash of the one before it in its chain, so that none can be altered or removed unnoticed.
-- There are several chains so that writers do not queue for one row; decision 0013 says more.
CREATE TABLE audit (
    chain INTEGER NOT NULL,
    number INTEGER NOT NULL,
    tenant_id INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    principal_kind TEXT NOT NULL,
    principal TEXT NOT NULL,
    peer TEXT NOT NULL,
    action TEXT NOT NULL,
    outcome TEXT NOT NULL,
    study_uid TEXT NOT NULL,
    series_uid TEXT NOT NULL,
    sop_uid TEXT NOT NULL,
    instances INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    details TEXT NOT NULL,
    previous_hash TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (chain, number)
) WITHOUT ROWID;
CREATE INDEX audit_by_time ON audit (at_ms);
CREATE INDEX audit_by_study ON audit (study_uid, at_ms) WHERE study_uid <> '';

-- Number and hash of each chain's last row. All chains exist from the start: one that is missing was
-- removed. The numbers are those of crates/catalog/src/audit/chain.rs.
CREATE TABLE audit_chains (
    chain INTEGER PRIMARY KEY,
    number INTEGER NOT NULL,
    hash TEXT NOT NULL
);
INSERT INTO audit_chains (chain, number, hash)
    WITH RECURSIVE numbers (chain) AS
        (SELECT 1 UNION ALL SELECT chain + 1 FROM numbers WHERE chain < 32)
    SELECT chain, 0, '0000000000000000000000000000000000000000000000000000000000000000'
    FROM numbers;

-- Where the trail is sent to besides: by which node at the moment, and how far each chain is.
CREATE TABLE audit_exports (
    destination TEXT PRIMARY KEY NOT NULL,
    worker TEXT NOT NULL,
    lease_until_ms INTEGER NOT NULL
);
CREATE TABLE audit_positions (
    destination TEXT NOT NULL REFERENCES audit_exports (destination),
    chain INTEGER NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (destination, chain)
);
