-- The sessions of a user that have not ended, in the order of their ids. The planner can use no other index
-- for these expressions: one that also has the ended sessions, or those of other users, would make a query as
-- slow as their number, and anybody can open and end many.
create index sessions_live_idx on sessions (
  (case when ended_at is null then user_id end), (case when ended_at is null then id end)
) where ended_at is null;
-- All sessions of a user: deleting the user cascades to them, and the data export reads them page by page.
create index sessions_user_idx on sessions (user_id, id);
drop index sessions_user_id_idx;
-- The planner knows nothing of an expression until it is analyzed.
analyze sessions;

-- Housekeeping finds what has expired, and deleting a user finds the links that name their address, without
-- reading the whole table.
create index revocations_expires_at_idx on revocations (expires_at);
create index links_expires_at_idx on links (expires_at);
create index registrations_expires_at_idx on registrations (expires_at);
create index links_canonical_email_idx on links (canonical_email) where canonical_email is not null;

-- Ends sessions for good, and returns the revocations of those whose access tokens may still be valid. The
-- locks are taken in the order that every statement keeps: refresh state before session, both in the order of
-- the ids.
create function end_sessions (ids uuid[], reason text, origin jsonb) returns setof revocations
language plpgsql set enable_seqscan = off as $$
#variable_conflict use_column
begin
  return query
  with locked as materialized (
    select session_id from refresh_tokens where session_id = any (ids) order by session_id for update
  ), dead as (
    delete from refresh_tokens where session_id in (select session_id from locked)
    returning session_id, access_expires_at
  ), ended as (
    update sessions set ended_at = now(), end_reason = end_sessions.reason
    from dead where id = dead.session_id and ended_at is null
    returning id, user_id, ended_at, end_reason, dead.access_expires_at
  ), audited as (
    insert into audit_events (
      type, user_id, session_id, client_id, detail, actor_id, ip, user_agent, request_id
    ) select
      'session.ended', user_id, id, (origin ->> 'clientId')::uuid, jsonb_build_object('reason', end_reason),
      (origin ->> 'actorId')::uuid, (origin ->> 'ip')::inet, origin ->> 'userAgent', origin ->> 'requestId'
    from ended
  )
  insert into revocations (id, kind, subject, reason, ended_at, expires_at)
  select id, 'session', user_id, end_reason, ended_at, access_expires_at
  from ended where access_expires_at > now() - interval '1 minute'
  returning *;

  if found then
    perform pg_notify('latchkey_revocations', '');
  end if;
end
$$;

-- Creates a session for a verified credential, or nothing if the password was changed or the account disabled
-- since.
--
-- `request` names: `methods` (RFC 8176), `remembered`, `session_seconds`, `access_token_seconds`,
-- `refresh_token_seconds`, `session_limit`, `replaced` (the sessions whose refresh tokens came with the
-- request) and `replaces_others` (whether they end although they are another user's).
--
-- Each statement of a function sees what was committed before that statement. So the sessions are counted
-- after the lock on the user is held, and there is never one too many, however many sign-ins race. At most 50
-- sessions more than one end with the new one: the cost of a sign-in does not depend on how many there are.
-- Housekeeping ends the rest.
create function create_session (account uuid, verified_password integer, request jsonb, origin jsonb)
returns table (session sessions, owner users, ended revocations[])
language plpgsql set enable_seqscan = off as $$
#variable_conflict use_column
declare
  presented constant uuid[] := array(
    select value::uuid from jsonb_array_elements_text(request -> 'replaced') as value
  );
  replaces_others constant boolean := (request ->> 'replaces_others')::boolean;
  session_limit constant integer := (request ->> 'session_limit')::integer;
  idle constant interval := make_interval(secs => (request ->> 'refresh_token_seconds')::float8);
  replaced uuid[] := '{}';
  surplus uuid[];
begin
  select * into owner from users
  where id = account and password_version = verified_password and disabled_at is null for no key update;
  if not found then
    return;
  end if;

  if cardinality(presented) > 0 then
    replaced := array(
      select id from sessions
      where id = any (presented) and ended_at is null and (user_id = account or replaces_others)
    );
  end if;
  -- A session that cannot be refreshed any more goes before one that can.
  surplus := array(
    select id from (
      select id, expires_at > now() and (
        select last_used_at + idle > now() from refresh_tokens where session_id = sessions.id
      ) as is_live
      from sessions
      where (case when ended_at is null then user_id end) = account and ended_at is null
        and id <> all (replaced)
      order by (case when ended_at is null then id end) desc limit session_limit + 50
    ) as newest
    order by is_live desc nulls last, id desc offset session_limit - 1
  );
  if cardinality(surplus) > 50 then
    -- Housekeeping is ending them: the sign-in does not wait for those that it holds.
    perform from refresh_tokens where session_id = any (replaced) order by session_id for update;
    surplus := array(
      select session_id from refresh_tokens where session_id = any (surplus)
      order by session_id for update skip locked
    );
  end if;
  ended := '{}';
  if cardinality(replaced || surplus) > 0 then
    -- All locks at once and in one order. Two calls of end_sessions alone would take them in two.
    perform from refresh_tokens where session_id = any (replaced || surplus) order by session_id for update;
    if cardinality(replaced) > 0 then
      ended := array(select each from end_sessions(replaced, 'signed_in_again', origin) as each);
    end if;
    if cardinality(surplus) > 0 then
      ended := ended || array(select each from end_sessions(surplus, 'session_limit', origin) as each);
    end if;
  end if;

  -- Ended sessions are kept for a while, but not any number of them: deleting the user deletes them in one
  -- statement.
  with own as materialized (
    select id, ended_at from sessions where user_id = account limit session_limit + 200
  ), oldest as (
    select id from own where ended_at is not null
    order by id limit (select greatest(0, least(20, count(*) - 100)) from own where ended_at is not null)
  )
  delete from sessions where id in (
    select id from sessions where id in (select id from oldest) for update skip locked
  );

  insert into sessions (id, user_id, methods, remembered, user_agent, ip, expires_at)
  values (
    uuid_v7(), account, array(select jsonb_array_elements_text(request -> 'methods')),
    (request ->> 'remembered')::boolean,
    left(origin ->> 'userAgent', 512), (origin ->> 'ip')::inet,
    now() + make_interval(secs => (request ->> 'session_seconds')::float8)
  ) returning * into session;
  insert into refresh_tokens (session_id, access_expires_at) values (
    session.id,
    least(now() + make_interval(secs => (request ->> 'access_token_seconds')::float8), session.expires_at)
  );
  insert into audit_events (
    type, user_id, session_id, client_id, detail, actor_id, ip, user_agent, request_id
  ) values (
    'login.succeeded', account, session.id, (origin ->> 'clientId')::uuid,
    jsonb_build_object('methods', session.methods), (origin ->> 'actorId')::uuid, (origin ->> 'ip')::inet,
    origin ->> 'userAgent', origin ->> 'requestId'
  );
  return next;
end
$$;

-- Ends the sessions of a user beyond the newest ones, up to `batch` of them, and returns how many it found
-- and ended. It waits for no lock: what another transaction holds is left for the next round. It deletes what
-- it ended, because there may be so many of them; the audit log has them.
create function end_surplus_sessions (
  account uuid, session_limit integer, batch integer, out surplus integer, out ended integer
) language plpgsql set enable_seqscan = off as $$
#variable_conflict use_column
declare
  ids uuid[];
begin
  ids := array(
    select id from sessions
    where (case when ended_at is null then user_id end) = account and ended_at is null
    order by (case when ended_at is null then id end) desc offset session_limit limit batch
  );
  surplus := cardinality(ids);
  ids := array(
    select session_id from refresh_tokens where session_id = any (ids)
    order by session_id for update skip locked
  );
  ended := cardinality(ids);
  if ended > 0 then
    perform from end_sessions(ids, 'session_limit', '{}');
    delete from sessions where id = any (ids);
  end if;
end
$$;
