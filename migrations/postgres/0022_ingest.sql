-- What storing an instance pays for, made smaller.

-- A study's time of change must be in no index: while it was, every update of a study's counters
-- wrote to all its indexes instead of being a heap-only update.
DROP INDEX studies_in_conflict;
CREATE INDEX studies_in_conflict ON studies (tenant_id, id) WHERE patient_conflict;

-- One index on the series of instances, and it keeps neighbours together; the one that a lone SOP
-- Instance UID is found by, whose entries scatter, holds no digests.
DROP INDEX instances_by_series;
DROP INDEX instances_current;
ALTER TABLE instances DROP CONSTRAINT instances_sop_uid_series_id_content_hash_key;
ALTER TABLE instances ADD UNIQUE (series_id, sop_uid, content_hash);
CREATE UNIQUE INDEX instances_current ON instances (sop_uid, series_id) WHERE is_current;
