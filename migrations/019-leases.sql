-- Work that one holder at a time does, on all instances together. A lease whose holder died ends by itself. A
-- key is a digest, so the table names nobody.
create table leases (
  key bytea primary key,
  holder uuid not null,
  expires_at timestamptz not null
);
