-- What a tenant lets others see, and the links that people without an account open.

-- Whether doctors elsewhere may look at a patient of this tenant in an emergency.
ALTER TABLE tenants ADD COLUMN emergency BOOLEAN NOT NULL DEFAULT FALSE;

-- secret, code: digests of what the link and its code hold; code is empty when none is asked for.
-- views_left: -1 for no limit. failures: wrong codes in a row.
CREATE TABLE share_links (
    id INTEGER PRIMARY KEY,
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    secret TEXT NOT NULL UNIQUE,
    code TEXT NOT NULL,
    name TEXT NOT NULL,
    download BOOLEAN NOT NULL,
    views_left INTEGER NOT NULL,
    views INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    locked_until_ms INTEGER NOT NULL DEFAULT 0,
    created_by TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    revoked_ms INTEGER NOT NULL DEFAULT 0,
    used_ms INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX share_links_by_tenant ON share_links (tenant_id);

-- A browser that has opened a link. secret: digest of its cookie.
CREATE TABLE link_visits (
    secret TEXT PRIMARY KEY,
    link_id INTEGER NOT NULL REFERENCES share_links (id) ON DELETE CASCADE,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
);
CREATE INDEX link_visits_by_link ON link_visits (link_id);

-- Projects of de-identification. secret: what their pseudonyms are computed with; whoever reads this
-- row can read the names themselves.
CREATE TABLE projects (
    id INTEGER PRIMARY KEY,
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    name TEXT NOT NULL,
    secret TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    UNIQUE (tenant_id, name)
);

-- project_id: the project under whose pseudonyms the studies leave; 0 for as they are.
-- kind: study, patient or rule. tenant_id: whose studies they are; one of to_tenant, to_person and
-- link_id says for whom, the others are 0. parent_id: the grant that this one passes on; 0 for none.
-- origin: share, reshare, link or emergency. expires_ms and revoked_ms: 0 for never. The row stays
-- when it has ended, so that the owner can see what was.
CREATE TABLE grants (
    id INTEGER PRIMARY KEY,
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    kind TEXT NOT NULL,
    study_uid TEXT NOT NULL,
    patient_id TEXT NOT NULL,
    issuer TEXT NOT NULL,
    modality TEXT NOT NULL,
    body_part TEXT NOT NULL,
    since_ms INTEGER NOT NULL,
    priors TEXT NOT NULL,
    to_tenant INTEGER NOT NULL,
    to_person INTEGER NOT NULL,
    link_id INTEGER NOT NULL,
    download BOOLEAN NOT NULL,
    reshare BOOLEAN NOT NULL,
    project_id INTEGER NOT NULL DEFAULT 0,
    purpose TEXT NOT NULL,
    origin TEXT NOT NULL,
    parent_id INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    revoked_ms INTEGER NOT NULL DEFAULT 0,
    revoked_by TEXT NOT NULL DEFAULT '',
    reviewed_ms INTEGER NOT NULL DEFAULT 0,
    reviewed_by TEXT NOT NULL DEFAULT ''
);
CREATE INDEX grants_by_study ON grants (tenant_id, study_uid);
CREATE INDEX grants_by_patient ON grants (tenant_id, patient_id);
CREATE INDEX grants_by_parent ON grants (parent_id);
CREATE INDEX grants_to_tenant ON grants (to_tenant, tenant_id);
CREATE INDEX grants_to_person ON grants (to_person, tenant_id);
CREATE INDEX grants_by_link ON grants (link_id);
