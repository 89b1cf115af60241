-- An attempt counts as a failure until its password is verified. `unjudged` is how many of the failures are
-- such attempts. What an instance left here when it ended abruptly is ignored ten seconds after the last
-- attempt.
alter table login_throttles add column unjudged integer not null default 0;

-- Finds the wait of an attempt under these keys: null if it does not have to wait. `is_reported`: whether the
-- audit log has the refusal. `may_end`: whether every counter that refuses is below its limit without the
-- attempts that are being verified, so the wait ends if they succeed.
create function login_wait (
  keys bytea[], limits integer[], moment timestamptz,
  out wait_seconds integer, out is_reported boolean, out may_end boolean
) language sql set enable_seqscan = off as $$
  select ceil(extract(epoch from max(waits_until) - moment)), bool_or(refused),
    bool_and(failures - unjudged < failure_limit and counted_at > moment - interval '10 seconds')
  from unnest(keys, limits) as requested (requested_key, failure_limit)
  cross join lateral (select * from login_throttles where key = requested_key offset 0) as found
  where waits_until > moment and waits_until < moment + interval '2 hours'
$$;

drop function count_login_attempt;

-- As before, and `may_end` says that an attempt that has to wait should try again soon. Such an attempt takes
-- no lock, and is not a refusal yet.
create function count_login_attempt (
  keys bytea[], limits integer[], windows integer[],
  out wait_seconds integer, out is_first_refusal boolean, out may_end boolean
) language plpgsql set enable_seqscan = off as $$
declare
  moment timestamptz := clock_timestamp();
  is_reported boolean;
begin
  is_first_refusal := false;
  select * into wait_seconds, is_reported, may_end from login_wait(keys, limits, moment);
  if wait_seconds is not null and (is_reported or may_end) then
    return;
  end if;

  -- Creates the missing counters and locks the others in the order of the keys, so two calls cannot deadlock.
  insert into login_throttles (key) select k from unnest(keys) as k order by k
  on conflict (key) do update set key = excluded.key where false;
  moment := clock_timestamp();

  select * into wait_seconds, is_reported, may_end from login_wait(keys, limits, moment);
  if wait_seconds is not null then
    is_first_refusal := not (is_reported or may_end);
    if is_first_refusal then
      update login_throttles set refused = true where key = any (keys);
    end if;
    return;
  end if;

  wait_seconds := 0;
  may_end := false;
  with counted as (
    select requested_key, failure_limit, window_seconds, case
        when expires_at <= moment then 1
        when failures >= failure_limit then failures + 1
        else greatest(
          0,
          failures - greatest(0, extract(epoch from moment - counted_at)) * failure_limit / window_seconds
        ) + 1
      end as new_failures
    from unnest(keys, limits, windows) as requested (requested_key, failure_limit, window_seconds)
    cross join lateral (select * from login_throttles where key = requested_key offset 0) as found
  ), updated as (
    -- From the limit on nothing decays, and the next attempt waits: half a minute, doubled by each further
    -- failure up to an hour.
    select requested_key, window_seconds, ceil(new_failures) as new_failures,
      least(3600, 30 * power(2, least(ceil(new_failures) - failure_limit, 7))) as delay_seconds
    from counted where ceil(new_failures) >= failure_limit
    union all
    select requested_key, new_failures * window_seconds / failure_limit, new_failures, null
    from counted where ceil(new_failures) < failure_limit
  )
  update login_throttles set
    failures = new_failures,
    unjudged = 1 + case when counted_at > moment - interval '10 seconds' then unjudged else 0 end,
    counted_at = moment,
    refused = false,
    waits_until = moment + make_interval(secs => delay_seconds),
    expires_at = moment + make_interval(secs => coalesce(delay_seconds, 0) + window_seconds)
  from updated where key = requested_key;
end
$$;

-- As before, and the attempt is not among the unjudged ones any more. Only the counters that the first
-- statement locked are changed: one that appeared since would be locked out of order, and could deadlock.
create or replace function refund_login_attempt (reset_key bytea, refund_keys bytea[]) returns void
language plpgsql set enable_seqscan = off as $$
declare
  locked bytea[] := array(
    select key from login_throttles where key = any (refund_keys || reset_key) order by key for update
  );
begin
  delete from login_throttles where key = reset_key and key = any (locked);
  update login_throttles set
    failures = greatest(0, failures - 1), unjudged = greatest(0, unjudged - 1), waits_until = null
  where key = any (refund_keys) and key = any (locked);
end
$$;

-- Keeps an attempt as the failure that it was counted as.
create function keep_login_failure (failed_keys bytea[]) returns void
language plpgsql set enable_seqscan = off as $$
declare
  locked bytea[] := array(
    select key from login_throttles where key = any (failed_keys) order by key for update
  );
begin
  update login_throttles set unjudged = greatest(0, unjudged - 1) where key = any (locked);
end
$$;
