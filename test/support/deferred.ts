export interface Deferred { promise: Promise<void>, resolve: () => void, reject: (error: Error) => void }

/** Returns a promise with the functions that settle it. */
export function deferred (): Deferred {
  let [resolve, reject]: [() => void, (error: Error) => void] = [() => {}, () => {}]
  const promise = new Promise<void>((...settlers) => { [resolve, reject] = settlers })
  return { promise, resolve, reject }
}
