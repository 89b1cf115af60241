-- A row is a leaky bucket that bounds the mails of a kind: there is one for each address, and one for each
-- network that requests mails to an address. The key is a keyed digest, so the table names neither. A row can
-- be purged once its bucket is empty.
create table mail_buckets (
  key bytea primary key,
  -- When the bucket is empty if nothing more is added. One mail adds one interval.
  empty_at timestamptz not null
) with (fillfactor = 70);

-- Adds one mail to all of these buckets, or to none of them if one is full. Returns whether it was added. A
-- full bucket is recognised without a lock, so a flood of refused requests holds up nobody. Refused requests
-- add nothing: a bucket does not stay full for longer because of them, and a full bucket of one network costs
-- the address nothing. The planner may not scan the table: a plan made for a small table would read all of
-- one that an attack has filled.
create function count_mail (keys bytea[], capacities integer[], interval_seconds double precision)
returns boolean
language plpgsql set enable_seqscan = off as $$
declare
  leak constant interval := make_interval(secs => interval_seconds);
  moment timestamptz := clock_timestamp();
begin
  if exists (
    select from unnest(keys, capacities) as requested (requested_key, capacity)
    cross join lateral (select empty_at from mail_buckets where key = requested_key offset 0) as found
    where empty_at > moment + (capacity - 1) * leak and empty_at <= moment + capacity * leak
  ) then
    return false;
  end if;

  -- Creates the missing buckets and locks the others in the order of the keys, so two requests cannot
  -- deadlock.
  insert into mail_buckets (key, empty_at) select k, moment from unnest(keys) as k order by k
  on conflict (key) do update set key = excluded.key where false;
  moment := clock_timestamp();

  -- No bucket is more than full, even if the interval was shortened or a clock ran ahead.
  update mail_buckets set empty_at = moment + capacity * leak
  from unnest(keys, capacities) as requested (requested_key, capacity)
  where key = requested_key and empty_at > moment + capacity * leak;

  if exists (
    select from unnest(keys, capacities) as requested (requested_key, capacity)
    cross join lateral (select empty_at from mail_buckets where key = requested_key offset 0) as found
    where empty_at > moment + (capacity - 1) * leak
  ) then
    return false;
  end if;

  update mail_buckets set empty_at = greatest(empty_at, moment) + leak where key = any (keys);
  return true;
end
$$;

-- Enqueues a sealed mail and returns the id of its job. Does nothing, and returns null, if `sealed` is null
-- because the service sends no mail. `user_id` is the recipient; null if the mail names its address itself.
create function enqueue_mail (user_id uuid, sealed bytea, lifetime_seconds double precision) returns uuid
language plpgsql as $$
begin
  if sealed is null then
    return null;
  end if;
  return enqueue_job(
    'mail', now() + make_interval(secs => lifetime_seconds), user_id => user_id, sealed => sealed
  );
end
$$;
