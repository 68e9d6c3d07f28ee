# A SLIM node in one static file:
#   docker build -t slimbridge .
#   docker run --rm -p 46357:46357 slimbridge
#
# The image holds no shell and no interpreters, so `mcp serve` with a command
# needs an image of its own that has them and copies /slimbridge from here.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=0.0.0-dev
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=${VERSION}" -o /slimbridge ./bridge/cmd/slimbridge

FROM scratch
# For nodes behind https:// and wss://.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /slimbridge /slimbridge
USER 65532:65532
EXPOSE 46357
ENTRYPOINT ["/slimbridge"]
CMD ["node", "--listen", "0.0.0.0:46357"]
