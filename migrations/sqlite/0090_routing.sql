-- Routing: which objects go on to which destination, and how far that is.

-- goal_kind: dicom (a DICOM peer, by AE title) or web (a row of web_goals, by name). source: an AE title or a
-- pattern; modality, body_part, station, description: folded patterns; empty for all. time_window: empty for any
-- time. send_when: settled or at once.
CREATE TABLE route_rules (
    id INTEGER PRIMARY KEY,
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    label TEXT NOT NULL,
    source TEXT NOT NULL,
    modality TEXT NOT NULL,
    body_part TEXT NOT NULL,
    station TEXT NOT NULL,
    description TEXT NOT NULL,
    goal_kind TEXT NOT NULL,
    goal_name TEXT NOT NULL,
    time_window TEXT NOT NULL,
    send_when TEXT NOT NULL,
    disabled BOOLEAN NOT NULL DEFAULT FALSE,
    created_by TEXT NOT NULL,
    created_ms INTEGER NOT NULL
);
CREATE INDEX route_rules_by_tenant ON route_rules (tenant_id);

-- DICOMweb services that objects are sent to (STOW-RS). auth: empty, bearer or basic.
CREATE TABLE web_goals (
    id INTEGER PRIMARY KEY,
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    name TEXT NOT NULL,
    url TEXT NOT NULL,
    auth TEXT NOT NULL,
    login TEXT NOT NULL,
    secret TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    UNIQUE (tenant_id, name)
);

-- One study on its way to one destination. state: waiting, sending, delivered or failed. settled: the study was
-- complete when it was last looked at. revision: grows when it is asked for again.
CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY,
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    goal_kind TEXT NOT NULL,
    goal_name TEXT NOT NULL,
    study_uid TEXT NOT NULL,
    state TEXT NOT NULL,
    settled BOOLEAN NOT NULL,
    revision INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    due_ms INTEGER NOT NULL,
    worker TEXT NOT NULL,
    lease_until_ms INTEGER NOT NULL,
    words TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    UNIQUE (tenant_id, goal_kind, goal_name, study_uid)
);
CREATE INDEX deliveries_due ON deliveries (due_ms) WHERE state IN ('waiting', 'sending');
CREATE INDEX deliveries_by_time ON deliveries (tenant_id, updated_ms);

-- What a destination said about an object. outcome: sent or refused; with words of the destination.
CREATE TABLE delivered (
    delivery_id INTEGER NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    sop_uid TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    outcome TEXT NOT NULL,
    words TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (delivery_id, sop_uid)
);
