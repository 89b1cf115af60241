-- Of the token that was the confirmed one when `settled` was, where that is known: its siblings are dead for as long.
alter table refresh_tokens add column settled_hash bytea;
