import type { FastifyInstance } from 'fastify'
import { contradiction } from './contract.ts'

type Method = 'GET' | 'POST' | 'PATCH' | 'PUT' | 'DELETE' | 'HEAD' | 'OPTIONS'

/** The response of a route. */
export interface Answer {
  status: number
  headers: Record<string, string | string[] | number | undefined>
  cookies: string[]
  text: string
  /** The JSON of the response. `send` checks it against the API document. */
  body: any // one of a hundred kinds, whose types would only repeat the API document
}

/** A small browser: it keeps the cookies it is given and sends them back. */
export class Browser {
  app: FastifyInstance
  readonly jar = new Map<string, string>()
  accessToken: string | undefined

  constructor (app: FastifyInstance) {
    this.app = app
  }

  async send (
    method: Method,
    url: string,
    body?: unknown,
    headers: Record<string, string> = {}
  ): Promise<Answer> {
    const cookie = [...this.jar].map(([name, value]) => `${name}=${value}`).join('; ')
    const response = await this.app.inject({
      method,
      url,
      headers: {
        ...(cookie && { cookie }),
        ...(this.accessToken !== undefined && { authorization: `Bearer ${this.accessToken}` }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers
      },
      ...(body !== undefined && {
        payload: typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body)
      })
    })
    const cookies = [response.headers['set-cookie'] ?? []].flat()
    for (const line of cookies) {
      const [pair = ''] = line.split(';')
      const [name = '', value = ''] = pair.split('=')
      if (/max-age=0/i.test(line)) {
        this.jar.delete(name)
      } else {
        this.jar.set(name, value)
      }
    }
    const json = response.payload !== '' && /json/.test(String(response.headers['content-type']))
    const answer = {
      status: response.statusCode,
      headers: response.headers,
      cookies,
      text: response.payload,
      body: json ? response.json() : undefined
    }
    const fault = contradiction(this.app, method, url, answer)
    if (fault !== undefined) {
      throw new Error(
        `${method} ${url} answered ${answer.status} ${answer.text.slice(
          0,
          200
        )}, but the API document ${fault}`
      )
    }
    return answer
  }

  get = async (url: string, headers?: Record<string, string>) =>
    await this.send('GET', url, undefined, headers)

  post = async (url: string, body?: unknown, headers?: Record<string, string>) =>
    await this.send('POST', url, body, headers)

  delete = async (url: string, headers?: Record<string, string>) =>
    await this.send('DELETE', url, undefined, headers)

  patch = async (url: string, body?: unknown, headers?: Record<string, string>) =>
    await this.send('PATCH', url, body, headers)
}
