package nodeconfig

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// substitute replaces every text value that is entirely ${env:NAME} or
// ${file:PATH}, once, keys excepted. The result is always text, and a file
// keeps its final newline, as upstream.
func (d *decoder) substitute(n *yaml.Node) {
	switch n.Kind {
	case yaml.ScalarNode:
		d.replace(n)
	case yaml.MappingNode:
		for i := 1; i < len(n.Content); i += 2 {
			d.substitute(n.Content[i])
		}
	case yaml.DocumentNode, yaml.SequenceNode:
		for _, c := range n.Content {
			d.substitute(c)
		}
	}
}

func (d *decoder) replace(n *yaml.Node) {
	inner, ok := strings.CutPrefix(n.Value, "${")
	inner, closed := strings.CutSuffix(inner, "}")
	if !ok || !closed || n.Tag != "!!str" || strings.Contains(inner, "}") {
		return
	}
	provider, arg, _ := strings.Cut(inner, ":")
	at := value{n, n.Value, n.Line}
	switch provider {
	case "env":
		s, set := d.src.Env(arg)
		if !set {
			d.fail(at, "the environment variable is not set")
			return
		}
		n.Value = s
	case "file":
		b, err := d.src.File(arg)
		switch {
		case err != nil:
			d.fail(at, "%v", err)
			return
		case len(b) > MaxFile:
			d.fail(at, "the file has more than %d bytes", MaxFile)
			return
		}
		n.Value = string(b)
	default:
		d.fail(at, "unknown provider %q: use ${env:NAME} or ${file:PATH}", provider)
		return
	}
	if d.origins == nil {
		d.origins = map[*yaml.Node]string{}
	}
	d.origins[n] = at.path
}
