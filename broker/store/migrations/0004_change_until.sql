-- A change, too, may have been decided on what has run out since.

drop function log_change;

-- One change with its own entry: appended first, so that a change decided on old inputs is given back.
create function log_change(
    p_now timestamptz, p_again boolean, p_id uuid, p_leaf bytea, p_key smallint, p_requester_agency text,
    p_provider_agency text, p_requester bytea, p_provider bytea, p_full bytea, p_words bytea,
    p_policy bigint, p_until timestamptz, p_read_key bytea[],
    p_change jsonb, p_blob bytea, p_write_key bytea[], p_reference boolean
) returns appended
language plpgsql volatile as $$
declare
    v_result appended;
begin
    v_result := log_append(
        p_now, p_again, array[p_id], array[p_leaf], array[p_key], array[p_requester_agency],
        array[p_provider_agency], array[p_requester], array[p_provider], array[p_full], array[p_words],
        array[p_policy], array[p_until],
        array_fill(1, array[cardinality(p_read_key)]), p_read_key,
        array[null::text], array[null::uuid], array[null::bytea], array[null::uuid], array[null::boolean],
        array[null::uuid]
    );
    if v_result.status[1] = 'appended' then
        v_result.policy := v_result.policy + 1;
        perform policy_apply(v_result.policy, p_change, p_blob);
        insert into policy_change (key, policy)
        select distinct key, v_result.policy from unnest(p_write_key) w(key);
        update head set policy = v_result.policy,
            reference_policy = case when p_reference then v_result.policy else reference_policy end;
    end if;
    return v_result;
end $$;
