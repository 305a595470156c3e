-- Agencies' signing keys, and the signatures of parties on agreements. Like everything that decisions read,
-- each row says from which policy count we knew it and until which.

create table agency_key (
    id            text not null,  -- hex SHA-256 of the DER SubjectPublicKeyInfo
    agency        text not null,
    detail        jsonb not null,
    policy_from   bigint not null,
    policy_until  bigint,
    primary key (id, policy_from)
);

create table agreement_signature (
    agreement     text not null,
    version       integer not null,
    agency        text not null,
    key_id        text not null,
    digest        text not null,
    signature     bytea not null check (octet_length(signature) = 64),
    signed_at     date not null,
    signatory     text not null,
    role          text not null,
    -- Where people signed on paper: the scan's SHA-256, the delegation, where it is filed, the day attested.
    paper         jsonb,
    policy_from   bigint not null,
    policy_until  bigint,
    primary key (agreement, policy_from, agency)
);

-- Who has stopped an agreement: a row of each agency, while its stop stands.
create table agreement_suspension (
    agreement     text not null,
    agency        text not null,
    detail        jsonb not null,
    policy_from   bigint not null,
    policy_until  bigint,
    primary key (agreement, agency, policy_from)
);

-- As before, with the kinds 'agency-key' and those of suspensions, and an agreement's signatures beside it. Any other
-- kind has a function of its own, made by the migration that brings its table: policy_apply_<kind>.
create or replace function policy_apply(p_policy bigint, p_change jsonb, p_blob bytea) returns void
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
    when 'agency-key' then
        update agency_key set policy_until = p_policy
        where id = p_change #>> '{detail,id}' and policy_until is null;
        insert into agency_key (id, agency, detail, policy_from)
        values (p_change #>> '{detail,id}', p_change #>> '{detail,agency}', p_change -> 'detail', p_policy);
    when 'system' then
        update system set policy_until = p_policy where name = p_change ->> 'name' and policy_until is null;
        insert into system (name, detail, policy_from)
        values (p_change ->> 'name', p_change -> 'detail', p_policy);
    when 'agreement' then
        update agreement set policy_until = p_policy where id = p_change ->> 'id' and policy_until is null;
        update agreement_signature set policy_until = p_policy
        where agreement = p_change ->> 'id' and policy_until is null;
        insert into agreement (id, version, file, digest, pins, policy_from)
        values (p_change ->> 'id', (p_change ->> 'version')::integer, p_blob, p_change ->> 'digest',
                p_change -> 'pins', p_policy);
        -- A worker of the release before sends none.
        insert into agreement_signature (agreement, version, agency, key_id, digest, signature, signed_at,
                                         signatory, role, paper, policy_from)
        select p_change ->> 'id', (p_change ->> 'version')::integer, s ->> 'agency', s ->> 'key_id',
               s ->> 'digest', decode(s ->> 'signature', 'hex'), (s ->> 'signed_at')::date,
               s ->> 'signatory', s ->> 'role', nullif(s -> 'paper', 'null'), p_policy
        from jsonb_array_elements(coalesce(p_change -> 'signatures', '[]')) s;
    when 'agreement-suspension' then
        update agreement_suspension set policy_until = p_policy
        where agreement = p_change #>> '{detail,agreement}' and agency = p_change #>> '{detail,agency}'
          and policy_until is null;
        insert into agreement_suspension (agreement, agency, detail, policy_from)
        values (p_change #>> '{detail,agreement}', p_change #>> '{detail,agency}', p_change -> 'detail', p_policy);
    when 'agreement-suspension-lifted' then
        update agreement_suspension set policy_until = p_policy
        where agreement = p_change ->> 'agreement' and policy_until is null
          and agency in (select jsonb_array_elements_text(p_change -> 'agencies'));
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
        if to_regprocedure(format('policy_apply_%s(bigint,jsonb,bytea)', replace(v_kind, '-', '_'))) is null then
            raise exception 'unknown change %', v_kind using errcode = 'BL003';
        end if;
        execute format('select %I($1, $2, $3)', 'policy_apply_' || replace(v_kind, '-', '_'))
        using p_policy, p_change, p_blob;
    end case;
end $$;
