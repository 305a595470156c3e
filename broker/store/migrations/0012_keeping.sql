-- How long evidence is kept, what holds it longer, and how it ends.
--
-- Nothing here changes an entry: leaves and proofs stay. What is under legal hold is destroyed by no path: the
-- use cases leave it out, and triggers refuse whatever comes another way.

create table hold (
    id            uuid primary key,
    -- Who placed it, and alone may release it.
    agency        text not null,
    -- The entries that it covers: all, or those that name one of these agencies as requester or provider, told of
    -- it or not: what a hold keeps from somebody else's erasure must not show who was told.
    everything    boolean not null,
    agencies      text[] not null,
    -- The same, blind, as in `search`.
    parties       integer[] not null,
    kind          text not null check (kind in ('person', 'incident', 'agreement')),
    -- Blind, as in `search`: an entry that has any of them is held, whenever it was made.
    terms         integer[] not null,
    rare          bigint[] not null,
    -- Blind, as in `directive`; null where it is about no person.
    subject       bytea,
    -- Which agreement; empty for the others, whose value stands only in the entry of the hold.
    agreement     text not null,
    -- The controller's own reference of the case.
    reference     text not null,
    placed_at     timestamptz not null,
    released_at   timestamptz,
    -- The entry that says so.
    released_by   uuid
);

alter table hold
    alter parties set statistics 0, alter terms set statistics 0, alter rare set statistics 0,
    alter subject set statistics 0, alter reference set statistics 0;
create index hold_terms on hold using gin (terms) with (fastupdate = off) where released_at is null;
create index hold_rare on hold using gin (rare) with (fastupdate = off) where released_at is null;

-- What was erased by itself, by the entry that says so: ids only.
create table erased (
    item  uuid primary key,
    by    uuid not null
);

-- Of entries whose other party kept its part then, by which erasure the one gave up its own: who asks why all of an
-- entry is gone is led to both.
create table given_up (
    item  uuid not null,
    by    uuid not null,
    primary key (item, by)
);

-- Of whom something was said that is erased. Blind, as in `directive`; until `policy_forget` has looked.
create table unsaid (
    subject  bytea primary key
);
alter table unsaid alter subject set statistics 0;

-- That something was said about somebody, and when: gone once nobody's word is left, and no decision in flight can
-- have read what moved.
create function policy_forget() returns void
language plpgsql volatile as $$
begin
    delete from unsaid u where exists (select from directive d where d.subject = u.subject);
    delete from policy_change c using unsaid u
    where c.key = u.subject and c.at < clock_timestamp() - interval '1 hour';
    delete from unsaid u where not exists (select from policy_change c where c.key = u.subject);
end $$;

-- Months and classes that were destroyed as a whole. Written with the entry that says so; what is left to do
-- then is done until it is done.
create table destroyed (
    id       uuid primary key,
    key      smallint not null,
    month    text not null,
    class    text not null,
    at       timestamptz not null,
    done_at  timestamptz
);

-- Until when somebody who ends a month looks at it for the last time. Whoever places or releases a hold, or erases
-- something, waits for it: else those who do so at will could keep every month from ever ending.
create table last_look (
    one    boolean primary key default true check (one),
    until  timestamptz not null
);

-- Null: destroyed. The row stays, so that the key of a month that is over is never made anew.
alter table view_key alter wrapped drop not null;

-- Whether a hold covers an entry's views. What is not in the search index yet may be about anybody; so may, while
-- the index is made anew, what has not been. However many holds there are, each is looked up, not looked at.
create function under_hold(p_log smallint, p_idx bigint) returns boolean
language plpgsql stable as $$
declare
    v_terms integer[];
    v_rare  bigint[];
begin
    if not exists (select from hold where released_at is null) then
        return false;
    end if;
    if exists (select from search_progress p where p.log = p_log and p.again <= p_idx) then
        return true;
    end if;
    -- Without the number of the run that stands before each: see `search_keys`.
    select s.terms, array(select r # ((p_idx >> 16) << 32) from unnest(s.rare) r)
    from search s where s.log = p_log and s.idx = p_idx into v_terms, v_rare;
    return not found or exists (
        select from hold h
        where h.released_at is null and h.terms && v_terms and (h.everything or v_terms && h.parties)
    ) or exists (
        select from hold h
        where h.released_at is null and h.rare && v_rare and (h.everything or v_terms && h.parties)
    );
end $$;

create function entry_under_hold(p_id uuid) returns boolean
language sql stable as $$
    select coalesce((
        select under_hold(v.log, v.idx) from entry e join view v using (log, idx) where e.id = p_id
    ), false)
$$;

create function directive_under_hold(p_subject bytea, p_recorder text) returns boolean
language sql stable as $$
    select exists (
        select from hold h
        where h.released_at is null and h.subject = p_subject
          and (h.everything or p_recorder = any (h.agencies))
    )
$$;

-- Whether this key still opens anything. What it sealed may go once it does not: that was decided with the holds
-- of its moment.
create function key_stands(p_key smallint) returns boolean
language sql stable as $$
    select exists (select from view_key where id = p_key and wrapped is not null)
$$;

-- Sealing it anew under another key of its month is no destruction, and changes no length.
create function view_guard() returns trigger language plpgsql as $$
begin
    if not key_stands(old.key) then
        return case tg_op when 'DELETE' then old else new end;
    end if;
    if tg_op = 'UPDATE' and new.key <> old.key and key_stands(new.key)
       and (select month from view_key where id = new.key) = (select month from view_key where id = old.key)
       and octet_length(new.views) = octet_length(old.views)
       and octet_length(new.words) is not distinct from octet_length(old.words)
       and new.requester_agency is not distinct from old.requester_agency
       and new.provider_agency is not distinct from old.provider_agency then
        return new;
    end if;
    if under_hold(old.log, old.idx) then
        raise exception 'under legal hold' using errcode = 'BL005';
    end if;
    return case tg_op when 'DELETE' then old else new end;
end $$;
create trigger hold_guard before delete or update of key, requester_agency, provider_agency, views, words on view
    for each row execute function view_guard();

-- What an entry is found by holds it: it loses no term, but with its views. Without a row it is held by all.
create function search_guard() returns trigger language plpgsql as $$
begin
    if new.terms @> old.terms and new.rare @> old.rare then
        return new;
    end if;
    if exists (select from view v where (v.log, v.idx) = (old.log, old.idx) and key_stands(v.key))
       and under_hold(old.log, old.idx) then
        raise exception 'under legal hold' using errcode = 'BL005';
    end if;
    return new;
end $$;
create trigger hold_guard before update of terms, rare on search for each row execute function search_guard();

-- A hold ends with the entry that says so, which this very transaction has put at the head of the log, and stays as
-- it was. What is in that entry is for `fsck` to say: here it is sealed.
create function hold_kept() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' and old.released_at is null and new.released_at is not null
       and to_jsonb(new) - array['released_at', 'released_by']
           = to_jsonb(old) - array['released_at', 'released_by']
       and exists (
           select from head h join entry e on (e.log, e.idx) = (h.log, h.size - 1)
           where e.id = new.released_by and e.xmin = pg_current_xact_id()::xid
       ) then
        return new;
    end if;
    raise exception 'a legal hold is released, never changed' using errcode = 'BL005';
end $$;
create trigger hold_guard before update or delete on hold for each row execute function hold_kept();

-- A month's key ends with the entry that says so, which leaves a row of it.
create function key_guard() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' and (new.wrapped is not null or old.wrapped is null
                             or exists (select from destroyed d where d.key = old.id)) then
        return new;
    end if;
    raise exception 'a key ends by a retention alone' using errcode = 'BL005';
end $$;
create trigger key_guard before update or delete on view_key for each row execute function key_guard();

create function kept_whole() returns trigger language plpgsql as $$
begin
    if tg_table_name in ('hold', 'view_key') or exists (select from hold where released_at is null) then
        raise exception 'under legal hold' using errcode = 'BL005';
    end if;
    return null;
end $$;
create trigger hold_guard_all before truncate on view for each statement execute function kept_whole();
create trigger hold_guard_all before truncate on view_key for each statement execute function kept_whole();
create trigger hold_guard_all before truncate on hold for each statement execute function kept_whole();
create trigger hold_guard_all before truncate on claim for each statement execute function kept_whole();
create trigger hold_guard_all before truncate on directive for each statement execute function kept_whole();
create trigger hold_guard_all before truncate on referral for each statement execute function kept_whole();
create trigger hold_guard_all before truncate on override_use for each statement execute function kept_whole();

create function queue_guard() returns trigger language plpgsql as $$
begin
    if key_stands(old.key) and entry_under_hold(old.id) then
        raise exception 'under legal hold' using errcode = 'BL005';
    end if;
    return case tg_op when 'DELETE' then old else new end;
end $$;
create trigger hold_guard before delete on referral for each row execute function queue_guard();
create trigger hold_guard before delete on override_use for each row execute function queue_guard();
-- Sealed anew under another key it is no loss; nor is a decision where there was none, or a later one: the entry
-- of each says what it was.
create trigger hold_guard_change before update on referral for each row
    when (new.key = old.key and (new.asked <> old.asked or new.words is distinct from old.words)
          or new.decision_key = old.decision_key and new.decision <> old.decision
             and new.decided_at is not distinct from old.decided_at)
    execute function queue_guard();
create trigger hold_guard_change before update on override_use for each row
    when (new.key = old.key and (new.used is distinct from old.used or new.words is distinct from old.words)
          or new.review_key = old.review_key and new.review <> old.review)
    execute function queue_guard();

create function claim_guard() returns trigger language plpgsql as $$
begin
    if entry_under_hold(old.entry) then
        raise exception 'under legal hold' using errcode = 'BL005';
    end if;
    return old;
end $$;
create trigger hold_guard before delete on claim for each row execute function claim_guard();

create function directive_guard() returns trigger language plpgsql as $$
begin
    if directive_under_hold(old.subject, old.recorder) then
        raise exception 'under legal hold' using errcode = 'BL005';
    end if;
    return old;
end $$;
create trigger hold_guard before delete on directive for each row execute function directive_guard();

create function policy_apply_hold(p_policy bigint, p_change jsonb, p_blob bytea) returns void
language plpgsql volatile as $$
begin
    insert into hold (id, agency, everything, agencies, parties, kind, terms, rare, subject, agreement, reference,
                      placed_at)
    values ((p_change ->> 'id')::uuid, p_change ->> 'agency', (p_change ->> 'everything')::boolean,
            array(select jsonb_array_elements_text(p_change -> 'agencies')),
            array(select value::integer from jsonb_array_elements_text(p_change -> 'parties')),
            p_change ->> 'what',
            array(select value::integer from jsonb_array_elements_text(p_change -> 'terms')),
            array(select value::bigint from jsonb_array_elements_text(p_change -> 'rare')),
            decode(p_change ->> 'subject', 'hex'), p_change ->> 'agreement', p_change ->> 'reference',
            (p_change ->> 'at')::timestamptz);
end $$;

create function policy_apply_hold_released(p_policy bigint, p_change jsonb, p_blob bytea) returns void
language plpgsql volatile as $$
begin
    update hold set released_at = (p_change ->> 'at')::timestamptz, released_by = (p_change ->> 'by')::uuid
    where id = (p_change ->> 'id')::uuid and released_at is null;
end $$;

-- One controller's erasure of what is its own about a person. Each party of an entry gives up its part; nothing
-- is left of an entry that no party keeps.
create function policy_apply_erasure(p_policy bigint, p_change jsonb, p_blob bytea) returns void
language plpgsql volatile as $$
declare
    v_by uuid := (p_change ->> 'id')::uuid;
    v_subject bytea := decode(p_change ->> 'subject', 'hex');
    v_agencies text[] := array(select jsonb_array_elements_text(p_change -> 'agencies'));
    v_entries uuid[] := array(select value::uuid from jsonb_array_elements_text(p_change -> 'entries'));
    v_words uuid[] := array(select value::uuid from jsonb_array_elements_text(p_change -> 'words'));
    v_directives uuid[] := array(select value::uuid from jsonb_array_elements_text(p_change -> 'directives'));
    v_gone uuid[];
    v_logs smallint[];
    v_places bigint[];
begin
    -- What the owner has yet to decide or to review stays whole in its queue, and nothing shows that it is there.
    update referral set words = null where id = any (v_words) and status <> 'open';
    update override_use set words = null where id = any (v_words) and status <> 'open';
    delete from referral where id = any (v_entries) and provider = any (v_agencies);
    -- Who used it and what for goes; what the review found does not while the other party keeps its part.
    update override_use set used = null, words = null, review = null, review_key = null
    where id = any (v_entries) and provider = any (v_agencies) and status <> 'open';
    -- Made by 0013: what an agency answered, and a complaint that is closed.
    delete from access_request where id = any (v_entries) and agency = any (v_agencies) and issued_at is not null;
    delete from complaint where id = any (v_entries) and agency = any (v_agencies) and closed_at is not null;

    update view v set words = null
    from entry e where e.id = any (v_words) and (v.log, v.idx) = (e.log, e.idx);
    update view v set
        requester_agency = case when v.requester_agency = any (v_agencies) then null else v.requester_agency end,
        provider_agency = case when v.provider_agency = any (v_agencies) then null else v.provider_agency end
    from entry e where e.id = any (v_entries) and (v.log, v.idx) = (e.log, e.idx);
    insert into given_up (item, by)
    select e.id, v_by from entry e join view v using (log, idx)
    where e.id = any (v_entries) and coalesce(v.requester_agency, v.provider_agency) is not null
    on conflict do nothing;
    with gone as (
        delete from view v using entry e
        where e.id = any (v_entries) and (v.log, v.idx) = (e.log, e.idx)
          and v.requester_agency is null and v.provider_agency is null
        returning e.id, v.log, v.idx
    )
    select array_agg(id), array_agg(log), array_agg(idx) from gone into v_gone, v_logs, v_places;
    -- The row stays, empty, and says that the index has looked at it.
    update search s set terms = '{}', rare = '{}'
    from unnest(v_logs, v_places) g(log, idx) where s.log = g.log and s.idx = g.idx;
    insert into erased (item, by) select id, v_by from unnest(v_gone) g(id) on conflict do nothing;
    delete from override_use where id = any (v_gone) and status <> 'open';
    -- Made by 0015: the plan that this carries out, once it is carried out whole.
    delete from erasure_plan where id = (p_change ->> 'plan_done')::uuid;

    with gone as (
        delete from directive
        where id = any (v_directives) and recorder = any (v_agencies)
          and (policy_until is not null or (detail ->> 'valid_until')::timestamptz <= clock_timestamp())
        returning id
    )
    insert into erased (item, by) select id, v_by from gone on conflict do nothing;
    if v_subject is not null then
        insert into unsaid (subject) values (v_subject) on conflict do nothing;
        perform policy_forget();
    end if;
end $$;

-- The key of one month and class ends in the statement that says so. Rows and the key's file follow.
create function policy_apply_retention(p_policy bigint, p_change jsonb, p_blob bytea) returns void
language plpgsql volatile as $$
begin
    insert into destroyed (id, key, month, class, at)
    values ((p_change ->> 'id')::uuid, (p_change ->> 'key')::smallint, p_change ->> 'month',
            p_change ->> 'class', (p_change ->> 'at')::timestamptz);
    update view_key set wrapped = null
    where id = (p_change ->> 'key')::smallint and month = p_change ->> 'month' and class = p_change ->> 'class';
    if not found then
        raise exception 'no such key' using errcode = 'BL003';
    end if;
end $$;
