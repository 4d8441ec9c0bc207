-- Links by which somebody makes an account of their own. secret: SHA-256 of what stands in the link.
-- roles: names, separated by commas. The row stays, so that rows that name it can be understood.
CREATE TABLE invitations (
    id INTEGER PRIMARY KEY,
    secret TEXT NOT NULL UNIQUE,
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    roles TEXT NOT NULL,
    note TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    revoked_ms INTEGER NOT NULL DEFAULT 0,
    used_ms INTEGER NOT NULL DEFAULT 0,
    used_by TEXT NOT NULL DEFAULT ''
);
CREATE INDEX invitations_by_tenant ON invitations (tenant_id);
