//lint:file-ignore SA1019 the scenario covers roots, sampling, logging and subscriptions of the revisions before 2026-07-28 on purpose

package realmcp

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// legacyVersion is the last revision that begins with initialize.
const legacyVersion = "2025-11-25"

// RunGoSDK runs the scenario with github.com/modelcontextprotocol/go-sdk. Unless s.Legacy is set the client begins with
// server/discover.
func RunGoSDK(ctx context.Context, s Server) Report {
	ctx, cancel := context.WithCancel(ctx) // kills the command if its Close does not end it
	defer cancel()
	var stderr output
	r := runScenario(ctx, "go-sdk", func(checkCtx context.Context, ev *events) (client, string, error) {
		c := goSDKClient(ev)
		transport := &mcp.CommandTransport{Command: s.command(ctx, &stderr), TerminateDuration: 5 * time.Second}
		options := &mcp.ClientSessionOptions{}
		if s.Legacy {
			options.ProtocolVersion = legacyVersion
		}
		session, err := c.Connect(checkCtx, transport, options)
		if err != nil {
			return nil, "", err
		}
		return goSDK{session}, session.InitializeResult().ServerInfo.Name, nil
	})
	r.Stderr = stderr.String()
	return r
}

func goSDKClient(ev *events) *mcp.Client {
	c := mcp.NewClient(&mcp.Implementation{Name: "realmcp-go-sdk", Version: "1"}, &mcp.ClientOptions{
		CreateMessageHandler: func(_ context.Context, r *mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
			prompt, _ := r.Params.Messages[0].Content.(*mcp.TextContent)
			return &mcp.CreateMessageResult{
				Model: "realmcp", Role: "assistant", Content: &mcp.TextContent{Text: samplePfx + " " + prompt.Text},
			}, nil
		},
		ElicitationHandler: func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			return &mcp.ElicitResult{Action: "accept", Content: map[string]any{"name": answerer}}, nil
		},
		ResourceUpdatedHandler: func(_ context.Context, r *mcp.ResourceUpdatedNotificationRequest) {
			offer(ev.updates, r.Params.URI)
		},
		LoggingMessageHandler: func(_ context.Context, r *mcp.LoggingMessageRequest) {
			offer(ev.logs, fmt.Sprint(r.Params.Data))
		},
		ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) {
			offer(ev.progress, r.Params.Progress)
		},
	})
	c.AddRoots(&mcp.Root{URI: rootURI, Name: "realmcp"})
	c.AddReceivingMiddleware(func(next mcp.MethodHandler) mcp.MethodHandler {
		return func(ctx context.Context, method string, r mcp.Request) (mcp.Result, error) {
			if method == "roots/list" {
				offer(ev.roots, struct{}{})
			}
			return next(ctx, method, r)
		}
	})
	return c
}

type goSDK struct {
	s *mcp.ClientSession
}

func (c goSDK) Ping(ctx context.Context) error { return c.s.Ping(ctx, nil) }

func (c goSDK) Close() error { return c.s.Close() }

func (c goSDK) Tools(ctx context.Context) (names []string, err error) {
	for t, err := range c.s.Tools(ctx, nil) {
		if err != nil {
			return nil, err
		}
		names = append(names, t.Name)
	}
	return names, nil
}

func (c goSDK) Call(ctx context.Context, what call) (result, error) {
	params := &mcp.CallToolParams{Name: what.tool, Arguments: what.args}
	if what.progress != "" {
		params.SetProgressToken(what.progress)
	}
	got, err := c.s.CallTool(ctx, params)
	if err != nil {
		return result{}, err
	}
	r := result{structured: got.StructuredContent, failed: got.IsError}
	for _, item := range got.Content {
		switch item := item.(type) {
		case *mcp.TextContent:
			r.text += item.Text
		case *mcp.ImageContent:
			r.image = base64.StdEncoding.EncodeToString(item.Data)
		}
	}
	return r, nil
}

func (c goSDK) Resources(ctx context.Context) (uris []string, err error) {
	for r, err := range c.s.Resources(ctx, nil) {
		if err != nil {
			return nil, err
		}
		uris = append(uris, r.URI)
	}
	return uris, nil
}

func (c goSDK) Read(ctx context.Context, uri string) (string, error) {
	r, err := c.s.ReadResource(ctx, &mcp.ReadResourceParams{URI: uri})
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for _, item := range r.Contents {
		text.WriteString(item.Text)
	}
	return text.String(), nil
}

func (c goSDK) Templates(ctx context.Context) (templates []string, err error) {
	for t, err := range c.s.ResourceTemplates(ctx, nil) {
		if err != nil {
			return nil, err
		}
		templates = append(templates, t.URITemplate)
	}
	return templates, nil
}

func (c goSDK) Subscribe(ctx context.Context, uri string) error {
	return c.s.Subscribe(ctx, &mcp.SubscribeParams{URI: uri})
}

func (c goSDK) Unsubscribe(ctx context.Context, uri string) error {
	return c.s.Unsubscribe(ctx, &mcp.UnsubscribeParams{URI: uri})
}

func (c goSDK) Prompts(ctx context.Context) (names []string, err error) {
	for p, err := range c.s.Prompts(ctx, nil) {
		if err != nil {
			return nil, err
		}
		names = append(names, p.Name)
	}
	return names, nil
}

func (c goSDK) Prompt(ctx context.Context, name string, args map[string]string) (string, error) {
	r, err := c.s.GetPrompt(ctx, &mcp.GetPromptParams{Name: name, Arguments: args})
	if err != nil {
		return "", err
	}
	text, _ := r.Messages[0].Content.(*mcp.TextContent)
	return text.Text, nil
}

func (c goSDK) Complete(ctx context.Context, what completion) ([]string, error) {
	r, err := c.s.Complete(ctx, &mcp.CompleteParams{
		Ref:      &mcp.CompleteReference{Type: "ref/prompt", Name: what.prompt},
		Argument: mcp.CompleteParamsArgument{Name: what.argument, Value: what.value},
		Context:  &mcp.CompleteContext{Arguments: what.context},
	})
	if err != nil {
		return nil, err
	}
	return r.Completion.Values, nil
}

func (c goSDK) SetLevel(ctx context.Context, level string) error {
	return c.s.SetLoggingLevel(ctx, &mcp.SetLoggingLevelParams{Level: mcp.LoggingLevel(level)})
}
