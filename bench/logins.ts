import { availableParallelism } from 'node:os'
import { loadArgon2 } from '../src/passwords/argon2-build.ts'
import * as baseline from './baseline.ts'
import type { Benchmark, Report } from './benchmark.ts'
import { withConnections } from './connection.ts'
import * as testUsers from './users.ts'
import { temporaryFolder, startPostgres } from './postgres.ts'
import * as service from './service.ts'
import { compare, median, formatSpread, measureRate } from './throughput.ts'

const inFlight = 8 * availableParallelism()

/** Measures how much faster the compiled build of argon2 is than the prebuilt one of the npm package. */
async function compareBuilds (argon2: baseline.Baseline, prebuilt: baseline.Baseline): Promise<Report> {
  const finding = {
    name: 'argon2: hashes per second of the compiled build / of the prebuilt one',
    bound: 1.5,
    limit: 'minimum',
    unit: '',
    digits: 2
  } as const
  const { name } = await loadArgon2('auto')
  if (name === 'prebuilt') {
    return {
      findings: [{ ...finding, measured: undefined }],
      notes: ['argon2: there is no compiled build for this processor; create one with npm run build:argon2']
    }
  }
  const { rates, baselineRates, ratios } = await compare(
    { rounds: 10, seconds: 1, warmUp: 1 },
    seconds => argon2.ask<number>({ seconds }),
    seconds => prebuilt.ask<number>({ seconds })
  )
  return {
    findings: [{ ...finding, measured: median(ratios) }],
    notes: [
      `argon2: ${median(rates).toFixed(1)} hashes/s with the ${name} build, ` +
        `${median(baselineRates).toFixed(1)} with the prebuilt one; quartiles of the ratio ` +
        `${formatSpread(ratios, 2)}`
    ]
  }
}

/**
 * Measures the logins per second of a saturated service, as a fraction of the argon2id verifications per
 * second.
 */
const logins: Benchmark = async t => {
  const { port } = await service.start(t, temporaryFolder(t), {
    DATABASE_URL: await startPostgres(t),
    RATE_LIMIT: 'off'
  })
  const users = await testUsers.registerUsers(port, inFlight)
  const argon2 = baseline.start(t, 'argon2-baseline')

  const { rates, baselineRates, ratios } = await compare(
    { rounds: 12, seconds: 1.2, warmUp: 1 },
    seconds =>
      withConnections(port, inFlight, connections =>
        measureRate(
          inFlight, seconds,
          async i => await connections[i]?.post('/v1/auth/login', users[i] ?? {})
        )
      ),
    seconds => argon2.ask<number>({ seconds })
  )
  const { findings, notes } = await compareBuilds(argon2, baseline.start(t, 'argon2-baseline', 'prebuilt'))
  return {
    findings: [
      {
        name: 'logins: logins per second / argon2id verifications per second',
        measured: median(ratios),
        bound: 0.95,
        limit: 'minimum',
        unit: '',
        digits: 3
      },
      ...findings
    ],
    notes: [
      `logins: ${median(rates).toFixed(1)}/s with ${inFlight} in flight; argon2id alone ` +
        `${median(baselineRates).toFixed(1)}/s; quartiles of the ratio ${formatSpread(ratios, 2)}`,
      ...notes
    ]
  }
}

export default logins
