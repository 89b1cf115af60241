-- A UUIDv7 (RFC 9562) of the database's clock: in the order of time, also where many are made at once.
create function uuid_v7 () returns uuid language sql volatile as $$
  select encode(set_bit(set_bit(
    overlay(uuid_send(gen_random_uuid()) placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6),
    52, 1), 53, 1), 'hex')::uuid
$$;

-- What happened to accounts, sessions, clients and keys. An event outlives what it is about: nothing is referenced.
create table audit_events (
  id uuid primary key default uuid_v7(),
  type text not null,
  created_at timestamptz not null default now(),
  -- Whom it is about.
  user_id uuid,
  -- Who did it, where that is known: a user, or a client of its own accord.
  actor_id uuid,
  client_id uuid,
  session_id uuid,
  -- From where, and in which request.
  ip inet,
  user_agent text,
  request_id text,
  detail jsonb not null default '{}'
);

create index audit_events_user_id_idx on audit_events (user_id, id);
create index audit_events_created_at_idx on audit_events using brin (created_at);

-- Events are added and read. Not even the owner of the table changes one; the old ones go by this function alone.
revoke update, delete, truncate on audit_events from public, current_user;

create function purge_audit_events (before timestamptz, most integer) returns integer
language plpgsql security definer set search_path from current as $$
declare
  purged integer;
begin
  -- Whoever comes second has nothing to do.
  if not pg_try_advisory_xact_lock(7308332182714020) then
    return 0;
  end if;
  grant delete on audit_events to current_user;
  -- Those of a time lie side by side.
  delete from audit_events where ctid in (select ctid from audit_events where created_at < before limit most);
  get diagnostics purged = row_count;
  revoke delete on audit_events from current_user;
  return purged;
end
$$;
revoke execute on function purge_audit_events from public;
