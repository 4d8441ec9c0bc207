-- Tenants, patients, studies, series, instances, the change feed and jobs.
-- Text compares by its bytes, as on Postgres with COLLATE "C".
-- Columns named *_key hold folded text and exist to be matched; what a caller sees is in *_json.

CREATE TABLE tenants (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_ms INTEGER NOT NULL DEFAULT 0
);
INSERT INTO tenants (id, name) VALUES (1, 'default');

-- Sharded by writer, so that nodes do not queue for one row; a tenant's totals are the sum.
CREATE TABLE tenant_totals (
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    shard INTEGER NOT NULL,
    patients INTEGER NOT NULL,
    studies INTEGER NOT NULL,
    series INTEGER NOT NULL,
    instances INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, shard)
);

-- study_uid is empty, except where the Patient ID is: strangers without an ID are not one patient.
CREATE TABLE patients (
    id INTEGER PRIMARY KEY,
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    patient_id TEXT NOT NULL,
    issuer TEXT NOT NULL,
    study_uid TEXT NOT NULL,
    name TEXT NOT NULL,
    birth_date TEXT NOT NULL,
    sex TEXT NOT NULL,
    study_count INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    UNIQUE (tenant_id, patient_id, issuer, study_uid)
);

CREATE TABLE studies (
    id INTEGER PRIMARY KEY,
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    patient_row INTEGER NOT NULL REFERENCES patients (id),
    study_uid TEXT NOT NULL,
    patient_id TEXT NOT NULL,
    issuer TEXT NOT NULL,
    patient_id_key TEXT NOT NULL,
    issuer_key TEXT NOT NULL,
    name_alphabetic_key TEXT NOT NULL,
    name_ideographic_key TEXT NOT NULL,
    name_phonetic_key TEXT NOT NULL,
    birth_date TEXT NOT NULL,
    sex_key TEXT NOT NULL,
    study_date TEXT NOT NULL,
    study_time TEXT NOT NULL,
    accession_key TEXT NOT NULL,
    study_id_key TEXT NOT NULL,
    description_key TEXT NOT NULL,
    referring_alphabetic_key TEXT NOT NULL,
    referring_ideographic_key TEXT NOT NULL,
    referring_phonetic_key TEXT NOT NULL,
    study_json TEXT NOT NULL,
    modalities TEXT NOT NULL,
    sop_classes TEXT NOT NULL,
    series_count INTEGER NOT NULL,
    instance_count INTEGER NOT NULL,
    size INTEGER NOT NULL,
    patient_conflict BOOLEAN NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    UNIQUE (tenant_id, study_uid)
);
CREATE INDEX studies_by_date ON studies (tenant_id, study_date, study_time, id);
CREATE INDEX studies_by_patient_id ON studies (tenant_id, patient_id_key);
CREATE INDEX studies_by_accession ON studies (tenant_id, accession_key);
CREATE INDEX studies_by_alphabetic ON studies (tenant_id, name_alphabetic_key);
CREATE INDEX studies_by_ideographic ON studies (tenant_id, name_ideographic_key);
CREATE INDEX studies_by_phonetic ON studies (tenant_id, name_phonetic_key);
CREATE INDEX studies_by_birth_date ON studies (tenant_id, birth_date);
CREATE INDEX studies_by_patient_row ON studies (patient_row);

-- Substring search: every three characters of these columns, kept by triggers.
CREATE VIRTUAL TABLE study_search USING fts5 (
    name_alphabetic_key, name_ideographic_key, name_phonetic_key, patient_id_key, accession_key,
    description_key, content = 'studies', content_rowid = 'id', tokenize = 'trigram', detail = 'full'
);
CREATE TRIGGER studies_search_insert AFTER INSERT ON studies BEGIN
    INSERT INTO study_search (rowid, name_alphabetic_key, name_ideographic_key, name_phonetic_key,
        patient_id_key, accession_key, description_key)
    VALUES (new.id, new.name_alphabetic_key, new.name_ideographic_key, new.name_phonetic_key,
        new.patient_id_key, new.accession_key, new.description_key);
END;
CREATE TRIGGER studies_search_delete AFTER DELETE ON studies BEGIN
    INSERT INTO study_search (study_search, rowid, name_alphabetic_key, name_ideographic_key,
        name_phonetic_key, patient_id_key, accession_key, description_key)
    VALUES ('delete', old.id, old.name_alphabetic_key, old.name_ideographic_key,
        old.name_phonetic_key, old.patient_id_key, old.accession_key, old.description_key);
END;
CREATE TRIGGER studies_search_update AFTER UPDATE OF name_alphabetic_key, name_ideographic_key,
    name_phonetic_key, patient_id_key, accession_key, description_key ON studies
BEGIN
    INSERT INTO study_search (study_search, rowid, name_alphabetic_key, name_ideographic_key,
        name_phonetic_key, patient_id_key, accession_key, description_key)
    VALUES ('delete', old.id, old.name_alphabetic_key, old.name_ideographic_key,
        old.name_phonetic_key, old.patient_id_key, old.accession_key, old.description_key);
    INSERT INTO study_search (rowid, name_alphabetic_key, name_ideographic_key, name_phonetic_key,
        patient_id_key, accession_key, description_key)
    VALUES (new.id, new.name_alphabetic_key, new.name_ideographic_key, new.name_phonetic_key,
        new.patient_id_key, new.accession_key, new.description_key);
END;

CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    study_id INTEGER NOT NULL REFERENCES studies (id),
    series_uid TEXT NOT NULL,
    modality_key TEXT NOT NULL,
    series_number INTEGER,
    description_key TEXT NOT NULL,
    body_part_key TEXT NOT NULL,
    station_name_key TEXT NOT NULL,
    institution_key TEXT NOT NULL,
    series_date TEXT NOT NULL,
    series_time TEXT NOT NULL,
    pps_start_date TEXT NOT NULL,
    pps_start_time TEXT NOT NULL,
    series_json TEXT NOT NULL,
    instance_count INTEGER NOT NULL,
    size INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    UNIQUE (study_id, series_uid)
);
CREATE INDEX series_by_uid ON series (series_uid);

-- header: DICOM JSON, layout: frames and bulk values; both a length and a zstd frame.
CREATE TABLE instances (
    id INTEGER PRIMARY KEY,
    series_id INTEGER NOT NULL REFERENCES series (id),
    sop_uid TEXT NOT NULL,
    sop_class_uid TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    is_current BOOLEAN NOT NULL,
    transfer_syntax TEXT NOT NULL,
    instance_number INTEGER,
    blob_key TEXT NOT NULL,
    blob_digest INTEGER NOT NULL,
    blob_size INTEGER NOT NULL,
    data_set_offset INTEGER NOT NULL,
    instance_json TEXT NOT NULL,
    header BLOB NOT NULL,
    layout BLOB NOT NULL,
    route TEXT NOT NULL,
    peer TEXT NOT NULL,
    calling_ae TEXT NOT NULL,
    called_ae TEXT NOT NULL,
    received_ms INTEGER NOT NULL,
    UNIQUE (sop_uid, series_id, content_hash)
);
CREATE UNIQUE INDEX instances_current ON instances (series_id, sop_uid) WHERE is_current;
CREATE INDEX instances_by_blob ON instances (blob_digest);

-- The change feed. There is one writer at a time, so a sequence in order of insertion is enough;
-- feed.base serves Postgres only.
CREATE TABLE feed (
    id INTEGER PRIMARY KEY,
    base INTEGER NOT NULL
);
INSERT INTO feed (id, base) VALUES (1, 0);
CREATE TABLE events (
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    study_uid TEXT NOT NULL,
    series_uid TEXT NOT NULL,
    sop_uid TEXT NOT NULL,
    at_ms INTEGER NOT NULL
);
CREATE INDEX events_by_tenant ON events (tenant_id, sequence);

-- state: ready, running or dead. A finished job is removed.
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY,
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    kind TEXT NOT NULL,
    dedupe_key TEXT NOT NULL,
    payload TEXT NOT NULL,
    state TEXT NOT NULL,
    run_at_ms INTEGER NOT NULL,
    lease_until_ms INTEGER NOT NULL DEFAULT 0,
    worker TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0,
    revision INTEGER NOT NULL DEFAULT 0,
    UNIQUE (tenant_id, kind, dedupe_key)
);
CREATE INDEX jobs_due ON jobs (run_at_ms) WHERE state <> 'dead';
