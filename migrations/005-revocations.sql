-- When the last access token of the session ends. Sessions that are older than this column have none that lives for
-- longer than a day.
alter table refresh_tokens add column access_expires_at timestamptz not null default now() + interval '1 day';

-- What ended while access tokens of it could still be alive, for whoever verifies those without asking. A row is
-- written in the transaction that ends the session, and is of no use once the tokens are dead.
create table revocations (
  -- A session, or a single token (its `jti`).
  id uuid primary key,
  kind text not null check (kind in ('session', 'token')),
  -- The `sub` of the tokens.
  subject uuid not null,
  reason text not null,
  ended_at timestamptz not null default now(),
  expires_at timestamptz not null,
  -- Transactions become visible in another order than that of their numbers: who reads on asks for those from the
  -- oldest on that was still running at the last look.
  transaction_id xid8 not null default pg_current_xact_id()
);

create index revocations_transaction_id_idx on revocations (transaction_id);

-- Names the line of transactions that the numbers are of: another one begins when a standby takes over or a backup is
-- restored, and then they may start again from lower ones. Where the server does not tell, all are taken for one.
create function transaction_history () returns text language plpgsql volatile as $$
begin
  return (select system_identifier from pg_control_system()) || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8);
exception when others then
  return '';
end
$$;
