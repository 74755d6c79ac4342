-- What a request had been counted as, before calibration, and how: beside its real usage it says what counts are worth.
ALTER TABLE token_usage ADD COLUMN counted_tokens INTEGER;
ALTER TABLE token_usage ADD COLUMN counted_as TEXT NOT NULL DEFAULT '';
CREATE INDEX token_usage_counted ON token_usage (counted_as, timestamp) WHERE counted_as > '';
