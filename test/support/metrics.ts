import type { FastifyInstance } from 'fastify'

/** Sums the samples of a counter whose labels include `labels`, over the metrics of several instances. */
export async function sumCounter (
  apps: FastifyInstance[], name: string, labels: Record<string, string>
): Promise<number> {
  const texts = await Promise.all(apps.map(app => app.metrics.text()))
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`)
  return texts.flatMap(text => text.split('\n'))
    .filter(line => line.startsWith(`${name}{`) && wanted.every(label => line.includes(label)))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0)
}
