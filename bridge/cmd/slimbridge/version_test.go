package main

import (
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

func TestProgramVersion(t *testing.T) {
	tests := []struct{ name, linked, module, want string }{
		{"nothing", "", "", "0.0.0-dev"},
		{"development build", "", "(devel)", "0.0.0-dev"},
		{"released module", "", "v1.2.3", "1.2.3"},
		{"pre-release", "", "v1.2.3-rc.1", "1.2.3-rc.1"},
		{"pseudo-version", "", "v0.0.0-20261124101112-abcdef123456+dirty", "0.0.0-20261124101112-abcdef123456+dirty"},
		{"linker", "2.0.0", "v1.2.3", "2.0.0"},
		{"linker with v", "v2.0.0", "", "2.0.0"},
		{"linker wrong", "two", "v1.2.3", "1.2.3"},
		{"two numbers", "", "v1.2", "0.0.0-dev"},
		{"leading zero", "", "v01.2.3", "0.0.0-dev"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			info := &debug.BuildInfo{Main: debug.Module{Version: tc.module}}
			if got := programVersion(tc.linked, info); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	if got := programVersion("", nil); got != "0.0.0-dev" {
		t.Errorf("without build information: %q", got)
	}
}

func TestCommit(t *testing.T) {
	info := &debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"}}}
	if got := commit(info); got != "abc (modified)" {
		t.Errorf("got %q", got)
	}
	if got := commit(nil); got != "unknown" {
		t.Errorf("got %q", got)
	}
}

func TestVersion(t *testing.T) {
	r := slimbridge(t, "version")
	if r.code != 0 || r.stderr != "" || !semver.MatchString(thisVersion()) {
		t.Fatalf("got %+v", r)
	}
	for _, want := range []string{"slimbridge " + thisVersion(), "commit ", runtime.Version(), "dataplane.proto.v1", "2.2", "3.x"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("no %q in %q", want, r.stdout)
		}
	}
}
