import type { Benchmark } from './benchmark.ts'
import { folder, postgres } from './postgres.ts'
import * as service from './service.ts'
import { median } from './throughput.ts'

/** The time until the service is ready: with a database that it knows, and the very first with nothing at all. */
const start: Benchmark = async t => {
  const time = async (folder: string, environment: Record<string, string>) => {
    const { startedIn, stop } = await service.start(t, folder, environment)
    await stop()
    return startedIn
  }
  const known: number[] = []
  const [home, url] = [folder(t), await postgres(t)]
  await time(home, { DATABASE_URL: url })
  while (known.length < 5) known.push(await time(home, { DATABASE_URL: url }))
  const first: number[] = []
  while (first.length < 3) first.push(await time(folder(t), {}))

  const list = (times: number[]) => times.map(time => time.toFixed(2)).join(' ')
  return {
    findings: [
      { name: 'start: with a known database', measured: median(known), bound: 1.5, is: 'most', unit: ' s', digits: 2 },
      { name: 'start: the very first, with the embedded database', measured: median(first), bound: 6, is: 'most', unit: ' s', digits: 2 }
    ],
    notes: [`start: with a known database ${list(known)} s; the very first ${list(first)} s`]
  }
}

export default start
