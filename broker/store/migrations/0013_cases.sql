-- What controllers work on after the fact: requests for access and what each clears of them, suspected breaches,
-- complaints. Rows are made and changed in the statement that appends their entry. What is about a person is sealed
-- under the view key of the month, whose number the change brings.

create table access_request (
    -- Of the entry that began it.
    id          uuid primary key,
    agency      text not null,
    started_at  timestamptz not null,
    due_at      timestamptz not null,
    issued_at   timestamptz,
    key         smallint not null,
    asked       bytea not null,
    -- By which identifiers a person asks what is held about them, blind, as in `directive`. While it is open,
    -- nobody erases what they would be answered with; then it is empty.
    subjects    bytea[] not null default '{}'
);
alter table access_request alter asked set statistics 0, alter subjects set statistics 0;
create index access_request_open on access_request (agency, due_at) where issued_at is null;

create table access_clearing (
    access      uuid not null references access_request on delete cascade,
    entry       uuid not null,
    agency      text not null,
    -- The exemption under which it is left out; empty where it is told.
    code        text not null,
    cleared_at  timestamptz not null,
    -- The agency whose human decided: another only where it has taken this one's place.
    cleared_by  text not null,
    -- Whether the answer held the entry when it was first given: never anything that it did not hold is told later.
    told        boolean not null default false,
    primary key (access, entry, agency)
);

create table breach (
    -- Of the override that opened the record of another person.
    id          uuid primary key,
    -- The controller that found it: the provider, or who has taken its place.
    provider    text not null,
    requester   text not null,
    system      text not null,
    used_at     timestamptz not null,
    aware_at    timestamptz not null,
    due_at      timestamptz not null
);
create index breach_aware on breach (aware_at);

create table complaint (
    -- Of the entry that recorded it.
    id               uuid primary key,
    agency           text not null,
    received_at      timestamptz not null,
    due_at           timestamptz not null,
    key              smallint not null,
    detail           bytea not null,
    -- Whom it is about, blind likewise; null where nobody was named. While it is open, that agency erases nothing
    -- about them.
    subject          bytea,
    acknowledged_at  timestamptz,
    closed_at        timestamptz,
    outcome          text not null default ''
);
alter table complaint alter detail set statistics 0, alter subject set statistics 0;
create index complaint_agency on complaint (agency, received_at);
create index complaint_open on complaint (agency) where closed_at is null;

-- A month's figures as they were first published: never counted again, or what was erased between two counts could be
-- worked out from them. Counts of nobody.
create table published_month (
    month  date primary key,
    -- Of the entry that published it.
    id     uuid not null,
    at     timestamptz not null,
    page   jsonb not null
);

create function policy_apply_figures(p_policy bigint, p_change jsonb, p_blob bytea) returns void
language sql volatile as $$
    insert into published_month (month, id, at, page)
    values ((p_change ->> 'month')::date, (p_change ->> 'id')::uuid, (p_change ->> 'at')::timestamptz,
            p_change -> 'page');
$$;

create function policy_apply_access_start(p_policy bigint, p_change jsonb, p_blob bytea) returns void
language sql volatile as $$
    insert into access_request (id, agency, started_at, due_at, key, asked, subjects)
    values ((p_change ->> 'id')::uuid, p_change ->> 'agency', (p_change ->> 'at')::timestamptz,
            (p_change ->> 'due')::timestamptz, (p_change ->> 'key')::smallint, p_blob,
            array(select decode(value, 'hex') from jsonb_array_elements_text(p_change -> 'subjects')));
$$;

create function policy_apply_access_clearing(p_policy bigint, p_change jsonb, p_blob bytea) returns void
language sql volatile as $$
    insert into access_clearing (access, entry, agency, code, cleared_at, cleared_by)
    select (p_change ->> 'access')::uuid, e::uuid, p_change ->> 'agency', p_change ->> 'code',
           (p_change ->> 'at')::timestamptz, p_change ->> 'cleared_by'
    from jsonb_array_elements_text(p_change -> 'entries') e
    on conflict (access, entry, agency) do update
    set code = excluded.code, cleared_at = excluded.cleared_at, cleared_by = excluded.cleared_by;
$$;

create function policy_apply_access_issue(p_policy bigint, p_change jsonb, p_blob bytea) returns void
language sql volatile as $$
    with issued as (
        update access_request set issued_at = (p_change ->> 'at')::timestamptz, subjects = '{}'
        where id = (p_change ->> 'access')::uuid and issued_at is null
        returning id
    )
    update access_clearing c set told = true
    from issued i
    where c.access = i.id and c.code = ''
      and c.entry in (select e::uuid from jsonb_array_elements_text(p_change -> 'told') e);
$$;

create function policy_apply_complaint(p_policy bigint, p_change jsonb, p_blob bytea) returns void
language sql volatile as $$
    insert into complaint (id, agency, received_at, due_at, key, detail, subject)
    values ((p_change ->> 'id')::uuid, p_change ->> 'agency', (p_change ->> 'received')::timestamptz,
            (p_change ->> 'due')::timestamptz, (p_change ->> 'key')::smallint, p_blob,
            decode(p_change ->> 'subject', 'hex'));
$$;

create function policy_apply_complaint_acknowledged(p_policy bigint, p_change jsonb, p_blob bytea) returns void
language sql volatile as $$
    update complaint set acknowledged_at = (p_change ->> 'at')::timestamptz
    where id = (p_change ->> 'complaint')::uuid and acknowledged_at is null;
$$;

create function policy_apply_complaint_closed(p_policy bigint, p_change jsonb, p_blob bytea) returns void
language sql volatile as $$
    update complaint set closed_at = (p_change ->> 'at')::timestamptz, outcome = p_change ->> 'outcome'
    where id = (p_change ->> 'complaint')::uuid and closed_at is null;
$$;

-- A review that says "wrong person" begins a breach in the same statement: 72 hours run from it (Art. 33).
create function breach_begins() returns trigger
language plpgsql as $$
begin
    insert into breach (id, provider, requester, system, used_at, aware_at, due_at)
    values (new.id, coalesce(new.reviewed_by, new.provider), new.requester, new.system, new.used_at, new.reviewed_at,
            new.reviewed_at + interval '72 hours')
    on conflict (id) do nothing;
    return null;
end $$;
create trigger override_wrong_person after update of status on override_use
for each row when (new.status = 'wrong-person' and old.status <> 'wrong-person') execute function breach_begins();

-- What is under legal hold is not deleted here either (0012).
create trigger hold_guard before delete on access_request for each row execute function queue_guard();
create trigger hold_guard before delete on complaint for each row execute function queue_guard();
