package main

import (
	"context"

	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// dialApp makes an app with a shared secret. Its error is for the user.
func (p *program) dialApp(ctx context.Context, self name.Name, node string, secret identity.Secret) (*session.App, error) {
	id, err := identity.NewSharedSecret(secret, self.Path())
	if err != nil {
		return nil, err
	}
	app, err := session.Dial(ctx, session.Config{
		Name: self, Identity: id, Verifier: id, Node: node, Version: thisVersion(),
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
