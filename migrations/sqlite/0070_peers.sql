-- DICOM peers: whose association belongs to which tenant, and what its peer may do there.

-- Called AE titles that tenants have for themselves; all others belong to the default tenant.
CREATE TABLE tenant_titles (
    title TEXT PRIMARY KEY,
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    created_ms INTEGER NOT NULL
);
CREATE INDEX tenant_titles_by_tenant ON tenant_titles (tenant_id);

-- calling: an AE title, or a pattern with * and ?. called, network, certificate: empty for any.
-- certificate: SHA-256 of the DER in hex, or the subject. permissions: names, separated by commas.
-- seen_ms: last association, as far as it was noted; 0 for never.
CREATE TABLE peers (
    id INTEGER PRIMARY KEY,
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    label TEXT NOT NULL,
    calling TEXT NOT NULL,
    called TEXT NOT NULL,
    network TEXT NOT NULL,
    certificate TEXT NOT NULL,
    permissions TEXT NOT NULL,
    disabled BOOLEAN NOT NULL DEFAULT FALSE,
    created_by TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    seen_ms INTEGER NOT NULL DEFAULT 0,
    seen_from TEXT NOT NULL DEFAULT '',
    UNIQUE (tenant_id, calling, called, network, certificate)
);

-- One row, whose version rises with every change of the two tables above: nodes look at it often.
CREATE TABLE peer_register (
    id INTEGER PRIMARY KEY,
    version INTEGER NOT NULL
);
INSERT INTO peer_register (id, version) VALUES (1, 1);

-- Associations that were refused lately, for whoever has to find out why a device does not get in.
-- tenant_id: the one that the called AE title belongs to.
CREATE TABLE refused_peers (
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    calling TEXT NOT NULL,
    called TEXT NOT NULL,
    address TEXT NOT NULL,
    certificate TEXT NOT NULL,
    reason TEXT NOT NULL,
    times INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, calling, called, address, certificate)
);
CREATE INDEX refused_peers_by_time ON refused_peers (tenant_id, last_ms);
