package realmcp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	patience     = 20 * time.Second // of one check
	startTimeout = 60 * time.Second // of initialize: a bridge may have to start the far server first
)

// client is what the scenario needs of an SDK.
type client interface {
	Ping(ctx context.Context) error
	Tools(ctx context.Context) ([]string, error)
	Call(ctx context.Context, c call) (result, error)
	Resources(ctx context.Context) ([]string, error)
	Read(ctx context.Context, uri string) (string, error)
	Templates(ctx context.Context) ([]string, error)
	Subscribe(ctx context.Context, uri string) error
	Unsubscribe(ctx context.Context, uri string) error
	Prompts(ctx context.Context) ([]string, error)
	Prompt(ctx context.Context, name string, args map[string]string) (string, error)
	Complete(ctx context.Context, c completion) ([]string, error)
	SetLevel(ctx context.Context, level string) error
	Close() error
}

type call struct {
	tool     string
	args     map[string]any
	progress string // token; empty for none
}

type result struct {
	text       string // of all text items
	structured any
	image      string // base64 of the first image
	failed     bool
}

type completion struct {
	prompt, argument, value string
	context                 map[string]string
}

// events is what the server sends on its own. Producers must not block an SDK's reader: what does not fit is dropped, and the check
// that waits for it fails.
type events struct {
	roots    chan struct{} // roots/list was asked
	logs     chan string
	updates  chan string // URIs
	progress chan float64
}

func newEvents() *events {
	return &events{
		roots:    make(chan struct{}, 64),
		logs:     make(chan string, 64),
		updates:  make(chan string, 64),
		progress: make(chan float64, 64),
	}
}

func offer[T any](ch chan T, item T) {
	select {
	case ch <- item:
	default:
	}
}

func take[T any](ctx context.Context, ch chan T) (T, error) {
	select {
	case item := <-ch:
		return item, nil
	case <-ctx.Done():
		var zero T
		return zero, ctx.Err()
	}
}

const (
	rootURI   = "file:///realmcp/root"
	document  = "demo://resource/static/document/features.md"
	answerer  = "Ada"      // what the client answers to an elicitation
	samplePfx = "sampled:" // what the client answers to a sampling request, before the prompt
)

type scenario struct {
	client
	events *events
}

type check struct {
	name string
	run  func(*scenario, context.Context) error
}

// checks are the checks after initialize.
var checks = []check{
	{"ping", func(s *scenario, ctx context.Context) error { return s.Ping(ctx) }},
	{"roots", (*scenario).roots},
	{"tools/list", listed(client.Tools, "echo", "get-sum", "trigger-sampling-request", "trigger-elicitation-request")},
	{"echo", (*scenario).echo},
	{"get-sum", calls("get-sum", map[string]any{"a": 2, "b": 40}, "42")},
	{"structured content", (*scenario).structured},
	{"image", (*scenario).image},
	{"unknown tool", (*scenario).unknownTool},
	{"resources/list", listed(client.Resources, document)},
	{"resources/read", read(document, "Everything Server")},
	{"resources/templates/list", listed(client.Templates, "demo://resource/dynamic/text/{resourceId}")},
	{"dynamic resource", read("demo://resource/dynamic/text/7", "Resource 7:")},
	{"logging/setLevel", func(s *scenario, ctx context.Context) error { return s.SetLevel(ctx, "debug") }},
	{"resources/subscribe", (*scenario).subscribe},
	{"resources/unsubscribe", (*scenario).unsubscribe},
	{"prompts/list", listed(client.Prompts, "args-prompt", "completable-prompt")},
	{"prompts/get", (*scenario).prompt},
	{"completion/complete", (*scenario).complete},
	{"progress", (*scenario).countProgress},
	{"cancellation", (*scenario).cancellation},
	{"sampling", calls("trigger-sampling-request", map[string]any{"prompt": "hello", "maxTokens": 10}, samplePfx)},
	{"elicitation", calls("trigger-elicitation-request", map[string]any{}, answerer)},
	{"payload of 1 MiB", (*scenario).bigPayload},
	{"100 calls in parallel", (*scenario).parallel},
}

// runScenario connects and runs all checks.
func runScenario(ctx context.Context, sdk string, connect func(context.Context, *events) (client, string, error)) Report {
	r := Report{Client: sdk}
	s := scenario{events: newEvents()}
	ok := r.run(ctx, "initialize", startTimeout, func(checkCtx context.Context) (err error) {
		s.client, r.Server, err = connect(checkCtx, s.events)
		return err
	})
	if !ok {
		return r
	}
	for _, c := range checks {
		r.run(ctx, c.name, patience, func(ctx context.Context) error { return c.run(&s, ctx) })
	}
	_ = s.Close() // the server may have had to be stopped by a signal
	return r
}

func (r *Report) run(ctx context.Context, name string, limit time.Duration, fn func(context.Context) error) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	start := time.Now()
	err := fn(ctx)
	c := Check{Name: name, OK: err == nil, MS: float64(time.Since(start)) / float64(time.Millisecond)}
	if err != nil {
		c.Detail = err.Error()
	}
	r.Checks = append(r.Checks, c)
	return c.OK
}

func listed(list func(client, context.Context) ([]string, error), want ...string) func(*scenario, context.Context) error {
	return func(s *scenario, ctx context.Context) error {
		got, err := list(s.client, ctx)
		for _, w := range want {
			if err == nil && !slices.Contains(got, w) {
				err = fmt.Errorf("%s is missing in %q", w, got)
			}
		}
		return err
	}
}

func read(uri, want string) func(*scenario, context.Context) error {
	return func(s *scenario, ctx context.Context) error {
		got, err := s.Read(ctx, uri)
		return wantText(got, err, want)
	}
}

func calls(tool string, args map[string]any, want string) func(*scenario, context.Context) error {
	return func(s *scenario, ctx context.Context) error {
		got, err := s.Call(ctx, call{tool: tool, args: args})
		return wantText(got.text, err, want)
	}
}

func wantText(got string, err error, want string) error {
	if err == nil && !strings.Contains(got, want) {
		err = fmt.Errorf("%q is missing in %.300q", want, got)
	}
	return err
}

// roots first waits until the server has asked on its own, 350 ms after initialize. Before it has the answer, the tool would ask again:
// its request ids would differ from run to run.
func (s *scenario) roots(ctx context.Context) error {
	if _, err := take(ctx, s.events.roots); err != nil {
		return err
	}
	if err := s.logged(ctx, "Roots updated"); err != nil {
		return err
	}
	return calls("get-roots-list", map[string]any{}, rootURI)(s, ctx)
}

// logged waits for a log message of the server.
func (s *scenario) logged(ctx context.Context, text string) error {
	for {
		log, err := take(ctx, s.events.logs)
		if err != nil {
			return fmt.Errorf("log message %q: %w", text, err)
		}
		if strings.Contains(log, text) {
			return nil
		}
	}
}

func (s *scenario) echo(ctx context.Context) error {
	message := "Grüße, 世界 \x00 \u2028 \"\\\""
	r, err := s.Call(ctx, call{tool: "echo", args: map[string]any{"message": message}})
	if err == nil && r.text != "Echo: "+message {
		err = fmt.Errorf("got %q", r.text)
	}
	return err
}

func (s *scenario) structured(ctx context.Context) error {
	r, err := s.Call(ctx, call{tool: "get-structured-content", args: map[string]any{"location": "Chicago"}})
	if err != nil {
		return err
	}
	content, _ := r.structured.(map[string]any)
	if _, ok := content["temperature"].(float64); !ok {
		return fmt.Errorf("got %v", r.structured)
	}
	return nil
}

func (s *scenario) image(ctx context.Context) error {
	r, err := s.Call(ctx, call{tool: "get-tiny-image", args: map[string]any{}})
	if err == nil && len(r.image) < 100 {
		err = fmt.Errorf("image of %d characters", len(r.image))
	}
	return err
}

func (s *scenario) unknownTool(ctx context.Context) error {
	r, err := s.Call(ctx, call{tool: "no-such-tool", args: map[string]any{}})
	if err != nil {
		return wantText(err.Error(), nil, "no-such-tool")
	}
	if !r.failed {
		return errors.New("the call succeeded")
	}
	return wantText(r.text, nil, "no-such-tool")
}

func (s *scenario) subscribe(ctx context.Context) error {
	if err := s.Subscribe(ctx, document); err != nil {
		return err
	}
	if err := s.logged(ctx, "Subscribe Resource"); err != nil {
		return err
	}
	if err := calls("toggle-subscriber-updates", map[string]any{}, "Started")(s, ctx); err != nil {
		return err
	}
	uri, err := take(ctx, s.events.updates)
	return wantText(uri, err, document)
}

func (s *scenario) unsubscribe(ctx context.Context) error {
	if err := s.Unsubscribe(ctx, document); err != nil {
		return err
	}
	return calls("toggle-subscriber-updates", map[string]any{}, "Stopped")(s, ctx)
}

func (s *scenario) prompt(ctx context.Context) error {
	text, err := s.Prompt(ctx, "args-prompt", map[string]string{"city": "Lisbon"})
	return wantText(text, err, "Lisbon")
}

func (s *scenario) complete(ctx context.Context) error {
	values, err := s.Complete(ctx, completion{
		prompt: "completable-prompt", argument: "name", value: "A", context: map[string]string{"department": "Engineering"},
	})
	if err == nil && !slices.Equal(values, []string{"Alice"}) {
		err = fmt.Errorf("got %q", values)
	}
	return err
}

func (s *scenario) countProgress(ctx context.Context) error {
	r, err := s.Call(ctx, call{
		tool: "trigger-long-running-operation", args: map[string]any{"duration": 0.5, "steps": 5}, progress: "realmcp-progress",
	})
	if err := wantText(r.text, err, "completed"); err != nil {
		return err
	}
	for want := 1.0; want <= 5; want++ {
		got, err := take(ctx, s.events.progress)
		if err != nil || got != want {
			return fmt.Errorf("progress %v instead of %v: %v", got, want, err)
		}
	}
	return nil
}

func (s *scenario) cancellation(ctx context.Context) error {
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := s.Call(short, call{tool: "trigger-long-running-operation", args: map[string]any{"duration": 3, "steps": 1}})
	if took := time.Since(start); err == nil || took > 2*time.Second {
		return fmt.Errorf("the call was not cancelled: %v after %v", err, took)
	}
	return s.Ping(ctx)
}

func (s *scenario) bigPayload(ctx context.Context) error {
	message := strings.Repeat("a1é", 1<<18)
	r, err := s.Call(ctx, call{tool: "echo", args: map[string]any{"message": message}})
	if err == nil && r.text != "Echo: "+message {
		err = fmt.Errorf("%d bytes came back", len(r.text))
	}
	return err
}

func (s *scenario) parallel(ctx context.Context) error {
	errs := make(chan error)
	for i := range 100 {
		go func() {
			r, err := s.Call(ctx, call{tool: "get-sum", args: map[string]any{"a": i, "b": 1000}})
			errs <- wantText(r.text, err, fmt.Sprintf(" %d.", i+1000))
		}()
	}
	var failed error
	for range 100 {
		failed = errors.Join(failed, <-errs)
	}
	return failed
}
