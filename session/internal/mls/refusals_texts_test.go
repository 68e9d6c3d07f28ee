package mls

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// errorTexts are the constant reasons in the package's source. It fails if an
// error may be made of anything else.
func errorTexts(t *testing.T) (reasons []string) {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	files := token.NewFileSet()
	constant := func(e ast.Expr) {
		l, ok := e.(*ast.BasicLit)
		if !ok {
			t.Errorf("%v: the reason of an error is not a constant", files.Position(e.Pos()))
			return
		}
		text, err := strconv.Unquote(l.Value)
		if err != nil {
			t.Fatal(err)
		}
		reasons = append(reasons, text)
	}
	look := func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			return n.Name.Name != "fail" // whose callers are looked at
		case *ast.CallExpr:
			switch name := nameOf(n.Fun); name {
			case "fail":
				constant(n.Args[1])
			case "errors.New":
				constant(n.Args[0])
			case "fmt.Errorf", "errors.Join":
				t.Errorf("%v: an error that is not an Error", files.Position(n.Pos()))
			}
		case *ast.CompositeLit:
			if nameOf(n.Type) != "Error" {
				break
			}
			for _, e := range n.Elts {
				kv := e.(*ast.KeyValueExpr)
				if call, ok := kv.Value.(*ast.CallExpr); nameOf(kv.Key) == "Reason" && !(ok && nameOf(call.Fun) == "why.String") {
					constant(kv.Value)
				}
			}
		}
		return true
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(files, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, look)
	}
	for r := Adding; r <= Path; r++ {
		reasons = append(reasons, r.String())
	}
	return reasons
}

func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return nameOf(e.X) + "." + e.Sel.Name
	}
	return ""
}

// leak finds six bytes or more of an input in a text, raw, in hexadecimal or in
// base64. It returns what it has found, empty if nothing.
func leak(text string, input []byte) string {
	for i := 0; i+6 <= len(text); i++ {
		if bytes.Contains(input, []byte(text[i:i+6])) {
			return text[i : i+6]
		}
	}
	for i := 0; i+12 <= len(text); i++ {
		if b, err := hex.DecodeString(text[i : i+12]); err == nil && bytes.Contains(input, b) {
			return text[i : i+12]
		}
	}
	for i := 0; i+8 <= len(text); i++ {
		for _, e := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			if b, err := e.DecodeString(text[i : i+8]); err == nil && bytes.Contains(input, b) {
				return text[i : i+8]
			}
		}
	}
	return ""
}

// errorsTellNothing looks for input and secrets in errors of each kind of call;
// checkTexts looks at the texts of all refusals.
func errorsTellNothing(t *testing.T) {
	input := randomOf(t)
	for name, text := range map[string]string{
		"raw": "x" + string(input[3:9]), "hex": "x" + hex.EncodeToString(input[3:9]),
		"upper hex": strings.ToUpper(hex.EncodeToString(input[3:9])), "base64": "xx" + base64.StdEncoding.EncodeToString(input[4:10]),
	} {
		if leak(text, input[:]) == "" {
			t.Fatalf("%s is not found", name)
		}
	}
	if len(errorTexts(t)) < 80 {
		t.Error("the source has fewer reasons than it should")
	}
	h := newHall(t)
	v := h.invite(t, true)
	secrets := slices.Concat(h.states[0], h.states[1], v.pending.bytes(), v.commit.joiner[:], v.good)
	look := func(message []byte, call func() error) {
		t.Helper()
		err := call()
		if err == nil {
			t.Error("accepted")
			return
		}
		if found := leak(err.Error(), message); found != "" {
			t.Errorf("%v tells %q of the message", err, found)
		}
		if found := leak(err.Error(), secrets); found != "" {
			t.Errorf("%v tells %q of the state", err, found)
		}
	}
	blob, err := h.group(t, 5).Protect(nil, []byte("text"), []byte("aad"), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pack := h.people[2].packOf(t, nil, nil)
	for _, good := range [][]byte{h.good, v.good, blob, pack, h.states[1]} {
		for at := 0; at < len(good); at += 1 + len(good)/24 {
			for _, message := range [][]byte{flip(good, at), good[:at]} {
				g := h.group(t, 1)
				look(message, func() error { _, err := g.Process(message); return err })
				look(message, func() error { _, err := g.Unprotect(message); return err })
				look(message, func() error { _, err := Join(v.Config, v.pending, message); return err })
				look(message, func() error { _, _, err := ParseKeyPackage(message); return err })
				look(message, func() error { _, err := Load(message, h.people[1].Config); return err })
				look(message, func() error { _, _, err := g.Commit(Change{Add: [][]byte{message}}, testNow, rand.Reader); return err })
			}
		}
	}
	v.join(t)
}

// checkTexts: every error that the checklist has seen is a kind and one of the
// constants of the source, with nothing else but the error of a callback.
func checkTexts(t *testing.T) {
	t.Helper()
	allowed := map[string]bool{}
	for _, kind := range []error{
		ErrMalformed, ErrUnsupported, ErrWrongGroup, ErrWrongEpoch, ErrSignature, ErrInvalidCommit, ErrInvalidLeaf,
		ErrInvalidTree, ErrDecrypt, ErrReplay, ErrTooFar, ErrDuplicate, ErrRemoved, ErrLifetime,
	} {
		allowed[kind.Error()] = true
		for _, reason := range errorTexts(t) {
			allowed[kind.Error()+": "+reason] = true
		}
	}
	refusedTexts.Range(func(text, test any) bool {
		s := text.(string)
		for _, callback := range []string{"subject: ", "signer failed: ", "adding: ", "rejoining: ", "added: ", "joining: ", "path: "} {
			if i := strings.Index(s, ": "+callback); i >= 0 {
				s = s[:i+len(callback)] // the rest is the callback's
			}
		}
		if !allowed[s] {
			t.Errorf("%s: the error %q is more than a kind and a reason", test, text)
		}
		return true
	})
}
