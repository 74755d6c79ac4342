-- Times are microseconds since the epoch in UTC, money is nano-dollars. No prompt or completion text is ever stored.

CREATE TABLE token_usage (
    event_id           TEXT PRIMARY KEY,
    timestamp          INTEGER NOT NULL,
    admitted           INTEGER NOT NULL,
    user_id            TEXT NOT NULL,
    group_id           TEXT NOT NULL DEFAULT '',
    session_id         TEXT NOT NULL DEFAULT '',
    model              TEXT NOT NULL,
    input_tokens       INTEGER NOT NULL,
    output_tokens      INTEGER NOT NULL,
    cached_tokens      INTEGER NOT NULL DEFAULT 0,
    cache_write_tokens INTEGER NOT NULL DEFAULT 0,
    cache_write_1h_tokens INTEGER NOT NULL DEFAULT 0,
    reasoning_tokens   INTEGER NOT NULL DEFAULT 0,
    tokens_used        INTEGER NOT NULL,
    cost_nano          INTEGER,
    price_source       TEXT NOT NULL DEFAULT '',
    api_endpoint       TEXT NOT NULL DEFAULT '',
    priority_level     TEXT NOT NULL DEFAULT 'normal',
    reservation_id     TEXT NOT NULL DEFAULT '',
    overage            INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX token_usage_time ON token_usage (timestamp);
CREATE INDEX token_usage_user ON token_usage (user_id, admitted);
CREATE INDEX token_usage_group ON token_usage (group_id, admitted) WHERE group_id <> '';
CREATE INDEX token_usage_session ON token_usage (session_id, admitted) WHERE session_id <> '';
CREATE INDEX token_usage_admitted ON token_usage (admitted);

CREATE TABLE token_limits (
    subject     TEXT NOT NULL,
    metric      TEXT NOT NULL,
    time_window TEXT NOT NULL,
    max_amount  INTEGER NOT NULL,
    mode        TEXT NOT NULL,
    timezone    TEXT NOT NULL,
    PRIMARY KEY (subject, metric, time_window)
) STRICT, WITHOUT ROWID;

-- Derived from token_usage and reservation; a subject without a row is counted anew when it is next asked for.
CREATE TABLE quota_state (
    subject TEXT PRIMARY KEY,
    state   TEXT NOT NULL,
    written INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE reservation (
    reservation_id TEXT PRIMARY KEY,
    user_id        TEXT NOT NULL,
    group_id       TEXT NOT NULL DEFAULT '',
    session_id     TEXT NOT NULL DEFAULT '',
    model          TEXT NOT NULL DEFAULT '',
    tokens         INTEGER NOT NULL,
    cost_nano      INTEGER,
    requests       INTEGER NOT NULL,
    admitted       INTEGER NOT NULL,
    expires        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX reservation_expires ON reservation (expires);
CREATE INDEX reservation_user ON reservation (user_id);

-- What was answered to an idempotency key, and how a reservation ended: the same question gets the same answer.
CREATE TABLE event_key (
    kind   TEXT NOT NULL,
    key    TEXT NOT NULL,
    answer TEXT NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX event_key_created ON event_key (created);
