-- Workitems of the Unified Procedure Step service, what they are found by, who follows them, and
-- the event reports that wait for each of these.

-- transaction_uid: the lock of whoever claimed it, or empty. removed_ms: when it was removed, or 0;
-- the row stays for a while to say so. final_ms: when it reached a final state, or 0.
CREATE TABLE workitems (
    id INTEGER PRIMARY KEY,
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    workitem_uid TEXT NOT NULL,
    state TEXT NOT NULL,
    readiness TEXT NOT NULL,
    start_key TEXT NOT NULL,
    transaction_uid TEXT NOT NULL,
    json TEXT NOT NULL,
    revision INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    final_ms INTEGER NOT NULL,
    removed_ms INTEGER NOT NULL,
    UNIQUE (tenant_id, workitem_uid)
);
CREATE INDEX workitems_by_start ON workitems (tenant_id, start_key, id);
CREATE INDEX workitems_by_state ON workitems (tenant_id, state, start_key, id);
CREATE INDEX workitems_ended ON workitems (final_ms) WHERE final_ms > 0;

-- Every value of a workitem: path of tags, position of the items it lies in, folded value.
CREATE TABLE workitem_keys (
    workitem_id INTEGER NOT NULL REFERENCES workitems (id),
    tenant_id INTEGER NOT NULL,
    path TEXT NOT NULL,
    item TEXT NOT NULL,
    value TEXT NOT NULL
);
CREATE INDEX workitem_keys_by_value ON workitem_keys (tenant_id, path, value, workitem_id);
CREATE INDEX workitem_keys_by_workitem ON workitem_keys (workitem_id, path, item);

-- Who is told about one workitem.
CREATE TABLE workitem_subscriptions (
    workitem_id INTEGER NOT NULL REFERENCES workitems (id),
    tenant_id INTEGER NOT NULL,
    aet TEXT NOT NULL,
    deletion_lock BOOLEAN NOT NULL,
    PRIMARY KEY (workitem_id, aet)
);
CREATE INDEX workitem_subscriptions_by_aet ON workitem_subscriptions (tenant_id, aet);

-- Who is subscribed to workitems to come: to all of them, or to those that a filter matches.
CREATE TABLE workitem_followers (
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    aet TEXT NOT NULL,
    filter TEXT NOT NULL,
    deletion_lock BOOLEAN NOT NULL,
    PRIMARY KEY (tenant_id, aet, filter)
);

-- One row per report and receiver, numbered as the change feed is (see 0001).
CREATE TABLE workitem_events (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    aet TEXT NOT NULL,
    workitem_uid TEXT NOT NULL,
    kind INTEGER NOT NULL,
    attributes TEXT NOT NULL,
    at_ms INTEGER NOT NULL
);
CREATE INDEX workitem_events_by_aet ON workitem_events (tenant_id, aet, sequence);
CREATE INDEX workitem_events_by_time ON workitem_events (at_ms);

-- How far each receiver got.
CREATE TABLE workitem_receivers (
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    aet TEXT NOT NULL,
    delivered INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, aet)
);
