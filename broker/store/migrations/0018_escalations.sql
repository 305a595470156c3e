-- What waited for a human past its time, and was told on: one row for each, made in the statement that appends the
-- entry that says so. Nothing in it is about a person.

create table escalation (
    -- Of the entry.
    id          uuid primary key,
    queue       text not null check (queue in ('referral', 'override', 'complaint')),
    item        uuid not null,
    provider    text not null,
    district    text not null default '',
    requester   text not null default '',
    due_at      timestamptz not null,
    at          timestamptz not null,
    -- The owner's own software is told of it (BROKER_OVERRIDE_WEBHOOK): when next, how often so far, and done.
    notice_at   timestamptz not null default clock_timestamp(),
    notices     integer not null default 0,
    noticed_at  timestamptz,
    unique (queue, item)
);
create index escalation_notice on escalation (notice_at) where noticed_at is null;
create index referral_late on referral (due_at) where status = 'open';
create index override_use_late on override_use (due_at) where status = 'open';
create index complaint_late on complaint (due_at) where acknowledged_at is null and closed_at is null;

create function policy_apply_escalation(p_policy bigint, p_change jsonb, p_blob bytea) returns void
language sql volatile as $$
    insert into escalation (id, queue, item, provider, district, requester, due_at, at)
    values ((p_change ->> 'id')::uuid, p_change ->> 'queue', (p_change ->> 'item')::uuid, p_change ->> 'provider',
            p_change ->> 'district', p_change ->> 'requester', (p_change ->> 'due')::timestamptz,
            (p_change ->> 'at')::timestamptz);
$$;

-- It goes with what it is about.
create function escalation_goes() returns trigger language plpgsql as $$
begin
    delete from escalation where queue = tg_argv[0] and item = old.id;
    return null;
end $$;
create trigger escalation_goes after delete on referral for each row execute function escalation_goes('referral');
create trigger escalation_goes after delete on override_use for each row execute function escalation_goes('override');
create trigger escalation_goes after delete on complaint for each row execute function escalation_goes('complaint');
