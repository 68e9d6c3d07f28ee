package nodeconfig

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/slimbridge/slimbridge/slimnode"
)

// decoder walks the YAML tree by hand: that gives the line of every fault, and
// all of them rather than the first.
type decoder struct {
	src     Sources
	cfg     slimnode.Config
	set     Settings
	errs    []error
	origins map[*yaml.Node]string // of substituted values
}

// value is a node of the tree and the way to it, for messages.
type value struct {
	*yaml.Node
	path string
	line int // of its key, if it has one
}

// fields are the known keys of a mapping and who reads each.
type fields map[string]func(value)

func (d *decoder) fail(v value, format string, args ...any) {
	d.errs = append(d.errs, errors.New(v.message(format, args)))
}

func (d *decoder) warn(v value, format string, args ...any) {
	d.set.Warnings = append(d.set.Warnings, v.message(format, args))
}

func (v value) message(format string, args []any) string {
	at := fmt.Sprintf("line %d: ", v.line)
	if v.path != "" {
		at += v.path + ": "
	}
	return at + fmt.Sprintf(format, args...)
}

// mapping reads a mapping by its fields; null is an empty one.
func (d *decoder) mapping(v value, known fields) {
	v = follow(v)
	if isNull(v) {
		return
	}
	if v.Kind != yaml.MappingNode {
		d.fail(v, "want a mapping of keys, not %s", kindOf(v))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(v.Content); i += 2 {
		key := value{v.Content[i], v.path, v.Content[i].Line}
		name := key.Value
		read := known[name]
		switch {
		case key.Kind != yaml.ScalarNode:
			d.fail(key, "a key must be a word")
			continue
		case seen[name]:
			d.fail(key, "key %q appears twice", name)
			continue
		case read == nil:
			d.fail(key, "unknown key %q; known are: %s", name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
			continue
		}
		seen[name] = true
		read(value{v.Content[i+1], join(v.path, name), key.line})
	}
}

// list reads each item of a sequence; null is an empty one.
func (d *decoder) list(v value, item func(value)) {
	v = follow(v)
	if isNull(v) {
		return
	}
	if v.Kind != yaml.SequenceNode {
		d.fail(v, "want a list, not %s", kindOf(v))
		return
	}
	for i, n := range v.Content {
		item(value{n, fmt.Sprintf("%s[%d]", v.path, i), n.Line})
	}
}

func (d *decoder) text(v value) (string, bool) {
	v = follow(v)
	if v.Kind != yaml.ScalarNode || v.Tag != "!!str" {
		d.fail(v, "want text, not %s", kindOf(v))
		return "", false
	}
	return v.Value, true
}

func (d *decoder) boolean(v value) (b, ok bool) {
	v = follow(v)
	if v.Kind != yaml.ScalarNode || v.Tag != "!!bool" || v.Decode(&b) != nil {
		d.fail(v, "want true or false, not %s", kindOf(v))
		return false, false
	}
	return b, true
}

func (d *decoder) number(v value, limit uint64) (uint64, bool) {
	v = follow(v)
	n, err := strconv.ParseUint(v.Value, 10, 64)
	if v.Kind != yaml.ScalarNode || v.Tag != "!!int" || err != nil || n > limit {
		d.fail(v, "want a number from 0 to %d", limit)
		return 0, false
	}
	return n, true
}

// duration reads text like 10s, 750ms or 1m30s. Upstream takes no bare numbers
// and nothing negative.
func (d *decoder) duration(v value) (time.Duration, bool) {
	v = follow(v)
	dur, err := time.ParseDuration(v.Value)
	if v.Kind != yaml.ScalarNode || v.Tag != "!!str" || err != nil || dur < 0 || strings.HasPrefix(v.Value, "+") {
		d.fail(v, `want a duration with a unit, such as "10s", "750ms" or "1m30s"`)
		return 0, false
	}
	return dur, true
}

// optional wraps a reader: null means that the key is not there.
func optional(read func(value)) func(value) {
	return func(v value) {
		if !isNull(follow(v)) {
			read(v)
		}
	}
}

// show is the value for a message, or its origin if it was substituted.
func (d *decoder) show(v value) string {
	v = follow(v)
	if o, ok := d.origins[v.Node]; ok {
		return "the value of " + o
	}
	return strconv.Quote(v.Value)
}

func follow(v value) value {
	for v.Kind == yaml.AliasNode {
		v.Node = v.Alias
	}
	return v
}

func isNull(v value) bool { return v.Kind == yaml.ScalarNode && v.Tag == "!!null" }

// isEmpty is null, an empty list or an empty mapping.
func isEmpty(v value) bool {
	v = follow(v)
	return isNull(v) || v.Kind != yaml.ScalarNode && len(v.Content) == 0
}

func kindOf(v value) string {
	switch {
	case v.Kind == yaml.MappingNode:
		return "a mapping"
	case v.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(v):
		return "nothing"
	case v.Tag == "!!str":
		return "text"
	case v.Tag == "!!bool":
		return "true or false"
	case v.Tag == "!!int", v.Tag == "!!float":
		return "a number"
	}
	return "a " + v.Tag
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
