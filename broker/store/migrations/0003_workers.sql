-- The processes that serve now. Unlogged: who is alive is said anew every second, so a crash of the server may
-- forget it, a standby need not hear of it, and no beat waits for a flush.
create unlogged table worker (
    id        text primary key,
    -- host:port at which this worker alone can be dialled; empty: only through a shared address.
    address   text not null,
    beat_at   timestamptz not null,
    -- It is going: no new work, please.
    draining  boolean not null,
    -- Ids of the agencies whose adapters have a link to it.
    attached  text[] not null
);
