// Queues such as p-queue order work by priority or arrival. This one takes turns between networks, so that a
// flood from one does not delay the others.

/** A queue that serves networks round-robin, and the items of one network first in, first out. */
export interface FairQueue<T extends object> {
  readonly size: number
  enqueue: (network: string, item: T) => void
  /** Removes an item; does nothing if it does not wait. */
  remove: (network: string, item: T) => void
  /** Removes the next item and returns it; undefined if the queue is empty. */
  dequeue: () => T | undefined
  /** Returns how many items of this network wait. */
  depth: (network: string) => number
  /** Returns how many items would be served before one that this network added now. */
  countAhead: (network: string) => number
}

/** An empty queue. */
export function fairQueue<T extends object> (): FairQueue<T> {
  // A Map keeps its order: the first network is served next, and moves to the end once it was served.
  const networks = new Map<string, Set<T>>()
  let size = 0

  const remove = (network: string, item: T) => {
    const items = networks.get(network)
    if (!items?.delete(item)) return
    size--
    if (items.size === 0) networks.delete(network)
  }

  return {
    get size () { return size },
    enqueue (network, item) {
      const items = networks.get(network)
      if (items) items.add(item)
      else networks.set(network, new Set([item]))
      size++
    },
    remove,
    dequeue () {
      const [[network, items] = []] = networks
      const [item] = items ?? []
      if (network === undefined || !items || item === undefined) return undefined
      remove(network, item)
      networks.delete(network)
      if (items.size > 0) networks.set(network, items)
      return item
    },
    depth: network => networks.get(network)?.size ?? 0,
    countAhead (network) {
      const depth = networks.get(network)?.size ?? 0
      let ahead = depth
      // Until the new item is served, each network before its own has one round more than each network
      // behind. A network without items joins at the end.
      let rounds = depth + 1
      for (const [name, { size }] of networks) {
        if (name === network) rounds--
        else ahead += Math.min(size, rounds)
      }
      return ahead
    }
  }
}
