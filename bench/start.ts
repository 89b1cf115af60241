import type { Benchmark } from './benchmark.ts'
import { temporaryFolder, startPostgres } from './postgres.ts'
import * as service from './service.ts'
import { median } from './throughput.ts'

/**
 * Measures the time until the service is ready: with a migrated database, and at the first start without any.
 */
const start: Benchmark = async t => {
  const measure = async (folder: string, environment: Record<string, string>) => {
    const { startupSeconds, stop } = await service.start(t, folder, environment)
    await stop()
    return startupSeconds
  }
  const migrated: number[] = []
  const [home, url] = [temporaryFolder(t), await startPostgres(t)]
  await measure(home, { DATABASE_URL: url })
  while (migrated.length < 5) migrated.push(await measure(home, { DATABASE_URL: url }))
  const first: number[] = []
  while (first.length < 3) first.push(await measure(temporaryFolder(t), {}))

  const list = (times: number[]) => times.map(time => time.toFixed(2)).join(' ')
  return {
    findings: [
      {
        name: 'start: time until ready, with a migrated database',
        measured: median(migrated),
        bound: 1.5,
        limit: 'maximum',
        unit: ' s',
        digits: 2
      },
      {
        name: 'start: time until ready, first start with the embedded database',
        measured: median(first),
        bound: 6,
        limit: 'maximum',
        unit: ' s',
        digits: 2
      }
    ],
    notes: [`start: with a migrated database ${list(migrated)} s; first start ${list(first)} s`]
  }
}

export default start
