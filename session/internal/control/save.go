package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/slimbridge/slimbridge/session/internal/arq"
	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// Carrying a session across a restart: what a machine writes down, and how one
// is made of it. To everybody else a restart is an outage of our link.
//
// Whoever drives a machine that is to survive saves it after a step and before
// anything of the step's output leaves. What is encrypted meanwhile needs no
// Save, up to [SkipAhead] messages: the restored machine takes them for sent.

// savedVersion changes with the form of what Save writes.
const savedVersion = 1

// SkipAhead is how many messages may be encrypted with [Core.Seal] after a Save
// and before the next. A restored session never uses those keys again; its
// peers, who take jumps below 1024, notice nothing.
const SkipAhead = 64

// ReliedOn reports whether somebody will act on o, so that the session must be
// saved before any of it gets out: acknowledgements, answers, changes of the
// group, and what the application is given or has handed over. A crash may undo
// anything else.
func (o *Output) ReliedOn() bool {
	if len(o.Deliver)+len(o.Members)+len(o.Done) > 0 || o.PublishedID != 0 || o.Rotated || o.Opened || o.Ended != nil {
		return true
	}
	return slices.ContainsFunc(o.Send, func(s Outbound) bool {
		return s.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_MSG_ACK ||
			IsCommand(s.Type) && s.Type != pb.SessionMessageType_SESSION_MESSAGE_TYPE_HEARTBEAT
	})
}

// keepAnswers is how many of the answers given last survive, of those that are
// not longer than keepAnswerBytes: a real peer repeats a request that it sent
// just before our restart under its old id.
const (
	keepAnswers     = 16
	keepAnswerBytes = 1024
)

// Saved is a session that was saved.
type Saved struct{ s saved }

type saved struct {
	Version     int
	Role        Role
	Local, Peer name.Name
	Channel     name.Name `json:",omitzero"`
	Control     name.Name `json:",omitzero"`
	SessionID   uint32    `json:",omitempty"`
	Reliable    bool      `json:",omitempty"`
	MaxRetries  int
	Interval    time.Duration
	Metadata    map[string]string `json:",omitempty"`
	Subject     string            `json:",omitempty"`
	EndWhenLost bool              `json:",omitempty"`
	Encrypted   bool              `json:",omitempty"`
	MLS         []byte            `json:",omitempty"`
	Away        bool              `json:",omitempty"`
	Draining    bool              `json:",omitempty"`
	Closing     bool              `json:",omitempty"`
	Stream      savedStream
	Machine     *savedMachine     `json:",omitempty"`
	Group       *savedGroup       `json:",omitempty"`
	Moderator   *savedModerator   `json:",omitempty"`
	Participant *savedParticipant `json:",omitempty"`
}

type savedStream struct {
	TX      arq.SenderState[name.Key]
	Epoch   uint64    `json:",omitempty"`
	Sent    int       `json:",omitempty"`
	Deaf    bool      `json:",omitempty"`
	Mended  time.Time `json:",omitzero"`
	Serials int
}

type savedPeer struct {
	Name     name.Name
	Subject  string `json:",omitempty"`
	Key      []byte `json:",omitempty"`
	Online   bool   `json:",omitempty"`
	Received int    `json:",omitempty"`
	Serial   int
	RX       arq.ReceiverState
	Direct   []MessageID   `json:",omitempty"`
	Answers  []savedAnswer `json:",omitempty"`
}

type savedAnswer struct {
	Type  Type
	ID    MessageID
	Reply *savedOutbound `json:",omitempty"`
}

// savedOutbound is a control message.
type savedOutbound struct {
	Type       Type
	ID         MessageID `json:",omitempty"`
	To         name.Name
	Broadcast  bool              `json:",omitempty"`
	Command    []byte            `json:",omitempty"`
	Metadata   map[string]string `json:",omitempty"`
	BareSource bool              `json:",omitempty"`
	Urgent     bool              `json:",omitempty"`
}

type savedRequest struct {
	Msg      savedOutbound
	IDs      []MessageID
	Attempts int
}

var errSaved = errors.New("saved session does not fit together")

// ReadSaved reads what [Core.Save] returned.
func ReadSaved(state []byte) (*Saved, error) {
	var s saved
	if err := json.Unmarshal(state, &s); err != nil {
		return nil, errSaved // the text of err could hold a part of the state
	}
	if s.Version != savedVersion {
		return nil, fmt.Errorf("session was saved in form %d, this program knows form %d", s.Version, savedVersion)
	}
	machine := s.Machine != nil && s.Group == nil && s.Moderator == nil && s.Participant == nil
	group := s.Machine == nil && s.Group != nil &&
		(s.Role == Initiator && s.Moderator != nil && s.Participant == nil || s.Role == Responder && s.Moderator == nil && s.Participant != nil)
	there := func(m savedMember) bool { return !m.Gone }
	// It makes its MLS group with the first member.
	alone := s.Moderator != nil && s.Group != nil && !slices.ContainsFunc(s.Group.Members, there)
	if !machine && !group || s.Interval <= 0 || !s.Encrypted && len(s.MLS) > 0 || s.Encrypted && len(s.MLS) == 0 && !alone {
		return nil, errSaved
	}
	return &Saved{s}, nil
}

// Encrypted reports whether the session needs an [MLS].
func (s *Saved) Encrypted() bool { return s.s.Encrypted }

// Closing reports that the session was about to end: whoever restores it closes
// it.
func (s *Saved) Closing() bool { return s.s.Closing }

// PeerSubject is the verified subject of the peer, or of the moderator of a
// group; empty if that is ourselves.
func (s *Saved) PeerSubject() string {
	switch {
	case s.s.Machine != nil:
		return s.s.Machine.Peer.Subject
	case s.s.Participant != nil && len(s.s.Group.Members) > 0:
		return s.s.Group.Members[0].Subject
	}
	return ""
}

// Config is that of the session, but for MLS, NewID, LostAfter, RotateAfter and
// RotateMessages.
func (s *Saved) Config() Config {
	return Config{
		Role: s.s.Role, Local: s.s.Local, Peer: s.s.Peer, Channel: s.s.Channel, Control: s.s.Control, SessionID: s.s.SessionID,
		Reliable: s.s.Reliable, MaxRetries: s.s.MaxRetries, Interval: s.s.Interval, Metadata: s.s.Metadata,
		Subject: s.s.Subject, EndWhenLost: s.s.EndWhenLost,
	}
}

// Restore makes the session anew, with its link down: the next event is
// [LinkUp]. cfg is [Saved.Config], completed; its MLS, which is loaded, must
// verify members as before. message returns what [Core.Kept] yielded. The
// restored session must be saved before anything of it is encrypted, or a second
// restart would use keys twice.
func (s *Saved) Restore(now time.Time, cfg Config, message func(key string) (AppMessage, bool)) (Core, error) {
	if s.s.Encrypted != (cfg.MLS != nil) {
		return nil, errSaved
	}
	if len(s.s.MLS) > 0 {
		if err := cfg.MLS.Load(s.s.MLS); err != nil {
			return nil, err
		}
		if err := cfg.MLS.Skip(SkipAhead); err != nil {
			return nil, err
		}
	}
	r := &restorer{now: now, message: message, mls: cfg.MLS != nil}
	switch {
	case s.s.Machine != nil:
		return r.machine(cfg, &s.s)
	case s.s.Moderator != nil:
		return r.moderator(cfg, &s.s)
	}
	return r.participant(cfg, &s.s)
}

// restorer makes parts of a machine of what was saved.
type restorer struct {
	now     time.Time
	message func(key string) (AppMessage, bool)
	mls     bool
}

func saveConfig(c *Config) saved {
	return saved{
		Version: savedVersion, Role: c.Role, Local: c.Local, Peer: c.Peer, Channel: c.Channel, Control: c.Control, SessionID: c.SessionID,
		Reliable: c.Reliable, MaxRetries: c.MaxRetries, Interval: c.Interval, Metadata: c.Metadata, Subject: c.Subject, EndWhenLost: c.EndWhenLost,
		Encrypted: c.MLS != nil,
	}
}

// write ends a Save.
func (s *saved) write(m MLS, st state) ([]byte, error) {
	s.Away, s.Draining, s.Closing = st == away, st == draining, st == closing
	if m != nil {
		group, err := m.Save()
		if err != nil {
			return nil, err
		}
		s.MLS = group
	}
	return json.Marshal(s)
}

// worthKeeping reports whether a session in that state is saved: not before both
// sides have agreed on it.
func worthKeeping(st state) bool { return st >= open && st < ended }

// restoredState is the state in which a machine goes on. One that was closing
// says so anew.
func (s *saved) restoredState() state {
	switch {
	case s.Away:
		return away
	case s.Draining:
		return draining
	}
	return open
}

func (s *stream) save() savedStream {
	return savedStream{TX: s.tx.Save(), Epoch: s.epoch, Sent: s.sent, Deaf: s.deaf, Mended: s.mended, Serials: s.serials}
}

func txKey(seq uint64) string             { return fmt.Sprintf("tx/%d", seq) }
func rxKey(serial int, seq uint64) string { return fmt.Sprintf("rx/%d/%d", serial, seq) }
func letterKey(id MessageID) string       { return fmt.Sprintf("to/%d", id) }

func (r *restorer) stream(s *stream, from *savedStream) (err error) {
	s.epoch, s.sent, s.deaf, s.mended, s.serials = from.Epoch, from.Sent, from.Deaf, from.Mended, from.Serials
	s.tx, err = arq.RestoreSender(s.senders, from.TX, func(seq uint64) (AppMessage, int, bool) {
		msg, ok := r.message(txKey(seq))
		return msg, msg.size(), ok
	})
	if err == nil && r.mls {
		s.tx.Skipped(SkipAhead)
	}
	return err
}

// kept yields what was published and is not settled, or may be asked for.
func (s *stream) kept(yield func(string, AppMessage) bool) bool {
	for seq, msg := range s.tx.Kept() {
		if !yield(txKey(seq), msg) {
			return false
		}
	}
	return true
}

func (p *peer) save(answers *replies) savedPeer {
	return savedPeer{
		Name: p.name, Subject: p.subject, Key: p.key, Online: p.online, Received: p.received, Serial: p.serial,
		RX: p.rx.Save(), Direct: p.direct.save(), Answers: answers.save(),
	}
}

func (r *restorer) peer(p *peer, answers *replies, from *savedPeer, cfg arq.ReceiverConfig) (err error) {
	p.name, p.subject, p.key, p.online, p.received, p.serial = from.Name, from.Subject, from.Key, from.Online, from.Received, from.Serial
	for _, id := range from.Direct {
		p.direct.add(id)
	}
	if err := answers.restore(from.Answers); err != nil {
		return err
	}
	p.rx, err = arq.RestoreReceiver(cfg, from.RX, func(seq uint64) (delivered, int, bool) {
		msg, ok := r.message(rxKey(p.serial, seq))
		d := delivered{msg: msg}
		if r.mls {
			d.subject = p.subject // or it would not have been taken
		}
		return d, msg.size(), ok
	})
	return err
}

// kept yields what waits for older messages of p.
func (p *peer) kept(yield func(string, AppMessage) bool) bool {
	for seq, d := range p.rx.Held() {
		if !yield(rxKey(p.serial, seq), d.msg) {
			return false
		}
	}
	return true
}

// save returns the ids, oldest first.
func (r *recent) save() (ids []MessageID) {
	for i := range r.ids {
		if id := r.ids[(r.pos+i)%len(r.ids)]; id != 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

func (r *replies) save() (list []savedAnswer) {
	for _, k := range r.order[max(0, len(r.order)-keepAnswers):] {
		a := savedAnswer{Type: k.typ, ID: k.id}
		if reply := r.byRequest[k]; reply != nil {
			o := reply.save()
			if len(o.Command) > keepAnswerBytes {
				continue
			}
			a.Reply = &o
		}
		list = append(list, a)
	}
	return list
}

func (r *replies) restore(list []savedAnswer) error {
	for _, a := range list {
		var reply *Outbound
		if a.Reply != nil {
			o, err := a.Reply.restore()
			if err != nil {
				return err
			}
			reply = &o
		}
		r.put(a.Type, a.ID, reply)
	}
	return nil
}

func (o *Outbound) save() savedOutbound {
	s := savedOutbound{
		Type: o.Type, ID: o.ID, To: o.To, Broadcast: o.Broadcast, Metadata: o.Metadata, BareSource: o.BareSource, Urgent: o.Urgent,
	}
	if o.Command != nil {
		// It fails only for text that is not UTF-8, which no command of ours has.
		s.Command, _ = wire.AppendCommand(nil, o.Command)
	}
	return s
}

func (s *savedOutbound) restore() (o Outbound, err error) {
	o = Outbound{
		Type: s.Type, ID: s.ID, To: s.To, Broadcast: s.Broadcast, Metadata: s.Metadata, BareSource: s.BareSource, Urgent: s.Urgent,
	}
	o.Command, err = wire.ParseCommand(s.Command)
	if err != nil || !IsCommand(o.Type) {
		return o, errSaved
	}
	return o, nil
}

func (r *request) save() *savedRequest {
	if r == nil {
		return nil
	}
	return &savedRequest{Msg: r.msg.save(), IDs: r.ids, Attempts: r.attempts}
}

// request is due at once: [LinkUp] repeats it.
func (r *restorer) request(s *savedRequest) (*request, error) {
	if s == nil {
		return nil, nil
	}
	msg, err := s.Msg.restore()
	if err != nil || len(s.IDs) > maxRequestIDs {
		return nil, errSaved
	}
	return &request{msg: msg, ids: s.IDs, attempts: s.Attempts, due: r.now}, nil
}

// kept makes the sequence that [Core.Kept] returns.
func kept(each func(yield func(string, AppMessage) bool)) iter.Seq2[string, AppMessage] {
	return func(yield func(string, AppMessage) bool) { each(yield) }
}
