-- The search index of the log: beside it, rebuildable from it, and it says how far it has come.
--
-- Terms are keyed digests (blind), so that nothing here names a person, and nobody can try one for want of the
-- index key. A row stands for every entry up to `search_progress.done`, also where its views are gone.

create table search_progress (
    log    smallint primary key,
    -- Entries from 0 up to before this one are in the index.
    done   bigint not null check (done >= 0),
    -- While it is made anew: entries up to before this one have been.
    again  bigint check (again >= 0)
);

create table search (
    log    smallint not null,
    idx    bigint not null,
    at     timestamptz not null,
    terms  bigint[] not null,
    primary key (log, idx)
);
create index search_terms on search using gin (terms) with (fastupdate = on);
