package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/slimbridge/slimbridge"

// rule says what the packages below one path may import of ours and of others.
// The first rule whose path fits decides. A trailing "/..." takes subfolders in.
type rule struct {
	path  string
	ours  []string
	third []string
	pure  bool // no lock, clock, goroutine, context, or I/O
	why   string
}

const (
	protobuf  = "google.golang.org/protobuf"
	grpc      = "google.golang.org/grpc"
	websocket = "github.com/gorilla/websocket"
	zerolog   = "github.com/rs/zerolog"
	mcpGo     = "github.com/mark3labs/mcp-go"
	goSDK     = "github.com/modelcontextprotocol/go-sdk"
	xsys      = "golang.org/x/sys"
)

var rules = []rule{
	{path: "slimnode/name", third: []string{"github.com/cespare/xxhash/v2", "github.com/zeebo/xxh3"}, pure: true, why: "the only place that hashes names"},
	{path: "slimnode/wire/dataplanepb", third: []string{protobuf, grpc}, why: "generated"},
	{path: "slimnode/wire", ours: []string{"slimnode/name", "slimnode/wire/dataplanepb"}, third: []string{protobuf}, pure: true, why: "canonical bytes are data in, data out"},
	{path: "slimnode/link/...", ours: []string{"slimnode/link", "slimnode/wire", "slimnode/wire/dataplanepb", "slimnode/name"}, third: []string{grpc, protobuf, websocket, zerolog, xsys}, why: "one link, ignorant of routes and sessions"},
	{path: "slimnode/internal/route", ours: []string{"slimnode/name"}, pure: true, why: "a table, no lock and no log"},
	{path: "slimnode/nodeconfig", ours: []string{"slimnode"}, third: []string{"go.yaml.in/yaml/v3"}, why: "owns the node's YAML"},
	{path: "slimnode", ours: []string{"slimnode/internal/route", "slimnode/link", "slimnode/wire", "slimnode/wire/dataplanepb", "slimnode/name"}, third: []string{grpc, zerolog, "github.com/prometheus/client_golang"}, why: "a node knows nothing of sessions"},
	{path: "session/identity", ours: []string{"slimnode/name"}, why: "owns tokens; apps with a shared secret compile no JWT and no SPIFFE library"},
	{path: "session/identity/internal/jws", ours: []string{"session/identity"}, third: []string{"github.com/golang-jwt/jwt/v5"}, why: "the only importer of the JWT library"},
	{path: "session/identity/jwtid", ours: []string{"session/identity", "session/identity/internal/jws"}, why: "JWT identities"},
	{path: "session/identity/spiffe", ours: []string{"session/identity", "session/identity/internal/jws"}, third: []string{"github.com/spiffe/go-spiffe"}, why: "SPIFFE identities"},
	{path: "session/identity/spiffe/workloadtest", ours: []string{"session/identity/internal/jws"}, third: []string{"github.com/spiffe/go-spiffe", grpc}, why: "a fake agent for tests"},
	{path: "session/internal/arq", pure: true, why: "windows are plain state"},
	{path: "session/internal/control", ours: []string{"session/internal/arq", "slimnode/wire", "slimnode/wire/dataplanepb", "slimnode/name"}, pure: true, why: "protocol machines are plain state; MLS comes through an interface"},
	{path: "session/internal/mls", pure: true, why: "RFC 9420 on the standard library alone"},
	{path: "session/simulate", ours: []string{"session/internal/arq", "session/internal/control", "session/internal/mls", "slimnode/wire", "slimnode/wire/dataplanepb", "slimnode/name"}, pure: true, why: "a tool of tests: machines and MLS core in virtual time, from one seed"},
	{path: "session/statefile", third: []string{"go.etcd.io/bbolt"}, why: "owns the file that sessions are kept in"},
	{path: "session", ours: []string{"session/identity", "session/internal/arq", "session/internal/control", "session/internal/mls", "slimnode/link", "slimnode/wire", "slimnode/wire/dataplanepb", "slimnode/name"}, third: []string{zerolog}, why: "never imports the node"},
	{path: "adapters/mcp/gosdk", ours: []string{"adapters/mcp"}, third: []string{goSDK}, why: "users of mcp-go do not pull go-sdk in"},
	{path: "adapters/mcp/...", ours: []string{"adapters/mcp", "session", "session/identity", "slimnode/name"}, third: []string{mcpGo}, why: "adapters use only what applications may use"},
	{path: "bridge/stdio/...", why: "a front knows frames, nothing else"},
	{path: "bridge/cmd/slimbridge", ours: []string{"bridge", "bridge/stdio", "adapters/mcp", "session", "session/identity", "session/identity/jwtid", "session/identity/spiffe", "session/statefile", "slimnode", "slimnode/nodeconfig", "slimnode/name"}, third: []string{"github.com/spf13/cobra", "github.com/spf13/pflag", zerolog, mcpGo, xsys}, why: "flags, environment and exit codes live here alone"},
	{path: "bridge", ours: []string{"bridge/stdio", "adapters/mcp", "session", "session/identity", "slimnode/name"}, third: []string{zerolog, xsys}, why: "pairs a front with a session, no wire and no link"},
	{path: "examples/...", ours: []string{"session", "session/identity", "session/statefile", "adapters/mcp", "bridge", "slimnode", "slimnode/name"}, third: []string{mcpGo, zerolog}, why: "examples use what users may use"},
	{path: "integration/...", ours: []string{"integration/...", "session", "session/identity", "session/identity/jwtid", "session/identity/spiffe", "session/identity/spiffe/workloadtest", "session/simulate", "session/statefile", "adapters/mcp", "adapters/mcp/gosdk", "bridge", "bridge/stdio", "slimnode", "slimnode/name", "slimnode/link", "slimnode/link/linktest", "slimnode/wire", "slimnode/wire/dataplanepb"}, third: []string{mcpGo, goSDK, zerolog, grpc, protobuf, websocket}, why: "tests"},
}

// impure is what pure packages may not import: whatever waits, locks, reads
// clocks or does I/O.
var impure = []string{"sync", "sync/atomic", "context", "net", "os", "io/ioutil", "log", "log/slog", "bufio", "net/http", "os/exec", "syscall"}

type listed struct {
	ImportPath, Dir string
	Imports         []string
	GoFiles         []string
	CgoFiles        []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Imports,GoFiles,CgoFiles", "./...")
	cmd.Dir = ".."
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func ruleFor(path string) *rule {
	for i := range rules {
		r := &rules[i]
		if base, deep := strings.CutSuffix(r.path, "/..."); path == base && deep || path == r.path || deep && strings.HasPrefix(path, base+"/") {
			return r
		}
	}
	return nil
}

func allowed(list []string, path string) bool {
	return slices.ContainsFunc(list, func(a string) bool {
		base, deep := strings.CutSuffix(a, "/...")
		return path == base || deep && strings.HasPrefix(path, base+"/")
	})
}

func thirdAllowed(list []string, path string) bool {
	return slices.ContainsFunc(list, func(a string) bool { return path == a || strings.HasPrefix(path, a+"/") })
}

func TestImportRules(t *testing.T) {
	for _, p := range packages(t) {
		path := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		r := ruleFor(path)
		if r == nil {
			t.Errorf("%s has no import rule: add one that says what it owns", path)
			continue
		}
		if len(p.CgoFiles) > 0 {
			t.Errorf("%s uses cgo; one static binary without it is the promise", path)
		}
		for _, imp := range p.Imports {
			own, isOurs := strings.CutPrefix(imp, module+"/")
			first, _, _ := strings.Cut(imp, "/")
			switch {
			case isOurs:
				if !allowed(r.ours, own) {
					t.Errorf("%s imports %s: not allowed (%s)", path, own, r.why)
				}
			case strings.Contains(first, "."):
				if !thirdAllowed(r.third, imp) {
					t.Errorf("%s imports %s: not the owner of that library (%s)", path, imp, r.why)
				}
			case r.pure && slices.Contains(impure, imp):
				t.Errorf("%s imports %s: pure packages do not (%s)", path, imp, r.why)
			}
		}
		if r.pure {
			for _, f := range p.GoFiles {
				checkPure(t, path, filepath.Join(p.Dir, f))
			}
		}
	}
}

// checkPure looks for go statements and for clocks.
func checkPure(t *testing.T, path, file string) {
	t.Helper()
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			t.Errorf("%s: %s: go statement in a pure package", path, set.Position(n.Pos()))
		case *ast.ChanType, *ast.SelectStmt, *ast.SendStmt:
			t.Errorf("%s: %s: channel in a pure package", path, set.Position(n.Pos()))
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}, n.Sel.Name) {
				t.Errorf("%s: %s: time.%s in a pure package", path, set.Position(n.Pos()), n.Sel.Name)
			}
		}
		return true
	})
}
