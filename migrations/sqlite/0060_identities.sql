-- People whom an identity provider knows (OpenID Connect), and their sessions.

-- Whose account it is decides this pair alone, never an e-mail address.
CREATE TABLE identities (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_ms INTEGER NOT NULL,
    seen_ms INTEGER NOT NULL,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX identities_by_user ON identities (user_id);

-- Logins under way. state, browser: SHA-256 of what the provider gives back and of what the browser
-- holds.
CREATE TABLE oidc_flows (
    state TEXT PRIMARY KEY,
    browser TEXT NOT NULL,
    provider TEXT NOT NULL,
    next TEXT NOT NULL,
    expires_ms INTEGER NOT NULL
);
CREATE INDEX oidc_flows_by_expiry ON oidc_flows (expires_ms);

-- What a provider gave us for a session. sealed: its tokens, encrypted with what the browser holds.
-- checked_ms: when somebody last began to ask the provider; valid_ms: when it last said yes.
CREATE TABLE oidc_sessions (
    secret TEXT PRIMARY KEY REFERENCES sessions (secret) ON DELETE CASCADE,
    provider TEXT NOT NULL,
    sealed TEXT NOT NULL,
    refreshes BOOLEAN NOT NULL,
    checked_ms INTEGER NOT NULL,
    valid_ms INTEGER NOT NULL
);
