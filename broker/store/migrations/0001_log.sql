-- The log, and the one way anything gets into it.
--
-- `head` is one row and the lock of the deployment: whoever appends or changes what decisions read holds it
-- for the length of one statement, never across a client round trip.

create table log (
    id         smallint primary key generated always as identity,
    origin     text not null unique,
    opened_at  timestamptz not null default clock_timestamp(),
    closed_at  timestamptz,
    -- The key this log is signed with, so that an exchanged key folder is refused.
    vkey       text,
    -- Of a log that is closed: how many entries it has, and its last checkpoint. Nothing of it is signed again.
    entries    bigint,
    final      bytea,
    check ((closed_at is null) = (entries is null) and (closed_at is null) = (final is null))
);

create table head (
    one               boolean primary key default true check (one),
    log               smallint not null references log,
    size              bigint not null default 0 check (size >= 0),
    -- RFC 6962 compact range: roots of the full subtrees, largest first, 32 bytes each.
    range             bytea[] not null default '{}',
    -- Counts changes of what decisions read; never reset.
    policy            bigint not null default 0,
    -- The newest of them that was not about a person.
    reference_policy  bigint not null default 0,
    -- Proves the index key: under another, nothing that people have said would be found.
    index_check       bytea,
    -- The log's last entry stands, which names the next log, and that is not open yet (0011).
    closed            boolean not null default false
);

-- No foreign keys from here on: rows are made together, by one function, and each key is a check per row.
create table entry (
    log   smallint not null,
    idx   bigint not null,
    id    uuid not null unique,
    -- Null once it was exported and dropped (0011); its hash stays in the tiles.
    leaf  bytea check (octet_length(leaf) between 1 and 65535),
    primary key (log, idx)
)
-- Rows that never change are frozen soon, in the checkpoint in which they were written: later each of their pages
-- would go into the write-ahead log once more, whole.
with (autovacuum_vacuum_insert_threshold = 5000, autovacuum_vacuum_insert_scale_factor = 0,
      autovacuum_freeze_min_age = 0);

-- One data key for each month and retention class, wrapped by a key that is kept elsewhere.
create table view_key (
    id       smallint primary key generated always as identity,
    month    text not null,
    class    text not null,
    wrapped  bytea not null,
    unique (month, class)
);

-- What the commitments in a leaf open to: sealed, erasable.
create table view (
    log                smallint not null,
    idx                bigint not null,
    key                smallint not null,
    requester_agency   text,
    provider_agency    text,
    -- All three views: what one shows another does too, so one text says all.
    views              bytea not null,
    -- Free words, committed to in the full view, erasable by themselves.
    words              bytea,
    primary key (log, idx)
)
-- Kept in the row: what is sealed cannot be compressed, and moving it aside costs more than the row does.
with (toast_tuple_target = 8160, autovacuum_vacuum_insert_threshold = 5000, autovacuum_vacuum_insert_scale_factor = 0,
      autovacuum_freeze_min_age = 0);
alter table view
    alter views set storage external, alter words set storage external,
    -- ANALYZE keeps samples of what it looks at, in a table that no erasure reaches: of nothing about a person.
    alter views set statistics 0, alter words set statistics 0;
alter table view_key alter wrapped set statistics 0;

-- Full hash tiles (C2SP tlog-tiles): a cache, always rebuildable from the entries.
create table tile (
    log     smallint not null references log,
    level   smallint not null,
    n       bigint not null,
    hashes  bytea not null check (octet_length(hashes) = 8192),
    -- The tile's hash in the level above.
    root    bytea not null check (octet_length(root) = 32),
    primary key (log, level, n)
);

-- A request id belongs to the first request that used it and came to an end.
create table claim (
    system    text not null,
    request   uuid not null,
    -- Keyed digest of everything asked but the time allowed and the trace.
    content   bytea not null,
    retry_of  uuid,
    entry     uuid not null,
    -- False while only an intent stands; the effect key is then the adapter's idempotency key.
    settled   boolean not null,
    effect    uuid,
    primary key (system, request)
)
with (autovacuum_vacuum_insert_threshold = 5000, autovacuum_vacuum_insert_scale_factor = 0,
      autovacuum_freeze_min_age = 0);

-- Which inputs of decisions changed at which count. Keys are blind: keyed digests.
create table policy_change (
    key     bytea not null,
    policy  bigint not null,
    at      timestamptz not null default clock_timestamp(),
    primary key (key, policy)
);

alter table claim alter content set statistics 0;
alter table policy_change alter key set statistics 0;

create type appended as (
    log        smallint,
    old_size   bigint,
    old_range  bytea[],
    new_size   bigint,
    new_range  bytea[],
    policy     bigint,
    -- For each item: appended, repeated (this very id stood already), stale, expired, claimed.
    status     text[],
    idx        bigint[]
);

-- RFC 6962 section 2.1: the compact range after these leaves.
create function log_extend(p_size bigint, p_range bytea[], p_leaves bytea[]) returns bytea[]
language plpgsql immutable as $$
declare
    v_leaf bytea;
    v_hash bytea;
    v_size bigint := p_size;
    v_left bigint;
    v_range bytea[] := p_range;
begin
    foreach v_leaf in array p_leaves loop
        v_hash := sha256('\x00'::bytea || v_leaf);
        v_left := v_size;
        while v_left & 1 = 1 loop
            v_hash := sha256('\x01'::bytea || v_range[cardinality(v_range)] || v_hash);
            v_range := trim_array(v_range, 1);
            v_left := v_left >> 1;
        end loop;
        v_range := v_range || v_hash;
        v_size := v_size + 1;
    end loop;
    return v_range;
end $$;

-- Appends what may be appended and says what became of each item.
--
-- A blocked VOLATILE function sees what was committed while it waited, statement by statement; a single
-- statement with a CTE would not. Hence READ COMMITTED and the lock in a statement of its own.
create function log_append(
    p_now         timestamptz,    -- the worker's clock as it sent this
    p_again       boolean,        -- an earlier try of these very items may have committed
    p_id          uuid[],
    p_leaf        bytea[],
    p_key         smallint[],
    p_requester_agency text[],
    p_provider_agency  text[],
    p_views       bytea[],
    p_words       bytea[],
    p_policy      bigint[],       -- lowest count of what each decision read; null: nothing to check
    p_until       timestamptz[],  -- time alone may change the decision from then on
    p_read_item   integer[],      -- ordinals (from 1) and keys of what each decision read
    p_read_key    bytea[],
    p_system      text[],         -- request ids to claim; null: none
    p_request     uuid[],
    p_content     bytea[],
    p_retry_of    uuid[],
    p_settled     boolean[],
    p_effect      uuid[],
    -- What a human of the provider is to look at, made with its entry or not at all; all three empty where no
    -- item has any. The first says which queue and when it is due (0007), the others are sealed.
    p_queued      jsonb[],
    p_queued_sealed bytea[],
    p_queued_words  bytea[],
    -- What it is found by (0010): blind, as array literals; all three empty where nothing is indexed here.
    p_at          timestamptz[],
    p_terms       text[],
    p_rare        text[]
) returns appended
language plpgsql volatile as $$
declare
    v_head    head%rowtype;
    v_count   integer := cardinality(p_id);
    v_status  text[] := array_fill('appended'::text, array[v_count]);
    v_idx     bigint[] := array_fill(null::bigint, array[v_count]);
    v_leaves  bytea[];
    v_result  appended;
    v_row     record;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'log_append needs READ COMMITTED' using errcode = 'BL001';
    end if;
    if abs(extract(epoch from statement_timestamp() - p_now)) > 0.5 then
        raise exception 'clocks differ by more than 500 ms' using errcode = 'BL002';
    end if;

    select * into strict v_head from head for update;
    if v_head.closed then
        raise exception 'this log is closed and the next one not yet open' using errcode = 'BL004';
    end if;

    if p_again then
        for v_row in
            select i.n, e.idx from unnest(p_id) with ordinality i(id, n) join entry e on e.id = i.id
        loop
            v_status[v_row.n] := 'repeated';
            v_idx[v_row.n] := v_row.idx;
        end loop;
    end if;

    for v_row in
        select i.n from unnest(p_until) with ordinality i(until, n)
        where i.until <= clock_timestamp() and v_status[i.n] = 'appended'
    loop
        v_status[v_row.n] := 'expired';
    end loop;

    if exists (select from unnest(p_policy) i(policy) where i.policy < v_head.policy) then
        for v_row in
            select distinct r.item
            from unnest(p_read_item, p_read_key) r(item, key)
            join policy_change c on c.key = r.key and c.policy > p_policy[r.item]
        loop
            if v_status[v_row.item] = 'appended' then
                v_status[v_row.item] := 'stale';
            end if;
        end loop;
    end if;

    -- A settled claim stands for good; an intent's claim is settled by its own request.
    for v_row in
        with wanted as (
            select * from unnest(p_system, p_request, p_content, p_retry_of, p_id, p_settled, p_effect)
                with ordinality w(system, request, content, retry_of, id, settled, effect, n)
            where w.request is not null and v_status[w.n] = 'appended'
        ), first_of as (
            select distinct on (system, request) * from wanted order by system, request, n
        ), made as (
            insert into claim as c (system, request, content, retry_of, entry, settled, effect)
            select system, request, content, retry_of, id, settled, effect from first_of
            on conflict (system, request) do update
                set entry = excluded.entry, settled = excluded.settled
                where not c.settled and excluded.settled and c.content = excluded.content
                  and c.retry_of is not distinct from excluded.retry_of
            returning entry
        )
        select w.n from wanted w where w.id not in (select entry from made)
    loop
        v_status[v_row.n] := 'claimed';
    end loop;

    with accepted as (
        select i.*, v_head.size - 1 + row_number() over (order by i.n) as idx
        from unnest(p_id, p_leaf, p_key, p_requester_agency, p_provider_agency, p_views, p_words, p_at, p_terms,
                    p_rare)
            with ordinality i(id, leaf, key, requester_agency, provider_agency, views, words, at, terms, rare, n)
        where v_status[i.n] = 'appended'
    ), entries as (
        insert into entry (log, idx, id, leaf) select v_head.log, idx, id, leaf from accepted
    ), views as (
        insert into view (log, idx, key, requester_agency, provider_agency, views, words)
        select v_head.log, idx, key, requester_agency, provider_agency, views, words
        from accepted where key is not null
    ), searches as (
        -- A row that is there already was put there by hand: nothing waits for what only helps to find.
        insert into search (log, idx, at, terms, rare)
        select v_head.log, idx, at, terms::integer[], search_keys(idx, rare::bigint[])
        from accepted where terms is not null
        on conflict (log, idx) do update set at = excluded.at, terms = excluded.terms, rare = excluded.rare
    )
    select array_agg(leaf order by n) from accepted into v_leaves;

    if cardinality(p_queued) > 0 then
        for v_row in
            select i.* from unnest(p_id, p_key, p_queued, p_queued_sealed, p_queued_words)
                with ordinality i(id, key, queued, sealed, words, n)
            where i.queued is not null and v_status[i.n] = 'appended'
        loop
            perform queue_add(v_row.id, v_row.key, v_row.queued, v_row.sealed, v_row.words);
        end loop;
    end if;

    v_result.log := v_head.log;
    v_result.old_size := v_head.size;
    v_result.old_range := v_head.range;
    v_result.new_size := v_head.size + coalesce(cardinality(v_leaves), 0);
    v_result.new_range := v_head.range;
    v_result.policy := v_head.policy;
    if v_leaves is not null then
        v_result.new_range := log_extend(v_head.size, v_head.range, v_leaves);
        update head set size = v_result.new_size, range = v_result.new_range;
    end if;
    for v_row in
        select i.n, v_head.size - 1 + row_number() over (order by i.n) as idx
        from unnest(v_status) with ordinality i(status, n) where i.status = 'appended'
    loop
        v_idx[v_row.n] := v_row.idx;
    end loop;
    v_result.status := v_status;
    v_result.idx := v_idx;
    return v_result;
end $$;
