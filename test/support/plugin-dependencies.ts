import ts from 'typescript'
import { nodesOf, parse } from './architecture.ts'

/** A Fastify plugin of the project: what it declares, uses and names as its dependencies. */
export interface PluginSummary {
  name: string
  /** The decorators that it declares for the application, the request or the reply. */
  declared: string[]
  /** The members of the application, the request or the reply that it uses. */
  used: string[]
  dependencies: string[]
}

const decorated = ['FastifyInstance', 'FastifyRequest', 'FastifyReply']
// Names under which a plugin has the application, the request or the reply.
const holders = /^(app|request|reply|this|server|this\.request|reply\.request|request\.server|this\.server)$/

const isHolder = (node: ts.Node | undefined) => node !== undefined && holders.test(node.getText())

function declaredMembers (node: ts.Node): string[] {
  if (!ts.isModuleDeclaration(node) || node.name.text !== 'fastify') return []
  return nodesOf(node)
    .filter(ts.isInterfaceDeclaration)
    .filter(({ name }) => decorated.includes(name.text))
    .flatMap(({ members }) =>
      members.flatMap(({ name }) => (name && ts.isIdentifier(name) ? [name.text] : []))
    )
}

const boundNames = (pattern: ts.ObjectBindingPattern) =>
  pattern.elements.map(({ propertyName, name }) => (propertyName ?? name).getText())

/** `app.db`, `const { db } = app`, or `({ device }: FastifyRequest) => …`. */
function usedMembers (node: ts.Node): string[] {
  if (ts.isPropertyAccessExpression(node)) return isHolder(node.expression) ? [node.name.text] : []
  if (ts.isVariableDeclaration(node)) {
    return ts.isObjectBindingPattern(node.name) && isHolder(node.initializer) ? boundNames(node.name) : []
  }
  if (!ts.isParameter(node) || !ts.isObjectBindingPattern(node.name)) return []
  // The parameters of hooks and handlers have no type of their own. Those of plugins and helpers have one.
  return node.type === undefined || decorated.includes(node.type.getText()) ? boundNames(node.name) : []
}

/** The options in `fp(…, { name, dependencies })`. */
function pluginOptions (node: ts.Node): ts.ObjectLiteralExpression[] {
  if (!ts.isCallExpression(node) || node.expression.getText() !== 'fp') return []
  const [, options] = node.arguments
  return options && ts.isObjectLiteralExpression(options) ? [options] : []
}

function option (options: ts.ObjectLiteralExpression | undefined, name: string): string[] {
  const property = options?.properties.find(property => property.name?.getText() === name)
  if (!property || !ts.isPropertyAssignment(property)) return []
  return nodesOf(property.initializer)
    .filter(ts.isStringLiteral)
    .map(({ text }) => text)
}

export function summarizePlugin (file: string, text: string): PluginSummary {
  const nodes = nodesOf(parse(file, text))
  const [options] = nodes.flatMap(pluginOptions)
  const [name = file] = option(options, 'name')
  return {
    name,
    declared: nodes.flatMap(declaredMembers),
    used: [...new Set(nodes.flatMap(usedMembers))],
    dependencies: option(options, 'dependencies')
  }
}

/** A dependency that the use of decorators does not show, or a use that is no dependency. */
export interface DependencyExceptions {
  /** By plugin: what it must be registered after because of the order of hooks. */
  ordered: Record<string, string[]>
  /** By decorator of a package: the plugin that registers the package. */
  packages: Record<string, string>
}

/** The plugins whose `dependencies` are incomplete or superfluous, each with what is wrong. */
export function checkDependencies (
  plugins: readonly PluginSummary[],
  exceptions: DependencyExceptions
): string[] {
  const { ordered, packages } = exceptions
  const owners = new Map([
    ...Object.entries(packages),
    ...plugins.flatMap(({ name, declared }) => declared.map(decorator => [decorator, name] as const))
  ])
  return plugins
    .flatMap(({ name, used, dependencies }) => {
      const usedPlugins = used
        .flatMap(decorator => owners.get(decorator) ?? [])
        .filter(owner => owner !== name)
      const needed = new Set([...usedPlugins, ...(ordered[name] ?? [])])
      const missing = [...needed].filter(owner => !dependencies.includes(owner))
      const superfluous = dependencies.filter(owner => !needed.has(owner))
      return [
        ...missing.map(owner => `${name} lacks ${owner}`),
        ...superfluous.map(owner => `${name} does not use ${owner}`)
      ]
    })
    .sort()
}
