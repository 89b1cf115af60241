/**
 * A topic of effects, which follow the commit. A domain function publishes what this process must learn about
 * its change, such as ended sessions or new jobs. A transaction holds the values until it has committed, and
 * drops them if it rolls back. So no caller can forget them, and no listener acts on a change that failed.
 */
export interface Topic<Value> {
  readonly name: string
  /** The listeners of one hub. */
  listenersOf: (hub: object) => Array<(value: Value) => void>
}

export function createTopic<Value> (name: string): Topic<Value> {
  const listeners = new WeakMap<object, Array<(value: Value) => void>>()
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
  subscribe: <Value>(topic: Topic<Value>, listener: (value: Value) => void) => void
}

/** Values that wait for the commit of a transaction. */
export interface HeldEffects extends Publisher {
  /** Publishes the values in their order. */
  release: () => void
}

/**
 * Creates a hub of effects. Calls `onError` if a listener throws, because the change itself has succeeded.
 */
export function createEffectHub (onError: (error: unknown) => void): EffectHub {
  const hub: EffectHub = {
    publish (topic, value) {
      for (const listener of topic.listenersOf(hub)) {
        try {
          listener(value)
        } catch (error) {
          onError(error)
        }
      }
    },
    subscribe (topic, listener) {
      topic.listenersOf(hub).push(listener)
    }
  }
  return hub
}

/** Holds the published values until `release`. */
export function holdEffects (hub: Publisher): HeldEffects {
  const held: Array<() => void> = []
  return {
    publish: (topic, value) => { held.push(() => { hub.publish(topic, value) }) },
    release: () => { for (const publish of held.splice(0)) publish() }
  }
}
