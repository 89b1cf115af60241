/** Registers a handler that cleans up after a test or a benchmark. Handlers run in reverse order. */
export interface Teardown { teardown: (handler: () => unknown) => void }
