-- Time stamps (RFC 3161): published checkpoints that an authority outside has dated.

create table anchor (
    log         smallint not null references log,
    size        bigint not null,
    -- The checkpoint as it was published, and the authority's whole response over these bytes.
    note        bytea not null,
    response    bytea not null,
    -- The time that it states.
    stamped_at  timestamptz not null,
    primary key (log, size)
);

-- Which worker asks, until when others leave it to that one, and when it is time again.
create table anchoring (
    one      boolean primary key default true check (one),
    worker   text not null,
    until    timestamptz not null,
    due      timestamptz not null,
    -- Failures since the last success, and why the last one was one; empty where it was none.
    tries    integer not null default 0,
    problem  text not null default ''
);
