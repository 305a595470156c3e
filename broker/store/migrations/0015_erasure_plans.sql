-- Erasures that wait for a second person, and what a complaint is about. A plan's row goes with its end: the entries
-- say all of it.

create table erasure_plan (
    -- Of the entry that says so.
    id          uuid primary key,
    agency      text not null,
    -- Who asked for it, and by which certificate's key: a second person must be another by both.
    system      text not null,
    actor       text not null,
    key_digest  text not null,
    at          timestamptz not null,
    ground      text not null,
    -- Blind, as in `directive`; null where entries were named by id.
    subject     bytea,
    asked       uuid[] not null,
    words_only  boolean not null,
    -- What may go by it, and nothing else.
    entries     uuid[] not null,
    directives  uuid[] not null
);

-- No samples of what may be erased.
alter table erasure_plan
    alter actor set statistics 0, alter subject set statistics 0, alter asked set statistics 0,
    alter entries set statistics 0, alter directives set statistics 0;

create function policy_apply_erasure_plan(p_policy bigint, p_change jsonb, p_blob bytea) returns void
language plpgsql volatile as $$
begin
    -- Of the same agency's, what nobody confirmed in time.
    delete from erasure_plan
    where agency = p_change ->> 'agency' and at < (p_change ->> 'lapsed')::timestamptz;
    insert into erasure_plan (id, agency, system, actor, key_digest, at, ground, subject, asked, words_only, entries,
                              directives)
    values ((p_change ->> 'id')::uuid, p_change ->> 'agency', p_change ->> 'system', p_change ->> 'actor',
            p_change ->> 'key_digest', (p_change ->> 'at')::timestamptz, p_change ->> 'ground',
            decode(p_change ->> 'subject', 'hex'),
            array(select value::uuid from jsonb_array_elements_text(p_change -> 'asked')),
            (p_change ->> 'words_only')::boolean,
            array(select value::uuid from jsonb_array_elements_text(p_change -> 'entries')),
            array(select value::uuid from jsonb_array_elements_text(p_change -> 'directives')));
end $$;

create function policy_apply_erasure_plan_ended(p_policy bigint, p_change jsonb, p_blob bytea) returns void
language plpgsql volatile as $$
begin
    delete from erasure_plan where id = (p_change ->> 'id')::uuid;
end $$;
