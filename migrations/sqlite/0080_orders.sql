-- Orders with their scheduled steps, what modalities performed, which study belongs to which order,
-- what a person has to look at, and the HL7 messages that brought it.

-- json: the whole order; the other columns exist to be found by. state: of all steps together.
CREATE TABLE orders (
    id INTEGER PRIMARY KEY,
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    study_uid TEXT NOT NULL,
    patient_id_key TEXT NOT NULL,
    issuer_key TEXT NOT NULL,
    name_alphabetic_key TEXT NOT NULL,
    name_ideographic_key TEXT NOT NULL,
    name_phonetic_key TEXT NOT NULL,
    birth_date TEXT NOT NULL,
    sex TEXT NOT NULL,
    accession_key TEXT NOT NULL,
    procedure_id_key TEXT NOT NULL,
    placer_key TEXT NOT NULL,
    filler_key TEXT NOT NULL,
    state TEXT NOT NULL,
    origin TEXT NOT NULL,
    json TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    UNIQUE (tenant_id, study_uid)
);
CREATE INDEX orders_by_accession ON orders (tenant_id, accession_key);
CREATE INDEX orders_by_procedure_id ON orders (tenant_id, procedure_id_key);
CREATE INDEX orders_by_placer ON orders (tenant_id, placer_key);
CREATE INDEX orders_by_filler ON orders (tenant_id, filler_key);
CREATE INDEX orders_by_patient_id ON orders (tenant_id, patient_id_key);
CREATE INDEX orders_by_alphabetic ON orders (tenant_id, name_alphabetic_key);
CREATE INDEX orders_by_ideographic ON orders (tenant_id, name_ideographic_key);

CREATE TABLE order_steps (
    order_id INTEGER NOT NULL REFERENCES orders (id),
    tenant_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    step_id_key TEXT NOT NULL,
    modality_key TEXT NOT NULL,
    station_ae_key TEXT NOT NULL,
    station_name_key TEXT NOT NULL,
    start_date TEXT NOT NULL,
    start_time TEXT NOT NULL,
    performer_alphabetic_key TEXT NOT NULL,
    performer_ideographic_key TEXT NOT NULL,
    performer_phonetic_key TEXT NOT NULL,
    status TEXT NOT NULL,
    PRIMARY KEY (order_id, position)
);
CREATE INDEX order_steps_by_start ON order_steps (tenant_id, start_date, start_time, order_id);
CREATE INDEX order_steps_by_station ON order_steps (tenant_id, station_ae_key, start_date, start_time);
CREATE INDEX order_steps_by_modality ON order_steps (tenant_id, modality_key, start_date, start_time);
CREATE INDEX order_steps_by_id ON order_steps (tenant_id, step_id_key);

-- Search words of the patient's name: see crates/model/src/sounds.rs.
CREATE TABLE order_words (
    order_id INTEGER NOT NULL REFERENCES orders (id),
    tenant_id INTEGER NOT NULL,
    word TEXT NOT NULL,
    PRIMARY KEY (order_id, word)
);
CREATE INDEX order_words_by_word ON order_words (tenant_id, word, order_id);

-- Modality performed procedure steps. order_id: 0 where nothing was ordered. json: DICOM JSON.
CREATE TABLE performed_steps (
    id INTEGER PRIMARY KEY,
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    sop_uid TEXT NOT NULL,
    order_id INTEGER NOT NULL,
    step_ids TEXT NOT NULL,
    status TEXT NOT NULL,
    study_uid TEXT NOT NULL,
    calling TEXT NOT NULL,
    json TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    UNIQUE (tenant_id, sop_uid)
);
CREATE INDEX performed_steps_by_order ON performed_steps (tenant_id, order_id);
CREATE INDEX performed_steps_by_study ON performed_steps (tenant_id, study_uid);
CREATE TABLE performed_series (
    performed_id INTEGER NOT NULL REFERENCES performed_steps (id),
    tenant_id INTEGER NOT NULL,
    series_uid TEXT NOT NULL,
    PRIMARY KEY (performed_id, series_uid)
);
CREATE INDEX performed_series_by_uid ON performed_series (tenant_id, series_uid);

-- Calling AE titles that ask for worklists or report what they perform.
CREATE TABLE worklist_stations (
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    calling TEXT NOT NULL,
    seen_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, calling)
);

-- Which study belongs to which order, and how that was found.
CREATE TABLE study_orders (
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    study_uid TEXT NOT NULL,
    order_id INTEGER NOT NULL REFERENCES orders (id),
    how TEXT NOT NULL,
    matched_by TEXT NOT NULL,
    matched_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, study_uid, order_id)
);
CREATE INDEX study_orders_by_order ON study_orders (tenant_id, order_id);

-- What a person has to look at. study_uid and order_id: empty and 0 where there is none. earlier: the
-- matches of the study as they were, so that a decision can be undone.
CREATE TABLE order_mismatches (
    id INTEGER PRIMARY KEY,
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    kind TEXT NOT NULL,
    study_uid TEXT NOT NULL,
    order_id INTEGER NOT NULL,
    state TEXT NOT NULL,
    earlier TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    settled_ms INTEGER NOT NULL,
    settled_by TEXT NOT NULL,
    UNIQUE (tenant_id, kind, study_uid, order_id)
);
CREATE INDEX order_mismatches_by_state ON order_mismatches (tenant_id, state, created_ms);
CREATE INDEX order_mismatches_by_study ON order_mismatches (tenant_id, study_uid);

-- HL7 messages that were taken, so that the same message is taken once.
CREATE TABLE hl7_messages (
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    sender TEXT NOT NULL,
    control_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, sender, control_id)
);
CREATE INDEX hl7_messages_by_time ON hl7_messages (at_ms);

-- HL7 messages that were not taken, without what they said of patients.
CREATE TABLE hl7_refusals (
    id INTEGER PRIMARY KEY,
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    address TEXT NOT NULL,
    sender TEXT NOT NULL,
    control_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    code TEXT NOT NULL,
    place TEXT NOT NULL,
    reason TEXT NOT NULL,
    at_ms INTEGER NOT NULL
);
CREATE INDEX hl7_refusals_by_time ON hl7_refusals (tenant_id, at_ms);
