import { availableParallelism } from 'node:os'
import * as bare from './bare.ts'
import type { Benchmark } from './benchmark.ts'
import { withConnections } from './connection.ts'
import * as people from './people.ts'
import { folder, postgres } from './postgres.ts'
import * as service from './service.ts'
import { compare, median, spread, throughput } from './throughput.ts'

const inFlight = 8 * availableParallelism()

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
  return {
    findings: [{ name: 'logins: share of the raw argon2id rate', measured: median(ratios), bound: 0.9, is: 'least', unit: '', digits: 3 }],
    notes: [`logins: ${median(ours).toFixed(1)} a second, ${inFlight} in flight; argon2id alone ${median(theirs).toFixed(1)}; the middle half of the ratios ${spread(ratios, 2)}`]
  }
}

export default logins
