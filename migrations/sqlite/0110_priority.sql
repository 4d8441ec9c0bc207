-- How urgent an order is, so that rules of sharing can select by it: STAT, HIGH, ROUTINE, MEDIUM, LOW or
-- empty.
ALTER TABLE orders ADD COLUMN priority TEXT NOT NULL DEFAULT '';
UPDATE orders SET priority = COALESCE(json_extract(json, '$.procedure.priority'), '');
ALTER TABLE grants ADD COLUMN priority TEXT NOT NULL DEFAULT '';
