# The server, its page and its configuration: docker build -t unibody .
#
# There is no PostgreSQL server in the image: give it DATABASE_URL, or DATABASE_URL_FILE as compose.yaml does.

FROM rust:1.95-bookworm AS build
# libz-ng-sys builds its C library with cmake.
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY Cargo.toml Cargo.lock build.rs ./
COPY migrations migrations
COPY src src
# `dev` builds in a fraction of the time, for trying the image out.
ARG PROFILE=release
# Dependencies stay built in the caches. Our own files must look new beside them: cargo judges by
# time, and another checkout's older file would otherwise leave that checkout's predecessor in place.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target,sharing=locked \
    find src migrations -type f -exec touch {} + \
    && cargo install --locked --path . --bin unibody --root /out --profile "$PROFILE"

# Trixie's PostgreSQL is version 17, as compose.yaml's: pg_dump must be at least as new as the server.
FROM debian:trixie-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends postgresql-client \
    && rm -rf /var/lib/apt/lists/*
RUN groupadd --gid 10001 unibody \
    && useradd --uid 10001 --gid 10001 --home-dir /srv/unibody --shell /usr/sbin/nologin unibody \
    && install -d -o unibody -g unibody -m 0700 /srv/unibody/certs /srv/unibody/data
# The certificate authorities that a database's or a CA's own certificate is checked against.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/bin/unibody /usr/local/bin/
WORKDIR /srv/unibody
COPY config.toml ./
COPY public public
# A number, so that Kubernetes' runAsNonRoot can tell.
USER 10001:10001
VOLUME ["/srv/unibody/certs", "/srv/unibody/data"]
EXPOSE 8080 8443
STOPSIGNAL SIGTERM
# The start may wait a minute for the database.
HEALTHCHECK --interval=10s --timeout=5s --start-period=75s --retries=3 CMD ["unibody", "healthcheck"]
ENTRYPOINT ["unibody"]
CMD ["serve"]
