import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import type { Teardown } from './teardown.ts'

/** A proxy before a database. It can refuse connections, freeze them, and lose a response. */
export async function flakyProxy (t: Teardown, url: string) {
  const { hostname, port } = new URL(url)
  const pairs = new Set<[Socket, Socket]>()
  let open = true
  let frozen = false
  let losing: RegExp | undefined
  const server = createServer(near => {
    if (!open) return near.destroy()
    const far = connect(Number(port), hostname)
    const pair: [Socket, Socket] = [near, far]
    pairs.add(pair)
    let lost = false
    near.on('data', chunk => {
      if (losing?.test(chunk.toString('latin1'))) lost = true
      if (!frozen) far.write(chunk)
    })
    // The statement has arrived, but its response is lost.
    far.on('data', chunk => { if (lost) near.destroy(); else if (!frozen) near.write(chunk) })
    for (const socket of pair) {
      socket
        .on('error', () => {})
        .on('close', () => {
          near.destroy()
          far.destroy()
          pairs.delete(pair)
        })
    }
    return undefined
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const proxyUrl = new URL(url)
  proxyUrl.port = String((server.address() as AddressInfo).port)
  const cut = () => { for (const pair of pairs) for (const socket of pair) socket.destroy() }
  t.teardown(() => { cut(); server.close() })
  return {
    url: proxyUrl.href,
    block () { open = false; cut() },
    unblock () { open = true },
    freeze () { frozen = true },
    thaw () { frozen = false; cut() },
    loseAnswers (to: RegExp | undefined) { losing = to }
  }
}
