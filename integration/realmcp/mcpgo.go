//lint:file-ignore SA1019 the scenario covers roots, sampling, logging and subscriptions of the revisions before 2026-07-28 on purpose

package realmcp

import (
	"context"
	"fmt"
	"os/exec"
	"strings"

	mcpclient "github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
)

// RunMCPGo runs the scenario with github.com/mark3labs/mcp-go. Unless s.Legacy is set the client begins with server/discover.
func RunMCPGo(ctx context.Context, s Server) Report {
	ctx, cancel := context.WithCancel(ctx) // kills the command if its Close does not end it
	defer cancel()
	var stderr output
	r := runScenario(ctx, "mcp-go", func(checkCtx context.Context, ev *events) (client, string, error) {
		launch := func(context.Context, string, []string, []string) (*exec.Cmd, error) {
			return s.command(ctx, &stderr), nil
		}
		stdio := transport.NewStdioWithOptions(s.Command[0], nil, nil, transport.WithCommandFunc(launch))
		h := mcpGoHandlers{ev}
		options := []mcpclient.ClientOption{
			mcpclient.WithSamplingHandler(h), mcpclient.WithElicitationHandler(h), mcpclient.WithRootsHandler(h),
		}
		if s.Legacy {
			options = append(options, mcpclient.WithProtocolVersion(legacyVersion))
		}
		c := mcpclient.NewClient(stdio, options...)
		c.OnNotification(h.notification)
		if err := c.Start(ctx); err != nil {
			return nil, "", err
		}
		var request mcp.InitializeRequest
		request.Params.ClientInfo = mcp.Implementation{Name: "realmcp-mcp-go", Version: "1"}
		answer, err := c.Initialize(checkCtx, request)
		if err != nil {
			c.Close()
			return nil, "", err
		}
		return mcpGo{c}, answer.ServerInfo.Name, nil
	})
	r.Stderr = stderr.String()
	return r
}

// mcpGoHandlers answers what the server asks.
type mcpGoHandlers struct {
	events *events
}

func (h mcpGoHandlers) CreateMessage(_ context.Context, r mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
	answer := &mcp.CreateMessageResult{Model: "realmcp"}
	answer.Role = mcp.RoleAssistant
	answer.Content = mcp.NewTextContent(samplePfx + " " + mcp.GetTextFromContent(r.Messages[0].Content))
	return answer, nil
}

func (h mcpGoHandlers) Elicit(context.Context, mcp.ElicitationRequest) (*mcp.ElicitationResult, error) {
	answer := &mcp.ElicitationResult{}
	answer.Action, answer.Content = mcp.ElicitationResponseActionAccept, map[string]any{"name": answerer}
	return answer, nil
}

func (h mcpGoHandlers) ListRoots(context.Context, mcp.ListRootsRequest) (*mcp.ListRootsResult, error) {
	offer(h.events.roots, struct{}{})
	return &mcp.ListRootsResult{Roots: []mcp.Root{{URI: rootURI, Name: "realmcp"}}}, nil
}

func (h mcpGoHandlers) notification(n mcp.JSONRPCNotification) {
	fields := n.Params.AdditionalFields
	switch n.Method {
	case "notifications/message":
		offer(h.events.logs, fmt.Sprint(fields["data"]))
	case "notifications/resources/updated":
		offer(h.events.updates, fmt.Sprint(fields["uri"]))
	case "notifications/progress":
		value, _ := fields["progress"].(float64)
		offer(h.events.progress, value)
	}
}

type mcpGo struct {
	c *mcpclient.Client
}

func (c mcpGo) Ping(ctx context.Context) error { return c.c.Ping(ctx) }

func (c mcpGo) Close() error { return c.c.Close() }

func (c mcpGo) Tools(ctx context.Context) ([]string, error) {
	r, err := c.c.ListTools(ctx, mcp.ListToolsRequest{})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, t := range r.Tools {
		names = append(names, t.Name)
	}
	return names, nil
}

func (c mcpGo) Call(ctx context.Context, what call) (result, error) {
	var request mcp.CallToolRequest
	request.Params.Name, request.Params.Arguments = what.tool, what.args
	if what.progress != "" {
		request.Params.Meta = &mcp.Meta{ProgressToken: what.progress}
	}
	got, err := c.c.CallTool(ctx, request)
	if err != nil {
		return result{}, err
	}
	r := result{structured: got.StructuredContent, failed: got.IsError}
	for _, item := range got.Content {
		switch item := item.(type) {
		case mcp.TextContent:
			r.text += item.Text
		case mcp.ImageContent:
			r.image = item.Data
		}
	}
	return r, nil
}

func (c mcpGo) Resources(ctx context.Context) ([]string, error) {
	r, err := c.c.ListResources(ctx, mcp.ListResourcesRequest{})
	if err != nil {
		return nil, err
	}
	var uris []string
	for _, resource := range r.Resources {
		uris = append(uris, resource.URI)
	}
	return uris, nil
}

func (c mcpGo) Read(ctx context.Context, uri string) (string, error) {
	var request mcp.ReadResourceRequest
	request.Params.URI = uri
	r, err := c.c.ReadResource(ctx, request)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for _, item := range r.Contents {
		if item, ok := item.(mcp.TextResourceContents); ok {
			text.WriteString(item.Text)
		}
	}
	return text.String(), nil
}

func (c mcpGo) Templates(ctx context.Context) ([]string, error) {
	r, err := c.c.ListResourceTemplates(ctx, mcp.ListResourceTemplatesRequest{})
	if err != nil {
		return nil, err
	}
	var templates []string
	for _, t := range r.ResourceTemplates {
		templates = append(templates, t.URITemplate.Raw())
	}
	return templates, nil
}

func (c mcpGo) Subscribe(ctx context.Context, uri string) error {
	var request mcp.SubscribeRequest
	request.Params.URI = uri
	return c.c.Subscribe(ctx, request)
}

func (c mcpGo) Unsubscribe(ctx context.Context, uri string) error {
	var request mcp.UnsubscribeRequest
	request.Params.URI = uri
	return c.c.Unsubscribe(ctx, request)
}

func (c mcpGo) Prompts(ctx context.Context) ([]string, error) {
	r, err := c.c.ListPrompts(ctx, mcp.ListPromptsRequest{})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range r.Prompts {
		names = append(names, p.Name)
	}
	return names, nil
}

func (c mcpGo) Prompt(ctx context.Context, name string, args map[string]string) (string, error) {
	var request mcp.GetPromptRequest
	request.Params.Name, request.Params.Arguments = name, args
	r, err := c.c.GetPrompt(ctx, request)
	if err != nil {
		return "", err
	}
	return mcp.GetTextFromContent(r.Messages[0].Content), nil
}

func (c mcpGo) Complete(ctx context.Context, what completion) ([]string, error) {
	var request mcp.CompleteRequest
	request.Params.Ref = mcp.PromptReference{Type: "ref/prompt", Name: what.prompt}
	request.Params.Argument = mcp.CompleteArgument{Name: what.argument, Value: what.value}
	request.Params.Context = mcp.CompleteContext{Arguments: what.context}
	r, err := c.c.Complete(ctx, request)
	if err != nil {
		return nil, err
	}
	return r.Completion.Values, nil
}

func (c mcpGo) SetLevel(ctx context.Context, level string) error {
	var request mcp.SetLevelRequest
	request.Params.Level = mcp.LoggingLevel(level)
	return c.c.SetLevel(ctx, request)
}
