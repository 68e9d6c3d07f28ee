package main

import (
	"context"
	"fmt"

	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// dialApp makes an app. Its error is for the user.
func (p *program) dialApp(ctx context.Context, self name.Name, node string, creds credentials) (*session.App, error) {
	id, verifier, err := creds.of(self)
	if err != nil {
		return nil, err
	}
	if !fits(id.Subject(), self) {
		fmt.Fprintf(p.stderr, "slimbridge: warning: our identity is %s, which is not our name %s: peers that check this refuse us\n", printable([]byte(id.Subject())), self.Path())
	}
	app, err := session.Dial(ctx, session.Config{
		Name: self, Identity: id, Verifier: verifier, Node: node, Version: thisVersion(),
		Logger: p.log.With().Str("app", self.Path()).Logger(),
	})
	if err != nil {
		return nil, unreachable(node, err)
	}
	return app, nil
}

// appOr is why the app ended, which says more than what it did to a listener, or
// else err.
func appOr(app *session.App, err error) error {
	if cause := app.Err(); cause != nil {
		return cause
	}
	return err
}
