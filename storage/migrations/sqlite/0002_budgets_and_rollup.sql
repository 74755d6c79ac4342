ALTER TABLE token_usage ADD COLUMN service_tier TEXT NOT NULL DEFAULT 'standard';
ALTER TABLE token_usage ADD COLUMN ancestors TEXT NOT NULL DEFAULT '';
ALTER TABLE reservation ADD COLUMN ancestors TEXT NOT NULL DEFAULT '';
ALTER TABLE reservation ADD COLUMN path TEXT NOT NULL DEFAULT '';

-- Usage of a session counts for the sessions above it too.
CREATE TABLE usage_ancestor (
    session_id TEXT NOT NULL,
    admitted   INTEGER NOT NULL,
    event_id   TEXT NOT NULL,
    PRIMARY KEY (session_id, admitted, event_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_ancestor_event ON usage_ancestor (event_id);

-- What is left of a budget is the amount of the reservation of the same id.
CREATE TABLE budget (
    budget_id       TEXT PRIMARY KEY,
    user_id         TEXT NOT NULL,
    group_id        TEXT NOT NULL,
    session_id      TEXT NOT NULL,
    ancestors       TEXT NOT NULL,
    path            TEXT NOT NULL,
    share_tokens    INTEGER,
    share_cost_nano INTEGER,
    share_requests  INTEGER,
    used_tokens     INTEGER NOT NULL,
    used_cost_nano  INTEGER NOT NULL,
    used_requests   INTEGER NOT NULL,
    opened          INTEGER NOT NULL,
    expires         INTEGER NOT NULL,
    ended           INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX budget_open ON budget (user_id, session_id) WHERE ended IS NULL;
CREATE INDEX budget_ended ON budget (ended) WHERE ended IS NOT NULL;

-- limits_version changes with every limit; events before pruned_before are gone, their sums below are not.
CREATE TABLE ledger_meta (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO ledger_meta VALUES ('limits_version', 0), ('pruned_before', 0);

-- The rollup. Hours are kept in quarters, because some time zones are off by 30 or 45 minutes. Money is whole dollars
-- and the rest in nano-dollars.
CREATE TABLE usage_hourly (
    quarter_hour       INTEGER NOT NULL,
    user_id            TEXT NOT NULL,
    group_id           TEXT NOT NULL,
    model              TEXT NOT NULL,
    api_endpoint       TEXT NOT NULL,
    requests           INTEGER NOT NULL,
    input_tokens       INTEGER NOT NULL,
    output_tokens      INTEGER NOT NULL,
    cached_tokens      INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    reasoning_tokens   INTEGER NOT NULL,
    cost_usd           INTEGER NOT NULL,
    cost_nano          INTEGER NOT NULL,
    unpriced_requests  INTEGER NOT NULL,
    PRIMARY KEY (quarter_hour, user_id, group_id, model, api_endpoint)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_hourly_user ON usage_hourly (user_id, quarter_hour);

-- The same over all users, in shards that servers write to without waiting for each other.
CREATE TABLE usage_hourly_all (
    quarter_hour       INTEGER NOT NULL,
    group_id           TEXT NOT NULL,
    model              TEXT NOT NULL,
    api_endpoint       TEXT NOT NULL,
    shard              INTEGER NOT NULL,
    requests           INTEGER NOT NULL,
    input_tokens       INTEGER NOT NULL,
    output_tokens      INTEGER NOT NULL,
    cached_tokens      INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    reasoning_tokens   INTEGER NOT NULL,
    cost_usd           INTEGER NOT NULL,
    cost_nano          INTEGER NOT NULL,
    unpriced_requests  INTEGER NOT NULL,
    PRIMARY KEY (quarter_hour, group_id, model, api_endpoint, shard)
) STRICT, WITHOUT ROWID;

INSERT INTO usage_hourly
SELECT timestamp / 900000000, user_id, group_id, model, api_endpoint, count(*), sum(input_tokens), sum(output_tokens),
    sum(cached_tokens), sum(cache_write_tokens + cache_write_1h_tokens), sum(reasoning_tokens),
    coalesce(sum(cost_nano / 1000000000), 0), coalesce(sum(cost_nano % 1000000000), 0), count(*) - count(cost_nano)
FROM token_usage GROUP BY 1, 2, 3, 4, 5;
INSERT INTO usage_hourly_all
SELECT quarter_hour, group_id, model, api_endpoint, 0, sum(requests), sum(input_tokens), sum(output_tokens),
    sum(cached_tokens), sum(cache_write_tokens), sum(reasoning_tokens), sum(cost_usd), sum(cost_nano),
    sum(unpriced_requests)
FROM usage_hourly GROUP BY 1, 2, 3, 4;

-- A reservation's one event is kept with its end now.
UPDATE event_key SET answer = json_set(answer, '$.event', json((
    SELECT record.answer FROM event_key AS record
    WHERE record.kind = 'record'
        AND record.key = json_extract(event_key.answer, '$.user') || char(10) || 'reservation ' || event_key.key
)))
WHERE kind = 'ended' AND EXISTS (
    SELECT 1 FROM event_key AS record
    WHERE record.kind = 'record'
        AND record.key = json_extract(event_key.answer, '$.user') || char(10) || 'reservation ' || event_key.key
);
DELETE FROM event_key WHERE kind = 'record' AND key LIKE '%' || char(10) || 'reservation %';
