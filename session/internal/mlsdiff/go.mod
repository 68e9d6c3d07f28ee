module github.com/slimbridge/slimbridge/session/internal/mlsdiff

go 1.26.0

require (
	github.com/slimbridge/slimbridge v0.0.0
	github.com/thomas-vilte/mls-go v1.6.0
)

require (
	golang.org/x/crypto v0.57.0 // indirect
	golang.org/x/sys v0.50.0 // indirect
)

replace github.com/slimbridge/slimbridge => ../../..
