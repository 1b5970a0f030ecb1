-- Everything that Sluice keeps in a target, in a schema of its own. Run once per version, by the
-- first agent that opens the target, under an advisory lock.

CREATE TABLE IF NOT EXISTS sluice.positions (
    sink        text PRIMARY KEY,
    epoch       bigint NOT NULL,
    backend_pid integer NOT NULL,
    position    text,
    tables      jsonb NOT NULL DEFAULT '{}',
    updated_at  timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 20, autovacuum_vacuum_threshold = 2000);
COMMENT ON TABLE sluice.positions IS
    'How far each pipeline is; updated first in every transaction that Sluice applies.';
COMMENT ON COLUMN sluice.positions.epoch IS
    'Counts the agents that took over; only the newest can commit.';
COMMENT ON COLUMN sluice.positions.position IS
    'What is applied: a GTID set, file:offset, lsn:X/Y or kafka:topic/partition=offset.';
COMMENT ON COLUMN sluice.positions.tables IS 'How far the copy of each table is.';
ALTER TABLE sluice.positions ADD COLUMN IF NOT EXISTS requests jsonb NOT NULL DEFAULT '[]';
COMMENT ON COLUMN sluice.positions.requests IS
    'The newest requests to copy tables again that were taken on, by id; each is done once.';
ALTER TABLE sluice.positions ADD COLUMN IF NOT EXISTS generation bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN sluice.positions.generation IS
    'Counts the layouts of a pipeline''s replicas; agents of an older one can''t commit.';
ALTER TABLE sluice.positions ADD COLUMN IF NOT EXISTS replicas integer NOT NULL DEFAULT 1;
COMMENT ON COLUMN sluice.positions.replicas IS
    'How many replicas share the pipeline; with several, replica 2 of shop has the row shop:2, and '
    'the row shop holds where they began.';

CREATE TABLE IF NOT EXISTS sluice.tables (
    sink         text NOT NULL,
    source_table text NOT NULL,
    target_table text NOT NULL,
    link         jsonb NOT NULL,
    updated_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (sink, source_table)
);
COMMENT ON TABLE sluice.tables IS
    'The source''s definition of each table as it was last applied, and where each column goes.';

CREATE TABLE IF NOT EXISTS sluice.dead_letters (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sink         text NOT NULL,
    source_table text NOT NULL,
    operation    text NOT NULL,
    position     text NOT NULL,
    reason       text NOT NULL,
    sqlstate     text NOT NULL,
    key          jsonb,
    before       jsonb,
    after        jsonb,
    at           timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE sluice.dead_letters IS
    'Changes that the target refused for their content, with the reason.';
CREATE INDEX IF NOT EXISTS dead_letters_sink_table ON sluice.dead_letters (sink, source_table);

CREATE TABLE IF NOT EXISTS sluice.dead_letter_shapes (
    sink        text NOT NULL,
    fingerprint text NOT NULL,
    shape       jsonb NOT NULL,
    PRIMARY KEY (sink, fingerprint)
);
COMMENT ON TABLE sluice.dead_letter_shapes IS
    'The source''s definitions of the tables that dead letters are about.';
ALTER TABLE sluice.dead_letters
    ADD COLUMN IF NOT EXISTS summary text,
    ADD COLUMN IF NOT EXISTS shape text,
    ADD COLUMN IF NOT EXISTS removes bytea,
    ADD COLUMN IF NOT EXISTS removes_digest bytea,
    ADD COLUMN IF NOT EXISTS writes bytea,
    ADD COLUMN IF NOT EXISTS writes_digest bytea;
COMMENT ON COLUMN sluice.dead_letters.reason IS 'Why, as the target says it; may quote the row.';
COMMENT ON COLUMN sluice.dead_letters.summary IS 'Why, without values.';
COMMENT ON COLUMN sluice.dead_letters.shape IS
    'Names the shape of what follows; a letter without is for reading only.';
COMMENT ON COLUMN sluice.dead_letters.removes IS
    'The key (without a key the row) that still has to go, packed.';
COMMENT ON COLUMN sluice.dead_letters.writes IS 'The row that still has to come, packed.';
ALTER TABLE sluice.dead_letters
    ADD COLUMN IF NOT EXISTS origin text,
    ADD COLUMN IF NOT EXISTS record_key bytea,
    ADD COLUMN IF NOT EXISTS record_value bytea,
    ADD COLUMN IF NOT EXISTS record_headers jsonb;
COMMENT ON COLUMN sluice.dead_letters.origin IS
    'The Kafka record that the change was read from: topic/partition@offset.';
COMMENT ON COLUMN sluice.dead_letters.record_value IS
    'The value of a record that can''t be decoded, unless it is in a topic of dead letters.';
CREATE INDEX IF NOT EXISTS dead_letters_writes
    ON sluice.dead_letters (sink, source_table, writes_digest);
CREATE INDEX IF NOT EXISTS dead_letters_removes
    ON sluice.dead_letters (sink, source_table, removes_digest);
