-- A row is a client: a service that authenticates for itself (RFC 6749 section 2).
create table clients (
  id uuid primary key,
  name text not null,
  -- The scopes that its tokens may have, and what it may do at this service.
  scopes text[] not null,
  redirect_uris text[] not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);

-- A row is a valid secret of a client. A client has two while one replaces the other.
create table client_secrets (
  -- The SHA-256 of the secret, which has 256 random bits.
  secret_hash bytea primary key,
  client_id uuid not null references clients (id) on delete cascade,
  created_at timestamptz not null default clock_timestamp()
);

create index client_secrets_client_id_idx on client_secrets (client_id);
