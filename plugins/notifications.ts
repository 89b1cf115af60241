import { EventEmitter } from 'node:events'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { listen } from '../src/database/notifications.ts'

/** The channels on which instances tell each other that there is something new to read. */
const channels = ['latchkey_revocations', 'latchkey_keys', 'latchkey_clients'] as const
type Channel = typeof channels[number]

const isChannel = (name: string): name is Channel => channels.some(channel => channel === name)

declare module 'fastify' {
  interface FastifyInstance {
    /**
     * Emits the channel's name when another instance, or this one, has written. Notifications can be lost, so
     * readers poll as well.
     */
    notifications: EventEmitter<Record<Channel, []>>
  }
}

const urlIsPooled = 'DATABASE_URL leads through a connection pooler: this instance polls the database ' +
  'each second instead of listening for notifications; DATABASE_DIRECT_URL lets it listen (docs/poolers.md)'
const directIsPooled = 'DATABASE_DIRECT_URL leads through a connection pooler too, so notifications do not ' +
  'arrive; set it to the address of the database itself (docs/poolers.md)'

export interface NotificationsPluginOptions {
  url: string
  /** Whether `url` is DATABASE_DIRECT_URL. */
  isDirect: boolean
}

/** The notifications between the instances on one database, by LISTEN and NOTIFY. */
export default fp(async function notifications (app, { url, isDirect }: NotificationsPluginOptions) {
  const closing = new AbortController()
  const emitter: FastifyInstance['notifications'] = new EventEmitter()
  app.decorate('notifications', emitter)

  let listening: Promise<void> | undefined
  let awake = new AbortController()
  const start = () => {
    awake.abort()
    awake = new AbortController()
    listening = listen({
      url,
      channels,
      onNotification: channel => {
        // A channel is also emitted after each connection.
        app.databaseOutage.recordSuccess()
        if (isChannel(channel)) emitter.emit(channel)
      },
      onError: error => app.databaseOutage.recordFailure(error),
      onPooled: () => app.log[isDirect ? 'warn' : 'info'](isDirect ? directIsPooled : urlIsPooled),
      signal: AbortSignal.any([closing.signal, awake.signal])
    })
  }
  app.migrated.then(() => {
    if (!app.idleness.isIdle) start()
    // The listening connection is checked every few seconds, which would keep a database awake.
    app.idleness.on('idle', () => awake.abort())
    app.idleness.on('awake', start)
  }, () => {})

  app.addHook('onClose', async () => {
    closing.abort()
    await listening
  })
}, { name: 'notifications', dependencies: ['database', 'idleness'] })
