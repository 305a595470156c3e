-- What named humans of a provider decide and look at again: requests referred to them, and overrides.
--
-- Rows are made in the statement that appends their entry, so neither stands without the other. Whatever in them
-- is about a person is sealed under the view key of the month (`view_key`).

create table referral (
    -- Of the entry that referred it.
    id            uuid primary key,
    provider      text not null,
    -- Of the place that was asked about; empty where it named none. Who has it takes over what waits.
    district      text not null default '',
    requester     text not null,
    system        text not null,  -- agency/system, whose request it is
    request       uuid not null,
    opened_at     timestamptz not null,
    due_at        timestamptz not null,
    status        text not null default 'open' check (status in ('open', 'granted', 'refused')),
    key           smallint not null,
    asked         bytea not null,
    -- The asker's own words, erasable by themselves.
    words         bytea,
    decided_at    timestamptz,
    -- A grant's end.
    until         timestamptz,
    decision_key  smallint,
    decision      bytea
);
alter table referral
    alter asked set statistics 0, alter words set statistics 0, alter decision set statistics 0;
create index referral_request on referral (system, request);
create index referral_due on referral (provider, due_at);
create index referral_asked on referral (requester) where status = 'open';

create table override_use (
    -- Of the entry that went past a refusal.
    id            uuid primary key,
    provider      text not null,
    district      text not null default '',
    requester     text not null,
    system        text not null,
    request       uuid not null,
    code          text not null,
    used_at       timestamptz not null,
    due_at        timestamptz not null,
    status        text not null default 'open'
                  check (status in ('open', 'justified', 'not-justified', 'wrong-person')),
    key           smallint not null,
    -- Null once the owner has erased what was asked: that it was used, and the verdict, stand for as long as anybody
    -- keeps the entry.
    used          bytea,
    words         bytea,
    reviewed_at   timestamptz,
    -- The agency whose human reviewed it: the provider, or who has taken its place.
    reviewed_by   text,
    -- Whether the requester was told of the review.
    told          boolean,
    review_key    smallint,
    review        bytea,
    -- The owner's own software is told of it (BROKER_OVERRIDE_WEBHOOK): when next, how often so far, and done.
    notice_at     timestamptz not null default clock_timestamp(),
    notices       integer not null default 0,
    noticed_at    timestamptz
);
alter table override_use
    alter used set statistics 0, alter words set statistics 0, alter review set statistics 0;
create index override_use_due on override_use (provider, due_at);
create index override_use_notice on override_use (notice_at) where noticed_at is null;

create table override_restriction (
    -- Of the entry that restricted.
    id            uuid primary key,
    override      uuid not null,
    provider      text not null,
    -- Of the override that led to it.
    district      text not null default '',
    requester     text not null,
    what          text not null check (what in ('actor', 'role', 'system')),
    -- Blind: a keyed digest of provider, requester, what and who.
    subject       bytea not null,
    made_at       timestamptz not null,
    until         timestamptz,
    lifted_at     timestamptz,
    key           smallint not null,
    detail        bytea not null
);
alter table override_restriction alter subject set statistics 0, alter detail set statistics 0;
create index override_restriction_subject on override_restriction (subject) where lifted_at is null;
create index override_restriction_provider on override_restriction (provider, made_at);

-- One item of a human's queue, in the statement that appends its entry.
create function queue_add(p_id uuid, p_key smallint, p_queued jsonb, p_sealed bytea, p_words bytea) returns void
language plpgsql volatile as $$
begin
    case p_queued ->> 'kind'
    when 'referral' then
        insert into referral (id, provider, district, requester, system, request, opened_at, due_at, key, asked,
                              words)
        values (p_id, p_queued ->> 'provider', p_queued ->> 'district', p_queued ->> 'requester',
                p_queued ->> 'system', (p_queued ->> 'request')::uuid, (p_queued ->> 'at')::timestamptz,
                (p_queued ->> 'due')::timestamptz, p_key, p_sealed, p_words);
    when 'override' then
        insert into override_use (id, provider, district, requester, system, request, code, used_at, due_at, key,
                                  used, words)
        values (p_id, p_queued ->> 'provider', p_queued ->> 'district', p_queued ->> 'requester',
                p_queued ->> 'system', (p_queued ->> 'request')::uuid, p_queued ->> 'code', (p_queued ->> 'at')::timestamptz,
                (p_queued ->> 'due')::timestamptz, p_key, p_sealed, p_words);
    else
        raise exception 'unknown queue %', p_queued ->> 'kind' using errcode = 'BL003';
    end case;
end $$;

-- What a human decided, in the statement that appends its entry. `p_blob` is sealed.
create function queue_apply(p_change jsonb, p_blob bytea, p_key smallint) returns void
language plpgsql volatile as $$
declare
    v_id uuid := (p_change ->> 'id')::uuid;
    v_at timestamptz := (p_change ->> 'at')::timestamptz;
begin
    case p_change ->> 'kind'
    when 'referral-decision' then
        update referral set status = p_change ->> 'status', decided_at = v_at,
            until = (p_change ->> 'until')::timestamptz, decision = p_blob, decision_key = p_key
        where id = v_id;
    when 'override-review' then
        update override_use set status = p_change ->> 'status', reviewed_at = v_at, review = p_blob,
            review_key = p_key, reviewed_by = p_change ->> 'by', told = (p_change ->> 'told')::boolean
        where id = v_id;
    when 'override-restriction' then
        insert into override_restriction (id, override, provider, district, requester, what, subject, made_at,
                                          until, key, detail)
        values (v_id, (p_change ->> 'override')::uuid, p_change ->> 'provider', p_change ->> 'district',
                p_change ->> 'requester', p_change ->> 'what', decode(p_change ->> 'blind', 'hex'), v_at,
                (p_change ->> 'until')::timestamptz, p_key, p_blob);
    when 'override-restriction-lifted' then
        update override_restriction set lifted_at = v_at where id = v_id and lifted_at is null;
    else
        raise exception 'unknown change %', p_change ->> 'kind' using errcode = 'BL003';
    end case;
end $$;
