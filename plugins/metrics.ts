import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'
import { Problem } from '../src/http/problem.ts'
import { shareRendering } from '../src/http/shared-rendering.ts'

declare module 'fastify' {
  interface FastifyInstance {
    metrics: {
      /** All metrics in Prometheus' text format, whose media type is `contentType`. */
      text: () => Promise<string>
      contentType: string
      addCounter: (metric: NewMetric) => Counter
      addHistogram: (metric: NewMetric) => Histogram
      addGauge: (metric: ReadMetric) => void
      /** Adds a counter that something else keeps. */
      addCopiedCounter: (metric: ReadMetric) => void
    }
  }
  interface FastifyContextConfig {
    /** The counter of the route's requests by result. */
    counted?: 'logins' | 'refreshes'
  }
}

/** The name and the labels of a metric. */
export interface NewMetric { name: string, help: string, labelNames?: readonly string[] }

/** A value with its labels. A metric without labels has one. */
export interface MetricValue { labels?: Record<string, string>, value: number }

/** A metric whose values are read when the metrics are. */
export interface ReadMetric extends NewMetric { read: () => MetricValue[] }

/** The registry of metrics, and the metrics of requests. They name no user, and labels have fixed values. */
export default fp(async function metrics (app) {
  const registry = new Registry()
  observeRequests(app, registry)
  // The default metrics describe the process until it ends, so only a server that listens collects them.
  app.addHook('onListen', async () => collectDefaultMetrics({ register: registry }))
  const registers = [registry]
  app.decorate('metrics', {
    text: shareRendering(() => registry.metrics()),
    contentType: registry.contentType,
    addCounter: metric => new Counter({ ...metric, registers }),
    addHistogram: metric => new Histogram({ ...metric, registers }),
    addGauge ({ read, ...metric }) {
      const collect = function (this: Gauge) {
        for (const { labels = {}, value } of read()) this.set(labels, value)
      }
      registry.registerMetric(new Gauge({ ...metric, registers: [], collect }))
    },
    addCopiedCounter ({ read, ...metric }) {
      const collect = function (this: Counter) {
        this.reset()
        for (const { labels = {}, value } of read()) this.inc(labels, value)
      }
      registry.registerMetric(new Counter({ ...metric, registers: [], collect }))
    }
  })
}, { name: 'metrics' })

function observeRequests (app: FastifyInstance, registry: Registry): void {
  const registers = [registry]
  const duration = new Histogram({
    name: 'latchkey_http_request_duration_seconds',
    help: 'Time from the headers of a request to the end of its response. ' +
      'The status is "gone" if the client disconnected before it.',
    labelNames: ['method', 'route', 'status'],
    registers
  })
  const counters = {
    logins: new Counter({
      name: 'latchkey_logins_total',
      help: 'Sign-ins with a password: "ok", or the code of the problem.',
      labelNames: ['result'],
      registers
    }),
    refreshes: new Counter({
      name: 'latchkey_refreshes_total',
      help: 'Refreshes: "ok", "replayed" if a superseded token was reused and its session has ended, ' +
        'or the code of the problem.',
      labelNames: ['result'],
      registers
    })
  }
  const results = new WeakMap<FastifyRequest, string>()
  app.addHook('onError', (request, _reply, error, done) => {
    if (request.routeOptions.config.counted && error instanceof Problem) {
      results.set(request, isReuse(error.cause) ? 'replayed' : error.code)
    }
    done()
  })
  app.addHook('onRequest', (request, reply, done) => {
    const { method, routeOptions: { url: route = 'none', config: { isEndless, counted } } } = request
    reply.raw.once('close', () => {
      const status = statusOf(reply)
      if (!isEndless) duration.observe({ method, route, status }, reply.elapsedTime / 1_000)
      if (counted) counters[counted].inc({ result: results.get(request) ?? resultOf(status) })
    })
    done()
  })
}

const statusOf = ({ raw }: FastifyReply): string => raw.headersSent ? String(raw.statusCode) : 'gone'

/**
 * Returns the result of a request without a Problem: success, an invalid request, or an unexpected error.
 */
function resultOf (status: string): string {
  if (/^[123]/.test(status)) return 'ok'
  if (status.startsWith('4')) return 'validation_failed'
  return status.startsWith('5') ? 'internal_error' : status
}

const isReuse = (cause: unknown): boolean =>
  typeof cause === 'object' && cause !== null && 'replayed' in cause && cause.replayed === true
