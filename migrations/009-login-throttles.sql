-- Failures of those who try passwords and codes: of an account from a network or a known device, of a network over all
-- accounts, of an account from everywhere. What is counted stands in the key, which without the service's secret says
-- nothing of it: where a name was typed, that may be anything. A row is of no use once it has expired.
create table login_throttles (
  key bytea primary key,
  -- Attempts are counted before they are judged. Below the limit they seep away, as many as the limit in its window.
  failures double precision not null default 0,
  counted_at timestamptz not null default clock_timestamp(),
  -- Until when nothing is judged.
  waits_until timestamptz,
  expires_at timestamptz not null default clock_timestamp(),
  -- Whether an attempt was refused since.
  refused boolean not null default false
) with (fillfactor = 70);

-- Counts an attempt under all of these keys, or under none where one has to wait: then it gives the seconds, and whether
-- this is the first to be refused. Whoever counts at the same time goes before or after.
-- Whoever has to wait, where the audit log has it already, is only told so, without a lock: a flood of refused attempts on
-- one account holds up no connection that others need. No wait is longer than waits are: a clock that ran ahead locks
-- nobody out until its time has come. And counters are found by their key alone: a plan that was made for a small table
-- would read all of one that an attack has filled.
create function count_login_attempt (keys bytea[], limits integer[], windows integer[], out wait integer, out first boolean)
language plpgsql set enable_seqscan = off as $$
declare
  moment timestamptz := clock_timestamp();
begin
  first := false;
  select ceil(extract(epoch from max(waits_until) - moment)) into wait
  from login_throttles where key = any (keys) and waits_until > moment and waits_until < moment + interval '2 hours' having bool_or(refused);
  if wait is not null then
    return;
  end if;

  -- Makes what is missing and locks what is there, in one order everywhere, so that no two wait for each other.
  insert into login_throttles (key) select k from unnest(keys) as k order by k
  on conflict (key) do update set key = excluded.key where false;
  moment := clock_timestamp();

  select ceil(extract(epoch from max(waits_until) - moment)), not bool_or(refused) into wait, first
  from login_throttles where key = any (keys) and waits_until > moment and waits_until < moment + interval '2 hours';
  if wait is not null then
    if first then
      update login_throttles set refused = true where key = any (keys);
    end if;
    return;
  end if;

  wait := 0;
  first := false;
  with counted as (
    select asked.*, case
        when expires_at <= moment then 1
        when failures >= most then failures + 1
        else greatest(0, failures - greatest(0, extract(epoch from moment - counted_at)) * most / span) + 1
      end as now_failed
    from unnest(keys, limits, windows) as asked (asked_key, most, span)
    cross join lateral (select * from login_throttles where key = asked_key offset 0) as found
  ), judged as (
    -- With the limit reached nothing seeps away any more: half a minute to wait, doubled by each further one up to an hour.
    select asked_key, span, least(3600, 30 * power(2, least(ceil(now_failed) - most, 7))) as seconds, ceil(now_failed) as now_failed
    from counted where ceil(now_failed) >= most
    union all
    select asked_key, now_failed * span / most, null, now_failed from counted where ceil(now_failed) < most
  )
  update login_throttles set failures = now_failed, counted_at = moment, refused = false,
    waits_until = moment + make_interval(secs => seconds), expires_at = moment + make_interval(secs => coalesce(seconds, 0) + span)
  from judged where key = asked_key;
end
$$;

-- Since when a device that was known has to prove itself anew; null where none ever had to.
alter table users add column devices_known_from timestamptz;
