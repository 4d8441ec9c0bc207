-- Names by their sound, and attributes that an installation indexes beyond the columns.

-- Search words of a name, joined by spaces: see crates/model/src/sounds.rs.
ALTER TABLE studies ADD COLUMN name_sounds TEXT NOT NULL DEFAULT '';
ALTER TABLE studies ADD COLUMN referring_sounds TEXT NOT NULL DEFAULT '';

CREATE VIRTUAL TABLE study_sounds USING fts5 (
    name_sounds, referring_sounds, content = 'studies', content_rowid = 'id', tokenize = 'ascii'
);
CREATE TRIGGER studies_sounds_insert AFTER INSERT ON studies BEGIN
    INSERT INTO study_sounds (rowid, name_sounds, referring_sounds)
    VALUES (new.id, new.name_sounds, new.referring_sounds);
END;
CREATE TRIGGER studies_sounds_delete AFTER DELETE ON studies BEGIN
    INSERT INTO study_sounds (study_sounds, rowid, name_sounds, referring_sounds)
    VALUES ('delete', old.id, old.name_sounds, old.referring_sounds);
END;
CREATE TRIGGER studies_sounds_update AFTER UPDATE OF name_sounds, referring_sounds ON studies
BEGIN
    INSERT INTO study_sounds (study_sounds, rowid, name_sounds, referring_sounds)
    VALUES ('delete', old.id, old.name_sounds, old.referring_sounds);
    INSERT INTO study_sounds (rowid, name_sounds, referring_sounds)
    VALUES (new.id, new.name_sounds, new.referring_sounds);
END;
-- Rows that are there have no search words yet, and an external content table must know them so.
INSERT INTO study_sounds (study_sounds) VALUES ('rebuild');

-- attribute: the digits of a path; value: a folded key, one row for each. They go with their owner.
CREATE TABLE study_attributes (
    study_id INTEGER NOT NULL REFERENCES studies (id) ON DELETE CASCADE,
    attribute TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (study_id, attribute, value)
) WITHOUT ROWID;
CREATE INDEX study_attributes_by_value ON study_attributes (attribute, value, study_id);
CREATE TABLE series_attributes (
    series_id INTEGER NOT NULL REFERENCES series (id) ON DELETE CASCADE,
    attribute TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (series_id, attribute, value)
) WITHOUT ROWID;
CREATE INDEX series_attributes_by_value ON series_attributes (attribute, value, series_id);
CREATE TABLE instance_attributes (
    instance_id INTEGER NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    attribute TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (instance_id, attribute, value)
) WITHOUT ROWID;
CREATE INDEX instance_attributes_by_value ON instance_attributes (attribute, value, instance_id);

-- What is computed for rows that were there before: how far it is (the last id), and whether it
-- reached the end. name is 'names' or the digits of a path.
CREATE TABLE backfills (
    name TEXT PRIMARY KEY,
    position INTEGER NOT NULL DEFAULT 0,
    done BOOLEAN NOT NULL DEFAULT FALSE
);
INSERT INTO backfills (name) VALUES ('names');
