# SPDX-License-Identifier: Apache-2.0
# The image of one service, or of eventctl: the program, its libraries and certificates, and nothing else.
#
#   docker build --build-arg PROGRAM=services/tickets -t turnstile-tickets .
#   docker build --build-arg PROGRAM=tools/eventctl --target tool -t turnstile-eventctl .
#
# `make images` builds all of them. What changes most comes last: after a change in a service's folder, only that folder
# is compiled.

# What the Makefile says; the build ends where the two differ.
ARG VERSION=0.1.0

FROM debian:bookworm-slim AS packages
RUN apt-get update && \
    apt-get install --yes --no-install-recommends ca-certificates gcc icu-devtools libc6-dev libcurl4-openssl-dev \
        libicu-dev libjansson-dev libjwt-dev libmicrohttpd-dev libmongoc-dev libnats-dev libsodium-dev libsqlite3-dev \
        libssl-dev make pkg-config && \
    rm -rf /var/lib/apt/lists/*

FROM packages AS icu
COPY infra/images/reduce-icu.sh infra/images/saslprep.c /images/
RUN /images/reduce-icu.sh /icu

FROM packages AS library
WORKDIR /source
COPY Makefile ./
COPY common common
RUN make -j"$(nproc)" build/release/libturnstile.a

FROM library AS program
COPY --from=icu /icu/ /icu/
COPY infra/images/assemble.sh infra/images/collect.sh infra/images/
ARG PROGRAM=the-build-argument-PROGRAM-is-missing
ARG VERSION
COPY ${PROGRAM} ${PROGRAM}
RUN infra/images/assemble.sh "$PROGRAM" "$VERSION"

FROM scratch AS tool
ENV PATH=/usr/local/bin
USER 65532:65532
ENTRYPOINT ["/program"]
COPY --from=program /runtime/ /
COPY --from=program /image/ /
ARG PROGRAM
ARG VERSION
LABEL org.opencontainers.image.title="turnstile ${PROGRAM}" \
      org.opencontainers.image.description="A program of Turnstile, a ticket marketplace of small services" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"

FROM tool AS service
ENV LISTEN_ADDRESS=0.0.0.0 PORT=3000
EXPOSE 3000
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s --retries=3 CMD ["/program", "--healthcheck"]
