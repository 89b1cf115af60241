-- A UUIDv7 (RFC 9562) of the database's clock, precise to a 4096th of a millisecond (section 6.2, method 3):
-- the events of one request sort in the order in which they happened.
create function uuid_v7 () returns uuid language sql volatile as $$
  select (
    overlay(
      lpad(to_hex((extract(epoch from clock_timestamp()) * 4096000)::bigint), 15, '0')
      placing '7' from 13 for 0
    ) || substr(gen_random_uuid()::text, 20)
  )::uuid
$$;

-- A row is an event: something that happened to an account, a session, a client, a key or a webhook. An event
-- outlives its subject, so it references no other table.
create table audit_events (
  id uuid primary key default uuid_v7(),
  type text not null,
  created_at timestamptz not null default now(),
  -- The user that the event is about.
  user_id uuid,
  -- The user who caused the event, if known. Null if a client acted on its own behalf.
  actor_id uuid,
  client_id uuid,
  session_id uuid,
  -- The request that caused the event, and where it came from.
  ip inet,
  user_agent text,
  request_id text,
  detail jsonb not null default '{}'
);

create index audit_events_user_id_idx on audit_events (user_id, id);
create index audit_events_created_at_idx on audit_events using brin (created_at);
create index audit_events_type_idx on audit_events (type, id);
create index audit_events_actor_id_idx on audit_events (actor_id, id) where actor_id is not null;

-- Records an event and returns its id. `origin` names what is known of the request: `actorId`, `clientId`,
-- `ip`, `userAgent` and `requestId`. Call it in the statement or transaction that causes the event, so that
-- both are committed or neither is.
create function record_event (
  type text, origin jsonb,
  user_id uuid default null, session_id uuid default null, client_id uuid default null,
  detail jsonb default '{}'
) returns uuid
language plpgsql as $$
declare
  event_id uuid;
begin
  insert into audit_events (
    type, user_id, session_id, client_id, detail, actor_id, ip, user_agent, request_id
  ) values (
    type, user_id, session_id, coalesce(client_id, (origin ->> 'clientId')::uuid), detail,
    (origin ->> 'actorId')::uuid, (origin ->> 'ip')::inet, origin ->> 'userAgent', origin ->> 'requestId'
  ) returning id into event_id;
  return event_id;
end
$$;

-- A row is a deleted user whose events still contain personal data. Housekeeping erases it in rounds, each
-- over all events of the user: a request that was running during the deletion may write an event later. The
-- time between rounds doubles.
create table erasures (
  user_id uuid primary key,
  created_at timestamptz not null default now(),
  run_at timestamptz not null default now(),
  -- The last event that the current round has processed. Null at the start of a round.
  last_event_id uuid
);

create index erasures_run_at_idx on erasures (run_at);

-- Events are inserted and read. Even the owner of the table may not change them by a plain statement. The two
-- functions below are the only way to purge old events and to erase personal data. They run with the rights
-- of their owner, which is one of two kinds:
--
-- * A separate role, as which the service never logs in. It may update and delete events.
-- * The role of the service itself. It may only insert events. The functions grant themselves the missing
--   privilege for a moment, under a lock, because PostgreSQL changes the grants on one table one at a time.
revoke update, delete, truncate on audit_events from public, current_user;

-- Purges up to `batch_size` events that are older than a time, and returns how many it purged. The events of
-- the last day always stay.
create function purge_audit_events (before timestamptz, batch_size integer) returns integer
language plpgsql security definer set search_path from current as $$
declare
  newest timestamptz := least(before, now() - interval '1 day');
  purged integer;
begin
  if has_table_privilege(current_user, 'audit_events', 'delete')
    and has_table_privilege(current_user, 'audit_events', 'update') then
    delete from audit_events where ctid = any (array(
      select ctid from audit_events where created_at < newest limit batch_size for update skip locked));
    get diagnostics purged = row_count;
    return purged;
  end if;

  -- The second of two concurrent calls has nothing to do.
  if not pg_try_advisory_xact_lock(7308332182714020) then
    return 0;
  end if;
  grant delete on audit_events to current_user;
  -- Events of the same time lie next to each other.
  delete from audit_events where ctid in (
    select ctid from audit_events where created_at < newest limit batch_size);
  get diagnostics purged = row_count;
  revoke delete on audit_events from current_user;
  return purged;
end
$$;

-- Erases personal data from up to `batch_size` events about a deleted user, or caused by them: of the user
-- `only_user_id`, or else of the next user whose erasure is due. Returns whether there was such a user. The
-- user must be deleted, so that an erasure cannot hide what an existing user did.
create function erase_audit_events (batch_size integer, only_user_id uuid default null) returns boolean
language plpgsql security definer set search_path from current as $$
declare
  needs_grant boolean := not has_table_privilege(current_user, 'audit_events', 'update');
  due erasures;
  last_id uuid;
  page uuid[];
begin
  if needs_grant then
    perform pg_advisory_xact_lock(7308332182714020);
  end if;
  select * into due from erasures
  where user_id = coalesce(only_user_id, user_id) and run_at <= now()
    and not exists (select from users where id = erasures.user_id)
  order by run_at limit 1 for update skip locked;
  if not found then
    return false;
  end if;
  last_id := coalesce(due.last_event_id, '00000000-0000-0000-0000-000000000000');

  select coalesce(array_agg(id order by id), '{}') into page from (
    select id from (
      (select id from audit_events where user_id = due.user_id and id > last_id order by id limit batch_size)
      union
      (select id from audit_events where actor_id = due.user_id and id > last_id order by id limit batch_size)
    ) as about_or_by_user order by id limit batch_size
  ) as next_events;

  if needs_grant then
    grant update on audit_events to current_user;
  end if;
  update audit_events set ip = null, user_agent = null, request_id = null,
    detail = case when user_id = due.user_id then '{}' else detail end
  where id = any(page) and (
    ip is not null or user_agent is not null or request_id is not null
    or (user_id = due.user_id and detail <> '{}'));
  if needs_grant then
    revoke update on audit_events from current_user;
  end if;

  if cardinality(page) = batch_size then
    update erasures set last_event_id = page[batch_size] where user_id = due.user_id;
  elsif due.created_at < now() - interval '1 hour' then
    delete from erasures where user_id = due.user_id;
  else
    update erasures
    set last_event_id = null, run_at = now() + greatest(interval '1 minute', now() - due.created_at)
    where user_id = due.user_id;
  end if;
  return true;
end
$$;

revoke execute on function purge_audit_events, erase_audit_events from public;

-- Names are looked up in this schema alone. If pg_temp were not named last, a temporary table of the caller
-- would come first.
do $$
declare
  search_path text := format('set search_path = pg_catalog, %I, pg_temp', current_schema());
begin
  execute 'alter function purge_audit_events (timestamptz, integer) ' || search_path;
  execute 'alter function erase_audit_events (integer, uuid) ' || search_path;
end
$$;
