-- People whom an identity provider knows (OpenID Connect), and their sessions.

-- Whose account it is decides this pair alone, never an e-mail address.
CREATE TABLE identities (
    issuer TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_ms BIGINT NOT NULL,
    seen_ms BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX identities_by_user ON identities (user_id);

-- Logins under way. state, browser: SHA-256 of what the provider gives back and of what the browser
-- holds.
CREATE TABLE oidc_flows (
    state TEXT COLLATE "C" PRIMARY KEY,
    browser TEXT COLLATE "C" NOT NULL,
    provider TEXT COLLATE "C" NOT NULL,
    next TEXT NOT NULL,
    expires_ms BIGINT NOT NULL
);
CREATE INDEX oidc_flows_by_expiry ON oidc_flows (expires_ms);

-- What a provider gave us for a session. sealed: its tokens, encrypted with what the browser holds.
-- checked_ms: when somebody last began to ask the provider; valid_ms: when it last said yes.
CREATE TABLE oidc_sessions (
    secret TEXT COLLATE "C" PRIMARY KEY REFERENCES sessions (secret) ON DELETE CASCADE,
    provider TEXT COLLATE "C" NOT NULL,
    sealed TEXT NOT NULL,
    refreshes BOOLEAN NOT NULL,
    checked_ms BIGINT NOT NULL,
    valid_ms BIGINT NOT NULL
);
