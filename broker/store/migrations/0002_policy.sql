-- What decisions read. Every row says from which policy count we knew it and until which; nothing here is
-- updated in any other way, and nothing changes but through policy_apply.

create table agency (
    id            text not null,
    detail        jsonb not null,
    policy_from   bigint not null,
    policy_until  bigint,
    primary key (id, policy_from)
);

create table system (
    name          text not null,  -- agency/system
    detail        jsonb not null,
    policy_from   bigint not null,
    policy_until  bigint,
    primary key (name, policy_from)
);

create table agreement (
    id            text not null,
    version       integer not null,
    -- The exact bytes that parties sign.
    file          bytea not null,
    digest        text not null,
    -- For each flow: the record type's digest, and the field numbers of each permitted path.
    pins          jsonb not null,
    policy_from   bigint not null,
    policy_until  bigint,
    primary key (id, policy_from)
);

create table record_type (
    full_name     text not null,
    digest        text not null,
    descriptor    bytea not null check (octet_length(descriptor) <= 262144),
    approved_at   timestamptz not null,
    policy_from   bigint not null,
    policy_until  bigint,
    primary key (full_name, policy_from)
);
create index record_type_digest on record_type (digest);

create table directive (
    id            uuid primary key,
    -- Blind: a keyed digest of scheme and value.
    subject       bytea not null,
    recorder      text not null,
    detail        jsonb not null,
    recorded_at   timestamptz not null,
    withdrawn_at  timestamptz,
    policy_from   bigint not null,
    policy_until  bigint
);
alter table directive alter subject set statistics 0, alter detail set statistics 0;
create index directive_subject on directive (subject) where policy_until is null;
-- For whoever makes a decision of the past again.
create index directive_withdrawn on directive (subject) where policy_until is not null;

-- Applies one change under the head's lock, as part of the statement that appends the change's own entry.
create function policy_apply(p_policy bigint, p_change jsonb, p_blob bytea) returns void
language plpgsql volatile as $$
declare
    v_kind text := p_change ->> 'kind';
begin
    case v_kind
    when 'agency' then
        update agency set policy_until = p_policy
        where id = p_change #>> '{detail,id}' and policy_until is null;
        insert into agency (id, detail, policy_from)
        values (p_change #>> '{detail,id}', p_change -> 'detail', p_policy);
    when 'system' then
        update system set policy_until = p_policy where name = p_change ->> 'name' and policy_until is null;
        insert into system (name, detail, policy_from)
        values (p_change ->> 'name', p_change -> 'detail', p_policy);
    when 'agreement' then
        update agreement set policy_until = p_policy where id = p_change ->> 'id' and policy_until is null;
        insert into agreement (id, version, file, digest, pins, policy_from)
        values (p_change ->> 'id', (p_change ->> 'version')::integer, p_blob, p_change ->> 'digest',
                p_change -> 'pins', p_policy);
    when 'record-type' then
        update record_type set policy_until = p_policy
        where full_name = p_change ->> 'full_name' and policy_until is null;
        insert into record_type (full_name, digest, descriptor, approved_at, policy_from)
        values (p_change ->> 'full_name', p_change ->> 'digest', p_blob,
                (p_change ->> 'approved_at')::timestamptz, p_policy);
    when 'directive' then
        insert into directive (id, subject, recorder, detail, recorded_at, policy_from)
        values ((p_change ->> 'id')::uuid, decode(p_change ->> 'subject', 'hex'), p_change ->> 'recorder',
                p_change -> 'detail', (p_change ->> 'at')::timestamptz, p_policy);
    when 'directive-withdrawal' then
        update directive set policy_until = p_policy, withdrawn_at = (p_change ->> 'at')::timestamptz
        where id in (select value::uuid from jsonb_array_elements_text(p_change -> 'ids'))
          and policy_until is null;
    else
        raise exception 'unknown change %', v_kind using errcode = 'BL003';
    end case;
end $$;

-- One change with its own entry: appended first, so that a change decided on old inputs, or on
-- what has run out since, is given back.
create function log_change(
    p_now timestamptz, p_again boolean, p_id uuid, p_leaf bytea, p_key smallint, p_requester_agency text,
    p_provider_agency text, p_views bytea, p_words bytea,
    p_policy bigint, p_until timestamptz, p_read_key bytea[],
    p_change jsonb, p_blob bytea, p_write_key bytea[], p_reference boolean,
    p_at timestamptz, p_terms text, p_rare text
) returns appended
language plpgsql volatile as $$
declare
    v_result appended;
begin
    v_result := log_append(
        p_now, p_again, array[p_id], array[p_leaf], array[p_key], array[p_requester_agency],
        array[p_provider_agency], array[p_views], array[p_words],
        array[p_policy], array[p_until],
        array_fill(1, array[cardinality(p_read_key)]), p_read_key,
        array[null::text], array[null::uuid], array[null::bytea], array[null::uuid], array[null::boolean],
        array[null::uuid], '{}', '{}', '{}', array[p_at], array[p_terms], array[p_rare]
    );
    if v_result.status[1] = 'appended' then
        v_result.policy := v_result.policy + 1;
        if p_change ->> 'kind' like any (array['referral-%', 'override-%']) then
            perform queue_apply(p_change, p_blob, p_key);
        else
            perform policy_apply(v_result.policy, p_change, p_blob);
        end if;
        insert into policy_change (key, policy)
        select distinct key, v_result.policy from unnest(p_write_key) w(key);
        update head set policy = v_result.policy,
            reference_policy = case when p_reference then v_result.policy else reference_policy end;
    end if;
    return v_result;
end $$;
