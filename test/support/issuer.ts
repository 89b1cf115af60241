import { generateKeyPairSync, randomUUID, type KeyObject } from 'node:crypto'
import { once } from 'node:events'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import { compact, nowSeconds, signers } from './jwt.ts'
import type { Teardown } from './teardown.ts'

type Responder = (request: IncomingMessage, response: ServerResponse) => void

/** A key of an issuer. The issuer publishes `jwk`. */
export interface Key {
  header: { alg: string; kid: string; typ: string }
  jwk: object
  sign: (input: string) => string
}

const pairs: Record<string, () => { publicKey: KeyObject, privateKey: KeyObject }> = {
  ES256: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  RS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
  EdDSA: () => generateKeyPairSync('ed25519')
}

export function makeKey (alg = 'ES256', kid: string = randomUUID()): Key {
  const { publicKey, privateKey } = pairs[alg]?.() ?? {}
  const signer = privateKey && signers[alg]?.(privateKey)
  if (!publicKey || !signer) throw new Error(`no ${alg} here`)
  return {
    header: { alg, kid, typ: 'at+jwt' },
    jwk: { ...publicKey.export({ format: 'jwk' }), use: 'sig', alg, kid },
    sign: signer
  }
}

/** An issuer on a free port. Its responses can be configured, and it counts its requests. */
export class Issuer {
  key = makeKey()
  published: object[] = [this.key.jwk]
  maxAge = 300
  asked: Record<string, number> = {}
  /** The headers of each request for the feed. */
  readonly followers: IncomingMessage[] = []
  /** All events, numbered from 1. A reader gets those after its `Last-Event-ID`. */
  readonly events: string[] = []
  /** Answers that replace the usual ones, by path. */
  readonly answers: Record<string, Responder | undefined> = {}
  readonly metadata: Record<string, unknown> = {}
  #server = http.createServer()
  #streams = new Set<ServerResponse>()
  #port = 0

  get url () {
    return `http://127.0.0.1:${this.#port}`
  }

  async start (): Promise<this> {
    this.#server = http.createServer((request, response) => {
      const { pathname } = new URL(request.url ?? '', this.url)
      this.asked[pathname] = (this.asked[pathname] ?? 0) + 1
      if (pathname === '/oauth/revocations') this.followers.push(request)
      const answer = this.answers[pathname] ?? this.#usual(pathname)
      answer(request, response)
    })
    this.#server.listen(this.#port, '127.0.0.1')
    await once(this.#server, 'listening')
    const address = this.#server.address()
    if (address && typeof address === 'object') this.#port = address.port
    return this
  }

  async stop (): Promise<void> {
    if (!this.#server.listening) return
    this.#server.close()
    this.#server.closeAllConnections()
    await once(this.#server, 'close')
  }

  json (response: ServerResponse, body: unknown) {
    response
      .setHeader('content-type', 'application/json')
      .setHeader('cache-control', `public, max-age=${this.maxAge}`)
      .end(JSON.stringify(body))
  }

  #usual (path: string): Responder {
    if (path === '/.well-known/oauth-authorization-server') {
      return (_request, response) =>
        this.json(response, {
          issuer: this.url,
          jwks_uri: `${this.url}/jwks`,
          revocation_feed_endpoint: `${this.url}/oauth/revocations`,
          ...this.metadata
        })
    }
    if (path === '/jwks') return (_request, response) => this.json(response, { keys: this.published })
    if (path === '/oauth/revocations') return (request, response) => this.feed(request, response)
    return (_request, response) => {
      response.writeHead(404).end()
    }
  }

  /** Answers like the feed: with the earlier events, then `: synced`, then each new event. */
  feed ({ headers }: IncomingMessage, response: ServerResponse) {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).write('retry: 1000\n\n')
    for (const event of this.events.slice(Number(headers['last-event-id'] ?? 0))) response.write(event)
    response.write(': synced\n\n')
    this.#streams.add(response)
    response.on('close', () => this.#streams.delete(response))
  }

  get readers () {
    return this.#streams.size
  }

  /** Writes to all readers of the feed. */
  write (part: string | Buffer) {
    for (const stream of this.#streams) stream.write(part)
  }

  /** Ends the connections of all readers: `end` closes them properly, `destroy` breaks them. */
  hangUp (end: 'end' | 'destroy' = 'destroy') {
    for (const stream of this.#streams) stream[end]()
  }

  /** Adds an event to the feed's past, and returns the text that current readers would get. */
  record (event: string, data: object): string {
    const text = `id: ${this.events.length + 1}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`
    this.events.push(text)
    return text
  }

  end (sid: string) {
    this.write(this.recordEnd(sid))
  }

  recordEnd (sid: string) {
    return this.record('session.ended', {
      sid,
      sub: 'somebody',
      reason: 'logout',
      ended_at: new Date(),
      expires_at: new Date(Date.now() + 900_000)
    })
  }

  /** The claims of a user's token, for the audience `urn:orders`. */
  claims (changes: object = {}) {
    const now = nowSeconds()
    return {
      iss: this.url,
      aud: 'urn:orders',
      sub: 'ada',
      client_id: 'latchkey',
      iat: now,
      exp: now + 900,
      jti: randomUUID(),
      scope: 'account orders:read',
      sid: randomUUID(),
      auth_time: now,
      amr: ['pwd'],
      roles: ['user'],
      ...changes
    }
  }

  token (changes: object = {}, key = this.key) {
    return compact(key.header, this.claims(changes), key.sign)
  }
}

/** Starts an issuer, which stops with the test. */
export async function start (t: Teardown, prepare: (issuer: Issuer) => void = () => {}): Promise<Issuer> {
  const issuer = new Issuer()
  prepare(issuer)
  t.teardown(async () => { await issuer.stop() })
  return await issuer.start()
}
