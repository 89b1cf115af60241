// In YAML 1.2 every JSON string is a double-quoted scalar. These names need no quotes in any version.
const plainName = /^(?!(?:true|false|null|yes|no|on|off)$)[A-Za-z][A-Za-z0-9_-]{1,63}$/i
const nameOf = (name: string) => plainName.test(name) ? name : JSON.stringify(name)

/** Writes a JSON value as a block of YAML 1.2. Undefined members are left out, as in JSON. */
export function stringifyYaml (value: unknown): string {
  return lines(value).join('\n') + '\n'
}

function lines (value: unknown): string[] {
  if (Array.isArray(value)) return value.length === 0 ? ['[]'] : value.flatMap(item => itemLines(lines(item)))
  if (typeof value !== 'object' || value === null) return [JSON.stringify(value) ?? 'null']
  const members = Object.entries(value).filter(([, member]) => member !== undefined)
  if (members.length === 0) return ['{}']
  return members.flatMap(([name, member]) => memberLines(nameOf(name), member))
}

function memberLines (name: string, member: unknown): string[] {
  const block = lines(member)
  const isEmpty = typeof member === 'object' && member !== null && Object.keys(member).length === 0
  const isScalar = typeof member !== 'object' || member === null || isEmpty
  return isScalar ? [`${name}: ${block[0]}`] : [`${name}:`, ...block.map(line => `  ${line}`)]
}

const itemLines = (block: string[]) => block.map((line, index) => (index === 0 ? '- ' : '  ') + line)
