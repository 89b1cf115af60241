/**
 * A topic of effects, which follow the commit. A domain function publishes what this process must learn about
 * its change, such as ended sessions or new jobs. A transaction holds the values until it has committed, and
 * drops them if it rolls back. So no caller can forget them, and no listener acts on a change that failed.
 */
export interface Topic<Value> {
  readonly name: string
  /** The listeners of one hub. */
  listenersOf: (hub: object) => Array<Listener<Value>>
}

/** Acts on a change. A transaction ends only when its listeners have finished. */
export type Listener<Value> = (value: Value) => void | Promise<void>

/** Creates a topic. Each hub has its own listeners for it. */
export function createTopic<Value> (name: string): Topic<Value> {
  const listeners = new WeakMap<object, Array<Listener<Value>>>()
  return {
    name,
    listenersOf (hub) {
      const ofHub = listeners.get(hub) ?? []
      listeners.set(hub, ofHub)
      return ofHub
    }
  }
}

export interface Publisher {
  /** Hands a value to the topic's subscribers: at once, or after the commit in a transaction. */
  publish: <Value>(topic: Topic<Value>, value: Value) => void
}

export interface EffectHub extends Publisher {
  /** Calls `listener` with each value that is published on the topic from now on. */
  subscribe: <Value>(topic: Topic<Value>, listener: Listener<Value>) => void
}

export interface DeliveringHub extends EffectHub {
  /** Publishes a value, and waits until its listeners have finished. */
  deliver: <Value>(topic: Topic<Value>, value: Value) => Promise<void>
}

/** Values that wait for the commit of a transaction. */
export interface HeldEffects extends Publisher {
  /** Publishes the values in their order, and waits until their listeners have finished. */
  release: () => Promise<void>
}

/**
 * Creates a hub of effects. Calls `onError` if a listener fails, because the change itself has succeeded.
 */
export function createEffectHub (onError: (error: unknown) => void): DeliveringHub {
  const hub: DeliveringHub = {
    publish (topic, value) { void hub.deliver(topic, value) },
    // All listeners are called before the first wait, so that values arrive in their order.
    async deliver (topic, value) {
      await Promise.all(topic.listenersOf(hub).map(async listener => {
        try {
          await listener(value)
        } catch (error) {
          onError(error)
        }
      }))
    },
    subscribe (topic, listener) {
      topic.listenersOf(hub).push(listener)
    }
  }
  return hub
}

/** Holds the published values until `release`. */
export function holdEffects (hub: DeliveringHub): HeldEffects {
  const held: Array<() => Promise<void>> = []
  return {
    publish: (topic, value) => { held.push(async () => { await hub.deliver(topic, value) }) },
    release: async () => { await Promise.all(held.splice(0).map(async deliver => { await deliver() })) }
  }
}
