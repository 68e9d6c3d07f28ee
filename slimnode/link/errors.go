package link

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Causes inside an [Error].
var (
	// ErrClosed is the end of a link by its own Close. It is also net.ErrClosed.
	ErrClosed = fmt.Errorf("link closed: %w", net.ErrClosed)
	// ErrNegotiation means that the peer did not negotiate as it should.
	ErrNegotiation = errors.New("link negotiation failed")
	// ErrNoKey means that the peer takes no part in the key agreement. It is also
	// ErrNegotiation.
	ErrNoKey = fmt.Errorf("%w: no key agreement", ErrNegotiation)
	// ErrTimeout means that the negotiation did not end in time. It is also
	// ErrNegotiation.
	ErrTimeout = fmt.Errorf("%w: no answer in time", ErrNegotiation)
	// ErrDenied means that the peer refuses us for good: PERMISSION_DENIED or
	// UNAUTHENTICATED. [Redial] gives up.
	ErrDenied = errors.New("refused by the peer")
	// ErrText means that a WebSocket peer sent a text frame.
	ErrText = errors.New("text frame")
)

// Error is a failure of a link. Its text is one line for people.
type Error struct {
	Op       string // "dial", "negotiate", "receive" or "send"
	Endpoint string // as it was dialled, or the address of the accepted peer
	Cause    error
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("link %s: %s", e.Op, explain(e.Cause, e.Endpoint))
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// explain turns the failures that newcomers meet into advice.
func explain(err error, endpoint string) string {
	var dns *net.DNSError
	var verify *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var record tls.RecordHeaderError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("connection refused: is a SLIM node running at %s?", endpoint)
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Sprintf("host %q is unknown (%s)", dns.Name, endpoint)
	case errors.As(err, &record):
		return fmt.Sprintf("%s does not speak TLS: use http:// or ws://?", endpoint)
	case errors.As(err, &unknown), errors.As(err, &verify):
		return fmt.Sprintf("certificate of %s is not trusted: %v", endpoint, err)
	case errors.Is(err, ErrNoKey):
		return fmt.Sprintf("%s: %v; a link without header integrity must be allowed on both sides", endpoint, err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, ErrTimeout):
		return fmt.Sprintf("no answer from %s in time", endpoint)
	case errors.Is(err, io.EOF):
		return fmt.Sprintf("%s ended the link", endpoint)
	case status.Code(err) == codes.Unimplemented:
		return fmt.Sprintf("%s speaks gRPC, but is no SLIM node", endpoint)
	}
	return fmt.Sprintf("%s: %s", endpoint, oneLine(err.Error()))
}

// oneLine cuts text that may come from the peer.
func oneLine(s string) string {
	const most = 300
	s = s[:min(len(s), 2*most)]
	s = strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

// wrap makes an [Error], unless err is one, and marks final refusals.
func wrap(op, endpoint string, err error) error {
	var e *Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	if c := status.Code(err); (c == codes.PermissionDenied || c == codes.Unauthenticated) && !errors.Is(err, ErrDenied) {
		err = fmt.Errorf("%w: %w", ErrDenied, err)
	}
	return &Error{Op: op, Endpoint: endpoint, Cause: err}
}

func refuse(why string) error { return fmt.Errorf("%w: %s", ErrNegotiation, why) }

// deniedError is our own final refusal of a peer; its text goes on the wire.
type deniedError struct{ text string }

func (e *deniedError) Error() string { return e.text }
func (e *deniedError) Unwrap() error { return ErrNegotiation }

// GRPCStatus makes the error the status of the stream.
func (e *deniedError) GRPCStatus() *status.Status { return status.New(codes.PermissionDenied, e.text) }

func denied(text string) error { return &deniedError{text} }
