-- The id that the user had in the system from which they were imported. Null if there was none.
alter table users add column external_id text;
alter table users add constraint users_external_id_key unique (external_id);
