-- Where DICOM peers are reached: what moving, routing and forwarding call, by AE title.

-- address: host:port. tls_name: the name in the peer's certificate; empty for the host.
-- tls_ca: file with the authorities of its certificate on the machine that calls; empty for those that
-- the machine trusts. syntaxes: UIDs of transfer syntaxes, the best first, separated by commas; empty
-- for as stored. bandwidth: bytes per second, 0 for no limit. identity: empty, username, password, jwt.
CREATE TABLE destinations (
    id INTEGER PRIMARY KEY,
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    title TEXT NOT NULL,
    address TEXT NOT NULL,
    tls BOOLEAN NOT NULL,
    tls_name TEXT NOT NULL,
    tls_ca TEXT NOT NULL,
    syntaxes TEXT NOT NULL,
    only_these BOOLEAN NOT NULL,
    associations INTEGER NOT NULL,
    bandwidth INTEGER NOT NULL,
    identity TEXT NOT NULL,
    identity_name TEXT NOT NULL,
    identity_secret TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    UNIQUE (tenant_id, title)
);
