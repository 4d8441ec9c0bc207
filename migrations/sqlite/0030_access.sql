-- People, their roles, sessions and API tokens.

ALTER TABLE tenants ADD COLUMN title TEXT NOT NULL DEFAULT '';

-- login: folded to lower case. password: an argon2id hash with its parameters, or empty when nobody
-- can log in by password. failures: wrong passwords since the last right one.
CREATE TABLE users (
    id INTEGER PRIMARY KEY,
    login TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    password TEXT NOT NULL,
    must_change BOOLEAN NOT NULL,
    disabled BOOLEAN NOT NULL DEFAULT FALSE,
    failures INTEGER NOT NULL DEFAULT 0,
    locked_until_ms INTEGER NOT NULL DEFAULT 0,
    created_ms INTEGER NOT NULL,
    password_ms INTEGER NOT NULL
);

-- What a person is to a tenant.
CREATE TABLE memberships (
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    role TEXT NOT NULL,
    PRIMARY KEY (user_id, tenant_id, role)
);
CREATE INDEX memberships_by_tenant ON memberships (tenant_id);

-- secret: SHA-256 of what the browser holds. tenant_id: the one that the person works in.
CREATE TABLE sessions (
    secret TEXT PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    created_ms INTEGER NOT NULL,
    seen_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    peer TEXT NOT NULL,
    agent TEXT NOT NULL
);
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_expiry ON sessions (expires_ms);

-- secret: SHA-256 of the token. permissions: names, separated by commas. revoked_ms: 0 while it is
-- valid. The row stays, so that rows that name it can be understood.
CREATE TABLE api_tokens (
    id INTEGER PRIMARY KEY,
    secret TEXT NOT NULL UNIQUE,
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    name TEXT NOT NULL,
    permissions TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    revoked_ms INTEGER NOT NULL DEFAULT 0,
    used_ms INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX api_tokens_by_tenant ON api_tokens (tenant_id);
