package simulate

import (
	"reflect"
	"slices"
	"strings"

	"github.com/slimbridge/slimbridge/session/internal/control"
)

// Bounds on what a machine at rest may hold, in elements of maps and slices:
// for the session itself (its ring of 512 messages and the answers it gave), and
// for every member (a reorder window of 512, and answers).
const (
	maxOwn       = 2_000
	maxPerMember = 1_500
)

// checkBounds counts what the machine of s holds.
func (w *world) checkBounds(s *session) {
	if n, limit := census(s.core), maxOwn+maxPerMember*len(s.core.Roster()); n > limit {
		w.failf("%v holds %d elements at rest, more than %d", s, n, limit)
	}
}

// census counts the elements of all maps and slices, byte strings as one, that a machine can reach,
// but not of its MLS group, which has bounds of its own, nor what all messages of a
// type share.
func census(c control.Core) int {
	k := counter{seen: map[place]bool{}}
	k.count(reflect.ValueOf(c))
	return k.n
}

type counter struct {
	n    int
	seen map[place]bool
}

// place is what a pointer points to. A struct and its first field have the same
// address.
type place struct {
	at uintptr
	as reflect.Type
}

var notCounted = []reflect.Type{reflect.TypeFor[witness](), reflect.TypeFor[session]()}

func (k *counter) count(v reflect.Value) {
	if slices.Contains(notCounted, v.Type()) || strings.HasPrefix(v.Type().PkgPath(), "google.golang.org/protobuf/") {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if at := (place{v.Pointer(), v.Type()}); !v.IsNil() && !k.seen[at] {
			k.seen[at] = true
			k.count(v.Elem())
		}
	case reflect.Interface:
		if !v.IsNil() {
			k.count(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			k.count(v.Field(i))
		}
	case reflect.Map:
		k.n += v.Len()
		for it := v.MapRange(); it.Next(); {
			k.count(it.Value())
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 { // a message or a key: one thing
			k.n++
			return
		}
		k.n += v.Len()
		if hasPointers(v.Type().Elem()) {
			for i := range v.Len() {
				k.count(v.Index(i))
			}
		}
	}
}

// hasPointers reports whether elements of the type can hold more than they are.
func hasPointers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Struct, reflect.Map, reflect.Slice, reflect.Array:
		return true
	}
	return false
}
