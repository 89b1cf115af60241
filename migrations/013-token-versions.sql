-- Counts how often all access tokens of the user were revoked while the sessions lived on: each token has the number
-- that held when it was issued. That is exact where a time would not be, for a token that was issued in the same
-- second, and for a refresh that began before and ended after.
alter table users add column token_version integer not null default 0;

-- For all access tokens of a user (`subject`) with a lower number. Each such row has an id of its own.
alter table revocations add column token_version integer;
-- Not valid: what is there was checked already, and nobody waits while it is checked again.
alter table revocations drop constraint revocations_kind_check,
  add constraint revocations_kind_check check (kind in ('session', 'token', 'user')) not valid,
  add constraint revocations_of_users_have_a_token_version check ((kind = 'user') = (token_version is not null)) not valid;
