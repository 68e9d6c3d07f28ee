package realmcp

import "fmt"

// Report is the outcome of a scenario.
type Report struct {
	Client string  `json:"client"` // which SDK
	Server string  `json:"server"` // name that the server gave itself, empty if there was no connection
	Checks []Check `json:"checks"`
	Stderr string  `json:"-"` // what the command wrote to standard error
}

// Check is one item of the scenario.
type Check struct {
	Name   string  `json:"name"`
	OK     bool    `json:"ok"`
	Detail string  `json:"detail"` // why it failed
	MS     float64 `json:"ms"`     // duration in milliseconds
}

func (c Check) String() string {
	if c.OK {
		return fmt.Sprintf("%s: ok (%.1f ms)", c.Name, c.MS)
	}
	return fmt.Sprintf("%s: %s (%.1f ms)", c.Name, c.Detail, c.MS)
}

// CheckNames are the checks that a full report has, in order. A report of a failed connection has only the first.
var CheckNames = []string{
	"initialize", "ping", "roots", "tools/list", "echo", "get-sum", "structured content", "image", "unknown tool", "resources/list",
	"resources/read", "resources/templates/list", "dynamic resource", "logging/setLevel", "resources/subscribe",
	"resources/unsubscribe", "prompts/list", "prompts/get", "completion/complete", "progress", "cancellation", "sampling",
	"elicitation", "payload of 1 MiB", "100 calls in parallel",
}

// Failed returns the checks that did not pass, and one for each check that is missing.
func (r Report) Failed() []Check {
	var failed []Check
	seen := map[string]bool{}
	for _, c := range r.Checks {
		seen[c.Name] = true
		if !c.OK {
			failed = append(failed, c)
		}
	}
	for _, name := range CheckNames {
		if !seen[name] {
			failed = append(failed, Check{Name: name, Detail: "was not run"})
		}
	}
	return failed
}
