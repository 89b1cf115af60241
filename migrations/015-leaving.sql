-- What looks alike has one skeleton, in upper case or lower, for case does not matter: 0 and o; 1, i and l; rn and m;
-- vv and w (Unicode TR39, as far as it is about these characters). Separators do not count.
create function username_skeleton (username text) returns text language sql immutable strict parallel safe
return replace(replace(translate(username, '01i_.-', 'oll'), 'm', 'rn'), 'w', 'vv');

-- Whether the username looks like that of an older account, and was there before the rule: it stays until it is changed.
alter table users add column username_lookalike boolean not null default false;

update users set username_lookalike = true from (
  select id, row_number() over (partition by username_skeleton(username) order by created_at, id) as place from users where username is not null
) as ranked
where ranked.id = users.id and place > 1;

create unique index users_username_skeleton_key on users (username_skeleton(username)) where not username_lookalike;

-- Deleted users whose events still have to lose what is personal. It is gone through all events again and again, each
-- time after twice as long: one of a request that was under way may be written late.
create table erasures (
  user_id uuid primary key,
  created_at timestamptz not null default now(),
  run_at timestamptz not null default now(),
  -- The last event that this round has seen.
  after uuid
);

create index erasures_run_at_idx on erasures (run_at);

-- Takes from up to so many events about a deleted user, or done by them, whatever tells who that was: of one user, or
-- of the one whose turn it is. Gives whether there was one.
create function erase_audit_events (most integer, whose uuid default null) returns boolean
language plpgsql security definer set search_path from current as $$
declare
  due erasures;
  last uuid;
  seen uuid[];
begin
  -- Grants on one table are given one at a time.
  perform pg_advisory_xact_lock(7308332182714020);
  select * into due from erasures where user_id = coalesce(whose, user_id) and run_at <= now() order by run_at limit 1 for update skip locked;
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

  grant update on audit_events to current_user;
  update audit_events set ip = null, user_agent = null, request_id = null, detail = case when user_id = due.user_id then '{}' else detail end
  where id = any(seen) and (ip is not null or user_agent is not null or request_id is not null or (user_id = due.user_id and detail <> '{}'));
  revoke update on audit_events from current_user;

  if cardinality(seen) = most then
    update erasures set after = seen[most] where user_id = due.user_id;
  elsif due.created_at < now() - interval '1 hour' then
    delete from erasures where user_id = due.user_id;
  else
    update erasures set after = null, run_at = now() + greatest(interval '1 minute', now() - due.created_at) where user_id = due.user_id;
  end if;
  return true;
end
$$;
revoke execute on function erase_audit_events from public;
