package link

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
)

// certs makes a CA and a leaf for "node".
func certs(t *testing.T) (*x509.CertPool, tls.Certificate) {
	t.Helper()
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	caKey, leafKey := key(), key()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{"node"}, NotAfter: time.Now().Add(time.Hour)}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, leafKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(caDER)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(parsed)
	return pool, tls.Certificate{Certificate: [][]byte{leafDER}, PrivateKey: leafKey}
}

// noALPN serves TLS that selects no protocol, as the real node does.
type noALPN struct {
	net.Listener
	cfg *tls.Config
}

func (l noALPN) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return tls.Server(nc, l.cfg), nil
}

func TestTLS(t *testing.T) {
	pool, cert := certs(t)
	for _, ca := range carriers {
		secure := strings.NewReplacer("http:", "https:", "ws:", "wss:").Replace(ca.endpoint)
		serve := func(t *testing.T, h *Server, l net.Listener) (stop func()) {
			done := make(chan error)
			go func() {
				if ca.name == "grpc" {
					done <- h.ServeGRPC(l)
				} else {
					done <- h.ServeWebSocket(l, "/slim")
				}
			}()
			return func() {
				if err := errors.Join(h.Shutdown(context.Background()), <-done); err != nil {
					t.Error(err)
				}
			}
		}
		handle := func(ctx context.Context, c *Conn) {
			for {
				f, err := c.Recv(ctx)
				if err != nil || c.Send(ctx, f) != nil {
					return
				}
			}
		}
		// In-memory connections will not do: the TLS layer takes their expired
		// deadlines, which net/http uses when it hands a connection over, for good.
		listen := func() (net.Listener, func(context.Context, string) (net.Conn, error)) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			return l, func(ctx context.Context, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String())
			}
		}
		echo := func(t *testing.T, dial func(context.Context, string) (net.Conn, error)) {
			t.Helper()
			c, err := Dial(t.Context(), secure, DialConfig{NetDial: dial, TLS: &tls.Config{RootCAs: pool}})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			mustSend(t, c, publish([]byte("hello")))
			if got := blob(t, mustRecv(t, c)); got != "hello" {
				t.Errorf("echo %q", got)
			}
		}
		t.Run(ca.name, func(t *testing.T) {
			s, err := NewServer(ServerConfig{Handle: handle, TLS: &tls.Config{Certificates: []tls.Certificate{cert}}})
			if err != nil {
				t.Fatal(err)
			}
			l, dial := listen()
			defer serve(t, s, l)()
			echo(t, dial)
			_, err = Dial(t.Context(), secure, DialConfig{NetDial: dial})
			if err == nil || !strings.Contains(err.Error(), "is not trusted") {
				t.Errorf("without the CA: %v", err)
			}
			if _, err := Dial(t.Context(), ca.endpoint, DialConfig{NetDial: dial}); err == nil {
				t.Error("plain text was accepted")
			}
		})
		t.Run(ca.name+" without ALPN", func(t *testing.T) {
			s, err := NewServer(ServerConfig{Handle: handle})
			if err != nil {
				t.Fatal(err)
			}
			l, dial := listen()
			defer serve(t, s, noALPN{l, &tls.Config{Certificates: []tls.Certificate{cert}}})()
			echo(t, dial)
			_, err = Dial(t.Context(), strings.Replace(secure, "node", "other", 1), DialConfig{NetDial: dial, TLS: &tls.Config{RootCAs: pool}})
			if err == nil || !strings.Contains(err.Error(), "is not trusted") {
				t.Errorf("another host name: %v", err)
			}
		})
	}
}
