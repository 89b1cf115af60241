import type { CostMeasurement } from '../calibration/calibration.ts'
import { command, UsageError } from './command.ts'
import { table } from './table.ts'

/** Milliseconds of a time such as 250ms or 1s. */
function milliseconds (text: string): number {
  const [, count, unit] = /^(\d{1,4})(ms|s)$/.exec(text) ?? []
  const time = Number(count) * (unit === 's' ? 1_000 : 1)
  if (!(time >= 1 && time <= 10_000)) throw new UsageError('--target must be a time such as 250ms or 1s, up to 10s')
  return time
}

const mib = (bytes: number) => `${Math.round(bytes / 1024 ** 2)} MiB`
const rounded = (value: number) => Number(value.toPrecision(3))

export const calibrate = command({
  usage: 'latchkey calibrate [--target TIME] [--json]',
  meaning: 'Measure how fast passwords are hashed here, and propose how strongly to.',
  options: {
    target: { type: 'string', value: 'TIME', meaning: 'how long one hash may take, such as 250ms; 100ms unless given' }
  },
  plan ({ target = '100ms' }) {
    const targetMs = milliseconds(target)
    return async ({ passwords: { build, concurrency, parallelism } }) => {
      const [argon2id, calibration, { hashingConcurrency }] = await Promise.all([import('../passwords/argon2id.ts'), import('../calibration/calibration.ts'), import('../passwords/thread-pool.ts')])
      const { name, buildWarnings } = await argon2id.selectBuild(build)
      const { concurrency: lanes, warning } = hashingConcurrency(concurrency)
      const memory = calibration.availableMemory()
      const measured = await calibration.calibrate({ concurrency: lanes, parallelism, targetMs }, memory)
      const best = calibration.recommend(measured, targetMs)
      if (!best) throw new Error(`there is not memory for ${lanes} hashes at a time, not even of ${calibration.owaspCosts.at(-1)?.memoryKib} KiB each: lower ARGON2_CONCURRENCY`)

      const within = best.hashMs <= targetMs
      const warnings = [
        ...buildWarnings,
        ...warning === undefined ? [] : [warning],
        ...calibration.owaspCosts.filter(cost => !calibration.fitsInMemory(cost, lanes, memory)).map(cost => `${cost.memoryKib} KiB and ${cost.timeCost} passes are left out: ${lanes} at a time would take ${mib(calibration.hashingMemoryBytes(cost, lanes))} and more, and there are ${mib(memory)}`),
        ...within ? [] : [`even the fastest that OWASP accepts takes longer than ${target} here`]
      ]
      const environment = { ARGON2_MEMORY_KIB: best.memoryKib, ARGON2_TIME_COST: best.timeCost, ARGON2_PARALLELISM: parallelism, ARGON2_CONCURRENCY: concurrency }
      const isOwasp = (cost: CostMeasurement) => calibration.owaspCosts.some(({ memoryKib, timeCost }) => memoryKib === cost.memoryKib && timeCost === cost.timeCost)
      const rows = measured.map(each => [String(each.memoryKib), String(each.timeCost), `${each.hashMs.toFixed(1)} ms`, each.loginsPerSecond.toFixed(1), mib(calibration.hashingMemoryBytes(each, lanes)), isOwasp(each) ? 'OWASP' : ''])
      return {
        text: [
          `argon2id, the ${name} build, ${lanes} at a time:\n`,
          table(['MEMORY KIB', 'PASSES', 'ONE HASH', 'LOGINS/S', 'MEMORY IN ALL', ''], rows),
          `\n${within ? `The strongest of them within ${target}` : 'The fastest of them'}, good for ${best.loginsPerSecond.toFixed(1)} logins a second:\n`,
          ...Object.entries(environment).map(([variable, value]) => `${variable}=${value}`),
          ...warnings.map(warning => `\nWarning: ${warning}.`)
        ].join('\n'),
        data: {
          build: name,
          concurrency: lanes,
          target_ms: targetMs,
          measured: measured.map(each => ({ memory_kib: each.memoryKib, time_cost: each.timeCost, owasp: isOwasp(each), hash_ms: rounded(each.hashMs), logins_per_second: rounded(each.loginsPerSecond), memory_bytes: calibration.hashingMemoryBytes(each, lanes) })),
          recommended: { within_target: within, environment },
          warnings
        }
      }
    }
  }
})
