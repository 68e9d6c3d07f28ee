package mcp

import (
	"slices"
	"sync"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
)

// maxSubscriptions bounds the resources one client may subscribe to; further
// ones are ignored.
const maxSubscriptions = 1024

// clientState is what an MCP client has told its server. Its methods are those
// that mcp-go looks for in a session; they are safe for concurrent use.
type clientState struct {
	guard        sync.Mutex // of the fields below
	initialized  bool
	level        mcpgo.LoggingLevel
	info         mcpgo.Implementation
	capabilities mcpgo.ClientCapabilities
	version      string
	resources    map[string]struct{}
	filter       mcpgo.SubscriptionFilter
}

func (s *clientState) Initialize() {
	s.guard.Lock()
	defer s.guard.Unlock()
	s.initialized = true
}

func (s *clientState) Initialized() bool {
	s.guard.Lock()
	defer s.guard.Unlock()
	return s.initialized
}

func (s *clientState) SetLogLevel(level mcpgo.LoggingLevel) {
	s.guard.Lock()
	defer s.guard.Unlock()
	s.level = level
}

func (s *clientState) GetLogLevel() mcpgo.LoggingLevel {
	s.guard.Lock()
	defer s.guard.Unlock()
	return s.level
}

func (s *clientState) SetClientInfo(info mcpgo.Implementation) {
	s.guard.Lock()
	defer s.guard.Unlock()
	s.info = info
}

func (s *clientState) GetClientInfo() mcpgo.Implementation {
	s.guard.Lock()
	defer s.guard.Unlock()
	return s.info
}

func (s *clientState) SetClientCapabilities(c mcpgo.ClientCapabilities) {
	s.guard.Lock()
	defer s.guard.Unlock()
	s.capabilities = c
}

func (s *clientState) GetClientCapabilities() mcpgo.ClientCapabilities {
	s.guard.Lock()
	defer s.guard.Unlock()
	return s.capabilities
}

func (s *clientState) SetProtocolVersion(version string) {
	s.guard.Lock()
	defer s.guard.Unlock()
	s.version = version
}

func (s *clientState) ProtocolVersion() string {
	s.guard.Lock()
	defer s.guard.Unlock()
	return s.version
}

func (s *clientState) SubscribeToResource(uri string) {
	s.guard.Lock()
	defer s.guard.Unlock()
	if len(s.resources) < maxSubscriptions {
		s.resources[uri] = struct{}{}
	}
}

func (s *clientState) UnsubscribeFromResource(uri string) {
	s.guard.Lock()
	defer s.guard.Unlock()
	delete(s.resources, uri)
}

func (s *clientState) SubscribedResources() []string {
	s.guard.Lock()
	defer s.guard.Unlock()
	uris := make([]string, 0, len(s.resources))
	for uri := range s.resources {
		uris = append(uris, uri)
	}
	slices.Sort(uris)
	return uris
}

func (s *clientState) IsSubscribedToResource(uri string) bool {
	s.guard.Lock()
	defer s.guard.Unlock()
	_, ok := s.resources[uri]
	return ok
}

func (s *clientState) SetSubscriptionFilter(filter mcpgo.SubscriptionFilter) {
	s.guard.Lock()
	defer s.guard.Unlock()
	s.filter = filter
}

// SubscriptionFilter reports the filter, and whether there is one.
func (s *clientState) SubscriptionFilter() (mcpgo.SubscriptionFilter, bool) {
	s.guard.Lock()
	defer s.guard.Unlock()
	return s.filter, !s.filter.IsEmpty()
}
