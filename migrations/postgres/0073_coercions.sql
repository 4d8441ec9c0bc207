-- How the objects of a row's peers are read: a JSON object, empty for as they are.
ALTER TABLE peers ADD COLUMN coercions TEXT NOT NULL DEFAULT '';
