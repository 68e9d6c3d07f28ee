package session

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/slimbridge/slimbridge/session/internal/control"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// State is where an app keeps its sessions, so that they go on after a crash or
// a restart; package statefile has one that is a file. It holds keys and
// messages: whoever reads it reads the sessions, so it must encrypt what it
// stores, and it must not lose what it was given, since an app that resumes from
// an older state would use keys twice. It is used by one app at a time; within a
// process, Dial sees to that.
type State interface {
	// Read calls each for every record, in any order, and stops at its first
	// error.
	Read(each func(key string, value []byte) error) error
	// Write makes all changes or none, and returns when they are safe. A nil
	// value deletes. It is called by many goroutines.
	Write(changes map[string][]byte) error
}

// statesInUse are those of the apps of this process, as far as they can be told
// apart.
var statesInUse sync.Map

var errStateInUse = errors.New("another app of this process uses the state: Close or Suspend that one first, also if it ended by itself")

// claim makes the state this app's own until release. Two that resume the same
// sessions would use keys twice.
func (a *App) claim() error {
	if st := a.cfg.State; reflect.ValueOf(st).Comparable() {
		if _, taken := statesInUse.LoadOrStore(st, a); taken {
			return &Error{Code: CodeState, Err: errStateInUse}
		}
	}
	return nil
}

// release is called when all goroutines have ended, and may be called again.
func (a *App) release() {
	if st := a.cfg.State; st != nil && reflect.ValueOf(st).Comparable() {
		statesInUse.CompareAndDelete(st, a)
	}
}

// Records of an app:
//
//	session/app                    appRecord
//	session/<token>/info           infoRecord, as long as there is anything of the session
//	session/<token>/state          what control.Core.Save returned, while the session lives
//	session/<token>/in/<n>         a received message that is not confirmed
//	session/<token>/<other keys>   what control.Core.Kept yields
const recordRoot = "session/"

const recordVersion = 1

// appRecord tells whose sessions these are.
type appRecord struct {
	Version   int
	Name      string
	Subject   string
	PublicKey []byte
}

// infoRecord is what outlives the end of a session.
type infoRecord struct {
	ID        ID
	Group     bool
	Local     name.Name
	Peer      name.Name    // or the moderator
	Subject   string       // of Peer
	Names     [2]name.Name // of a group
	Metadata  map[string]string
	Initiator bool
	Reliable  bool
	MLS       bool
	// Closing: a process was about to close it, but could not say so yet.
	Closing bool `json:",omitempty"`
}

// inRecord is a received message, or a gap; the payload follows.
type inRecord struct {
	Type     string            `json:",omitempty"`
	Metadata map[string]string `json:",omitempty"`
	Source   name.Name         `json:",omitzero"`
	Subject  string            `json:",omitempty"`
	Direct   bool              `json:",omitempty"`
	Missing  int               `json:",omitempty"`
}

var errRecord = errors.New("a record of the state does not fit together")

// appendRecord writes a head and the payload that follows it.
func appendRecord(head inRecord, payload []byte) ([]byte, error) {
	h, err := json.Marshal(head)
	if err != nil {
		return nil, err
	}
	b := binary.AppendUvarint(make([]byte, 0, len(h)+len(payload)+binary.MaxVarintLen64), uint64(len(h)))
	return append(append(b, h...), payload...), nil
}

func parseRecord(b []byte) (head inRecord, payload []byte, err error) {
	n, k := binary.Uvarint(b)
	if k <= 0 || n > uint64(len(b)-k) {
		return head, nil, errRecord
	}
	b = b[k:]
	if json.Unmarshal(b[:n], &head) != nil {
		return head, nil, errRecord
	}
	return head, slices.Clone(b[n:]), nil
}

// messageRecord is the form of a message of ours, or of one that waits for older ones.
func messageRecord(m *control.AppMessage) ([]byte, error) {
	return appendRecord(inRecord{Type: m.Type, Metadata: m.Metadata}, m.Payload)
}

func deliveryRecord(d *control.Delivery) ([]byte, error) {
	return appendRecord(inRecordOf(d), d.Msg.Payload)
}

func inRecordOf(d *control.Delivery) inRecord {
	return inRecord{
		Type: d.Msg.Type, Metadata: d.Msg.Metadata, Source: d.From, Subject: d.Subject, Direct: d.Direct, Missing: d.Missing,
	}
}

// item is the delivery as the application sees it.
func (r *inRecord) item(payload []byte, m mark) inItem {
	if r.Missing > 0 {
		return inItem{err: &Error{Code: CodeMessagesLost, Peer: r.Source, Err: lostMessages(r.Missing)}, mark: m}
	}
	return inItem{mark: m, msg: Message{
		Payload: payload, Type: r.Type, Metadata: r.Metadata, Source: r.Source, Subject: r.Subject, Direct: r.Direct, mark: m,
	}}
}

// keptSession is what is stored of one session.
type keptSession struct {
	token    string
	info     *infoRecord
	core     []byte
	messages map[string][]byte
	inbox    map[uint64][]byte
}

// readState sorts the records by session.
func readState(st State) (app *appRecord, sessions []*keptSession, err error) {
	byToken := map[string]*keptSession{}
	err = st.Read(func(key string, value []byte) error {
		rest, ours := strings.CutPrefix(key, recordRoot)
		if !ours {
			return nil
		}
		if rest == "app" {
			app = &appRecord{}
			return recordError(json.Unmarshal(value, app))
		}
		token, what, ok := strings.Cut(rest, "/")
		if !ok {
			return errRecord
		}
		k := byToken[token]
		if k == nil {
			k = &keptSession{token: token, messages: map[string][]byte{}, inbox: map[uint64][]byte{}}
			byToken[token] = k
			sessions = append(sessions, k)
		}
		return k.put(what, slices.Clone(value))
	})
	slices.SortFunc(sessions, func(a, b *keptSession) int { return strings.Compare(a.token, b.token) })
	for _, k := range sessions {
		if err == nil && k.info == nil {
			err = errRecord
		}
	}
	return app, sessions, err
}

func (k *keptSession) put(what string, value []byte) error {
	number, received := strings.CutPrefix(what, "in/")
	switch {
	case what == "info":
		k.info = &infoRecord{}
		return recordError(json.Unmarshal(value, k.info))
	case what == "state":
		k.core = value
	case received:
		n, err := strconv.ParseUint(number, 10, 64)
		if err != nil || n == 0 {
			return errRecord
		}
		k.inbox[n] = value
	default:
		k.messages[what] = value
	}
	return nil
}

// recordError hides the text of an error, which could show a part of the record.
func recordError(err error) error {
	if err != nil {
		return errRecord
	}
	return nil
}

// message finds what [control.Core.Kept] yielded.
func (k *keptSession) message(key string) (control.AppMessage, bool) {
	b, ok := k.messages[key]
	if !ok {
		return control.AppMessage{}, false
	}
	head, payload, err := parseRecord(b)
	return control.AppMessage{Type: head.Type, Metadata: head.Metadata, Payload: payload}, err == nil
}

// checkOwner compares the state's app with this one.
func (a *App) checkOwner(owner *appRecord) error {
	own := appRecord{
		Version: recordVersion, Name: a.cfg.Name.Path(), Subject: a.cfg.Identity.Subject(), PublicKey: a.cfg.Identity.Signer().Public(),
	}
	switch {
	case owner == nil:
		value, err := json.Marshal(own)
		if err != nil {
			return err
		}
		return a.cfg.State.Write(map[string][]byte{recordRoot + "app": value})
	case owner.Version != recordVersion:
		return fmt.Errorf("the state was written in form %d, this program knows form %d", owner.Version, recordVersion)
	case owner.Name != own.Name || owner.Subject != own.Subject || string(owner.PublicKey) != string(own.PublicKey):
		return fmt.Errorf("the state belongs to %s with the identity %s, this app is %s with %s: "+
			"keep the identity too (identity.KeepSharedSecret, identity.KeepSigner), or use another state", owner.Name, owner.Subject, own.Name, own.Subject)
	}
	return nil
}
