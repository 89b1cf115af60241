-- A paused instance or a connection that was cut off can execute a sign-in after its browser has repeated it,
-- and has used the new cookie. So a sign-in renews the session of a replaced value until a newer value has
-- been in use for the grace period (`replay_grace_seconds` of `request`; 0 from an earlier version).
create or replace function create_session (
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
  grace_period constant interval :=
    make_interval(secs => coalesce((request ->> 'replay_grace_seconds')::float8, 0));
  verified_methods constant text[] := array(select jsonb_array_elements_text(request -> 'methods'));
  browser_hash constant bytea := decode(request ->> 'browser_token_hash', 'hex');
  presented_browser_hash constant bytea := decode(request ->> 'presented_browser_token_hash', 'hex');
  earlier_authentication timestamptz;
  earlier_method_names text[];
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

  if presented_browser_hash is not null then
    select sessions.id, user_id, expires_at > now() into browser_id, browser_user_id, is_browser_live
    from browser_tokens as presented join sessions on sessions.id = session_id
    where token_hash = presented_browser_hash and ended_at is null
      and (superseded_at is null or (user_id = account_id and not exists (
        select from browser_tokens as newer
        where newer.session_id = presented.session_id and newer.number > presented.number
          and used_at <= now() - grace_period
      )));
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
    select authenticated_at, methods into earlier_authentication, earlier_method_names
    from sessions where id = renewed_id;
    update sessions set
      methods = verified_methods, authenticated_at = now(),
      remembered = (request ->> 'remembered')::boolean, expires_at = new_expiry
    where id = renewed_id and ended_at is null returning * into session;
    update refresh_tokens as family set
      last_used_at = now(), renewal_nonce = decode(request ->> 'refresh_nonce', 'hex'),
      earlier_authenticated_at =
        case when renewal_nonce is null then earlier_authentication else earlier_authenticated_at end,
      earlier_methods = case when renewal_nonce is null then earlier_method_names else earlier_methods end
    where session_id = session.id
    returning family.generation + 1 into generation;
    if generation is null then
      -- It ended while this waited for its lock.
      renewed_id := null;
    else
      update sessions set expires_at = new_expiry where id = any (shortened_ids) and ended_at is null;
      perform from browser_tokens where session_id = renewed_id order by number for update;
      update browser_tokens set
        used_at = coalesce(used_at, case when token_hash = presented_browser_hash then now() end),
        superseded_at = coalesce(superseded_at, now())
      where session_id = renewed_id and number <= (
        select number from browser_tokens where token_hash = presented_browser_hash
      );
      -- The values that it had before are few, however often its user signs in.
      delete from browser_tokens where token_hash in (
        select token_hash from browser_tokens
        where session_id = renewed_id and token_hash <> presented_browser_hash
        order by superseded_at desc nulls first, number desc offset 19
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
