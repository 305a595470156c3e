-- Files of routes, and who acts for whom. Like everything that decisions read, each row says from which policy
-- count we knew it and until which. Who took whose place stands with the agency that ended.

create table routing (
    id            text not null,
    version       integer not null,
    file          bytea not null check (octet_length(file) <= 262144),
    digest        text not null,
    policy_from   bigint not null,
    policy_until  bigint,
    primary key (id, policy_from)
);

create table acting (
    id            uuid not null,
    processor     text not null,
    controller    text not null,
    detail        jsonb not null,
    policy_from   bigint not null,
    policy_until  bigint,
    primary key (id, policy_from)
);

create function policy_apply_routing(p_policy bigint, p_change jsonb, p_blob bytea) returns void
language plpgsql volatile as $$
begin
    update routing set policy_until = p_policy where id = p_change ->> 'id' and policy_until is null;
    insert into routing (id, version, file, digest, policy_from)
    values (p_change ->> 'id', (p_change ->> 'version')::integer, p_blob, p_change ->> 'digest', p_policy);
end $$;

create function policy_apply_acting(p_policy bigint, p_change jsonb, p_blob bytea) returns void
language plpgsql volatile as $$
begin
    update acting set policy_until = p_policy
    where id = (p_change #>> '{detail,id}')::uuid and policy_until is null;
    insert into acting (id, processor, controller, detail, policy_from)
    values ((p_change #>> '{detail,id}')::uuid, p_change #>> '{detail,processor}',
            p_change #>> '{detail,controller}', p_change -> 'detail', p_policy);
end $$;

-- An agency and its systems end in one change.
create function policy_apply_agency_ended(p_policy bigint, p_change jsonb, p_blob bytea) returns void
language plpgsql volatile as $$
declare
    v_system jsonb;
begin
    perform policy_apply(p_policy, jsonb_build_object('kind', 'agency', 'detail', p_change -> 'detail'), p_blob);
    for v_system in select * from jsonb_array_elements(p_change -> 'systems') loop
        perform policy_apply(p_policy, jsonb_build_object('kind', 'system') || v_system, p_blob);
    end loop;
end $$;
