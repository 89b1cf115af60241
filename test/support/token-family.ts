import type { Service } from './app.ts'

/** Lets time pass for the token family of a session: its confirmations become this many seconds older. */
export async function ageTokenFamily ({ sql }: Pick<Service, 'sql'>, sessionId: string, seconds: number) {
  await sql(`
    update refresh_tokens set
      confirmations = array(
        select confirmed_at - make_interval(secs => $2) from unnest(confirmations) as confirmed_at
        order by 1 desc)
    where session_id = $1`, [sessionId, seconds])
}
