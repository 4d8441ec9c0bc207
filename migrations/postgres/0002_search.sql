-- Names by their sound, and attributes that an installation indexes beyond the columns.

-- Search words of a name, joined by spaces: see crates/model/src/sounds.rs.
ALTER TABLE studies ADD COLUMN name_sounds TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE studies ADD COLUMN referring_sounds TEXT COLLATE "C" NOT NULL DEFAULT '';
-- Words are made by us: no dictionary and no parser has a say.
CREATE INDEX studies_by_name_sounds ON studies
    USING gin (array_to_tsvector(string_to_array(name_sounds, ' '))) WITH (fastupdate = off);
CREATE INDEX studies_by_referring_sounds ON studies
    USING gin (array_to_tsvector(string_to_array(referring_sounds, ' '))) WITH (fastupdate = off);

-- attribute: the digits of a path; value: a folded key, one row for each. They go with their owner.
CREATE TABLE study_attributes (
    study_id BIGINT NOT NULL REFERENCES studies (id) ON DELETE CASCADE,
    attribute TEXT COLLATE "C" NOT NULL,
    value TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (study_id, attribute, value)
);
CREATE INDEX study_attributes_by_value ON study_attributes (attribute, value, study_id);
CREATE TABLE series_attributes (
    series_id BIGINT NOT NULL REFERENCES series (id) ON DELETE CASCADE,
    attribute TEXT COLLATE "C" NOT NULL,
    value TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (series_id, attribute, value)
);
CREATE INDEX series_attributes_by_value ON series_attributes (attribute, value, series_id);
CREATE TABLE instance_attributes (
    instance_id BIGINT NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    attribute TEXT COLLATE "C" NOT NULL,
    value TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (instance_id, attribute, value)
);
CREATE INDEX instance_attributes_by_value ON instance_attributes (attribute, value, instance_id);

-- What is computed for rows that were there before: how far it is (the last id), and whether it
-- reached the end. name is 'names' or the digits of a path.
CREATE TABLE backfills (
    name TEXT COLLATE "C" PRIMARY KEY,
    position BIGINT NOT NULL DEFAULT 0,
    done BOOLEAN NOT NULL DEFAULT FALSE
);
INSERT INTO backfills (name) VALUES ('names');
