-- A row is a job: work to do after the transaction that enqueued it has committed. Any instance runs it, and
-- runs it again later if the attempt failed or the instance died.
create table jobs (
  id uuid primary key default uuid_v7(),
  kind text not null check (kind in ('mail', 'webhook')),
  -- The user whom the job is about.
  user_id uuid,
  -- What the job is about. For the delivery of an event, the webhook.
  subject uuid,
  -- Content that only the worker may read, sealed with the key-encryption key.
  sealed bytea,
  -- How many attempts were started.
  attempts integer not null default 0,
  created_at timestamptz not null default now(),
  -- When the next attempt is due. An instance leases the job by moving this time past the end of the longest
  -- attempt.
  run_at timestamptz not null default now(),
  -- When the job becomes useless.
  expires_at timestamptz not null
);

create index jobs_run_at_idx on jobs (kind, run_at);
create index jobs_user_id_idx on jobs (user_id);

-- Enqueues a job and returns its id. Call it in the statement or transaction that causes the job, so that
-- both are committed or neither is.
create function enqueue_job (
  kind text, expires_at timestamptz,
  user_id uuid default null, subject uuid default null, sealed bytea default null
) returns uuid
language plpgsql as $$
declare
  job_id uuid;
begin
  insert into jobs (kind, user_id, subject, sealed, expires_at)
  values (kind, user_id, subject, sealed, expires_at)
  returning id into job_id;
  return job_id;
end
$$;

-- A row is a lease: the right of one holder, of all instances, to do some work. It ends by itself if its
-- holder dies. The key is a digest, so the table names nobody.
create table leases (
  key bytea primary key,
  holder uuid not null,
  expires_at timestamptz not null
);
