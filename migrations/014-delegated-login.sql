-- A browser session is the session of a sign-in on the pages of the service. Its browser proves it by a
-- cookie. Clients that delegate login get client sessions below it, each with refresh tokens of its own.
alter table sessions
  add column is_browser boolean not null default false,
  -- The client whose session it is. Null for a first-party session.
  add column client_id uuid references clients (id) on delete cascade,
  -- The browser session that a client session was authorized by.
  add column parent_id uuid references sessions (id) on delete set null,
  -- What the user authorized: scopes, and resources (RFC 8707).
  add column scope text[],
  add column audience text[],
  -- Whether a client session outlives its browser session (the scope `offline_access`).
  add column is_offline boolean not null default false,
  add constraint sessions_scope_check check ((client_id is null) = (scope is null)),
  add constraint sessions_audience_check check ((client_id is null) = (audience is null)),
  add constraint sessions_parent_check check (parent_id is null or client_id is not null);

-- The client sessions of a browser session.
create index sessions_parent_idx on sessions (parent_id) where parent_id is not null;
-- The client sessions of a client, or of one of its users.
create index sessions_client_idx on sessions (client_id, user_id, id) where client_id is not null;
-- The sessions that the limit of a user's sessions counts, in the order of `sessions_live_idx`. Client
-- sessions are not counted: a browser session has one for each client.
create index sessions_counted_idx on sessions (
  (case when ended_at is null then user_id end), (case when ended_at is null then id end)
) where ended_at is null and client_id is null;

-- A row is a value of the cookie that proves a browser session. A sign-in replaces the value, so that a value
-- that an attacker planted or copied before it is worth nothing (session fixation).
create table browser_tokens (
  -- The SHA-256 of the value, which has 256 random bits.
  token_hash bytea primary key,
  session_id uuid not null references sessions (id) on delete cascade,
  -- When a newer value replaced it. Null for the current value.
  superseded_at timestamptz
);

create index browser_tokens_session_id_idx on browser_tokens (session_id);

-- A row is an authorization code (RFC 6749 section 4.1.2). It stays for a while after its redemption, so that
-- its reuse is detected.
create table authorization_codes (
  -- The SHA-256 of the code, which has 256 random bits.
  code_hash bytea primary key,
  client_id uuid not null references clients (id) on delete cascade,
  -- The browser session that authorized it, and when its user had authenticated.
  session_id uuid not null references sessions (id) on delete cascade,
  authenticated_at timestamptz not null,
  -- Exactly as the authorization request named it.
  redirect_uri text not null,
  -- The SHA-256 of the code verifier, in base64url (RFC 7636).
  code_challenge text not null,
  scope text[] not null,
  audience text[] not null,
  nonce text,
  is_offline boolean not null,
  expires_at timestamptz not null,
  redeemed_at timestamptz,
  -- The session that its redemption created.
  client_session_id uuid references sessions (id) on delete set null
);

create index authorization_codes_expires_at_idx on authorization_codes (expires_at);
create index authorization_codes_session_idx on authorization_codes (session_id);
create index authorization_codes_client_idx on authorization_codes (client_id);
create index authorization_codes_client_session_idx on authorization_codes (client_session_id)
where client_session_id is not null;

-- A row is what a user has allowed a client.
create table consents (
  user_id uuid not null references users (id) on delete cascade,
  client_id uuid not null references clients (id) on delete cascade,
  scopes text[] not null,
  audiences text[] not null,
  granted_at timestamptz not null default now(),
  last_used_at timestamptz not null default now(),
  primary key (user_id, client_id)
);

create index consents_client_id_idx on consents (client_id);

alter table jobs
  drop constraint jobs_kind_check,
  add constraint jobs_kind_check check (kind in ('mail', 'webhook', 'backchannel_logout'));

-- Ends sessions for good, and returns the revocations of those whose access tokens may still be valid. A
-- browser session takes its client sessions with it, except those with offline access. Each ended client
-- session enqueues a logout token for its client (OpenID Connect Back-Channel Logout 1.0); the job has the id
-- of the session, and its subject is the client.
--
-- Every statement that ends sessions takes the locks in this order, so that no two deadlock: the token
-- families before the sessions, both in the order of their ids. A user may have a thousand sessions, so it
-- inserts their events in one statement instead of calling record_event for each.
create or replace function end_sessions (session_ids uuid[], reason text, origin jsonb)
returns setof revocations
language plpgsql set enable_seqscan = off as $$
#variable_conflict use_column
declare
  all_ids uuid[];
begin
  all_ids := session_ids || array(
    select id from sessions
    where parent_id = any (session_ids) and ended_at is null and not is_offline and id <> all (session_ids)
  );
  perform from refresh_tokens where session_id = any (all_ids) order by session_id for update;
  -- While this waited for a lock, a code may have been redeemed. Now the locks keep out further ones.
  all_ids := all_ids || array(
    select id from sessions
    where parent_id = any (session_ids) and ended_at is null and not is_offline and id <> all (all_ids)
  );
  return query
  with locked as materialized (
    select session_id from refresh_tokens where session_id = any (all_ids) order by session_id for update
  ), deleted as (
    delete from refresh_tokens where session_id in (select session_id from locked)
    returning session_id, access_expires_at
  ), ended as (
    update sessions set ended_at = now(), end_reason = end_sessions.reason
    from deleted where id = deleted.session_id and ended_at is null
    returning id, user_id, client_id, ended_at, end_reason, deleted.access_expires_at
  ), recorded as (
    insert into audit_events (
      type, user_id, session_id, client_id, detail, actor_id, ip, user_agent, request_id
    ) select
      'session.ended', user_id, id, coalesce((origin ->> 'clientId')::uuid, client_id),
      jsonb_build_object('reason', end_reason), (origin ->> 'actorId')::uuid, (origin ->> 'ip')::inet,
      origin ->> 'userAgent', origin ->> 'requestId'
    from ended
  ), notified as (
    insert into jobs (id, kind, user_id, subject, expires_at)
    select ended.id, 'backchannel_logout', user_id, clients.id, now() + interval '1 day'
    from ended join clients on clients.id = ended.client_id where backchannel_logout_uri is not null
    on conflict do nothing
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

-- Deletes the oldest ended sessions of a user. They are kept for a while, but their number is bounded:
-- deleting the user deletes all of them in one statement.
create function trim_ended_sessions (account_id uuid) returns void
language plpgsql set enable_seqscan = off as $$
begin
  with own as materialized (
    select id from sessions where user_id = account_id and ended_at is not null limit 200
  ), oldest as (
    select id from own order by id limit (select greatest(0, least(20, count(*) - 100)) from own)
  )
  delete from sessions where id in (
    select id from sessions where id in (select id from oldest) for update skip locked
  );
end
$$;

-- Creates a session for a verified credential, or renews the browser session of the request if it is the same
-- user's. Returns no row if the password was changed or the account disabled since the verification.
--
-- `request` names: `methods` (RFC 8176), `remembered`, `session_seconds`, `access_token_seconds`,
-- `refresh_token_seconds`, `session_limit`, `replaced` (the sessions whose refresh tokens came with the
-- request) and `replaces_others` (whether they end although they are another user's). For a sign-in on a page
-- it also names, in hexadecimal, `browser_token_hash` and perhaps `presented_browser_token_hash`: those of
-- the new cookie, and of the cookie that came with the request.
--
-- Each statement of a function sees what was committed before that statement. So the sessions are counted
-- after the lock on the user is held, and the limit is never exceeded, however many sign-ins race. A sign-in
-- ends at most 51 surplus sessions, so its cost does not depend on how many there are. Housekeeping ends the
-- rest.
drop function create_session (uuid, integer, jsonb, jsonb);
create function create_session (
  account_id uuid, verified_password_version integer, request jsonb, origin jsonb
) returns table (session sessions, owner users, generation integer, ended revocations[])
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
  access_token_life constant interval := make_interval(secs => (request ->> 'access_token_seconds')::float8);
  new_expiry constant timestamptz := now() + make_interval(secs => (request ->> 'session_seconds')::float8);
  verified_methods constant text[] := array(select jsonb_array_elements_text(request -> 'methods'));
  browser_hash constant bytea := decode(request ->> 'browser_token_hash', 'hex');
  browser_id uuid;
  browser_user_id uuid;
  is_browser_live boolean;
  renewed_id uuid;
  replaced_ids uuid[] := '{}';
  surplus_ids uuid[] := '{}';
  shortened_ids uuid[] := '{}';
  child_ids uuid[];
begin
  select * into owner from users
  where id = account_id and password_version = verified_password_version and disabled_at is null
  for no key update;
  if not found then
    return;
  end if;

  if request ? 'presented_browser_token_hash' then
    select sessions.id, user_id, expires_at > now() into browser_id, browser_user_id, is_browser_live
    from browser_tokens join sessions on sessions.id = session_id
    where token_hash = decode(request ->> 'presented_browser_token_hash', 'hex')
      and superseded_at is null and ended_at is null;
    -- An expired session is not renewed, because housekeeping may be purging it. It is replaced.
    if browser_user_id = account_id and is_browser_live then
      renewed_id := browser_id;
    end if;
  end if;
  if cardinality(presented_ids) > 0 or browser_id is not null then
    replaced_ids := array(
      select id from sessions
      where id = any (presented_ids || browser_id) and ended_at is null and id is distinct from renewed_id
        and client_id is null and (user_id = account_id or replaces_others)
        -- A sign-in to the API leaves the user signed in on the pages.
        and not (is_browser and browser_hash is null and user_id = account_id)
    );
  end if;
  -- A session that can no longer be refreshed ends before one that can.
  if renewed_id is null then
    surplus_ids := array(
      select id from (
        select id, expires_at > now() and (is_browser or (
          select last_used_at + refresh_token_life > now() from refresh_tokens where session_id = sessions.id
        )) as is_live
        from sessions
        where (case when ended_at is null then user_id end) = account_id and ended_at is null
          and client_id is null and id <> all (replaced_ids)
        order by (case when ended_at is null then id end) desc limit session_limit + 50
      ) as newest
      order by is_live desc nulls last, id desc offset session_limit - 1
    );
  end if;
  if cardinality(surplus_ids) > 50 then
    -- Housekeeping is ending them: the sign-in does not wait for those that housekeeping has locked.
    perform from refresh_tokens where session_id = any (replaced_ids) order by session_id for update;
    surplus_ids := array(
      select session_id from refresh_tokens where session_id = any (surplus_ids)
      order by session_id for update skip locked
    );
  end if;
  ended := '{}';
  if cardinality(replaced_ids || surplus_ids) > 0 or renewed_id is not null then
    child_ids := array(
      select id from sessions
      where parent_id = any (replaced_ids || surplus_ids) and ended_at is null and not is_offline
    );
    -- The session may get a shorter life. Its client sessions without offline access do not outlive it.
    shortened_ids := array(
      select id from sessions
      where parent_id = renewed_id and ended_at is null and not is_offline and expires_at > new_expiry
    );
    -- Takes all locks in one order. Two calls of end_sessions alone would take them in two orders.
    perform from refresh_tokens
    where session_id = any (replaced_ids || surplus_ids || child_ids || shortened_ids || renewed_id)
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
  perform trim_ended_sessions(account_id);

  if renewed_id is not null then
    update sessions set
      methods = verified_methods, authenticated_at = now(),
      remembered = (request ->> 'remembered')::boolean, expires_at = new_expiry
    where id = renewed_id and ended_at is null returning * into session;
    update refresh_tokens as family set last_used_at = now() where session_id = session.id
    returning family.generation + 1 into generation;
    if generation is null then
      -- It ended while this waited for its lock.
      renewed_id := null;
    else
      update sessions set expires_at = new_expiry where id = any (shortened_ids) and ended_at is null;
      update browser_tokens set superseded_at = now() where session_id = renewed_id and superseded_at is null;
      -- The cookies that it had before are few, however often its user signs in.
      delete from browser_tokens where token_hash in (
        select token_hash from browser_tokens where session_id = renewed_id
        order by superseded_at desc nulls first offset 20
      );
    end if;
  end if;
  if renewed_id is null then
    insert into sessions (id, user_id, methods, remembered, user_agent, ip, expires_at, is_browser)
    values (
      uuid_v7(), account_id, verified_methods, (request ->> 'remembered')::boolean,
      left(origin ->> 'userAgent', 512), (origin ->> 'ip')::inet, new_expiry, browser_hash is not null
    ) returning * into session;
    insert into refresh_tokens (session_id, access_expires_at)
    values (session.id, least(now() + access_token_life, session.expires_at));
    generation := 1;
  end if;
  if browser_hash is not null then
    insert into browser_tokens (token_hash, session_id) values (browser_hash, session.id);
  end if;
  perform record_event(
    'login.succeeded', origin, account_id, session.id,
    detail => jsonb_build_object('methods', session.methods)
  );
  return next;
end
$$;

-- As before, but client sessions do not count.
create or replace function end_surplus_sessions (
  account_id uuid, session_limit integer, batch_size integer, out surplus integer, out ended integer
) language plpgsql set enable_seqscan = off as $$
#variable_conflict use_column
declare
  ids uuid[];
begin
  ids := array(
    select id from sessions
    where (case when ended_at is null then user_id end) = account_id and ended_at is null
      and client_id is null
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

-- Redeems an authorization code: creates the client session that it stands for. Returns no row, and leaves
-- the code as it is, unless the client, the redirect URI and the code challenge are those of the code, it is
-- unused and has not expired, and the requested resources are among those that it is for. The same holds if
-- its browser session has ended, or if its user does not allow the client all of it any more.
--
-- `request` names: `audience` (the requested resources, perhaps none), `access_token_seconds`,
-- `offline_seconds` (the lifetime of a session with offline access) and `offline_limit` (how many of them a
-- user has for each client).
--
-- The locks on the client, on the user and on the token family of the browser session meet every deletion of
-- a client, every revocation of consent, every end of sessions and every other redemption: one of them comes
-- first. All of them take the locks in this order, and the code comes last, so that no two deadlock.
create function redeem_authorization_code (
  presented_hash bytea, presenting_client uuid, presented_redirect_uri text, presented_challenge text,
  request jsonb, origin jsonb
) returns table (session sessions, owner users, code authorization_codes, ended revocations[])
language plpgsql set enable_seqscan = off as $$
#variable_conflict use_column
declare
  requested_audience constant text[] := array(select jsonb_array_elements_text(request -> 'audience'));
  is_first_party boolean;
  parent sessions;
  replaced_ids uuid[];
begin
  select first_party into is_first_party from clients where id = presenting_client for key share;
  select * into code from authorization_codes
  where code_hash = presented_hash and client_id = presenting_client
    and redirect_uri = presented_redirect_uri and code_challenge = presented_challenge
    and redeemed_at is null and expires_at > now() and requested_audience <@ audience;
  if not found then
    return;
  end if;
  select users.* into owner from sessions join users on users.id = user_id
  where sessions.id = code.session_id and disabled_at is null for no key update of users;
  if not found then
    return;
  end if;
  -- The consent may have been revoked while the code was issued.
  if not is_first_party and not exists (
    select from consents
    where user_id = owner.id and client_id = presenting_client
      and scopes @> code.scope and audiences @> code.audience
  ) then
    return;
  end if;

  replaced_ids := array(
    select id from sessions
    where parent_id = code.session_id and client_id = presenting_client and ended_at is null
  );
  if code.is_offline then
    replaced_ids := replaced_ids || array(
      select id from sessions
      where client_id = presenting_client and user_id = owner.id and is_offline and ended_at is null
        and id <> all (replaced_ids)
      order by id desc offset (request ->> 'offline_limit')::integer - 1
    );
  end if;
  perform from refresh_tokens where session_id = any (replaced_ids || code.session_id)
  order by session_id for update;
  select * into parent from sessions where id = code.session_id and ended_at is null and expires_at > now();
  if not found then
    return;
  end if;
  update authorization_codes set redeemed_at = now()
  where code_hash = presented_hash and redeemed_at is null
  returning * into code;
  if not found then
    return;
  end if;

  ended := '{}';
  if cardinality(replaced_ids) > 0 then
    ended := array(
      select revocation from end_sessions(replaced_ids, 'signed_in_again', origin) as revocation
    );
  end if;
  perform trim_ended_sessions(parent.user_id);

  insert into sessions (
    id, user_id, methods, authenticated_at, remembered, user_agent, ip, expires_at,
    client_id, parent_id, scope, audience, is_offline
  ) values (
    uuid_v7(), parent.user_id, parent.methods, code.authenticated_at, parent.remembered, parent.user_agent,
    parent.ip,
    case when code.is_offline then now() + make_interval(secs => (request ->> 'offline_seconds')::float8)
      else parent.expires_at end,
    presenting_client, parent.id, code.scope, code.audience, code.is_offline
  ) returning * into session;
  insert into refresh_tokens (session_id, access_expires_at) values (
    session.id,
    least(now() + make_interval(secs => (request ->> 'access_token_seconds')::float8), session.expires_at)
  );
  update authorization_codes set client_session_id = session.id where code_hash = presented_hash;
  update consents set last_used_at = now() where user_id = parent.user_id and client_id = presenting_client;
  perform record_event(
    'session.authorized', origin, parent.user_id, session.id, presenting_client,
    jsonb_build_object('scope', array_to_string(code.scope, ' '), 'browser_session_id', parent.id)
  );
  return next;
end
$$;
