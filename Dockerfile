# The operator's image: one static binary and the certificate authorities, and nothing else.
#
#   docker build --tag registry.example.com/backstop:0.1.0 .
#
# Not built by the pipeline of this repository, which writes the same files into an archive without an engine
# (`cargo xtask image`); a test compares the two. The musl toolchain is that of the image's own platform, so
# `docker buildx build --platform linux/amd64,linux/arm64` makes both.
FROM rust:1.95.0-alpine AS build
# ring, the TLS provider, has parts in C.
RUN apk add --no-cache build-base ca-certificates
WORKDIR /src
COPY . .
# rust-toolchain.toml asks for lints and the formatter as well, which nobody needs here.
RUN rm rust-toolchain.toml \
    && cargo build --release --locked --package backstop-controller --bin backstop \
    && strip target/release/backstop

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/target/release/backstop /backstop
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/backstop"]
