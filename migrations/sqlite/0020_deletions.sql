-- What was deleted and by whom, kept for good, without patient data.
-- state: kept (can be restored), restoring, restored, purging, purged.
CREATE TABLE deletions (
    id INTEGER PRIMARY KEY,
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    study_uid TEXT NOT NULL,
    series_uid TEXT NOT NULL,
    sop_uid TEXT NOT NULL,
    principal TEXT NOT NULL,
    peer TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    purge_at_ms INTEGER NOT NULL,
    instances INTEGER NOT NULL,
    contents INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    state TEXT NOT NULL
);
CREATE INDEX deletions_by_time ON deletions (tenant_id, at_ms);

-- Where the objects of a deletion lie, until they are restored or removed.
CREATE TABLE deleted_instances (
    deletion_id INTEGER NOT NULL REFERENCES deletions (id),
    instance_row INTEGER NOT NULL,
    study_uid TEXT NOT NULL,
    series_uid TEXT NOT NULL,
    sop_uid TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    is_current BOOLEAN NOT NULL,
    blob_key TEXT NOT NULL,
    blob_digest INTEGER NOT NULL,
    blob_size INTEGER NOT NULL,
    route TEXT NOT NULL,
    peer TEXT NOT NULL,
    calling_ae TEXT NOT NULL,
    called_ae TEXT NOT NULL,
    received_ms INTEGER NOT NULL,
    PRIMARY KEY (deletion_id, instance_row)
);
CREATE INDEX deleted_instances_by_blob ON deleted_instances (blob_digest);

-- Removing a series asks whether some instance still points at it.
CREATE INDEX instances_by_series ON instances (series_id);
