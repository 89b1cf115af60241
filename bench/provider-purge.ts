import { setTimeout as pause } from 'node:timers/promises'
import { cookieName } from '../src/http/cookie-name.ts'
import type { Report } from './benchmark.ts'
import { connectionPool, percentile, runOpenLoop } from './open-loop.ts'
import * as providerClient from './provider-client.ts'
import { median } from './throughput.ts'

export const expiredCodes = 1_000_000
const [signInsPerSecond, purgeSeconds] = [40, 20]

/** The service that is measured, and the client that asks it. */
export interface PurgedProvider { url: string, port: number, client: providerClient.MeasuredClient }

/** Returns the milliseconds of silent sign-ins at a fixed rate. */
export async function measureSignIns ({ url, port, client }: PurgedProvider): Promise<number[]> {
  const cookie = await providerClient.createBrowserSession(url, client.id)
  const headers = { cookie: `${cookieName(`http://localhost:${port}`, 'session')}=${cookie}` }
  const pool = connectionPool(port)
  const measure = async (seconds: number) => await runOpenLoop(signInsPerSecond, seconds, async () => {
    const { status } = await pool.use(async connection =>
      await connection.visit(`${client.authorizationPath}&prompt=none`, headers))
    if (status !== 303) throw new Error(`the sign-in was answered with ${status}`)
  })
  // A process is slower in its first seconds, so they do not count.
  await measure(4)
  const measured = await measure(purgeSeconds)
  pool.close()
  return measured.map(({ ms }) => ms)
}

/** Measures silent sign-ins while expired codes are purged. */
export async function measurePurge (measured: PurgedProvider, undisturbed: number[]): Promise<Report> {
  const startedAt = performance.now()
  const disturbed = await measureSignIns(measured)
  const isPurging = async () => (await providerClient.execute(measured.url, `
    select from authorization_codes where expires_at < now() - interval '30 minutes' limit 1`)).length > 0
  const overlapped = await isPurging()
  while (await isPurging()) await pause(1_000)
  const seconds = (performance.now() - startedAt) / 1_000
  const [with99, without99] = [percentile(disturbed, 0.99), percentile(undisturbed, 0.99)]
  return {
    findings: [
      {
        name: 'provider: p99 of a silent sign-in during the purge of 1,000,000 codes, minus without it',
        measured: overlapped ? with99 - without99 : undefined,
        bound: 50,
        limit: 'maximum',
        unit: ' ms',
        digits: 1
      }
    ],
    notes: [
      `provider: ${expiredCodes} expired codes were purged in ${seconds.toFixed(0)} s; silent sign-ins ` +
        `(${signInsPerSecond}/s): p99 ${with99.toFixed(1)} ms during the purge, ${without99.toFixed(1)} ms ` +
        `without; median ${median(disturbed).toFixed(1)} ms and ${median(undisturbed).toFixed(1)} ms`
    ]
  }
}
