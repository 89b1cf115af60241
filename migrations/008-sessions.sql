-- A row is a session: the result of one sign-in. It stays for a while after it has ended.
create table sessions (
  id uuid primary key,
  user_id uuid not null references users (id) on delete cascade,
  -- How the user authenticated (RFC 8176), and when.
  methods text[] not null,
  authenticated_at timestamptz not null default now(),
  -- Whether the user asked to stay signed in after the browser is closed.
  remembered boolean not null,
  user_agent text,
  ip inet,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  ended_at timestamptz,
  end_reason text,
  constraint sessions_end_reason_check check ((ended_at is null) = (end_reason is null))
);

-- The sessions of a user that have not ended, in the order of their ids. The planner can use no other index
-- for these expressions: one that also has the ended sessions, or those of other users, would make a query as
-- slow as their number, and anybody can open and end many.
create index sessions_live_idx on sessions (
  (case when ended_at is null then user_id end), (case when ended_at is null then id end)
) where ended_at is null;
-- All sessions of a user: deleting the user cascades to them, and the data export reads them page by page.
create index sessions_user_idx on sessions (user_id, id);

-- A row is a token family (RFC 9700 section 4.14.2): all refresh tokens of one session that has not ended.
-- Ending the session deletes the row, so an end and a refresh meet on its lock. A refresh changes no indexed
-- column and finds room on the page, so each is a heap-only update, and a session keeps one row however long
-- it lives.
create table refresh_tokens (
  session_id uuid primary key references sessions (id) on delete cascade,
  -- The generation of the current token, the one that was confirmed most recently. 0 before the first use of
  -- a token: a token is stored when it is first used, not when it is issued.
  generation integer not null default 0,
  -- The SHA-256 of the current token. Empty before the first use of a token.
  token_hash bytea not null default '',
  -- When this generation and those before it were confirmed, the newest first. A token is confirmed by its
  -- first use, which supersedes all other tokens of its generation and of earlier ones. The latest entry
  -- always stays. The others go once they are older than the grace period, and at most 32 are kept. The
  -- sign-in confirms generation 0.
  confirmations timestamptz[] not null default array[now()],
  last_used_at timestamptz not null default now(),
  -- When the last access token of the session expires.
  access_expires_at timestamptz not null default now() + interval '1 day',
  constraint refresh_tokens_confirmations_check check (cardinality(confirmations) between 1 and 32)
) with (fillfactor = 50);

-- The sessions of a user that have not ended. The condition on the user is the first expression of
-- `sessions_live_idx`. To read them in the order of that index, order by its second expression. The planner
-- inlines this function because it is a single select, stable, and neither strict nor `security definer`.
create function unended_sessions (owner_id uuid) returns setof sessions language sql stable as $$
  select * from sessions
  where (case when ended_at is null then user_id end) = owner_id and ended_at is null
$$;

-- Ends sessions for good, and returns the revocations of those whose access tokens may still be valid. Every
-- statement that ends sessions takes the locks in this order, so that no two deadlock: the token families
-- before the sessions, both in the order of their ids. A user may have a thousand sessions, so it inserts
-- their events in one statement instead of calling record_event for each.
create function end_sessions (session_ids uuid[], reason text, origin jsonb) returns setof revocations
language plpgsql set enable_seqscan = off as $$
#variable_conflict use_column
begin
  return query
  with locked as materialized (
    select session_id from refresh_tokens where session_id = any (session_ids) order by session_id for update
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
  insert into revocations (id, kind, subject, reason, ended_at, expires_at)
  select id, 'session', user_id, end_reason, ended_at, access_expires_at
  from ended where access_expires_at > now() - interval '1 minute'
  returning *;

  if found then
    perform pg_notify('latchkey_revocations', '');
  end if;
end
$$;

-- Creates a session for a verified credential. Returns no row if the password was changed or the account
-- disabled since the verification.
--
-- `request` names: `methods` (RFC 8176), `remembered`, `session_seconds`, `access_token_seconds`,
-- `refresh_token_seconds`, `session_limit`, `replaced` (the sessions whose refresh tokens came with the
-- request) and `replaces_others` (whether they end although they are another user's).
--
-- Each statement of a function sees what was committed before that statement. So the sessions are counted
-- after the lock on the user is held, and there is never one too many, however many sign-ins race. At most 50
-- sessions more than one end with the new one: the cost of a sign-in does not depend on how many there are.
-- Housekeeping ends the rest.
create function create_session (
  account_id uuid, verified_password_version integer, request jsonb, origin jsonb
) returns table (session sessions, owner users, ended revocations[])
language plpgsql set enable_seqscan = off as $$
#variable_conflict use_column
declare
  presented_ids constant uuid[] := array(
    select value::uuid from jsonb_array_elements_text(request -> 'replaced') as value
  );
  replaces_others constant boolean := (request ->> 'replaces_others')::boolean;
  session_limit constant integer := (request ->> 'session_limit')::integer;
  refresh_token_life constant interval :=
    make_interval(secs => (request ->> 'refresh_token_seconds')::float8);
  replaced_ids uuid[] := '{}';
  surplus_ids uuid[];
begin
  select * into owner from users
  where id = account_id and password_version = verified_password_version and disabled_at is null
  for no key update;
  if not found then
    return;
  end if;

  if cardinality(presented_ids) > 0 then
    replaced_ids := array(
      select id from sessions
      where id = any (presented_ids) and ended_at is null and (user_id = account_id or replaces_others)
    );
  end if;
  -- A session that can no longer be refreshed ends before one that can.
  surplus_ids := array(
    select id from (
      select id, expires_at > now() and (
        select last_used_at + refresh_token_life > now() from refresh_tokens where session_id = sessions.id
      ) as is_live
      from sessions
      where (case when ended_at is null then user_id end) = account_id and ended_at is null
        and id <> all (replaced_ids)
      order by (case when ended_at is null then id end) desc limit session_limit + 50
    ) as newest
    order by is_live desc nulls last, id desc offset session_limit - 1
  );
  if cardinality(surplus_ids) > 50 then
    -- Housekeeping is ending them: the sign-in does not wait for those that it holds.
    perform from refresh_tokens where session_id = any (replaced_ids) order by session_id for update;
    surplus_ids := array(
      select session_id from refresh_tokens where session_id = any (surplus_ids)
      order by session_id for update skip locked
    );
  end if;
  ended := '{}';
  if cardinality(replaced_ids || surplus_ids) > 0 then
    -- Takes all locks in one order. Two calls of end_sessions alone would take them in two.
    perform from refresh_tokens where session_id = any (replaced_ids || surplus_ids)
    order by session_id for update;
    if cardinality(replaced_ids) > 0 then
      ended := array(
        select revocation from end_sessions(replaced_ids, 'signed_in_again', origin) as revocation
      );
    end if;
    if cardinality(surplus_ids) > 0 then
      ended := ended || array(
        select revocation from end_sessions(surplus_ids, 'session_limit', origin) as revocation
      );
    end if;
  end if;

  -- Ended sessions are kept for a while, but their number is bounded: deleting the user deletes all of them
  -- in one statement.
  with own as materialized (
    select id, ended_at from sessions where user_id = account_id limit session_limit + 200
  ), oldest as (
    select id from own where ended_at is not null
    order by id limit (select greatest(0, least(20, count(*) - 100)) from own where ended_at is not null)
  )
  delete from sessions where id in (
    select id from sessions where id in (select id from oldest) for update skip locked
  );

  insert into sessions (id, user_id, methods, remembered, user_agent, ip, expires_at)
  values (
    uuid_v7(), account_id, array(select jsonb_array_elements_text(request -> 'methods')),
    (request ->> 'remembered')::boolean,
    left(origin ->> 'userAgent', 512), (origin ->> 'ip')::inet,
    now() + make_interval(secs => (request ->> 'session_seconds')::float8)
  ) returning * into session;
  insert into refresh_tokens (session_id, access_expires_at) values (
    session.id,
    least(now() + make_interval(secs => (request ->> 'access_token_seconds')::float8), session.expires_at)
  );
  perform record_event(
    'login.succeeded', origin, account_id, session.id,
    detail => jsonb_build_object('methods', session.methods)
  );
  return next;
end
$$;

-- Ends the sessions of a user beyond the newest `session_limit`, up to `batch_size` of them. Returns how many
-- it found and how many it ended. It waits for no lock: what another transaction holds is left for the next
-- round. It deletes the sessions that it ended, because there may be very many; the audit log has them.
create function end_surplus_sessions (
  account_id uuid, session_limit integer, batch_size integer, out surplus integer, out ended integer
) language plpgsql set enable_seqscan = off as $$
#variable_conflict use_column
declare
  ids uuid[];
begin
  ids := array(
    select id from sessions
    where (case when ended_at is null then user_id end) = account_id and ended_at is null
    order by (case when ended_at is null then id end) desc offset session_limit limit batch_size
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
