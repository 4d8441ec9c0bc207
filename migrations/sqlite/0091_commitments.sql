-- Storage commitment of what was sent on, destinations that an operator answers for, and forgetting.

-- commits: the destination has to say that it keeps what it took.
ALTER TABLE route_rules ADD COLUMN commits BOOLEAN NOT NULL DEFAULT FALSE;

-- trusted: registered at the server itself, and may therefore be in its own networks.
ALTER TABLE web_goals ADD COLUMN trusted BOOLEAN NOT NULL DEFAULT FALSE;
UPDATE web_goals SET trusted = TRUE WHERE created_by = '';

-- state: also committing (sent, the destination has not said yet that it keeps it) and committed. forgotten_ms: what
-- was stored until then has been sent, and there are no rows about it any more.
ALTER TABLE deliveries ADD COLUMN forgotten_ms INTEGER NOT NULL DEFAULT 0;
DROP INDEX deliveries_due;
CREATE INDEX deliveries_due ON deliveries (due_ms) WHERE state IN ('waiting', 'sending', 'committing');

-- outcome: also committed, and lost (taken, but the destination says that it does not keep it). uncommitted: how
-- often it said so.
ALTER TABLE delivered ADD COLUMN uncommitted INTEGER NOT NULL DEFAULT 0;

-- Requests for storage commitment that were not answered. title: AE title of whoever was asked. objects: JSON, an
-- array of SOP Instance UID and content hash. asked: how many times it was by then. until_ms: when it is asked again.
CREATE TABLE commitments (
    transaction_uid TEXT PRIMARY KEY,
    delivery_id INTEGER NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    title TEXT NOT NULL,
    objects TEXT NOT NULL,
    asked INTEGER NOT NULL,
    asked_ms INTEGER NOT NULL,
    until_ms INTEGER NOT NULL
);
CREATE INDEX commitments_by_delivery ON commitments (delivery_id);
