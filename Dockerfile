# The last stage builds the image from source. The stage "released" builds it from the binaries of a release, which
# goreleaser puts next to this file as linux/amd64/rufus_exporter and so on. Both give the same image, bit for bit.

# The Go version of go.mod, by its full name, which podman needs. It is pinned by tag: no registry could be reached to
# look up its digest. Only the program and the certificates of this stage get into the image.
FROM --platform=$BUILDPLATFORM docker.io/library/golang:1.26.8 AS go

FROM go AS built
ARG TARGETOS TARGETARCH
ARG VERSION REVISION BUILD_DATE
WORKDIR /src
RUN --mount=type=bind,target=/src \
    --mount=type=cache,target=/go/pkg/mod \
    --mount=type=cache,target=/root/.cache/go-build \
    version=github.com/prometheus/common/version && \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false -o /rufus_exporter \
    -ldflags="-s -w -X $version.Version=$VERSION -X $version.Revision=$REVISION -X $version.BuildDate=$BUILD_DATE" .

FROM scratch AS image
ARG VERSION REVISION BUILD_DATE SOURCE
LABEL org.opencontainers.image.title="rufus_exporter" \
      org.opencontainers.image.description="Prometheus exporter for race timing sessions of the RUFUS Cloud API" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$BUILD_DATE" \
      org.opencontainers.image.source="$SOURCE"
COPY --from=go /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
# By number, so that Kubernetes can see that it is not root. Nothing is written: the root may be read-only.
USER 65532:65532
EXPOSE 10210
HEALTHCHECK --interval=30s --timeout=5s --start-period=5s CMD ["/rufus_exporter", "--health-check"]
ENTRYPOINT ["/rufus_exporter"]
CMD ["--config.file=/etc/rufus_exporter/sessions.yml"]

FROM image AS released
ARG TARGETPLATFORM
COPY $TARGETPLATFORM/rufus_exporter /

FROM image
COPY --from=built /rufus_exporter /
