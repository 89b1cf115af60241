-- How the user had authenticated when a code was issued (RFC 8176). A repeated sign-in before its redemption
-- strengthens the browser session, but not the code. Null for a code of an earlier version.
alter table authorization_codes add column methods text[];

-- As before, but for the methods of the client session.
--
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
create or replace function redeem_authorization_code (
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
    uuid_v7(), parent.user_id, coalesce(code.methods, parent.methods), code.authenticated_at,
    parent.remembered, parent.user_agent, parent.ip,
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
