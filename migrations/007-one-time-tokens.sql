-- A row is a token that was mailed as a link and can be used once. It has 256 random bits, so only its
-- SHA-256 is stored. The user need not exist: a request for an unknown address takes the same path as one for
-- a known address, and a registration becomes a user only when its token is used.
create table one_time_tokens (
  token_hash bytea primary key,
  purpose text not null check (purpose in (
    'registration', 'email_verification', 'password_reset', 'magic_link', 'email_change', 'email_undo'
  )),
  user_id uuid not null,
  -- The versions of the address and of the password that the token was issued for.
  email_version integer not null,
  password_version integer not null,
  -- The address to change to, or to change back to, and the form in which addresses are compared.
  email text,
  canonical_email text,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  constraint one_time_tokens_target_address_check check (
    (purpose in ('email_change', 'email_undo')) = (email is not null and canonical_email is not null)
  )
);

create index one_time_tokens_user_id_idx on one_time_tokens (user_id);
-- An address that a user changed stays reserved while the change can be undone.
create index one_time_tokens_undo_idx on one_time_tokens (canonical_email) where purpose = 'email_undo';
-- Housekeeping finds the expired rows, and deleting a user finds the tokens that name the address, without
-- reading the whole table.
create index one_time_tokens_expires_at_idx on one_time_tokens (expires_at);
create index one_time_tokens_canonical_email_idx on one_time_tokens (canonical_email)
where canonical_email is not null;

-- A row is a registration whose address nobody has proved to own yet. Registrations of one address do not
-- affect each other: the token that was mailed for one makes it an account with this id, and voids the
-- others.
create table pending_registrations (
  id uuid primary key,
  email text not null,
  canonical_email text not null,
  username text,
  name text,
  password_hash text not null,
  language text,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null
);

create index pending_registrations_canonical_email_idx on pending_registrations (canonical_email, created_at);
create index pending_registrations_username_idx on pending_registrations (username, created_at)
where username is not null;
create index pending_registrations_expires_at_idx on pending_registrations (expires_at);
