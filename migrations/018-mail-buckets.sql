-- Leaky buckets that bound the mails of a kind: one for each address, and one for each network that requests
-- mails to it. A key is a keyed digest, so the table names neither the address nor the network. A row is of
-- no use once its bucket is empty.
create table mail_buckets (
  key bytea primary key,
  -- When the bucket is empty if nothing more is added. One mail adds one interval.
  empty_at timestamptz not null
) with (fillfactor = 70);

-- Adds one mail to all of these buckets, or to none if one of them is full. Returns whether it was added. A
-- full bucket is recognised without a lock, so a flood of refused requests holds up nobody. Refused requests
-- add nothing: a bucket does not stay full for longer because of them, and a full bucket of one network costs
-- the address nothing.
-- Buckets are found by their key alone: a plan made for a small table would scan one that an attack has
-- filled.
create function count_mail (keys bytea[], capacities integer[], interval_seconds double precision)
returns boolean
language plpgsql set enable_seqscan = off as $$
declare
  leak constant interval := make_interval(secs => interval_seconds);
  moment timestamptz := clock_timestamp();
begin
  if exists (
    select from unnest(keys, capacities) as asked (asked_key, capacity)
    cross join lateral (select empty_at from mail_buckets where key = asked_key offset 0) as found
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
  from unnest(keys, capacities) as asked (asked_key, capacity)
  where key = asked_key and empty_at > moment + capacity * leak;

  if exists (
    select from unnest(keys, capacities) as asked (asked_key, capacity)
    cross join lateral (select empty_at from mail_buckets where key = asked_key offset 0) as found
    where empty_at > moment + (capacity - 1) * leak
  ) then
    return false;
  end if;

  update mail_buckets set empty_at = greatest(empty_at, moment) + leak where key = any (keys);
  return true;
end
$$;
