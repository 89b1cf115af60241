-- Keys that sign ID tokens with RS256, which every OpenID Connect client understands. They have the same
-- timeline as the other keys.
alter table keys
  drop constraint keys_purpose_check,
  add constraint keys_purpose_check check (purpose in ('access_token', 'refresh_token', 'id_token'));

-- The metadata of clients that delegate the login of their users (RFC 7591 section 2, OpenID Connect Dynamic
-- Client Registration 1.0 section 2). An existing client keeps the only grant that there was.
alter table clients
  -- `web`, or `native` for an application on the user's own device (RFC 8252).
  add column application_type text not null default 'web',
  add column grant_types text[] not null default '{client_credentials}',
  add column post_logout_redirect_uris text[] not null default '{}',
  -- `none` for a public client. Null if the client may send its secret in either of the two ways.
  add column token_endpoint_auth_method text,
  add column backchannel_logout_uri text,
  add column id_token_signed_response_alg text not null default 'RS256',
  -- Whether the operator's own team runs the client. Its users are not asked for their consent.
  add column first_party boolean not null default false,
  -- The resources that the client may request tokens for (RFC 8707).
  add column audiences text[] not null default '{}',
  -- What its tokens may contain in addition to their scopes, such as `roles`.
  add column permissions text[] not null default '{}',
  add constraint clients_application_type_check check (application_type in ('web', 'native')),
  add constraint clients_auth_method_check
    check (token_endpoint_auth_method in ('client_secret_basic', 'client_secret_post', 'none'));
