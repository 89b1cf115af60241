-- The image of PostgreSQL runs this once, if the volume is new. It creates three roles. None is a superuser.
-- latchkey_owner owns everything and cannot log in. latchkey_migrator logs in to migrate, and acts as the
-- owner. latchkey is the role of the service. It owns nothing, so it can add to the audit log but not change
-- it.
create role latchkey_owner nologin;
do $$ begin execute format('create role latchkey_migrator login in role latchkey_owner password %L',
  btrim(pg_read_file('/run/secrets/database_owner_password'), E' \t\r\n')); end $$;
do $$ begin execute format('create role latchkey login password %L',
  btrim(pg_read_file('/run/secrets/database_password'), E' \t\r\n')); end $$;
create database latchkey owner latchkey_owner;

-- The image requires a password for the superuser, and got database_password. From now on the superuser has
-- none, and can log in only through the socket in the container:
-- docker compose exec postgres psql --username=postgres
alter role postgres password null;
