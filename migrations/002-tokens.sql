-- A row is a key that signs access tokens or authenticates refresh tokens. Its timeline is fixed by
-- timestamps, so all instances agree by the clock on the key that signs.
create table keys (
  kid text primary key,
  purpose text not null check (purpose in ('access_token', 'refresh_token')),
  algorithm text not null,
  -- A JWK (RFC 7517). Null for a symmetric key.
  public_key jsonb,
  -- Sealed with the key-encryption key.
  sealed_secret bytea not null,
  published_at timestamptz not null default now(),
  signs_from timestamptz not null,
  -- When the successor of the key begins to sign. Null until there is a successor.
  retires_at timestamptz,
  -- When everything that the key signed has expired. Null until there is a successor.
  gone_at timestamptz,
  -- The longest lifetime, in seconds, of a token that the key signed. The key stays known for so long after
  -- it stopped signing, even if the configuration has changed since.
  longest_life integer not null default 0
);

-- A row is the secret part of password hashes whose parameters name it (`keyid`), sealed with the
-- key-encryption key. A leaked copy of the hashes alone cannot be used for guessing. Peppers are not in
-- `keys`, because they are never rotated out: all passwords would be lost with them.
create table peppers (
  kid text primary key,
  sealed_secret bytea not null,
  created_at timestamptz not null default now()
);

-- A row is an entry of the revocation log: it tells verifiers that access tokens are revoked which have not
-- expired yet. It is written in the transaction that revokes them. It can be purged once they have expired.
create table revocations (
  -- The `sid` of the revoked tokens, the `jti` of a single revoked token, or an id of its own if the row
  -- revokes all tokens of a user.
  id uuid primary key,
  kind text not null,
  -- The `sub` of the revoked tokens.
  subject uuid not null,
  reason text not null,
  ended_at timestamptz not null default now(),
  -- When the last revoked token expires.
  expires_at timestamptz not null,
  -- Transactions become visible in another order than that of their numbers. So a reader continues from the
  -- oldest transaction that was still running when it read last.
  transaction_id xid8 not null default pg_current_xact_id(),
  -- Revokes all access tokens of the subject with a lower version. Null unless `kind` is 'user'.
  token_version integer,
  constraint revocations_kind_check check (kind in ('session', 'token', 'user')),
  constraint revocations_token_version_check check ((kind = 'user') = (token_version is not null))
);

create index revocations_transaction_id_idx on revocations (transaction_id);
-- Housekeeping finds the expired rows without reading the whole table.
create index revocations_expires_at_idx on revocations (expires_at);

-- Identifies the history that transaction numbers belong to. A new history begins when a standby takes over
-- or a backup is restored, and its numbers may be lower than before. Returns '' if the server does not tell.
create function transaction_history () returns text language plpgsql volatile as $$
begin
  return (select system_identifier from pg_control_system()) ||
    substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8);
exception when others then
  return '';
end
$$;
