-- Precise to a 4096th of a millisecond (RFC 9562 section 6.2, method 3): what one request does is read in its order.
create or replace function uuid_v7 () returns uuid language sql volatile as $$
  select (overlay(lpad(to_hex((extract(epoch from clock_timestamp()) * 4096000)::bigint), 15, '0') placing '7' from 13 for 0) || substr(gen_random_uuid()::text, 20))::uuid
$$;
