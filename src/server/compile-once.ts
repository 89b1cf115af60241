/**
 * Compiles each distinct schema once in the life of the process. Many routes have the same schemas, and
 * compiling them is most of what the start of a server costs. `build` makes the compiler for a set of shared
 * schemas; its options are the same for all servers of a process.
 */
export function compileOnce<Shared, Options, Route, Compiled> (
  build: (sharedSchemas: Shared, options: Options) => (route: Route) => Compiled
) {
  const compilers = new Map<string, (route: Route) => Compiled>()
  return (sharedSchemas: Shared, options: Options) => keep(compilers, JSON.stringify(sharedSchemas), () => {
    const compile = build(sharedSchemas, options)
    const compiled = new Map<string, Compiled>()
    return route => keep(compiled, JSON.stringify(Object(route).schema), () => compile(route))
  })
}

function keep<Value> (kept: Map<string, Value>, key: string, make: () => Value): Value {
  const known = kept.get(key)
  if (known !== undefined) return known
  const made = make()
  kept.set(key, made)
  return made
}
