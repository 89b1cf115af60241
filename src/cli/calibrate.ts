import type { CostMeasurement } from '../calibration/calibration.ts'
import type { Config } from '../config/config.ts'
import { defineCommand, UsageError } from './command.ts'
import { formatTable } from './table.ts'

const maxTargetMs = 10_000

/** Parses a time, such as 250ms or 1s, to milliseconds. */
function parseTarget (text: string): number {
  const [, count, unit] = /^(\d{1,4})(ms|s)$/.exec(text) ?? []
  const targetMs = Number(count) * (unit === 's' ? 1_000 : 1)
  if (!(targetMs >= 1 && targetMs <= maxTargetMs)) {
    throw new UsageError('--target must be a time such as 250ms or 1s, up to 10s')
  }
  return targetMs
}

const formatMib = (bytes: number): string => `${Math.round(bytes / 1_024 ** 2)} MiB`
const round = (value: number): number => Number(value.toPrecision(3))
const headings = ['MEMORY KIB', 'PASSES', 'ONE HASH', 'LOGINS/S', 'MEMORY IN ALL', '']

export const calibrate = defineCommand({
  usage: 'latchkey calibrate [--target TIME] [--json]',
  description: 'Measure password hashing on this machine, and recommend a cost.',
  options: {
    target: {
      type: 'string',
      value: 'TIME',
      description: 'the time for one hash, such as 250ms; 100ms by default'
    }
  },
  plan: ({ target = '100ms' }) => {
    const targetMs = parseTarget(target)
    return async config => await measure(config, { target, targetMs })
  }
})

async function measure ({ passwords }: Config, { target, targetMs }: { target: string, targetMs: number }) {
  const { build, concurrency, parallelism } = passwords
  const [argon2id, calibration, { hashingConcurrency }] = await Promise.all([
    import('../passwords/argon2id.ts'),
    import('../calibration/calibration.ts'),
    import('../passwords/thread-pool.ts')
  ])
  const { hashingMemoryBytes, owaspCosts } = calibration
  const { name, buildWarnings } = await argon2id.selectBuild(build)
  const { concurrency: parallelHashes, warning } = hashingConcurrency(concurrency)
  const memory = calibration.availableMemory()
  const measured = await calibration.calibrate({ concurrency: parallelHashes, parallelism, targetMs }, memory)
  const best = calibration.recommend(measured, targetMs)
  if (!best) {
    throw new Error(`there is not enough memory for ${parallelHashes} hashes at a time, not even of ` +
      `${owaspCosts.at(-1)?.memoryKib} KiB each: lower ARGON2_CONCURRENCY`)
  }
  const isWithin = best.hashMs <= targetMs
  const tooLarge = owaspCosts.filter(cost => !calibration.fitsInMemory(cost, parallelHashes, memory))
  const warnings = [
    ...buildWarnings,
    ...(warning === undefined ? [] : [warning]),
    ...tooLarge.map(
      cost =>
        `${cost.memoryKib} KiB and ${cost.timeCost} passes were not measured: ${parallelHashes} hashes at ` +
        `a time need more than ${formatMib(hashingMemoryBytes(cost, parallelHashes))}, and ` +
        `${formatMib(memory)} are available`
    ),
    ...(isWithin ? [] : [`even the fastest cost that OWASP accepts takes longer than ${target} here`])
  ]
  const environment = {
    ARGON2_MEMORY_KIB: best.memoryKib,
    ARGON2_TIME_COST: best.timeCost,
    ARGON2_PARALLELISM: parallelism,
    ARGON2_CONCURRENCY: concurrency
  }
  const isOwasp = (cost: CostMeasurement) =>
    owaspCosts.some(({ memoryKib, timeCost }) => memoryKib === cost.memoryKib && timeCost === cost.timeCost)
  const rows = measured.map(each => [
    String(each.memoryKib),
    String(each.timeCost),
    `${each.hashMs.toFixed(1)} ms`,
    each.loginsPerSecond.toFixed(1),
    formatMib(hashingMemoryBytes(each, parallelHashes)),
    isOwasp(each) ? 'OWASP' : ''
  ])
  const choice = isWithin ? `The strongest cost within ${target}` : 'The fastest cost'
  return {
    text: [
      `argon2id, the ${name} build, ${parallelHashes} at a time:\n`,
      formatTable(headings, rows),
      `\n${choice}, for ${best.loginsPerSecond.toFixed(1)} logins a second:\n`,
      ...Object.entries(environment).map(([variable, value]) => `${variable}=${value}`),
      ...warnings.map(warning => `\nWarning: ${warning}.`)
    ].join('\n'),
    data: {
      build: name,
      concurrency: parallelHashes,
      target_ms: targetMs,
      measured: measured.map(each => ({
        memory_kib: each.memoryKib,
        time_cost: each.timeCost,
        owasp: isOwasp(each),
        hash_ms: round(each.hashMs),
        logins_per_second: round(each.loginsPerSecond),
        memory_bytes: hashingMemoryBytes(each, parallelHashes)
      })),
      recommended: { within_target: isWithin, environment },
      warnings
    }
  }
}
