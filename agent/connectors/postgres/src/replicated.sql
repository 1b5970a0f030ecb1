-- "Has the replica seen my write?" for whoever writes to the source and reads here.

-- The intervals of a GTID set: `uuid:1-5:7`, with tags `uuid:1-5:tag:3-4`, comma separated.
CREATE OR REPLACE FUNCTION sluice.gtid_intervals(gtid_set text)
RETURNS TABLE (source text, first bigint, last bigint)
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog AS $$
DECLARE
    element text;
    piece text;
    uuid text;
BEGIN
    FOREACH element IN ARRAY string_to_array(regexp_replace(lower(gtid_set), '\s', '', 'g'), ',') LOOP
        CONTINUE WHEN element = '';
        uuid := replace(split_part(element, ':', 1), '-', '');
        IF uuid !~ '^[0-9a-f]{32}$' OR element !~ ':[0-9]' THEN
            RAISE EXCEPTION 'not a GTID set: %', gtid_set USING ERRCODE = '22023';
        END IF;
        source := uuid;
        FOREACH piece IN ARRAY (string_to_array(element, ':'))[2:] LOOP
            IF piece ~ '^[0-9]+(-[0-9]+)?$' THEN
                first := split_part(piece, '-', 1)::bigint;
                last := coalesce(nullif(split_part(piece, '-', 2), ''), piece)::bigint;
                RETURN NEXT;
            ELSIF piece ~ '^[a-z_][a-z0-9_]{0,31}$' THEN
                source := uuid || ':' || piece;
            ELSE
                RAISE EXCEPTION 'not a GTID set: %', gtid_set USING ERRCODE = '22023';
            END IF;
        END LOOP;
    END LOOP;
END $$;
COMMENT ON FUNCTION sluice.gtid_intervals(text) IS 'The intervals of a MySQL GTID set.';

-- Whether `held`, a position as Sluice keeps it (intervals merged), covers `wanted`.
CREATE OR REPLACE FUNCTION sluice.position_covers(held text, wanted text)
RETURNS boolean LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog AS $$
DECLARE
    held_parts text[];
    wanted_parts text[];
BEGIN
    IF wanted LIKE 'lsn:%' OR wanted ~ '^[0-9A-Fa-f]+/[0-9A-Fa-f]+$' THEN
        RETURN held LIKE 'lsn:%'
            AND substr(held, 5)::pg_lsn >= regexp_replace(wanted, '^lsn:', '')::pg_lsn;
    END IF;
    -- A binlog file and an offset: the file's number counts first. A GTID has a colon more or
    -- dashes where a file's name has none.
    wanted_parts := regexp_match(wanted, '^\s*(.*)\.([0-9]+):([0-9]+)\s*$');
    IF wanted_parts IS NOT NULL THEN
        held_parts := regexp_match(held, '^(.*)\.([0-9]+):([0-9]+)$');
        RETURN held_parts IS NOT NULL AND held_parts[1] = wanted_parts[1]
            AND (held_parts[2]::bigint, held_parts[3]::bigint)
                >= (wanted_parts[2]::bigint, wanted_parts[3]::bigint);
    END IF;
    IF held ~ '^(lsn|kafka):' OR held ~ '\.[0-9]+:[0-9]+$' THEN
        RETURN false;
    END IF;
    RETURN NOT EXISTS (
        SELECT FROM sluice.gtid_intervals(wanted) AS w
        WHERE NOT EXISTS (
            SELECT FROM sluice.gtid_intervals(held) AS h
            WHERE h.source = w.source AND h.first <= w.first AND h.last >= w.last));
END $$;
COMMENT ON FUNCTION sluice.position_covers(text, text) IS
    'Whether the first position holds everything of the second.';

CREATE OR REPLACE FUNCTION sluice.replicated(gtid text) RETURNS boolean
LANGUAGE sql STABLE STRICT SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT coalesce(bool_or(sluice.position_covers(p.position, gtid)), false)
    FROM sluice.positions AS p
$$;
COMMENT ON FUNCTION sluice.replicated(text) IS
    'Whether a transaction of the source (a GTID, a GTID set, file:offset) is visible here.';

CREATE OR REPLACE FUNCTION sluice.replicated(gtid text, sink text) RETURNS boolean
LANGUAGE sql STABLE STRICT SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT coalesce(bool_or(sluice.position_covers(p.position, $1)), false)
    FROM sluice.positions AS p WHERE p.sink = $2
$$;
COMMENT ON FUNCTION sluice.replicated(text, text) IS
    'Whether a transaction of the source is visible here, by one pipeline.';

GRANT USAGE ON SCHEMA sluice TO PUBLIC;
