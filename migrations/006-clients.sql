-- Services that act for themselves.
create table clients (
  id uuid primary key,
  name text not null,
  -- What its tokens may be for, and what it may do here.
  scopes text[] not null,
  redirect_uris text[] not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);

-- Two live while one is replaced.
create table client_secrets (
  -- SHA-256: the secret has 256 random bits.
  secret_hash bytea primary key,
  client_id uuid not null references clients (id) on delete cascade,
  created_at timestamptz not null default clock_timestamp()
);

create index client_secrets_client_id_idx on client_secrets (client_id);
