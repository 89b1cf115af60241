-- Keys that sign access tokens and authenticate refresh tokens. The timeline of a key is fixed by
-- timestamps, so that all instances agree by the clock on the one that signs.
create table keys (
  kid text primary key,
  purpose text not null check (purpose in ('access_token', 'refresh_token')),
  algorithm text not null,
  -- A JWK (RFC 7517); null for a symmetric key.
  public_key jsonb,
  -- Sealed with the key-encryption key.
  sealed_secret bytea not null,
  published_at timestamptz not null default now(),
  signs_from timestamptz not null,
  -- When its successor begins to sign, and when nothing it signed can be alive; null until there is one.
  retires_at timestamptz,
  gone_at timestamptz
);
