-- The audit trail: who did or saw what, without patient data. Rows are added and never changed; each
-- holds the hash of the one before it in its chain, so that none can be altered or removed unnoticed.
-- There are several chains so that writers do not queue for one row; decision 0013 says more.
CREATE TABLE audit (
    chain BIGINT NOT NULL,
    number BIGINT NOT NULL,
    tenant_id BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    principal_kind TEXT COLLATE "C" NOT NULL,
    principal TEXT COLLATE "C" NOT NULL,
    peer TEXT COLLATE "C" NOT NULL,
    action TEXT COLLATE "C" NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL,
    study_uid TEXT COLLATE "C" NOT NULL,
    series_uid TEXT COLLATE "C" NOT NULL,
    sop_uid TEXT COLLATE "C" NOT NULL,
    instances BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    details TEXT NOT NULL,
    previous_hash TEXT COLLATE "C" NOT NULL,
    hash TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (chain, number)
);
CREATE INDEX audit_by_time ON audit (at_ms);
CREATE INDEX audit_by_study ON audit (study_uid, at_ms) WHERE study_uid <> '';

-- Number and hash of each chain's last row. All chains exist from the start: one that is missing was
-- removed. The numbers are those of crates/catalog/src/audit/chain.rs.
CREATE TABLE audit_chains (
    chain BIGINT PRIMARY KEY,
    number BIGINT NOT NULL,
    hash TEXT COLLATE "C" NOT NULL
) WITH (fillfactor = 50);
INSERT INTO audit_chains (chain, number, hash)
    SELECT chain, 0, '0000000000000000000000000000000000000000000000000000000000000000'
    FROM generate_series(1, 32) AS numbers (chain);

-- Where the trail is sent to besides: by which node at the moment, and how far each chain is.
CREATE TABLE audit_exports (
    destination TEXT COLLATE "C" PRIMARY KEY,
    worker TEXT NOT NULL,
    lease_until_ms BIGINT NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE audit_positions (
    destination TEXT COLLATE "C" NOT NULL REFERENCES audit_exports (destination),
    chain BIGINT NOT NULL,
    number BIGINT NOT NULL,
    PRIMARY KEY (destination, chain)
) WITH (fillfactor = 50);
