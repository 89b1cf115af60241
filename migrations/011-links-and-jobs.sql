-- Counts the addresses that the account had, as `password_version` counts its passwords: a link that was mailed to
-- an earlier one proves nothing.
alter table users add column email_version integer not null default 1;
-- What mails to the user are written in, as far as it is known (BCP 47).
alter table users add column language text;

-- What was mailed to be used once. Of the token only its SHA-256 is here: it has 256 random bits. The user may be
-- one that never was, where somebody asked for an address of nobody (both take the same path), or one that is to be.
create table links (
  token_hash bytea primary key,
  purpose text not null check (purpose in ('registration', 'email_verification', 'password_reset', 'magic_link', 'email_change', 'email_undo')),
  user_id uuid not null,
  email_version integer not null,
  password_version integer not null,
  -- The address to change to, or back to; and what it is compared by.
  email text,
  canonical_email text,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  constraint links_that_change_an_address_have_one check ((purpose in ('email_change', 'email_undo')) = (email is not null and canonical_email is not null))
);

create index links_user_id_idx on links (user_id);
-- An address that was left can be gone back to: nobody else has it meanwhile.
create index links_undo_idx on links (canonical_email) where purpose = 'email_undo';

-- Accounts to be, while nobody has proved to own the address. Each is pending on its own: the link that was mailed for
-- one makes an account of it, with this id, and the others are void.
create table registrations (
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

create index registrations_canonical_email_idx on registrations (canonical_email, created_at);
create index registrations_username_idx on registrations (username, created_at) where username is not null;

-- What is to be done after the fact, written in the transaction of the fact: any instance does it, and again after a
-- while where that failed or the instance died.
create table jobs (
  id uuid primary key default uuid_v7(),
  kind text not null check (kind in ('mail', 'webhook')),
  -- Whom it is about, and what.
  user_id uuid,
  subject uuid,
  -- What only who does it may read, sealed with the key-encryption key.
  sealed bytea,
  -- How often it was begun.
  attempts integer not null default 0,
  created_at timestamptz not null default now(),
  -- When it is begun, next; whoever begins moves this on, past the time that it may take.
  run_at timestamptz not null default now(),
  -- When it is of no use any more.
  expires_at timestamptz not null
);

create index jobs_run_at_idx on jobs (kind, run_at);
create index jobs_user_id_idx on jobs (user_id);

-- When mails of a kind were sent to an address; both stand in the key, which without the service's secret says nothing.
create table mail_counts (
  key bytea primary key,
  sent_at timestamptz[] not null,
  expires_at timestamptz not null
);
