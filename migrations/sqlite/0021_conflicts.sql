-- The list of studies that a person must look at; nearly always empty.
CREATE INDEX studies_in_conflict ON studies (tenant_id, updated_ms) WHERE patient_conflict;
