-- Rotation: the head goes over from the log of one half-year to that of the next.
--
-- In two statements, since the final checkpoint can only be signed once the last entry is committed, and the key
-- for it lies elsewhere. Between the two nothing is appended; any worker may do the second. What is counted in
-- `head` beside the log (policy) goes on.

-- The log's last entry, which names the key of the next. False where this log is closed already.
create function log_close(p_now timestamptz, p_log smallint, p_id uuid, p_leaf bytea) returns boolean
language plpgsql volatile as $$
declare
    v_head head%rowtype;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'log_close needs READ COMMITTED' using errcode = 'BL001';
    end if;
    if abs(extract(epoch from statement_timestamp() - p_now)) > 0.5 then
        raise exception 'clocks differ by more than 500 ms' using errcode = 'BL002';
    end if;
    select * into strict v_head from head for update;
    if v_head.log <> p_log or v_head.closed then
        return false;
    end if;
    insert into entry (log, idx, id, leaf) values (v_head.log, v_head.size, p_id, p_leaf);
    update head set size = v_head.size + 1, closed = true,
        range = log_extend(v_head.size, v_head.range, array[p_leaf]);
    return true;
end $$;

-- The next log, from its first entry on: the final checkpoint of the one before. False where it is open already.
create function log_open(
    p_now timestamptz, p_log smallint, p_size bigint, p_final bytea, p_vkey text, p_id uuid, p_leaf bytea
) returns boolean
language plpgsql volatile as $$
declare
    v_head head%rowtype;
    v_last bytea;
    v_new  smallint;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'log_open needs READ COMMITTED' using errcode = 'BL001';
    end if;
    if abs(extract(epoch from statement_timestamp() - p_now)) > 0.5 then
        raise exception 'clocks differ by more than 500 ms' using errcode = 'BL002';
    end if;
    select * into strict v_head from head for update;
    if v_head.log <> p_log then
        return false;
    end if;
    select leaf into strict v_last from entry where log = v_head.log and idx = v_head.size - 1;
    if not v_head.closed or v_head.size <> p_size
        or convert_from(v_last, 'utf8')::jsonb ->> 'log' is distinct from p_vkey
        or convert_from(p_leaf, 'utf8')::jsonb ->> 'log' is distinct from convert_from(p_final, 'utf8')
    then
        raise exception 'this is not the successor that the last entry names' using errcode = 'BL005';
    end if;
    update log set closed_at = clock_timestamp(), entries = v_head.size, final = p_final where id = v_head.log;
    insert into log (origin, vkey) values (split_part(p_vkey, '+', 1), p_vkey) returning id into strict v_new;
    insert into entry (log, idx, id, leaf) values (v_new, 0, p_id, p_leaf);
    update head set log = v_new, size = 1, range = log_extend(0, '{}', array[p_leaf]), closed = false;
    return true;
end $$;

-- The key for the next log that this worker holds; empty: none. A log is closed once all hold the same.
alter table worker add column next_vkey text not null default '';

-- Partitions of closed logs whose entries lie in an export alone. Their hashes, ids and places stay.
create table dropped (
    log         smallint not null references log,
    first       bigint not null check (first % 65536 = 0),
    -- Hex SHA-256 of the 256 bundles, as they were exported and as they were kept.
    digest      text not null,
    -- Where the export is, in the operator's words.
    place       text not null,
    dropped_at  timestamptz not null default clock_timestamp(),
    primary key (log, first)
);

-- That a partition is about to lose its bytes, in the statement that appends the entry which says so. Said again
-- after a failure, the first word stands.
create function policy_apply_partition_dropped(p_policy bigint, p_change jsonb, p_blob bytea) returns void
language plpgsql volatile as $$
declare
    v_log smallint := (select id from log where origin = p_change ->> 'log' and closed_at is not null);
begin
    if v_log is null then
        raise exception 'no such closed log' using errcode = 'BL003';
    end if;
    insert into dropped (log, first, digest, place)
    values (v_log, (p_change ->> 'partition')::bigint * 65536, p_change ->> 'digest', p_change ->> 'place')
    on conflict do nothing;
end $$;
