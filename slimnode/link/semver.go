package link

import "strings"

// isSemver reports whether s is a full semantic version as the Rust crate
// semver parses it: X.Y.Z, no leading zeros, optional pre-release and build.
func isSemver(s string) bool {
	if len(s) > 256 {
		return false
	}
	s, build, hasBuild := strings.Cut(s, "+")
	core, pre, hasPre := strings.Cut(s, "-")
	parts := strings.Split(core, ".")
	if len(parts) != 3 || hasPre && !identifiers(pre, false) || hasBuild && !identifiers(build, true) {
		return false
	}
	for _, p := range parts {
		if !numeric(p) || leadingZero(p) || len(p) > 19 { // 19 digits fit a u64
			return false
		}
	}
	return true
}

func identifiers(s string, zeros bool) bool {
	for id := range strings.SplitSeq(s, ".") {
		if id == "" || strings.Trim(id, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-") != "" {
			return false
		}
		if !zeros && numeric(id) && leadingZero(id) {
			return false
		}
	}
	return true
}

func numeric(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func leadingZero(s string) bool { return len(s) > 1 && s[0] == '0' }
