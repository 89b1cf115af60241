-- The secret part of password hashes whose parameters name it (`keyid`), sealed with the key-encryption key: the
-- hashes alone, as in a dump that leaked, are nothing to guess at. It is not one of the keys, which come and go:
-- with it would go every password.
create table peppers (
  kid text primary key,
  sealed_secret bytea not null,
  created_at timestamptz not null default now()
);
