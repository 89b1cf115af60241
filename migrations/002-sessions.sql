create table sessions (
  id uuid primary key,
  user_id uuid not null references users (id) on delete cascade,
  -- How the user proved who they are (RFC 8176), and when.
  methods text[] not null,
  authenticated_at timestamptz not null default now(),
  remembered boolean not null,
  user_agent text,
  ip inet,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  ended_at timestamptz,
  end_reason text,
  constraint sessions_ended_with_a_reason check ((ended_at is null) = (end_reason is null))
);

create index sessions_user_id_idx on sessions (user_id);

-- The refresh state of a session that lives; ending the session deletes the row, so that an end and a
-- refresh meet on its lock. A refresh changes no indexed column and finds room on the page: each is a
-- heap-only update, and a session keeps one row however long it lives.
create table refresh_tokens (
  session_id uuid primary key references sessions (id) on delete cascade,
  -- Of the token confirmed last, and 0 before the first: a token is stored when it is first used.
  generation integer not null default 0,
  -- SHA-256 of that token.
  token_hash bytea not null default '',
  confirmed_at timestamptz not null default now(),
  -- When the confirmed token was first exchanged.
  rotated_at timestamptz,
  last_used_at timestamptz not null default now(),
  -- For how long a token has been dead: one confirmation is kept in mind until the grace is over, and then all
  -- tokens before it are known to be dead for longer, however often others were confirmed since.
  milestone integer not null default 0,
  milestone_at timestamptz not null default now(),
  settled integer not null default 0
) with (fillfactor = 50);
