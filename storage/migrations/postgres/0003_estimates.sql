-- Numbers that are an estimate, not the provider's, are marked; the rollup says how many, and keeps one-hour cache writes
-- apart, which have a price of their own.
ALTER TABLE token_usage ADD COLUMN estimated smallint NOT NULL DEFAULT 0;
ALTER TABLE usage_hourly ADD COLUMN estimated_requests bigint NOT NULL DEFAULT 0;
ALTER TABLE usage_hourly ADD COLUMN cache_write_1h_tokens bigint NOT NULL DEFAULT 0;
ALTER TABLE usage_hourly_all ADD COLUMN estimated_requests bigint NOT NULL DEFAULT 0;
ALTER TABLE usage_hourly_all ADD COLUMN cache_write_1h_tokens bigint NOT NULL DEFAULT 0;

-- Of pruned events nobody knows any more how long their writes were for.
UPDATE usage_hourly SET cache_write_1h_tokens = written.tokens
FROM (
    SELECT timestamp / 900000000 AS quarter, user_id COLLATE "C" AS user_id, group_id COLLATE "C" AS group_id,
        model COLLATE "C" AS model, api_endpoint COLLATE "C" AS api_endpoint, sum(cache_write_1h_tokens) AS tokens
    FROM token_usage WHERE cache_write_1h_tokens > 0 GROUP BY 1, 2, 3, 4, 5
) AS written
WHERE usage_hourly.quarter_hour = written.quarter AND usage_hourly.user_id = written.user_id
    AND usage_hourly.group_id = written.group_id AND usage_hourly.model = written.model
    AND usage_hourly.api_endpoint = written.api_endpoint;
-- A sum over all users stands in any one of its shards.
UPDATE usage_hourly_all SET cache_write_1h_tokens = written.tokens
FROM (
    SELECT quarter_hour, group_id, model, api_endpoint, sum(cache_write_1h_tokens) AS tokens
    FROM usage_hourly WHERE cache_write_1h_tokens > 0 GROUP BY 1, 2, 3, 4
) AS written
WHERE usage_hourly_all.quarter_hour = written.quarter_hour AND usage_hourly_all.group_id = written.group_id
    AND usage_hourly_all.model = written.model AND usage_hourly_all.api_endpoint = written.api_endpoint
    AND usage_hourly_all.shard = (
        SELECT min(shard) FROM usage_hourly_all AS other
        WHERE other.quarter_hour = written.quarter_hour AND other.group_id = written.group_id
            AND other.model = written.model AND other.api_endpoint = written.api_endpoint
    );

-- What the ledger's servers share and nobody else knows: the key that signs cursors.
CREATE TABLE ledger_secret (
    name  text COLLATE "C" PRIMARY KEY,
    value text NOT NULL
);
