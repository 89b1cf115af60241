import { smtpServer } from '../test/support/smtp.ts'
import * as bare from './bare.ts'
import type { Benchmark, Finding } from './benchmark.ts'
import { withConnections } from './connection.ts'
import * as people from './users.ts'
import { folder, postgres } from './postgres.ts'
import * as service from './service.ts'
import { median, spread } from './throughput.ts'

const [accounts, inFlight, rounds, each] = [100, 4, 15, 400]

/** How long the slowest of a hundred requests for a password reset take, compared with a bare route of one transaction: with the mail server as it should be, frozen, and gone. */
const reset: Benchmark = async t => {
  const url = await postgres(t)
  const smtp = await smtpServer(t)
  // Signing up is not what is measured: the cheapest hash.
  const environment = { DATABASE_URL: url, RATE_LIMIT: 'off', ARGON2_MEMORY_KIB: '1024', ARGON2_TIME_COST: '1', SMTP_URL: smtp.url, MAIL_FROM: 'login@example.com' }
  const { port } = await service.start(t, folder(t), environment)
  const known = (await people.register(port, accounts)).map(({ email }) => email)
  const barePort = await bare.start(t, 'bare-insert').ask<number>({ url })

  const times = async (port: number, path: string) => await withConnections(port, inFlight, async connections => {
    const samples: number[] = []
    await Promise.all(connections.map(async (connection, loop) => {
      // Not from the first moment on: a connection is made, and what rested wakes up.
      for (let i = -10; i < each / inFlight; i++) {
        const begun = performance.now()
        await connection.post(path, { email: known[(i * inFlight + loop + accounts) % known.length] })
        if (i >= 0) samples.push(performance.now() - begun)
      }
    }))
    return samples
  })
  const slowest = (samples: number[]) => [...samples].sort((a, b) => a - b)[Math.floor(samples.length * 0.99)] ?? NaN

  const findings: Finding[] = []
  const notes: string[] = []
  const compare = async (what: string) => {
    const [ours, theirs, ratios]: [number[], number[], number[]] = [[], [], []]
    await times(port, '/v1/auth/password-reset')
    for (let round = 0; round < rounds; round++) {
      const [one, other] = [await times(port, '/v1/auth/password-reset'), await times(barePort, '/ask')]
      ours.push(...one)
      theirs.push(...other)
      // By round, so that what else the machine does meets both.
      ratios.push(slowest(one) / slowest(other))
    }
    findings.push({ name: `reset: p99 of asking for it, as a multiple of a bare route's, the mail server ${what}`, measured: median(ratios), bound: 1.5, is: 'most', unit: '', digits: 2 })
    notes.push(`reset: the mail server ${what}: half of them within ${median(ours).toFixed(1)} ms, 99 of 100 within ${slowest(ours).toFixed(1)} ms; of a bare route ${median(theirs).toFixed(1)} and ${slowest(theirs).toFixed(1)} ms, ${inFlight} in flight; the middle half of the ratios ${spread(ratios, 2)}`)
  }
  await compare('as it should be')
  smtp.freeze()
  await compare('frozen')
  smtp.thaw()
  await smtp.kill()
  await compare('gone')
  return { findings, notes }
}

export default reset
