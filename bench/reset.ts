import { smtpServer } from '../test/support/smtp.ts'
import * as baseline from './baseline.ts'
import type { Benchmark, Measurement } from './benchmark.ts'
import { withConnections } from './connection.ts'
import * as testUsers from './users.ts'
import { temporaryFolder, startPostgres } from './postgres.ts'
import * as service from './service.ts'
import { median, formatSpread } from './throughput.ts'

const [accounts, inFlight, rounds, requestsPerRound] = [100, 4, 15, 400]

/**
 * Measures the 99th percentile of requests for a password reset, compared with a baseline route of one
 * transaction, while the mail server works, while it is frozen, and while it is down.
 */
const reset: Benchmark = async t => {
  const url = await startPostgres(t)
  const smtp = await smtpServer(t)
  // Registrations are not measured, so the hash is cheap.
  const environment = {
    DATABASE_URL: url,
    RATE_LIMIT: 'off',
    ARGON2_MEMORY_KIB: '1024',
    ARGON2_TIME_COST: '1',
    SMTP_URL: smtp.url,
    MAIL_FROM: 'login@example.com'
  }
  const { port } = await service.start(t, temporaryFolder(t), environment)
  const addresses = (await testUsers.registerUsers(port, accounts)).map(({ email }) => email)
  const baselinePort = await baseline.start(t, 'reset-baseline').ask<number>({ url })

  const measure = async (port: number, path: string) =>
    await withConnections(port, inFlight, async connections => {
      const samples: number[] = []
      await Promise.all(
        connections.map(async (connection, loop) => {
          // The first requests do not count, because connections and caches are cold.
          for (let i = -10; i < requestsPerRound / inFlight; i++) {
            const startedAt = performance.now()
            await connection.post(path, {
              email: addresses[(i * inFlight + loop + accounts) % addresses.length]
            })
            if (i >= 0) samples.push(performance.now() - startedAt)
          }
        })
      )
      return samples
    })
  const p99 = (samples: number[]) =>
    [...samples].sort((a, b) => a - b)[Math.floor(samples.length * 0.99)] ?? NaN

  const findings: Measurement[] = []
  const notes: string[] = []
  const compare = async (mailServer: string) => {
    const [times, baselineTimes, ratios]: [number[], number[], number[]] = [[], [], []]
    await measure(port, '/v1/auth/password-reset')
    for (let index = 0; index < rounds; index++) {
      const [round, baselineRound] = [
        await measure(port, '/v1/auth/password-reset'),
        await measure(baselinePort, '/request')
      ]
      times.push(...round)
      baselineTimes.push(...baselineRound)
      // The ratio is per round, because other processes slow down both measurements of a round.
      ratios.push(p99(round) / p99(baselineRound))
    }
    findings.push({
      name: `reset: p99 of a reset request / baseline (one insert), mail server ${mailServer}`,
      measured: median(ratios),
      bound: 1.5,
      limit: 'maximum',
      unit: '',
      digits: 2
    })
    notes.push(
      `reset: mail server ${mailServer}: p50 ${median(times).toFixed(1)} ms, p99 ` +
        `${p99(times).toFixed(1)} ms; baseline p50 ${median(baselineTimes).toFixed(1)} ms, p99 ` +
        `${p99(baselineTimes).toFixed(1)} ms; ${inFlight} in flight; quartiles of the ratio ` +
        `${formatSpread(ratios, 2)}`
    )
  }
  await compare('up')
  smtp.freeze()
  await compare('frozen')
  smtp.thaw()
  await smtp.kill()
  await compare('down')
  return { findings, notes }
}

export default reset
