import { EventEmitter } from 'node:events'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { listen } from '../src/database/notifications.ts'

/** Where instances tell each other that there is something new to read. */
const channels = ['latchkey_revocations', 'latchkey_keys'] as const

declare module 'fastify' {
  interface FastifyInstance {
    /** Emits the channel's name when another instance, or this one, has written; some may be lost, so ask now and then too. */
    notifications: EventEmitter<Record<typeof channels[number], []>>
  }
}

/** What the instances on one database tell each other, by LISTEN and NOTIFY. */
export default fp(async function notifications (app, { url }: { url: string }) {
  const closing = new AbortController()
  const emitter: FastifyInstance['notifications'] = new EventEmitter()
  app.decorate('notifications', emitter)

  let listening: Promise<void> | undefined
  app.migrated.then(() => {
    listening = listen({
      url,
      channels,
      onNotification: channel => { const known = channels.find(each => each === channel); if (known) emitter.emit(known) },
      onError: error => app.log.warn({ err: error }, 'the connection that listens to the database was lost; making another'),
      signal: closing.signal
    })
  }, () => {})

  app.addHook('onClose', async () => {
    closing.abort()
    await listening
  })
}, { name: 'notifications', dependencies: ['database'] })
