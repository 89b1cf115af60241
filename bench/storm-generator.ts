import { runOpenLoop, connectionPool } from './open-loop.ts'
import { answer } from './baseline.ts'

export interface StormOptions {
  port: number
  /** Logins per second. */
  rate: number
  seconds: number
  accounts: number
  password: string
}

/**
 * Milliseconds from when each login was due, by status 200 and 503. `other` are all other responses and
 * errors.
 */
export interface StormResult { accepted: number[], refused: number[], other: string[] }

/** Sends logins at a fixed rate, each for another account and from another network. */
answer<StormOptions>(async ({ port, rate, seconds, accounts, password }): Promise<StormResult> => {
  const pool = connectionPool(port)
  const address = (index: number) => `10.${index >> 16 & 255}.${index >> 8 & 255}.${index & 255}`
  const responses = await runOpenLoop(rate, seconds, index =>
    pool.use(connection =>
      connection
        .send(
          '/v1/auth/login',
          { email: `person-${index % accounts}@storm.example`, password },
          { 'x-forwarded-for': address(index) }
        )
        .then(
          ({ status, body }) => (status === 200 || status === 503 ? status : `${status}: ${body}`),
          (error: unknown) => String(error)
        )
    )
  )
  pool.close()
  const timesOf = (status: number) =>
    responses.filter(({ outcome }) => outcome === status).map(({ ms }) => ms)
  return {
    accepted: timesOf(200),
    refused: timesOf(503),
    other: responses.flatMap(({ outcome }) => (typeof outcome === 'string' ? [outcome] : []))
  }
})
