-- What Latchkey's database in Compose begins with, run once by the image of PostgreSQL: a role that owns its database
-- and is no superuser, for none is held to the grants in there, such as that nobody changes an audit event.
do $$ begin execute format('create role latchkey login password %L', btrim(pg_read_file('/run/secrets/database_password'), E' \t\r\n')); end $$;
create database latchkey owner latchkey;

-- The image demands a password for the superuser, and was given that one. From now on the superuser has none, and
-- comes only by the socket in the container: docker compose exec postgres psql --username=postgres
alter role postgres password null;
