-- The longest life, in seconds, of what the key signed: so long it stays known after it stopped signing, whatever
-- the configuration says by then.
alter table keys add column longest_life integer not null default 0;
