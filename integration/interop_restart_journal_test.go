package integration

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
)

// journal is a file in which a mortal app notes what it has done: whole lines,
// each safe on the disk before the app goes on.
//
//	run <run> session <id> new|resumed
//	got <number>         a message was received
//	confirmed <number>   and Confirm returned
//	published <number>   Publish returned
type journal struct{ f *os.File }

// openJournal cuts off a line that a kill has left incomplete.
func openJournal(path string) (journal, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return journal{}, err
	}
	content, err := os.ReadFile(path)
	if err == nil {
		err = f.Truncate(int64(len(wholeLines(content))))
	}
	return journal{f}, err
}

func wholeLines(content []byte) []byte { return content[:bytes.LastIndexByte(content, '\n')+1] }

func (j journal) note(format string, args ...any) error {
	if _, err := fmt.Fprintf(j.f, format+"\n", args...); err != nil {
		return err
	}
	return j.f.Sync()
}

// journalRun is what a journal says of one run, in the order of its lines.
type journalRun struct {
	run       int
	session   uint32
	resumed   bool
	got       []int
	confirmed []int
	published []int
}

// readJournal returns the runs that got as far as to have a session.
func readJournal(path string) (runs []*journalRun, err error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(wholeLines(content))); lines.Scan(); {
		var r journalRun
		var state string
		var n int
		line := lines.Text()
		if _, err := fmt.Sscanf(line, "run %d session %d %s", &r.run, &r.session, &state); err == nil {
			r.resumed = state == "resumed"
			runs = append(runs, &r)
			continue
		}
		if len(runs) == 0 {
			return nil, fmt.Errorf("journal begins with %q", line)
		}
		last := runs[len(runs)-1]
		lists := map[string]*[]int{"got": &last.got, "confirmed": &last.confirmed, "published": &last.published}
		var what string
		if _, err := fmt.Sscanf(line, "%s %d", &what, &n); err != nil || lists[what] == nil {
			return nil, fmt.Errorf("line %q", line)
		}
		*lists[what] = append(*lists[what], n)
	}
	return runs, nil
}

// lastOf is the last number of a kind, 0 if there is none.
func lastOf(runs []*journalRun, list func(*journalRun) []int) (last int) {
	for _, r := range runs {
		if l := list(r); len(l) > 0 {
			last = l[len(l)-1]
		}
	}
	return last
}

func gotOf(r *journalRun) []int       { return r.got }
func confirmedOf(r *journalRun) []int { return r.confirmed }
func publishedOf(r *journalRun) []int { return r.published }
