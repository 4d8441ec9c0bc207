-- The list of studies that a person must look at is short: their times need not be in order here,
-- and a study's counters change with every batch.
DROP INDEX studies_in_conflict;
CREATE INDEX studies_in_conflict ON studies (tenant_id, id) WHERE patient_conflict;
