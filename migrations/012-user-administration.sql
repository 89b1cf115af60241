-- Lists of users are in the order of the address by code points, of which a prefix is a range; those of a state in
-- theirs.
create index users_active_idx on users (canonical_email collate "C") where disabled_at is null;
create index users_disabled_idx on users (canonical_email collate "C") where disabled_at is not null;
-- Without one of them nobody could administer the service.
create index users_admins_idx on users (id) where 'admin' = any(roles) and disabled_at is null;

-- The roles of `users`, in the same order: no index over arrays has one. It is kept by triggers, whoever writes.
create table user_roles as
  select distinct role, disabled_at is not null as disabled, canonical_email collate "C" as canonical_email from users, unnest(roles) as role;
alter table user_roles add primary key (role, disabled, canonical_email);

create function list_user_roles () returns trigger language plpgsql as $$
begin
  insert into user_roles select distinct role, disabled_at is not null, canonical_email from added, unnest(roles) as role;
  return null;
end
$$;

create function unlist_user_roles () returns trigger language plpgsql as $$
begin
  delete from user_roles where role = any(old.roles) and disabled = (old.disabled_at is not null) and canonical_email = old.canonical_email collate "C";
  return null;
end
$$;

create function relist_user_roles () returns trigger language plpgsql as $$
begin
  delete from user_roles where role = any(old.roles) and disabled = (old.disabled_at is not null) and canonical_email = old.canonical_email collate "C";
  insert into user_roles select distinct role, new.disabled_at is not null, new.canonical_email from unnest(new.roles) as role;
  return null;
end
$$;

-- Many at a time, as an import adds them.
create trigger users_listed after insert on users
  referencing new table as added for each statement execute function list_user_roles();
create trigger users_unlisted after delete on users
  for each row execute function unlist_user_roles();
create trigger users_relisted after update of roles, disabled_at, canonical_email on users
  for each row when ((old.roles, old.disabled_at is null, old.canonical_email) is distinct from (new.roles, new.disabled_at is null, new.canonical_email))
  execute function relist_user_roles();

create index audit_events_type_idx on audit_events (type, id);
create index audit_events_actor_id_idx on audit_events (actor_id, id) where actor_id is not null;
