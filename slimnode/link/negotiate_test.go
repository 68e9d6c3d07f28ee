package link

import (
	"bytes"
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// private is the key of the n-th to n+31st byte, as in the captured exchanges.
func private(n byte) *ecdh.PrivateKey {
	b := make([]byte, 32)
	for i := range b {
		b[i] = n + byte(i)
	}
	k, err := ecdh.X25519().NewPrivateKey(b)
	if err != nil {
		panic(err)
	}
	return k
}

func fixedKEM(t *testing.T) *mlkem.DecapsulationKey768 {
	t.Helper()
	k, err := mlkem.NewDecapsulationKey768(bytes.Repeat([]byte{7}, mlkem.SeedSize))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// goodRequest is what a real client sends.
func goodRequest() *pb.LinkNegotiationPayload {
	return &pb.LinkNegotiationPayload{
		LinkId: "link-a", SlimVersion: "2.2.0", ConnectionType: 2, NodeId: "app",
		LinkEcdhPublicKey: private(0x20).PublicKey().Bytes(),
	}
}

func TestAcceptor(t *testing.T) {
	strict := acceptor{version: "1.0.0", nodeID: "node", deployment: "group", requireMAC: true}
	lax, pqc, peers := strict, strict, strict
	lax.requireMAC = false
	pqc.requireMAC, pqc.requireKEM = false, true
	peers.allowPeer, peers.allowRemote = true, true
	kem := fixedKEM(t).EncapsulationKey().Bytes()
	const none, classical, hybrid = "none", "classical", "hybrid"
	for _, tc := range []struct {
		name   string
		policy acceptor
		edit   func(*pb.LinkNegotiationPayload)
		key    string // "" means refused
		typ    ConnType
		echo   int32
		final  bool // refused with PERMISSION_DENIED
		reply  bool // ... after a reply
	}{
		{name: "real client", policy: strict, key: classical, echo: 2},
		{name: "lax, key", policy: lax, key: classical, echo: 2},
		{name: "strict, no key", policy: strict, edit: func(r *pb.LinkNegotiationPayload) { r.LinkEcdhPublicKey = nil }},
		{name: "lax, no key", policy: lax, edit: func(r *pb.LinkNegotiationPayload) { r.LinkEcdhPublicKey = nil }, key: none, echo: 2},
		{name: "strict, short key", policy: strict, edit: func(r *pb.LinkNegotiationPayload) { r.LinkEcdhPublicKey = make([]byte, 31) }},
		{name: "lax, short key", policy: lax, edit: func(r *pb.LinkNegotiationPayload) { r.LinkEcdhPublicKey = make([]byte, 31) }, key: none, echo: 2},
		{name: "strict, zero key", policy: strict, edit: func(r *pb.LinkNegotiationPayload) { r.LinkEcdhPublicKey = make([]byte, 32) }},
		{name: "lax, zero key", policy: lax, edit: func(r *pb.LinkNegotiationPayload) { r.LinkEcdhPublicKey = make([]byte, 32) }, key: none, echo: 2},
		{name: "strict, KEM", policy: strict, edit: func(r *pb.LinkNegotiationPayload) { r.LinkKemPayload = kem }, key: hybrid, echo: 2},
		{name: "lax, KEM", policy: lax, edit: func(r *pb.LinkNegotiationPayload) { r.LinkKemPayload = kem }, key: hybrid, echo: 2},
		{name: "lax, KEM without key", policy: lax, edit: func(r *pb.LinkNegotiationPayload) { r.LinkKemPayload, r.LinkEcdhPublicKey = kem, nil }, key: none, echo: 2},
		{name: "lax, KEM of another length", policy: lax, edit: func(r *pb.LinkNegotiationPayload) { r.LinkKemPayload = kem[1:] }, key: classical, echo: 2},
		{name: "KEM that is no key", policy: strict, edit: func(r *pb.LinkNegotiationPayload) { r.LinkKemPayload = bytes.Repeat([]byte{0xff}, len(kem)) }},
		{name: "enforced, KEM", policy: pqc, edit: func(r *pb.LinkNegotiationPayload) { r.LinkKemPayload = kem }, key: hybrid, echo: 2},
		{name: "enforced, no KEM", policy: pqc},
		{name: "enforced, KEM of another length", policy: pqc, edit: func(r *pb.LinkNegotiationPayload) { r.LinkKemPayload = kem[1:] }},
		{name: "enforced and lax, no key", policy: pqc, edit: func(r *pb.LinkNegotiationPayload) { r.LinkKemPayload, r.LinkEcdhPublicKey = kem, nil }},
		{name: "no link id", policy: lax, edit: func(r *pb.LinkNegotiationPayload) { r.LinkId = "" }},
		{name: "huge link id", policy: lax, edit: func(r *pb.LinkNegotiationPayload) { r.LinkId = strings.Repeat("x", maxLinkID+1) }},
		{name: "version 2.2", policy: lax, edit: func(r *pb.LinkNegotiationPayload) { r.SlimVersion = "2.2" }},
		{name: "version v2.2.0", policy: lax, edit: func(r *pb.LinkNegotiationPayload) { r.SlimVersion = "v2.2.0" }},
		{name: "no version", policy: lax, edit: func(r *pb.LinkNegotiationPayload) { r.SlimVersion = "" }},
		{name: "odd semver", policy: strict, edit: func(r *pb.LinkNegotiationPayload) { r.SlimVersion = "99.0.0-x+y" }, key: classical, echo: 2},
		{name: "is_reply", policy: lax, edit: func(r *pb.LinkNegotiationPayload) { r.IsReply = true }},
		{name: "remote claim counts as edge", policy: strict, edit: func(r *pb.LinkNegotiationPayload) { r.ConnectionType = 0 }, key: classical, typ: Edge, echo: 0},
		{name: "remote allowed", policy: peers, edit: func(r *pb.LinkNegotiationPayload) { r.ConnectionType = 0 }, key: classical, typ: Remote, echo: 0},
		{name: "unknown type", policy: peers, edit: func(r *pb.LinkNegotiationPayload) { r.ConnectionType = 77 }, key: classical, typ: Remote, echo: 0},
		{name: "peer claim refused", policy: strict, edit: func(r *pb.LinkNegotiationPayload) { r.ConnectionType = 1 }, final: true},
		{name: "peer allowed", policy: peers, edit: func(r *pb.LinkNegotiationPayload) { r.ConnectionType, r.DeploymentName = 1, "group" }, key: classical, typ: Peer, echo: 1},
		{name: "peer of another group", policy: peers, edit: func(r *pb.LinkNegotiationPayload) { r.ConnectionType = 1 }, final: true, reply: true},
		{name: "peer is myself", policy: peers, edit: func(r *pb.LinkNegotiationPayload) {
			r.ConnectionType, r.DeploymentName, r.NodeId = 1, "group", "node"
		}, final: true, reply: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req := goodRequest()
			if tc.edit != nil {
				tc.edit(req)
			}
			reply, a, err := tc.policy.answer(req, private(0x40), encapsulate768)
			if tc.key == "" {
				if !errors.Is(err, ErrNegotiation) || (reply != nil) != tc.reply || a.linkID != "" {
					t.Fatalf("answer = %v, %+v, %v; want a refusal", reply, a, err)
				}
				if got := status.Code(err) == codes.PermissionDenied; got != tc.final {
					t.Errorf("%v is final: %v", err, got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if a.typ != tc.typ || a.nodeID != "app" || a.linkID != "link-a" || a.hybrid != (tc.key == hybrid) || (a.key == nil) != (tc.key == none) {
				t.Errorf("agreed %+v", a)
			}
			want := &pb.LinkNegotiationPayload{
				LinkId: "link-a", SlimVersion: "1.0.0", IsReply: true, NodeId: "node",
				ConnectionType: pb.LinkConnectionType(tc.echo), LinkKemPayload: reply.GetLinkKemPayload(),
			}
			if tc.key != none {
				want.LinkEcdhPublicKey = private(0x40).PublicKey().Bytes()
			}
			if tc.typ == Peer {
				want.DeploymentName = "group"
			}
			if !proto.Equal(reply, want) || (len(reply.GetLinkKemPayload()) == mlkem.CiphertextSize768) != a.hybrid {
				t.Errorf("reply %v\nwant %v", reply, want)
			}
		})
	}
	if reply, _, err := lax.answer(nil, private(0), encapsulate768); reply != nil || !errors.Is(err, ErrNegotiation) {
		t.Errorf("answer(nil) = %v, %v", reply, err)
	}
}

func TestDialer(t *testing.T) {
	strict := offer{linkID: "link-a", version: "1.0.0", nodeID: "app", requireMAC: true, key: private(0x20)}
	lax, pqc, laxPQC := strict, strict, strict
	lax.requireMAC = false
	pqc.kem = fixedKEM(t)
	laxPQC.kem, laxPQC.requireMAC = pqc.kem, false
	_, ciphertext, err := encapsulate768(pqc.kem.EncapsulationKey().Bytes())
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name  string
		offer offer
		edit  func(*pb.LinkNegotiationPayload)
		want  error // nil: accepted
		keyed bool
	}{
		{name: "real node", offer: strict, keyed: true},
		{name: "strict, no key", offer: strict, edit: func(r *pb.LinkNegotiationPayload) { r.LinkEcdhPublicKey = nil }, want: ErrNoKey},
		{name: "strict, zero key", offer: strict, edit: func(r *pb.LinkNegotiationPayload) { r.LinkEcdhPublicKey = make([]byte, 32) }, want: ErrNoKey},
		{name: "lax, no key", offer: lax, edit: func(r *pb.LinkNegotiationPayload) { r.LinkEcdhPublicKey = nil }},
		{name: "other link id", offer: lax, edit: func(r *pb.LinkNegotiationPayload) { r.LinkId = "link-b" }, want: ErrNegotiation},
		{name: "bad version", offer: lax, edit: func(r *pb.LinkNegotiationPayload) { r.SlimVersion = "2.2" }, want: ErrNegotiation},
		{name: "no reply", offer: lax, edit: func(r *pb.LinkNegotiationPayload) { r.IsReply = false }, want: ErrNegotiation},
		{name: "changed type", offer: strict, edit: func(r *pb.LinkNegotiationPayload) { r.ConnectionType = 1 }, keyed: true},
		{name: "no node id", offer: strict, edit: func(r *pb.LinkNegotiationPayload) { r.NodeId = "" }, keyed: true},
		{name: "KEM not asked for", offer: strict, edit: func(r *pb.LinkNegotiationPayload) { r.LinkKemPayload = ciphertext }, keyed: true},
		{name: "hybrid", offer: pqc, edit: func(r *pb.LinkNegotiationPayload) { r.LinkKemPayload = ciphertext }, keyed: true},
		{name: "hybrid, no ciphertext", offer: pqc, want: ErrNegotiation},
		{name: "hybrid, short ciphertext", offer: laxPQC, edit: func(r *pb.LinkNegotiationPayload) { r.LinkKemPayload = ciphertext[1:] }, want: ErrNegotiation},
		{name: "hybrid and lax, no key", offer: laxPQC, edit: func(r *pb.LinkNegotiationPayload) {
			r.LinkKemPayload, r.LinkEcdhPublicKey = ciphertext, nil
		}, want: ErrNoKey},
	} {
		t.Run(tc.name, func(t *testing.T) {
			reply := &pb.LinkNegotiationPayload{
				LinkId: "link-a", SlimVersion: "3.4.6", IsReply: true, ConnectionType: 2, NodeId: "node",
				LinkEcdhPublicKey: private(0x40).PublicKey().Bytes(),
			}
			if tc.edit != nil {
				tc.edit(reply)
			}
			a, err := tc.offer.accept(reply)
			if !errors.Is(err, tc.want) {
				t.Fatalf("accept = %v, want %v", err, tc.want)
			}
			if err == nil && ((a.key != nil) != tc.keyed || a.typ != Edge || a.hybrid != (tc.offer.kem != nil)) {
				t.Errorf("agreed %+v", a)
			}
		})
	}
	if _, err := lax.accept(nil); !errors.Is(err, ErrNegotiation) {
		t.Errorf("accept(nil) = %v", err)
	}
}

// Both halves agree on the key, for every combination that links up.
func TestBothHalvesAgree(t *testing.T) {
	for _, typ := range []ConnType{Edge, Remote, Peer} {
		for _, pqc := range []bool{false, true} {
			o := offer{linkID: "l", version: "1.0.0", nodeID: "b", deployment: "d", typ: typ, requireMAC: true, key: private(1)}
			if pqc {
				o.kem = fixedKEM(t)
			}
			acc := acceptor{version: "1.0.0", nodeID: "a", deployment: "d", requireMAC: true, requireKEM: pqc, allowPeer: true, allowRemote: true}
			reply, theirs, err := acc.answer(o.request(), private(2), encapsulate768)
			if err != nil {
				t.Fatal(err)
			}
			ours, err := o.accept(reply)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(ours.key, theirs.key) || len(ours.key) != keySize || ours.typ != typ || theirs.typ != typ || ours.hybrid != pqc {
				t.Errorf("%v, pqc %v: %+v, %+v", typ, pqc, ours, theirs)
			}
		}
	}
}

// What a real node answered, and the keys that its MACs proved right.
func TestKeyVectors(t *testing.T) {
	b, err := os.ReadFile("testdata/keys.vec")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(b), "\n\n")
	n := 0
	for line := range strings.Lines(body) {
		f := strings.Fields(line) // name, link id, private, peer public, ML-KEM shared or -, shared, key
		n++
		priv, err := ecdh.X25519().NewPrivateKey(unhex(t, f[2]))
		if err != nil {
			t.Fatal(err)
		}
		shared, err := x25519(priv, unhex(t, f[3]))
		if err != nil || hex.EncodeToString(shared) != f[5] {
			t.Errorf("%s: shared %x, %v", f[0], shared, err)
		}
		var kem []byte
		if f[4] != "-" {
			kem = unhex(t, f[4])
		}
		key, err := deriveKey(f[1], shared, kem)
		if err != nil || hex.EncodeToString(key) != f[6] {
			t.Errorf("%s: key %x, %v; want %s", f[0], key, err, f[6])
		}
	}
	if n != 3 {
		t.Errorf("%d vectors", n)
	}
}

// The reply of a real node to our request on link-a.
func TestRealReply(t *testing.T) {
	b, err := os.ReadFile("testdata/reply.vec")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(b), "\n\n")
	o := offer{linkID: "link-a", version: "2.2.0", requireMAC: true, key: private(0x20)}
	a, err := o.accept(negotiation(unhex(t, strings.TrimSpace(body))))
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(a.key); got != "34360e3367b1c9bda3b93a4c5018eab91d6c07eaad8b21362cbbaaa67b196ecd" || a.nodeID != "node-strict" || a.version != "2.2.0" {
		t.Errorf("agreed %+v", a)
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSemver(t *testing.T) {
	for _, s := range []string{"0.0.1", "2.2.0", "99.0.0-x+y", "0.0.0-dev", "1.2.3-rc.1.x-y+build.007", "1.0.0--", "1.0.0+01"} {
		if !isSemver(s) {
			t.Errorf("%q refused", s)
		}
	}
	for _, s := range []string{"", "2.2", "v2.2.0", "1.2.3.4", "01.2.3", "1.2.x", "1.2.3-", "1.2.3+", "1.2.3-01", "1.2.3-a..b", "1.2.3 ", "-1.2.3", "1.2.99999999999999999999", "(devel)", "1.2.3-é"} {
		if isSemver(s) {
			t.Errorf("%q accepted", s)
		}
	}
	for in, want := range map[string]string{"": "0.0.0-dev", "(devel)": "0.0.0-dev", "v1.2.3": "1.2.3", "1.2.3-rc.1": "1.2.3-rc.1"} {
		if got := (Config{Version: in}).withDefaults().Version; got != want {
			t.Errorf("version %q is sent as %q, want %q", in, got, want)
		}
	}
}

func FuzzNegotiation(f *testing.F) {
	o := offer{linkID: "link-a", version: "1.0.0", nodeID: "n", typ: Peer, key: private(1)}
	var err error
	if o.kem, err = mlkem.GenerateKey768(); err != nil {
		f.Fatal(err)
	}
	acc := acceptor{version: "1.0.0", nodeID: "a", requireMAC: true, allowPeer: true}
	reply, _, err := acc.answer(o.request(), private(2), encapsulate768)
	if err != nil {
		f.Fatal(err)
	}
	for _, p := range []*pb.LinkNegotiationPayload{o.request(), reply, goodRequest(), {}} {
		b, err := proto.Marshal(&pb.Message{MessageType: &pb.Message_Link{Link: &pb.Link{LinkType: &pb.Link_LinkNegotiation{LinkNegotiation: p}}}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p := negotiation(b)
		reply, a, err := acc.answer(p, private(2), encapsulate768)
		if err == nil && (reply == nil || len(a.key) != keySize || a.linkID == "") {
			t.Fatalf("strict acceptor agreed on %+v", a)
		}
		strict := o
		strict.requireMAC = true
		if a, err := strict.accept(p); err == nil && (len(a.key) != keySize || !a.hybrid) {
			t.Fatalf("strict dialer agreed on %+v", a)
		}
	})
}

func BenchmarkNegotiation(b *testing.B) {
	for _, pqc := range []bool{false, true} {
		b.Run(map[bool]string{false: "x25519", true: "hybrid"}[pqc], func(b *testing.B) {
			acc := acceptor{version: "1.0.0", nodeID: "a", requireMAC: true}
			for b.Loop() {
				key, err := ecdh.X25519().GenerateKey(rand.Reader)
				if err != nil {
					b.Fatal(err)
				}
				o := offer{linkID: "l", version: "1.0.0", requireMAC: true, key: key}
				if pqc {
					if o.kem, err = mlkem.GenerateKey768(); err != nil {
						b.Fatal(err)
					}
				}
				reply, _, err := acc.answer(o.request(), key, encapsulate768)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := o.accept(reply); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
