-- forgotten: how many objects were sent of which there are no rows any more.
ALTER TABLE deliveries ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;

-- domain_key: the sending facility (HL7) whose numbers the order has; empty for whoever enters it here.
ALTER TABLE orders ADD COLUMN domain_key TEXT NOT NULL DEFAULT '';
CREATE INDEX orders_by_change ON orders (updated_ms);
CREATE INDEX performed_steps_by_change ON performed_steps (updated_ms);
