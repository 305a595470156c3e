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
    -- Terms that few entries have, each behind the number of the entry's run of 65,536: see `search_keys`. A term
    -- has another digest by who finds the entry by it; see docs/decisions/0025.
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

-- Places of one run that have one of the keys of each of these terms, as the index has them: `p_rare` are one
-- line of keys for each term that few entries have, at least one, and `p_terms` for each of the others. Of a side
-- (`requester`, `provider`) those alone in which the party is on it; of `full` everybody's.
create function search_run(
    p_log smallint, p_run bigint, p_first bigint, p_last bigint, p_newest boolean, p_since timestamptz,
    p_until timestamptz, p_limit integer, p_side text, p_party text, p_named integer[], p_terms integer[],
    p_rare bigint[]
) returns setof bigint
language plpgsql stable as $$
declare
    v_terms integer := coalesce(array_length(p_terms, 1), 0);
    v_rare  integer := array_length(p_rare, 1);
    -- Looked up together, up to three of them: the same one twice is looked up once.
    v_two   integer := least(2, v_rare);
    v_three integer := least(3, v_rare);
begin
    return query
        select s.idx from search s
        -- The plus signs keep the planner from reading the whole run by its primary key.
        where s.rare && search_keys(p_run << 16, p_rare[1:1])
          and s.rare && search_keys(p_run << 16, p_rare[v_two:v_two])
          and s.rare && search_keys(p_run << 16, p_rare[v_three:v_three])
          and +s.log = p_log and +s.idx between p_first and p_last
          and (p_since is null or s.at >= p_since) and (p_until is null or s.at < p_until)
          and (p_side = 'full' or s.terms && p_named)
          and (v_terms = 0 or not exists (
              select from generate_series(1, v_terms) n where not s.terms && p_terms[n:n]))
          and (v_rare <= 3 or not exists (
              select from generate_series(4, v_rare) n
              where not s.rare && search_keys(p_run << 16, p_rare[n:n])))
          and (p_side = 'full' or exists (
              select from view v
              where (v.log, v.idx) = (s.log, s.idx)
                and case p_side when 'requester' then v.requester_agency = p_party
                    -- An agency that asked itself reads what it asked.
                    else v.provider_agency = p_party and v.requester_agency is distinct from p_party end))
        order by case when p_newest then -s.idx else s.idx end limit p_limit;
end $$;

-- Entries from the one place to the other that have all of these terms, a run at a time, until there are enough. Of
-- a party (empty: of anybody) those that it may open, each by the terms of the side that it has there: what others
-- did, and what stands in others' views alone, is not even read for it. As provider it has keys of its own.
create function search_find(
    p_log smallint, p_first bigint, p_last bigint, p_newest boolean, p_since timestamptz, p_until timestamptz,
    p_limit integer, p_party text, p_named integer[], p_terms integer[], p_rare bigint[],
    p_provider_terms integer[], p_provider_rare bigint[]
) returns setof bigint
language plpgsql stable as $$
declare
    v_last  bigint := least(p_last, coalesce((select max(idx) from search where log = p_log), -1));
    v_run   bigint;
    v_left  integer := p_limit;
    v_found integer;
begin
    for v_step in 0 .. (v_last >> 16) - (p_first >> 16) loop
        exit when v_left <= 0 or v_last < p_first;
        v_run := case when p_newest then (v_last >> 16) - v_step else (p_first >> 16) + v_step end;
        if p_party = '' then
            return query select search_run(
                p_log, v_run, p_first, v_last, p_newest, p_since, p_until, v_left, 'full', '', p_named,
                p_terms, p_rare);
        else
            return query
                select found.idx from (
                    select search_run(
                        p_log, v_run, p_first, v_last, p_newest, p_since, p_until, v_left, 'requester', p_party,
                        p_named, p_terms, p_rare) as idx
                    union all
                    select search_run(
                        p_log, v_run, p_first, v_last, p_newest, p_since, p_until, v_left, 'provider', p_party,
                        p_named, p_provider_terms, p_provider_rare)
                ) found
                order by case when p_newest then -found.idx else found.idx end limit v_left;
        end if;
        get diagnostics v_found = row_count;
        v_left := v_left - v_found;
    end loop;
end $$;
