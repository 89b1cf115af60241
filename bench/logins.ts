import { availableParallelism } from 'node:os'
import { loadArgon2 } from '../src/passwords/argon2-build.ts'
import * as bare from './bare.ts'
import type { Benchmark, Report } from './benchmark.ts'
import { withConnections } from './connection.ts'
import * as people from './users.ts'
import { folder, postgres } from './postgres.ts'
import * as service from './service.ts'
import { compare, median, spread, throughput } from './throughput.ts'

const inFlight = 8 * availableParallelism()

/** How much faster argon2id is by the build that the service takes here than by the one that its package brings. */
async function builds (argon2: bare.Bare, prebuilt: bare.Bare): Promise<Report> {
  const finding = { name: 'argon2: rate of the build in use, as a share of the prebuilt one', bound: 1.5, is: 'least', unit: '', digits: 2 } as const
  const { name } = await loadArgon2('auto')
  if (name === 'prebuilt') return { findings: [{ ...finding, measured: undefined }], notes: ['argon2: there is no other build than the prebuilt one that this processor runs; npm run build:argon2 makes some'] }
  const { ours, theirs, ratios } = await compare({ rounds: 10, seconds: 1, warmUp: 1 }, seconds => argon2.ask<number>({ seconds }), seconds => prebuilt.ask<number>({ seconds }))
  return {
    findings: [{ ...finding, measured: median(ratios) }],
    notes: [`argon2: ${median(ours).toFixed(1)} hashes a second by the ${name} build, ${median(theirs).toFixed(1)} by the prebuilt one; the middle half of the ratios ${spread(ratios, 2)}`]
  }
}

/** The logins a second of a saturated service, as a share of what the cores could verify if they did nothing else. */
const logins: Benchmark = async t => {
  const { port } = await service.start(t, folder(t), { DATABASE_URL: await postgres(t), RATE_LIMIT: 'off' })
  const everybody = await people.register(port, inFlight)
  const argon2 = bare.start(t, 'bare-argon2')

  const { ours, theirs, ratios } = await compare(
    { rounds: 12, seconds: 1.2, warmUp: 1 },
    seconds => withConnections(port, inFlight, connections => throughput(inFlight, seconds, async i => await connections[i]?.post('/v1/auth/login', everybody[i] ?? {}))),
    seconds => argon2.ask<number>({ seconds })
  )
  const { findings, notes } = await builds(argon2, bare.start(t, 'bare-argon2', 'prebuilt'))
  return {
    findings: [{ name: 'logins: share of the raw argon2id rate', measured: median(ratios), bound: 0.95, is: 'least', unit: '', digits: 3 }, ...findings],
    notes: [`logins: ${median(ours).toFixed(1)} a second, ${inFlight} in flight; argon2id alone ${median(theirs).toFixed(1)}; the middle half of the ratios ${spread(ratios, 2)}`, ...notes]
  }
}

export default logins
