-- A row is a webhook: a URL that events of accounts and sessions are sent to.
create table webhooks (
  id uuid primary key,
  url text not null,
  -- Types of events, or `user.*` for all types that begin so.
  events text[] not null,
  description text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- When sending was paused, and why. Null while events are sent.
  paused_at timestamptz,
  paused_reason text check (paused_reason in ('asked', 'failing', 'gone')),
  -- When the present row of failed attempts began, and how many there were. Null after an attempt succeeded.
  failing_since timestamptz,
  failures integer not null default 0,
  -- When it was deleted. Housekeeping purges its deliveries before the row.
  deleted_at timestamptz,
  constraint webhooks_pause_has_reason_check check ((paused_at is null) = (paused_reason is null))
);

-- A row is a secret that signs the deliveries of a webhook, sealed with the key-encryption key. A webhook has
-- two while one replaces the other.
create table webhook_secrets (
  id uuid primary key,
  webhook_id uuid not null references webhooks (id) on delete cascade,
  sealed_secret bytea not null,
  created_at timestamptz not null default clock_timestamp()
);

create index webhook_secrets_webhook_id_idx on webhook_secrets (webhook_id);

-- A row is a delivery: one event for one webhook. While it is pending there is a job of the same id, whose
-- subject is the webhook. The webhook is not referenced, because a sign-in must not fail or wait when
-- somebody deletes a webhook.
create table webhook_deliveries (
  id uuid primary key default uuid_v7(),
  webhook_id uuid not null,
  type text not null,
  -- Ids and fixed words, so that no personal data must be erased here when a user is deleted.
  data jsonb not null,
  created_at timestamptz not null default now(),
  status text not null default 'pending' check (status in ('pending', 'delivered', 'failed')),
  attempts integer not null default 0,
  finished_at timestamptz,
  -- The outcome of the last attempt.
  response_status integer,
  error text
);

create index webhook_deliveries_webhook_id_idx on webhook_deliveries (webhook_id, id);
create index webhook_deliveries_pending_idx on webhook_deliveries (webhook_id, id) where status = 'pending';
create index webhook_deliveries_created_at_idx on webhook_deliveries using brin (created_at);

-- A row is an attempt to send a delivery.
create table webhook_attempts (
  id uuid primary key default uuid_v7(),
  delivery_id uuid not null references webhook_deliveries (id) on delete cascade,
  created_at timestamptz not null default now(),
  milliseconds integer not null,
  response_status integer,
  error text
);

create index webhook_attempts_delivery_id_idx on webhook_attempts (delivery_id, id);

-- Deliveries are leased webhook by webhook, so that a slow webhook delays no other.
create index jobs_webhook_idx on jobs (subject, run_at) where kind = 'webhook';

-- Enqueues the deliveries of an event in the transaction of the event. Of the event's detail only these
-- fields leave the service, because others may contain addresses.
create function enqueue_webhook_deliveries () returns trigger language plpgsql as $$
begin
  if not exists (select from webhooks) then
    return null;
  end if;
  with deliveries as (
    insert into webhook_deliveries (webhook_id, type, data, created_at)
    select webhooks.id, new.type, jsonb_build_object(
      'id', new.id, 'user_id', new.user_id, 'session_id', new.session_id,
      'actor_id', new.actor_id, 'client_id', new.client_id,
      'detail', coalesce((
        select jsonb_object_agg(key, value) from jsonb_each(new.detail)
        where key in ('reason', 'methods', 'changed', 'invited', 'undone')
          or (new.type = 'user.roles_changed' and key in ('from', 'to'))
      ), '{}')
    ), new.created_at
    from webhooks
    where deleted_at is null and events && array[new.type, split_part(new.type, '.', 1) || '.*']
    returning id, webhook_id
  )
  insert into jobs (id, kind, subject, expires_at)
  select id, 'webhook', webhook_id, now() + interval '3 days' from deliveries;
  return null;
end
$$;

create trigger audit_events_enqueue_webhook_deliveries after insert on audit_events for each row
when (
  (new.type like 'user.%' and new.type <> 'user.imported')
  or new.type like 'session.%' or new.type = 'login.succeeded'
)
execute function enqueue_webhook_deliveries();
