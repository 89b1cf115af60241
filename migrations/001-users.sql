create table users (
  id uuid primary key,
  -- As it was given, but for Unicode form and the case of the domain: mail goes here.
  email text not null,
  -- What addresses are compared by.
  canonical_email text not null,
  username text,
  name text,
  roles text[] not null default '{user}',
  -- A PHC string; null for an account without a password.
  password_hash text,
  -- Counts the passwords, not their hashes: hashing the same one again with larger parameters is no change.
  password_version integer not null default 1,
  email_verified_at timestamptz,
  disabled_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint users_email_key unique (canonical_email),
  constraint users_username_key unique (username)
);
