-- Witnesses: the newest checkpoint that a quorum cosigned, the one that is published, and how far each witness is.

create table witnessed (
    log             smallint primary key references log,
    -- Cosigned by the quorum at least; what is said to be witnessed lies below it.
    size            bigint not null default -1,
    note            bytea not null default '',
    -- Served as the log's checkpoint: the same, or a later one while the quorum is silent. Never goes back.
    published_size  bigint not null default -1,
    published       bytea not null default '',
    cosigners       smallint not null default 0
);

-- Which worker sends, and until when others leave it to that one.
create table witnessing (
    one     boolean primary key default true check (one),
    sender  text not null,
    until   timestamptz not null
);

create table witness (
    name         text primary key,
    -- Of the checkpoint it cosigned last; null: none that we know of.
    size         bigint,
    cosigned_at  timestamptz,
    -- Why it did not cosign when it was asked last; empty where it did.
    problem      text not null default ''
);
