-- Second factors of people (RFC 6238), and the way in while a code is asked for.

-- Whether everybody who is anything to a tenant has to have one.
ALTER TABLE tenants ADD COLUMN second_factor BOOLEAN NOT NULL DEFAULT FALSE;

-- secret: shared with the person's phone, in base32. confirmed: a code of it was right once. step: the
-- last time step of which a code was taken, so that none is taken twice.
CREATE TABLE totp (
    user_id BIGINT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    secret TEXT NOT NULL,
    confirmed BOOLEAN NOT NULL,
    step BIGINT NOT NULL,
    created_ms BIGINT NOT NULL
);

-- code: SHA-256 of a code that opens the account once, without the phone.
CREATE TABLE recovery_codes (
    user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    code TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (user_id, code)
);

-- Logins whose password was right. secret: SHA-256 of what the browser holds. password: the hash that
-- was right, so that a new password ends the login under way.
CREATE TABLE login_steps (
    secret TEXT COLLATE "C" PRIMARY KEY,
    user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    password TEXT NOT NULL,
    next TEXT NOT NULL,
    expires_ms BIGINT NOT NULL
);
CREATE INDEX login_steps_by_expiry ON login_steps (expires_ms);
