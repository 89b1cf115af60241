-- A row is the token family of a session that has not ended: all refresh tokens that were issued for it. It
-- holds the newest token that was used, which is the current token. A successor is stored when it is first
-- used, so a sign-in stores no token. Ending the session deletes the row, so that an end and a refresh wait
-- for one lock.
--
-- A refresh changes no indexed column and finds room on the page. So every refresh is a heap-only (HOT)
-- update, and a session keeps one row however long it lives.
alter table refresh_tokens rename to refresh_tokens_before;
alter table refresh_tokens_before rename constraint refresh_tokens_pkey to refresh_tokens_before_pkey;

create table refresh_tokens (
  session_id uuid primary key references sessions (id) on delete cascade,
  -- The generation of the current token. It is 0 until the token of the sign-in, of generation 1, is used.
  generation integer not null default 0,
  -- SHA-256 of the current token, and empty for generation 0.
  token_hash bytea not null default '',
  -- When this generation and those before it were confirmed, the latest first. A token is confirmed by its
  -- first use, which supersedes all other tokens of its generation and of earlier ones. The latest entry
  -- always stays. The others go once they are older than the grace period, and 32 is the most. Generation 0
  -- is confirmed by the sign-in.
  confirmations timestamptz[] not null default array[now()],
  -- When the current token was first exchanged, and null for generation 0.
  rotated_at timestamptz,
  last_used_at timestamptz not null default now(),
  -- When the last access token of the session expires.
  access_expires_at timestamptz not null default now() + interval '1 day',
  constraint refresh_tokens_have_a_confirmation check (cardinality(confirmations) between 1 and 32)
) with (fillfactor = 50);

insert into refresh_tokens (
  session_id, generation, token_hash, confirmations, rotated_at, last_used_at, access_expires_at
) select
  session_id, generation, token_hash, array[confirmed_at], rotated_at, last_used_at, access_expires_at
from refresh_tokens_before;
drop table refresh_tokens_before;

-- The sessions of a user that have not ended. The condition on the user is the first expression of
-- `sessions_live_idx`. To read them in the order of that index, order by its second expression. The planner
-- inlines this function because it is a single select, stable, and neither strict nor `security definer`.
create function unended_sessions (owner uuid) returns setof sessions language sql stable as $$
  select * from sessions
  where (case when ended_at is null then user_id end) = owner and ended_at is null
$$;

-- Ends sessions for good, and returns the revocations of those whose access tokens may still be valid. Every
-- statement takes the locks in this order, so that no two deadlock: token families before sessions, and both
-- in the order of their ids.
create or replace function end_sessions (ids uuid[], reason text, origin jsonb) returns setof revocations
language plpgsql set enable_seqscan = off as $$
#variable_conflict use_column
begin
  return query
  with locked as materialized (
    select session_id from refresh_tokens where session_id = any (ids) order by session_id for update
  ), deleted as (
    delete from refresh_tokens where session_id in (select session_id from locked)
    returning session_id, access_expires_at
  ), ended as (
    update sessions set ended_at = now(), end_reason = end_sessions.reason
    from deleted where id = deleted.session_id and ended_at is null
    returning id, user_id, ended_at, end_reason, deleted.access_expires_at
  ), recorded as (
    insert into audit_events (
      type, user_id, session_id, client_id, detail, actor_id, ip, user_agent, request_id
    ) select
      'session.ended', user_id, id, (origin ->> 'clientId')::uuid, jsonb_build_object('reason', end_reason),
      (origin ->> 'actorId')::uuid, (origin ->> 'ip')::inet, origin ->> 'userAgent', origin ->> 'requestId'
    from ended
  )
  -- A verifier whose clock is late may take an access token for valid that has just expired.
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
-- `request` has these members: `methods` (RFC 8176), `remembered`, `session_seconds`, `access_token_seconds`,
-- `refresh_token_seconds`, `session_limit`, `replaced` (the sessions whose refresh tokens came with the
-- request) and `replaces_others` (whether they end although they belong to another user).
--
-- Each statement of a function sees what was committed before that statement. So the sessions are counted
-- while the lock on the user is held, and a user never has a session too many, however many sign-ins race.
-- At most 50 sessions more than one end with the new one, so that the cost of a sign-in does not depend on
-- how many there are. Housekeeping ends the others.
create or replace function create_session (
  account uuid, verified_password integer, request jsonb, origin jsonb
) returns table (session sessions, owner users, ended revocations[])
language plpgsql set enable_seqscan = off as $$
#variable_conflict use_column
declare
  presented constant uuid[] := array(
    select value::uuid from jsonb_array_elements_text(request -> 'replaced') as value
  );
  replaces_others constant boolean := (request ->> 'replaces_others')::boolean;
  session_limit constant integer := (request ->> 'session_limit')::integer;
  token_life constant interval := make_interval(secs => (request ->> 'refresh_token_seconds')::float8);
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
  -- A session that can no longer be refreshed ends before one that can.
  surplus := array(
    select id from (
      select id, expires_at > now() and (
        select last_used_at + token_life > now() from refresh_tokens where session_id = sessions.id
      ) as is_refreshable
      from unended_sessions(account) as sessions
      where id <> all (replaced)
      order by (case when ended_at is null then id end) desc limit session_limit + 50
    ) as newest
    order by is_refreshable desc nulls last, id desc offset session_limit - 1
  );
  if cardinality(surplus) > 50 then
    -- Housekeeping is ending these sessions. The sign-in does not wait for those that it has locked.
    perform from refresh_tokens where session_id = any (replaced) order by session_id for update;
    surplus := array(
      select session_id from refresh_tokens where session_id = any (surplus)
      order by session_id for update skip locked
    );
  end if;
  ended := '{}';
  if cardinality(replaced || surplus) > 0 then
    -- All locks are taken at once and in one order. Two calls of end_sessions alone would take them in two.
    perform from refresh_tokens where session_id = any (replaced || surplus) order by session_id for update;
    if cardinality(replaced) > 0 then
      ended := array(select revoked from end_sessions(replaced, 'signed_in_again', origin) as revoked);
    end if;
    if cardinality(surplus) > 0 then
      ended := ended || array(select revoked from end_sessions(surplus, 'session_limit', origin) as revoked);
    end if;
  end if;

  -- Ended sessions are kept for a while, but only a limited number of them, because deleting the user deletes
  -- them in one statement.
  with owned as materialized (
    select id, ended_at from sessions where user_id = account limit session_limit + 200
  ), oldest as (
    select id from owned where ended_at is not null
    order by id
    limit (select greatest(0, least(20, count(*) - 100)) from owned where ended_at is not null)
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
  insert into refresh_tokens (session_id, confirmations, access_expires_at) values (
    session.id,
    array[now()],
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

-- Ends up to `batch` sessions of a user beyond the newest ones, and returns how many it found and how many it
-- ended. It waits for no lock, and leaves locked sessions for the next round. It deletes what it ended,
-- because there may be any number of them; the audit log keeps them.
create or replace function end_surplus_sessions (
  account uuid, session_limit integer, batch integer, out surplus integer, out ended integer
) language plpgsql set enable_seqscan = off as $$
#variable_conflict use_column
declare
  ids uuid[];
begin
  ids := array(
    select id from unended_sessions(account)
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
