import { arrivals, connections } from './arrivals.ts'
import { answer } from './bare.ts'

export interface Storm { port: number, rate: number, seconds: number, accounts: number, password: string }
/** Milliseconds from when each was due; `unanswered` tells why. */
export interface Logins { accepted: number[], refused: number[], other: string[] }

/** Sends logins by a schedule, each for another account and from another network. */
answer<Storm>(async ({ port, rate, seconds, accounts, password }): Promise<Logins> => {
  const pool = connections(port)
  const address = (index: number) => `10.${index >> 16 & 255}.${index >> 8 & 255}.${index & 255}`
  const answers = await arrivals(rate, seconds, index => pool.use(connection =>
    connection.send('/v1/auth/login', { email: `person-${index % accounts}@storm.example`, password }, { 'x-forwarded-for': address(index) })
      .then(({ status, body }) => status === 200 || status === 503 ? status : `${status}: ${body}`, (error: unknown) => String(error))))
  pool.close()
  const of = (status: number) => answers.filter(({ outcome }) => outcome === status).map(({ ms }) => ms)
  return { accepted: of(200), refused: of(503), other: answers.flatMap(({ outcome }) => typeof outcome === 'string' ? [outcome] : []) }
})
