-- Reading tasks: studies that somebody is to read, the rules that make them, and what was done with them.

-- modality, body_part, station, description: folded patterns; source: an AE title or a pattern; empty for all.
-- asked: a priority of the order; empty for any. to_tenant: who reads. priority: stat, high, medium or low. priors and
-- days: what a reader elsewhere may see of earlier studies, and for how long; 0 for no end.
CREATE TABLE reading_rules (
    id INTEGER PRIMARY KEY,
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    label TEXT NOT NULL,
    source TEXT NOT NULL,
    modality TEXT NOT NULL,
    body_part TEXT NOT NULL,
    station TEXT NOT NULL,
    description TEXT NOT NULL,
    asked TEXT NOT NULL,
    to_tenant INTEGER NOT NULL REFERENCES tenants (id),
    subspecialty TEXT NOT NULL,
    priority TEXT NOT NULL,
    due_minutes INTEGER NOT NULL,
    priors TEXT NOT NULL,
    days INTEGER NOT NULL,
    disabled BOOLEAN NOT NULL DEFAULT FALSE,
    created_by TEXT NOT NULL,
    created_ms INTEGER NOT NULL
);
CREATE INDEX reading_rules_by_tenant ON reading_rules (tenant_id);

-- tenant_id: who reads; owner_id: whose study it is. parent_id: the first reading, where this is the second; 0 for
-- none. rule_id: what made it; 0 for a person. grant_id: what lets another tenant see the study; 0 for none. state:
-- open, claimed, done or cancelled. priority: 0 (stat) to 3 (low). complete_ms: when the study was complete; 0 while
-- it arrives. instances: how many it had then; late: how many came later and were not looked at, late_seen: how many
-- were. touched: a person set priority or clock. workitem_uid: its present face as a workitem.
CREATE TABLE reading_tasks (
    id INTEGER PRIMARY KEY,
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    owner_id INTEGER NOT NULL REFERENCES tenants (id),
    study_uid TEXT NOT NULL,
    parent_id INTEGER NOT NULL,
    rule_id INTEGER NOT NULL,
    grant_id INTEGER NOT NULL,
    state TEXT NOT NULL,
    priority INTEGER NOT NULL,
    subspecialty TEXT NOT NULL,
    reader_id INTEGER NOT NULL,
    reader TEXT NOT NULL,
    discrepancy TEXT NOT NULL,
    question TEXT NOT NULL,
    made_by TEXT NOT NULL,
    made_ms INTEGER NOT NULL,
    due_ms INTEGER NOT NULL,
    complete_ms INTEGER NOT NULL,
    claimed_ms INTEGER NOT NULL,
    final_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    instances INTEGER NOT NULL,
    late INTEGER NOT NULL,
    late_seen INTEGER NOT NULL,
    touched BOOLEAN NOT NULL,
    workitem_uid TEXT NOT NULL,
    revision INTEGER NOT NULL,
    UNIQUE (tenant_id, owner_id, study_uid, parent_id)
);
CREATE INDEX reading_tasks_by_clock ON reading_tasks (tenant_id, state, priority, due_ms, id);
CREATE INDEX reading_tasks_by_time ON reading_tasks (tenant_id, updated_ms, id);
CREATE INDEX reading_tasks_by_reader ON reading_tasks (tenant_id, reader, state);
CREATE INDEX reading_tasks_by_study ON reading_tasks (owner_id, study_uid);
CREATE INDEX reading_tasks_by_parent ON reading_tasks (parent_id);
CREATE INDEX reading_tasks_by_workitem ON reading_tasks (tenant_id, workitem_uid);

-- What was done with a task, and the feed of the live worklist: numbered as the change feed is (see 0001). note: words
-- of whoever did it.
CREATE TABLE reading_history (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant_id INTEGER NOT NULL,
    owner_id INTEGER NOT NULL,
    task_id INTEGER NOT NULL REFERENCES reading_tasks (id),
    did TEXT NOT NULL,
    by_kind TEXT NOT NULL,
    by_name TEXT NOT NULL,
    detail TEXT NOT NULL,
    note TEXT NOT NULL,
    at_ms INTEGER NOT NULL
);
CREATE INDEX reading_history_by_task ON reading_history (task_id, sequence);
CREATE INDEX reading_history_by_tenant ON reading_history (tenant_id, sequence);
CREATE INDEX reading_history_by_owner ON reading_history (owner_id, sequence);

-- Filters of the worklist that a person keeps under a name.
CREATE TABLE reading_views (
    id INTEGER PRIMARY KEY,
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    person_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    query TEXT NOT NULL,
    UNIQUE (tenant_id, person_id, name)
);
