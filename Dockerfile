# syntax=docker/dockerfile:1
# One image, one binary: `docker build -t qianli .`
#
# Written on a machine without a Docker engine: it has not been built or run there. If a line is wrong,
# please say so in an issue.

# --- The viewer: the pinned npm package, unpacked and compressed by the script that `make viewer` runs.
FROM node:20-bookworm-slim AS viewer
RUN apt-get update && apt-get install -y --no-install-recommends brotli \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY scripts/lib.sh scripts/viewer scripts/
RUN QIANLI_CACHE=/tmp/cache scripts/viewer /viewer && rm -rf /tmp/cache

# --- The binary. The mounts keep the registry and the compiled dependencies between builds.
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin qianli && cp target/release/qianli /usr/local/bin/qianli

# --- What runs: no shell tools of ours, no root, one writable folder.
FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates tzdata \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --home-dir /data --shell /usr/sbin/nologin qianli \
    && install -d -o qianli -g qianli /data
COPY --from=build /usr/local/bin/qianli /usr/local/bin/qianli
COPY --from=viewer /viewer /usr/share/qianli/viewer
COPY sample-dicom /usr/share/qianli/sample-dicom
COPY LICENSE /usr/share/qianli/LICENSE
USER qianli
WORKDIR /data
VOLUME /data
ENV QIANLI_DATA=/data \
    QIANLI_VIEWER=/usr/share/qianli/viewer \
    QIANLI_DEMO_FOLDER=/usr/share/qianli/sample-dicom
# As it starts here it listens on loopback only: run it with the host's network, or give it TLS and
# addresses (see qianli.toml). With loopback, publishing ports would reach nothing.
EXPOSE 8080 11112
# SIGTERM drains: stores under way are finished within QIANLI_DRAIN_TIMEOUT (30 s by default).
STOPSIGNAL SIGTERM
ENTRYPOINT ["qianli"]
CMD ["serve"]
