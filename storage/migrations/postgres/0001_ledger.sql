-- Times are microseconds since the epoch in UTC, money is nano-dollars. No prompt or completion text is ever stored.

CREATE TABLE token_usage (
    event_id              text COLLATE "C" PRIMARY KEY,
    timestamp             bigint NOT NULL,
    admitted              bigint NOT NULL,
    user_id               text NOT NULL,
    group_id              text NOT NULL,
    session_id            text NOT NULL,
    model                 text NOT NULL,
    input_tokens          bigint NOT NULL,
    output_tokens         bigint NOT NULL,
    cached_tokens         bigint NOT NULL,
    cache_write_tokens    bigint NOT NULL,
    cache_write_1h_tokens bigint NOT NULL,
    reasoning_tokens      bigint NOT NULL,
    tokens_used           bigint NOT NULL,
    cost_nano             bigint,
    price_source          text NOT NULL,
    api_endpoint          text NOT NULL,
    priority_level        text NOT NULL,
    reservation_id        text NOT NULL,
    overage               smallint NOT NULL,
    service_tier          text NOT NULL,
    ancestors             text NOT NULL
);
CREATE INDEX token_usage_time ON token_usage (timestamp, event_id);
CREATE INDEX token_usage_user ON token_usage (user_id, admitted);
CREATE INDEX token_usage_group ON token_usage (group_id, admitted) WHERE group_id <> '';
CREATE INDEX token_usage_session ON token_usage (session_id, admitted) WHERE session_id <> '';
CREATE INDEX token_usage_admitted ON token_usage (admitted);

-- Usage of a session counts for the sessions above it too.
CREATE TABLE usage_ancestor (
    session_id text COLLATE "C" NOT NULL,
    admitted   bigint NOT NULL,
    event_id   text COLLATE "C" NOT NULL,
    PRIMARY KEY (session_id, admitted, event_id)
);
CREATE INDEX usage_ancestor_event ON usage_ancestor (event_id);

CREATE TABLE token_limits (
    subject     text COLLATE "C" NOT NULL,
    metric      text NOT NULL,
    time_window text NOT NULL,
    max_amount  bigint NOT NULL,
    mode        text NOT NULL,
    timezone    text NOT NULL,
    PRIMARY KEY (subject, metric, time_window)
);

-- Derived from token_usage and reservation; a subject without a row is counted anew when it is next asked for. A row is
-- rewritten by every operation of its subject: half of each page is kept free, so that this touches no index.
CREATE TABLE quota_state (
    subject text COLLATE "C" PRIMARY KEY,
    state   text NOT NULL,
    written bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE reservation (
    reservation_id text COLLATE "C" PRIMARY KEY,
    user_id        text NOT NULL,
    group_id       text NOT NULL,
    session_id     text NOT NULL,
    model          text NOT NULL,
    tokens         bigint NOT NULL,
    cost_nano      bigint,
    requests       bigint NOT NULL,
    admitted       bigint NOT NULL,
    expires        bigint NOT NULL,
    ancestors      text NOT NULL,
    path           text NOT NULL
);
CREATE INDEX reservation_expires ON reservation (expires);
CREATE INDEX reservation_user ON reservation (user_id);

-- What is left of a budget is the amount of the reservation of the same id.
CREATE TABLE budget (
    budget_id       text COLLATE "C" PRIMARY KEY,
    user_id         text NOT NULL,
    group_id        text NOT NULL,
    session_id      text NOT NULL,
    ancestors       text NOT NULL,
    path            text NOT NULL,
    share_tokens    bigint,
    share_cost_nano bigint,
    share_requests  bigint,
    used_tokens     bigint NOT NULL,
    used_cost_nano  bigint NOT NULL,
    used_requests   bigint NOT NULL,
    opened          bigint NOT NULL,
    expires         bigint NOT NULL,
    ended           bigint
);
CREATE UNIQUE INDEX budget_open ON budget (user_id, session_id) WHERE ended IS NULL;
CREATE INDEX budget_ended ON budget (ended) WHERE ended IS NOT NULL;

-- What was answered to an idempotency key, how a reservation ended, and which batches were committed.
CREATE TABLE event_key (
    kind    text COLLATE "C" NOT NULL,
    key     text COLLATE "C" NOT NULL,
    answer  text NOT NULL,
    created bigint NOT NULL,
    PRIMARY KEY (kind, key)
);
CREATE INDEX event_key_created ON event_key (created);

-- limits_version changes with every limit; events before pruned_before are gone, their sums below are not.
CREATE TABLE ledger_meta (
    name  text COLLATE "C" PRIMARY KEY,
    value bigint NOT NULL
);
INSERT INTO ledger_meta VALUES ('limits_version', 0), ('pruned_before', 0);

-- The rollup. Hours are kept in quarters, because some time zones are off by 30 or 45 minutes. Money is whole dollars
-- and the rest in nano-dollars.
CREATE TABLE usage_hourly (
    quarter_hour       bigint NOT NULL,
    user_id            text COLLATE "C" NOT NULL,
    group_id           text COLLATE "C" NOT NULL,
    model              text COLLATE "C" NOT NULL,
    api_endpoint       text COLLATE "C" NOT NULL,
    requests           bigint NOT NULL,
    input_tokens       bigint NOT NULL,
    output_tokens      bigint NOT NULL,
    cached_tokens      bigint NOT NULL,
    cache_write_tokens bigint NOT NULL,
    reasoning_tokens   bigint NOT NULL,
    cost_usd           bigint NOT NULL,
    cost_nano          bigint NOT NULL,
    unpriced_requests  bigint NOT NULL,
    PRIMARY KEY (quarter_hour, user_id, group_id, model, api_endpoint)
) WITH (fillfactor = 80);
CREATE INDEX usage_hourly_user ON usage_hourly (user_id, quarter_hour);

-- The same over all users, in shards that servers write to without waiting for each other.
CREATE TABLE usage_hourly_all (
    quarter_hour       bigint NOT NULL,
    group_id           text COLLATE "C" NOT NULL,
    model              text COLLATE "C" NOT NULL,
    api_endpoint       text COLLATE "C" NOT NULL,
    shard              bigint NOT NULL,
    requests           bigint NOT NULL,
    input_tokens       bigint NOT NULL,
    output_tokens      bigint NOT NULL,
    cached_tokens      bigint NOT NULL,
    cache_write_tokens bigint NOT NULL,
    reasoning_tokens   bigint NOT NULL,
    cost_usd           bigint NOT NULL,
    cost_nano          bigint NOT NULL,
    unpriced_requests  bigint NOT NULL,
    PRIMARY KEY (quarter_hour, group_id, model, api_endpoint, shard)
) WITH (fillfactor = 80);
