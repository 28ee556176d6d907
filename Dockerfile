# Two stages: Node 24 builds, and what runs is glibc, one node binary and this program: no npm, no compiler,
# no shell needed. Any glibc base serves, so a distroless one can be given:
#   docker build --build-arg RUNTIME_IMAGE=… -t vllm-vitals .
# A musl base would not do, for nvidia-smi and the driver's libraries, which the NVIDIA runtime mounts into the
# container, need glibc.
ARG NODE_IMAGE=node:24-bookworm-slim
ARG RUNTIME_IMAGE=debian:bookworm-slim

FROM $NODE_IMAGE AS build
WORKDIR /opt/vllm-vitals
COPY package.json package-lock.json .npmrc ./
# No dependency needs its install scripts, so none may run.
RUN ["npm", "ci", "--ignore-scripts"]
COPY tsconfig.json ./
COPY src ./src
RUN ["node_modules/.bin/tsc", "-p", "tsconfig.json"]
# npm ci begins by removing node_modules, and with it the compiler.
RUN ["npm", "ci", "--omit=dev", "--ignore-scripts"]
# What vllm_vitals_build_info tells beside the version: --build-arg REVISION="$(git rev-parse HEAD)".
ARG REVISION=unknown
RUN ["node", "-e", "const fs = require('node:fs'); const manifest = JSON.parse(fs.readFileSync('package.json', 'utf8')); fs.writeFileSync('package.json', JSON.stringify({ ...manifest, revision: process.env.REVISION }))"]

FROM $RUNTIME_IMAGE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="vllm-vitals" \
      org.opencontainers.image.description="The monitor beside vLLM: latency quantiles with bounds, GPU state, health and alerts" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The NVIDIA runtime reads these two: every GPU is visible and nvidia-smi is there, yet no GPU is taken from vLLM.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=utility \
    NODE_ENV=production
COPY --from=build /usr/local/bin/node /usr/local/bin/node
WORKDIR /opt/vllm-vitals
COPY --from=build /opt/vllm-vitals/package.json ./package.json
COPY --from=build /opt/vllm-vitals/node_modules ./node_modules
COPY --from=build /opt/vllm-vitals/dist ./dist
COPY LICENSE ./LICENSE
COPY docs/runbooks ./docs/runbooks
# Nothing is ever written, so a read-only root and any user id will do. A number lets Kubernetes see that it is not root.
USER 65532:65532
EXPOSE 19400
STOPSIGNAL SIGTERM
# Liveness alone: restarting the monitor would not mend vLLM. The port follows VLLM_VITALS_WEB_LISTEN.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 \
  CMD ["/usr/local/bin/node", "-e", "const port = /:(\\d+)$/.exec((process.env.VLLM_VITALS_WEB_LISTEN || ':19400').split(',')[0].trim()); const request = require('node:http').get({ host: '127.0.0.1', port: port ? port[1] : 19400, path: '/livez', timeout: 4000 }, (answer) => process.exit(answer.statusCode === 200 ? 0 : 1)); request.on('timeout', () => process.exit(1)); request.on('error', () => process.exit(1))"]
ENTRYPOINT ["/usr/local/bin/node", "/opt/vllm-vitals/dist/src/main.js"]
CMD ["serve"]
