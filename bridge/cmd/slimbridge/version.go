package main

import (
	"fmt"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// version may be set by the linker: -ldflags "-X main.version=1.2.3".
var version string

// wireVersions is what the interoperability suite runs against.
const wireVersions = "2.2 and 3.x (dataplane.proto.v1)"

const unknownVersion = "0.0.0-dev"

// semver is a full semantic version, as SLIM nodes demand it of their peers.
var semver = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version and what it speaks",
		Long:  "Prints the version of this program, the commit and the Go release it was built\nfrom, and the SLIM wire versions it speaks.",
		Example: `  slimbridge version
  slimbridge version | head -1`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			info, _ := debug.ReadBuildInfo()
			_, err := fmt.Fprintf(p.stdout, "slimbridge %s\ncommit     %s\ngo         %s %s/%s\nSLIM wire  %s\n",
				programVersion(version, info), commit(info), runtime.Version(), runtime.GOOS, runtime.GOARCH, wireVersions)
			return err
		},
	}
}

// thisVersion is a full semver without "v", for peers.
func thisVersion() string {
	info, _ := debug.ReadBuildInfo()
	return programVersion(version, info)
}

func programVersion(linked string, info *debug.BuildInfo) string {
	candidates := []string{linked}
	if info != nil {
		candidates = append(candidates, info.Main.Version)
	}
	for _, c := range candidates {
		if v := strings.TrimPrefix(c, "v"); semver.MatchString(v) {
			return v
		}
	}
	return unknownVersion
}

func commit(info *debug.BuildInfo) string {
	revision, modified := "unknown", ""
	if info == nil {
		return revision
	}
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = " (modified)"
		}
	}
	return revision + modified
}
