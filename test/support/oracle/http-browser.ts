import type { Answer, Browser } from '../client.ts'

/** A browser like that of `client.ts`, for a server that listens on a port. */
export class HttpBrowser implements Pick<Browser, 'get' | 'post'> {
  readonly #base: string
  readonly #jar = new Map<string, string>()
  constructor (base: string) {
    this.#base = base
  }

  async #send (path: string, { headers, ...init }: RequestInit & { headers?: Record<string, string> }) {
    const cookie = [...this.#jar].map(([name, value]) => `${name}=${value}`).join('; ')
    const response = await fetch(new URL(path, this.#base), {
      ...init, redirect: 'manual', headers: { ...cookie !== '' && { cookie }, ...headers }
    })
    const cookies = response.headers.getSetCookie()
    for (const line of cookies) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      if (value === '') this.#jar.delete(name)
      else this.#jar.set(name, value)
    }
    const text = await response.text()
    const isJson = /json/.test(response.headers.get('content-type') ?? '')
    const answer: Answer = {
      status: response.status,
      headers: Object.fromEntries(response.headers),
      cookies,
      text,
      body: isJson && text !== '' ? JSON.parse(text) : undefined
    }
    return answer
  }

  get = async (path: string, headers: Record<string, string> = {}) =>
    await this.#send(path, { method: 'GET', headers })

  post = async (path: string, body?: unknown, headers: Record<string, string> = {}) =>
    await this.#send(path, { method: 'POST', headers, ...typeof body === 'string' && { body } })
}
