type Compiled = ((value: never) => unknown) & { errors?: unknown }

/**
 * Compiles each distinct schema once in the life of the process, when it is first used. Many routes have the
 * same schemas, and compiling all of them is most of what the start of a server would cost. `build` makes the
 * compiler for a set of shared schemas; its options are the same for all servers of a process.
 */
export function compileOnce<Shared, Options, Route, Result extends Compiled> (
  build: (sharedSchemas: Shared, options: Options) => (route: Route) => Result
) {
  const compilers = new Map<string, (route: Route) => Result>()
  const createCompiler = (sharedSchemas: Shared, options: Options) => {
    let compile: ((route: Route) => Result) | undefined
    const compiled = new Map<string, Result>()
    return (route: Route) => getOrMake(compiled, JSON.stringify(Object(route).schema), () =>
      onFirstCall(() => (compile ??= build(sharedSchemas, options))(route)))
  }
  return (sharedSchemas: Shared, options: Options) =>
    getOrMake(compilers, JSON.stringify(sharedSchemas), () => createCompiler(sharedSchemas, options))
}

/** Returns a function that is made when it is first called. A validator leaves its errors on itself. */
function onFirstCall<Result extends Compiled> (make: () => Result): Result {
  let made: Result | undefined
  const call: Compiled = (value: never) => {
    made ??= make()
    const result = made(value)
    call.errors = made.errors
    return result
  }
  return call as Result
}

function getOrMake<Value> (cache: Map<string, Value>, key: string, make: () => Value): Value {
  const known = cache.get(key)
  if (known !== undefined) return known
  const made = make()
  cache.set(key, made)
  return made
}
