package spiffe_test

import (
	"context"
	"fmt"
	"time"

	"github.com/slimbridge/slimbridge/session/identity/spiffe"
)

// It needs a SPIRE agent, so it is compiled but not run.
func ExampleOpen() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	me, err := spiffe.Open(ctx, spiffe.Config{
		Addr:         "/run/spire/agent.sock",
		TrustDomains: []string{"example.org"}, // and no federated ones
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer me.Close()

	token, err := me.Token(time.Now())
	if err != nil {
		fmt.Println(err)
		return
	}
	claims, err := me.Verify(token, time.Now())
	fmt.Println(claims.Subject, err) // spiffe://example.org/..
}
