#!/usr/bin/env bash
# Compiles services that install the verifier as other services do, and runs them against a Latchkey: a
# Fastify service with `latchkey/verifier` and with `@latchkey/verifier/fastify`, and the Express example with
# `@latchkey/verifier` and nothing else of Latchkey.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
folder=$(mktemp -d)
port=$((20000 + RANDOM % 10000))
express_port=$((port + 1))
issuer=http://localhost:$port
orders=http://127.0.0.1:$express_port
pids=()
trap 'for pid in "${pids[@]}"; do kill "$pid" && wait "$pid" || true; done; rm -rf "$folder"' EXIT

fail() { echo "FAILED $*" >&2; exit 1; }

wait_for() {
  for _ in $(seq 200); do
    curl -sf -o /dev/null "$1" && return
    sleep 0.1
  done
  fail "$1 does not answer"
}

npm pack --ignore-scripts --silent --pack-destination "$folder" >/dev/null
npm pack --silent --workspace @latchkey/verifier --pack-destination "$folder" >/dev/null
verifier=$(ls "$folder"/latchkey-verifier-*.tgz)
latchkey=$(ls "$folder"/latchkey-[0-9]*.tgz)

# Compiles the Fastify service with the verifier imported from a package, which is unpacked for it. What the
# package depends on is found further up, in this folder; the package itself is not.
compile_service() {
  local name=$1 module=$2 tarball=$3 to=$root/generated/$1
  rm -rf "$to"
  mkdir -p "$to/node_modules/${module%/*}"
  tar -xzf "$tarball" --strip-components=1 -C "$to/node_modules/${module%/*}"
  echo "{ \"name\": \"$name\", \"private\": true, \"type\": \"module\" }" > "$to/package.json"
  cp test/consuming-service/tsconfig.json "$to"
  sed "s#latchkey/verifier#$module#" test/consuming-service/service.ts > "$to/service.ts"
  npx --no-install tsc -p "$to"
}
compile_service consuming-service latchkey/verifier "$latchkey"
compile_service consuming-service-of-verifier @latchkey/verifier/fastify "$verifier"

# The Express example is outside this folder, so it finds only what npm installs for it.
cp -r examples/express-service "$folder/express-service"
(
  cd "$folder/express-service"
  npm install --silent --no-audit --no-fund --no-save "$verifier"
  npx --no-install tsc -p .
)
for package in latchkey fastify pg argon2; do
  [ ! -e "$folder/express-service/node_modules/$package" ] || fail "the Express example has $package"
done

mkdir "$folder/latchkey"
cd "$folder/latchkey"
PORT=$port ISSUER_URL=$issuer LOG_LEVEL=warn node "$root/dist/src/latchkey.cjs" serve &
pids+=($!)
wait_for "$issuer/readyz"

node "$root/generated/consuming-service/service.js" "$issuer"
node "$root/generated/consuming-service-of-verifier/service.js" "$issuer"

client=$(node "$root/dist/src/latchkey.cjs" clients create --name orders --scope revocations --json)
member() { node -p "JSON.parse(process.argv[1]).$2" "$1"; }
# It asks at another address than the issuer's, as a service in the same network does.
ISSUER_URL=$issuer DISCOVERY_URL=http://127.0.0.1:$port PORT=$express_port \
  CLIENT_ID=$(member "$client" client_id) CLIENT_SECRET=$(member "$client" client_secret) \
  node "$folder/express-service/server.js" &
pids=($! "${pids[@]}")
wait_for "$orders/health"

session=$(curl -sS --fail-with-body "$issuer/v1/auth/register" -H 'content-type: application/json' \
  -d '{"email": "express@example.com", "password": "a phrase for the example"}')
bearer="authorization: Bearer $(member "$session" access_token)"
status() { curl -s -o "$folder/answer" -w '%{http_code}' "$@"; }
expect() { [ "$1" = "$2" ] || fail "$3: $1 instead of $2, $(cat "$folder/answer")"; }
expect "$(status "$orders/orders" -H "$bearer")" 200 'a user'
expect "$(member "$(cat "$folder/answer")" owner)" "$(member "$session" user.id)" 'the owner'
expect "$(status "$orders/orders")" 401 'no token'
expect "$(status "$orders/orders" -H "${bearer}x")" 401 'a changed token'
expect "$(status "$orders/orders/all" -H "$bearer")" 403 'another role'
curl -s -i "$orders/orders" | grep -qi '^www-authenticate: Bearer realm="latchkey"' || fail 'no challenge'
curl -sS --fail-with-body -X POST "$issuer/v1/auth/logout" -H "$bearer"
for _ in $(seq 50); do
  [ "$(status "$orders/orders" -H "$bearer")" = 401 ] && break
  sleep 0.1
done
expect "$(status "$orders/orders" -H "$bearer")" 401 'a user who has signed out'
echo "The Express example knows users by their tokens, and when they sign out."
