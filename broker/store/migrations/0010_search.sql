-- The search index of the log: beside it, rebuildable from it, and it says how far it has come.
--
-- Terms are keyed digests (blind), so that nothing here names a person, and nobody can try one for want of the
-- index key. An entry's row is made with it, of what the worker has in hand; where one is missing it is made
-- behind the log. A row stands for every entry up to `search_progress.done`, also where its views are gone.

create table search_progress (
    log    smallint primary key,
    -- Entries from 0 up to before this one are in the index, and perhaps more.
    done   bigint not null check (done >= 0),
    -- While it is made anew: entries up to before this one have been.
    again  bigint check (again >= 0)
);

create table search (
    idx    bigint not null,
    at     timestamptz not null,
    log    smallint not null,
    -- 32 bits each: one entry in some hundred million is found wrongly by a term, and then not shown.
    terms  integer[] not null,
    -- Terms that few entries have, each behind the number of the entry's run of 65,536: see `search_keys`.
    rare   bigint[] not null,
    primary key (log, idx)
);

alter table search alter terms set statistics 0, alter rare set statistics 0;

-- Only what few entries have is looked up; the rest is read in the log's order. Entered at once: a list of what is
-- still to be entered would be read through by every search.
create index search_rare on search using gin (rare) with (fastupdate = off);

-- Keys in the index, in the order in which entries come: those of one run lie together, so that what is entered
-- touches the pages of the newest run and leaves the rest of the index alone, however large it is.
create function search_keys(p_idx bigint, p_rare bigint[]) returns bigint[]
language sql immutable parallel safe
return array(select ((p_idx >> 16) << 32) | h from unnest(p_rare) h);

-- Entries with all of these terms, of which at least one is rare: a run at a time, until there are enough. Of a
-- party (empty: of anybody) those that it may open: what others did is not even read for it.
create function search_find(
    p_log smallint, p_terms integer[], p_rare bigint[], p_beyond bigint, p_newest boolean,
    p_since timestamptz, p_until timestamptz, p_limit integer, p_party text
) returns setof bigint
language plpgsql stable as $$
declare
    v_last  bigint := coalesce((select max(idx) from search where log = p_log), -1);
    v_first bigint := 0;
    v_run   bigint;
    v_left  integer := p_limit;
    v_found integer;
begin
    if p_newest then
        v_last := least(v_last, p_beyond - 1);
    else
        v_first := p_beyond + 1;
    end if;
    for v_step in 0 .. (v_last >> 16) - (v_first >> 16) loop
        exit when v_left <= 0 or v_last < v_first;
        v_run := case when p_newest then (v_last >> 16) - v_step else (v_first >> 16) + v_step end;
        return query
            select s.idx from search s
            -- The plus signs keep the planner from reading the whole run by its primary key.
            where s.rare @> search_keys(v_run << 16, p_rare) and s.terms @> p_terms and +s.log = p_log
              and +s.idx between v_first and v_last
              and (p_since is null or s.at >= p_since) and (p_until is null or s.at < p_until)
              and (p_party = '' or exists (
                  select from view v
                  where (v.log, v.idx) = (s.log, s.idx) and p_party in (v.requester_agency, v.provider_agency)))
            order by case when p_newest then -s.idx else s.idx end limit v_left;
        get diagnostics v_found = row_count;
        v_left := v_left - v_found;
    end loop;
end $$;
