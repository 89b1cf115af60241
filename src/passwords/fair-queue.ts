// Queues such as p-queue order work by priority or arrival. This one takes turns between networks, so that a flood
// from one does not delay the others.

/** What waits, by the network it came from: the networks are served in turn, and what is of one network in order. */
export interface FairQueue<T extends object> {
  readonly size: number
  add: (network: string, item: T) => void
  remove: (network: string, item: T) => void
  /** Takes out what is next; undefined where nothing waits. */
  next: () => T | undefined
  /** How many of this network wait. */
  depth: (network: string) => number
  /** How many would be served before one that this network added now. */
  ahead: (network: string) => number
}

export function fairQueue<T extends object> (): FairQueue<T> {
  // A Map keeps its order: the network in front is next, and goes to the end once it was served.
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
    add (network, item) {
      const items = networks.get(network)
      if (items) items.add(item)
      else networks.set(network, new Set([item]))
      size++
    },
    remove,
    next () {
      const [[network, items] = []] = networks
      const [item] = items ?? []
      if (network === undefined || !items || item === undefined) return undefined
      remove(network, item)
      networks.delete(network)
      if (items.size > 0) networks.set(network, items)
      return item
    },
    depth: network => networks.get(network)?.size ?? 0,
    ahead (network) {
      const depth = networks.get(network)?.size ?? 0
      let ahead = depth
      // Those in front have one turn more before it than those behind; a network that is new is at the end.
      let turns = depth + 1
      for (const [name, { size }] of networks) {
        if (name === network) turns--
        else ahead += Math.min(size, turns)
      }
      return ahead
    }
  }
}
