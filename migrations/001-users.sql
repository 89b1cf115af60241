-- A row is an account.
create table users (
  id uuid primary key,
  -- The address as the user typed it, except for Unicode normalization and the case of the domain. Mail goes
  -- to this form.
  email text not null,
  -- The form in which addresses are compared.
  canonical_email text not null,
  username text,
  name text,
  roles text[] not null default '{user}',
  -- A PHC string. Null if the account has no password.
  password_hash text,
  -- Counts changes of the password. Rehashing the same password with other parameters is no change.
  password_version integer not null default 1,
  email_verified_at timestamptz,
  disabled_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- A device that signed in before this time must sign in again before it is throttled separately. Null if no
  -- device was ever forgotten.
  devices_known_from timestamptz,
  -- Counts changes of the address. A token that was mailed to an earlier address proves nothing.
  email_version integer not null default 1,
  -- The language of mails to the user (BCP 47). Null if it is unknown.
  language text,
  -- Counts how often all access tokens of the user were revoked while the sessions lived on. Each access
  -- token carries the number that was current at its issue. A time would not be exact: it cannot tell apart
  -- tokens of one second, or a refresh that began before the revocation and ended after it.
  token_version integer not null default 0,
  -- Whether the username may look like that of an older account.
  username_lookalike boolean not null default false,
  constraint users_email_key unique (canonical_email),
  constraint users_username_key unique (username)
);

-- Usernames that look alike have the same skeleton, whatever their case: 0 and o; 1, i and l; rn and m; vv
-- and w (Unicode TR39, limited to these characters). Separators do not count.
create function username_skeleton (username text) returns text language sql immutable strict parallel safe
return replace(replace(translate(username, '01i_.-', 'oll'), 'm', 'rn'), 'w', 'vv');

create unique index users_username_skeleton_key on users (username_skeleton(username))
where not username_lookalike;

-- Lists of users are ordered by code points, so that all addresses with a prefix are one range.
create index users_active_idx on users (canonical_email collate "C") where disabled_at is null;
create index users_disabled_idx on users (canonical_email collate "C") where disabled_at is not null;
-- The service must always have an active administrator.
create index users_admins_idx on users (id) where 'admin' = any(roles) and disabled_at is null;

-- A row is one role of one user, in the order of lists of users. An index over the array of roles would have
-- no order. Triggers maintain the table, whichever statement writes to `users`.
create table user_roles (
  role text not null,
  disabled boolean not null,
  canonical_email text collate "C" not null,
  primary key (role, disabled, canonical_email)
);

create function insert_user_roles () returns trigger language plpgsql as $$
begin
  insert into user_roles
  select distinct role, disabled_at is not null, canonical_email from new_users, unnest(roles) as role;
  return null;
end
$$;

create function delete_user_roles () returns trigger language plpgsql as $$
begin
  delete from user_roles
  where role = any(old.roles) and disabled = (old.disabled_at is not null)
    and canonical_email = old.canonical_email collate "C";
  return null;
end
$$;

create function replace_user_roles () returns trigger language plpgsql as $$
begin
  delete from user_roles
  where role = any(old.roles) and disabled = (old.disabled_at is not null)
    and canonical_email = old.canonical_email collate "C";
  insert into user_roles
  select distinct role, new.disabled_at is not null, new.canonical_email from unnest(new.roles) as role;
  return null;
end
$$;

-- Runs once for each statement, because an import inserts many users at a time.
create trigger users_insert_roles after insert on users
  referencing new table as new_users for each statement execute function insert_user_roles();
create trigger users_delete_roles after delete on users
  for each row execute function delete_user_roles();
create trigger users_replace_roles after update of roles, disabled_at, canonical_email on users
  for each row when (
    (old.roles, old.disabled_at is null, old.canonical_email)
      is distinct from (new.roles, new.disabled_at is null, new.canonical_email)
  ) execute function replace_user_roles();
