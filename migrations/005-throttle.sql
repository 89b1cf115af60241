-- A row is a counter of failed sign-ins: of an account from a network or a known device, of a network over
-- all accounts, or of an account from all networks. The key is a digest keyed with a secret of the service,
-- because a user may type anything as a name, even a password. A row can be purged once it has expired.
create table login_throttles (
  key bytea primary key,
  -- An attempt is counted as a failure before its password is verified. Below the limit, failures decay like
  -- a leaky bucket: as many as the limit in one window.
  failures double precision not null default 0,
  counted_at timestamptz not null default clock_timestamp(),
  -- No attempt is admitted before this time.
  waits_until timestamptz,
  expires_at timestamptz not null default clock_timestamp(),
  -- Whether an attempt was refused since the last one that was counted. The audit log has only the first.
  refused boolean not null default false
) with (fillfactor = 70);

-- Counts an attempt under all of these keys, or under none of them if one has to wait. Returns the seconds to
-- wait (0 if the attempt was counted), and whether it is the first one to be refused. Concurrent calls for a
-- key run one after the other.
--
-- If an attempt has to wait and the audit log has the refusal already, no lock is taken: a flood of refused
-- attempts on one account must not hold connections that others need. A wait that is longer than any wait can
-- be comes from a clock that ran ahead, and is ignored. The planner may not scan the table: a plan made for a
-- small table would read all of one that an attack has filled.
create function count_login_attempt (
  keys bytea[], limits integer[], windows integer[], out wait_seconds integer, out is_first_refusal boolean
) language plpgsql set enable_seqscan = off as $$
declare
  moment timestamptz := clock_timestamp();
begin
  is_first_refusal := false;
  select ceil(extract(epoch from max(waits_until) - moment)) into wait_seconds
  from login_throttles
  where key = any (keys) and waits_until > moment and waits_until < moment + interval '2 hours'
  having bool_or(refused);
  if wait_seconds is not null then
    return;
  end if;

  -- Creates the missing counters and locks the others in the order of the keys, so two calls cannot deadlock.
  insert into login_throttles (key) select k from unnest(keys) as k order by k
  on conflict (key) do update set key = excluded.key where false;
  moment := clock_timestamp();

  select ceil(extract(epoch from max(waits_until) - moment)), not bool_or(refused)
  into wait_seconds, is_first_refusal
  from login_throttles
  where key = any (keys) and waits_until > moment and waits_until < moment + interval '2 hours';
  if wait_seconds is not null then
    if is_first_refusal then
      update login_throttles set refused = true where key = any (keys);
    end if;
    return;
  end if;

  wait_seconds := 0;
  is_first_refusal := false;
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
    counted_at = moment,
    refused = false,
    waits_until = moment + make_interval(secs => delay_seconds),
    expires_at = moment + make_interval(secs => coalesce(delay_seconds, 0) + window_seconds)
  from updated where key = requested_key;
end
$$;

-- Takes an attempt back that was counted as a failure and is none: resets the counter `reset_key`, unless
-- that is null, and refunds one failure to each of `refund_keys`. The locks are taken in the order of the
-- keys, as in `count_login_attempt`.
create function refund_login_attempt (reset_key bytea, refund_keys bytea[]) returns void
language plpgsql set enable_seqscan = off as $$
begin
  perform from login_throttles where key = any (refund_keys || reset_key) order by key for update;
  delete from login_throttles where key = reset_key;
  update login_throttles set failures = greatest(0, failures - 1), waits_until = null
  where key = any (refund_keys);
end
$$;
