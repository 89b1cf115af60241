-- Whether the ID tokens of a client contain the claims of userinfo. Some libraries read only the ID token.
alter table clients
  add column userinfo_in_id_token boolean not null default false;
