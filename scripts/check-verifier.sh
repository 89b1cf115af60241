#!/usr/bin/env bash
# Packs the package, and has a service that imports `latchkey/verifier` from it compiled and run against a Latchkey.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
consumer=$root/generated/consuming-service
rm -rf "$consumer"
mkdir -p "$consumer/node_modules/latchkey"
npm pack --ignore-scripts --silent --pack-destination "$consumer" >/dev/null
tar -xzf "$consumer"/latchkey-*.tgz --strip-components=1 -C "$consumer/node_modules/latchkey"
# What the package depends on is found further up; the package itself is not.
echo '{ "name": "consuming-service", "private": true, "type": "module" }' > "$consumer/package.json"
cp test/consuming-service/* "$consumer"
npx --no-install tsc -p "$consumer"

folder=$(mktemp -d)
port=$((20000 + RANDOM % 10000))
(cd "$folder" && PORT=$port ISSUER_URL=http://localhost:$port LOG_LEVEL=warn exec node "$root/dist/src/latchkey.cjs" serve) &
service=$!
trap 'kill "$service" && wait "$service" || true; rm -rf "$folder"' EXIT
for _ in $(seq 200); do
  curl -sf -o /dev/null "http://127.0.0.1:$port/readyz" && break
  sleep 0.1
done
(cd "$consumer" && node service.js "http://localhost:$port")
