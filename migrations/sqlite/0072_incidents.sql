-- What went wrong with DICOM peers, and who was admitted: for whoever has to find out why a device does
-- not get in or loses images. Nothing of patients. Equal incidents are one row with a count; the oldest of
-- each kind go. It takes the place of refused_peers.
--
-- tenant_id: of the association, or of the called AE title, else the default one. kind: admitted,
-- association, context, operation, ending. cause: a word of `qianli_model::incident`. subject: an abstract
-- syntax, or an operation with its SOP class. proposed: UIDs, separated by spaces. status: of a response,
-- 0 for none.
CREATE TABLE peer_incidents (
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    kind TEXT NOT NULL,
    cause TEXT NOT NULL,
    calling TEXT NOT NULL,
    called TEXT NOT NULL,
    address TEXT NOT NULL,
    certificate TEXT NOT NULL,
    subject TEXT NOT NULL,
    class_uid TEXT NOT NULL,
    version TEXT NOT NULL,
    proposed TEXT NOT NULL,
    status INTEGER NOT NULL,
    detail TEXT NOT NULL,
    times INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, calling, called, address, certificate, kind, cause, subject)
);
CREATE INDEX peer_incidents_by_time ON peer_incidents (tenant_id, kind, last_ms);

INSERT INTO peer_incidents
SELECT tenant_id, 'association', reason, calling, called, address, certificate, '', '', '', '', 0, '', times,
    first_ms, last_ms
FROM refused_peers;
DROP TABLE refused_peers;
