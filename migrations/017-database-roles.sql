-- Both functions run with the rights of their owner. Two kinds of owner are possible:
--
-- * A role of its own, as which the service never logs in. It may update and delete events.
-- * The role of the service itself. It may only add events. The functions grant themselves what they need for
--   a moment, under a lock, because PostgreSQL changes the grants on one table one at a time.

-- Deletes up to so many events that are older than a time. The events of the last day always stay.
create or replace function purge_audit_events (before timestamptz, most integer) returns integer
language plpgsql security definer set search_path from current as $$
declare
  newest timestamptz := least(before, now() - interval '1 day');
  purged integer;
begin
  if has_table_privilege(current_user, 'audit_events', 'delete')
    and has_table_privilege(current_user, 'audit_events', 'update') then
    delete from audit_events where ctid = any (array(
      select ctid from audit_events where created_at < newest limit most for update skip locked));
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
    select ctid from audit_events where created_at < newest limit most);
  get diagnostics purged = row_count;
  revoke delete on audit_events from current_user;
  return purged;
end
$$;

-- Removes personal data from up to so many events about a deleted user, or done by them: of one user, or of
-- the next one that is due. Returns whether there was one. The user must be gone, so that an erasure without a
-- deletion hides nothing.
create or replace function erase_audit_events (most integer, whose uuid default null) returns boolean
language plpgsql security definer set search_path from current as $$
declare
  needs_grant boolean := not has_table_privilege(current_user, 'audit_events', 'update');
  due erasures;
  last uuid;
  seen uuid[];
begin
  if needs_grant then
    perform pg_advisory_xact_lock(7308332182714020);
  end if;
  select * into due from erasures
  where user_id = coalesce(whose, user_id) and run_at <= now()
    and not exists (select from users where id = erasures.user_id)
  order by run_at limit 1 for update skip locked;
  if not found then
    return false;
  end if;
  last := coalesce(due.after, '00000000-0000-0000-0000-000000000000');

  select coalesce(array_agg(id order by id), '{}') into seen from (
    select id from (
      (select id from audit_events where user_id = due.user_id and id > last order by id limit most)
      union
      (select id from audit_events where actor_id = due.user_id and id > last order by id limit most)
    ) as either order by id limit most
  ) as page;

  if needs_grant then
    grant update on audit_events to current_user;
  end if;
  update audit_events set ip = null, user_agent = null, request_id = null,
    detail = case when user_id = due.user_id then '{}' else detail end
  where id = any(seen) and (
    ip is not null or user_agent is not null or request_id is not null
    or (user_id = due.user_id and detail <> '{}'));
  if needs_grant then
    revoke update on audit_events from current_user;
  end if;

  if cardinality(seen) = most then
    update erasures set after = seen[most] where user_id = due.user_id;
  elsif due.created_at < now() - interval '1 hour' then
    delete from erasures where user_id = due.user_id;
  else
    update erasures set after = null, run_at = now() + greatest(interval '1 minute', now() - due.created_at)
    where user_id = due.user_id;
  end if;
  return true;
end
$$;

-- Names are looked up in this schema alone. If pg_temp were not named last, a temporary table of the caller
-- would come first.
do $$
declare
  path text := format('set search_path = pg_catalog, %I, pg_temp', current_schema());
begin
  execute 'alter function purge_audit_events (timestamptz, integer) ' || path;
  execute 'alter function erase_audit_events (integer, uuid) ' || path;
end
$$;
