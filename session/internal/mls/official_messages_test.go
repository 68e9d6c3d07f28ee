package mls

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"testing"
)

func TestOfficialMessages(t *testing.T) {
	var vectors []struct {
		Welcome           hexBytes `json:"mls_welcome"`
		GroupInfo         hexBytes `json:"mls_group_info"`
		KeyPackage        hexBytes `json:"mls_key_package"`
		Tree              hexBytes `json:"ratchet_tree"`
		GroupSecrets      hexBytes `json:"group_secrets"`
		Add               hexBytes `json:"add_proposal"`
		Update            hexBytes `json:"update_proposal"`
		Remove            hexBytes `json:"remove_proposal"`
		PreSharedKey      hexBytes `json:"pre_shared_key_proposal"`
		ReInit            hexBytes `json:"re_init_proposal"`
		ExternalInit      hexBytes `json:"external_init_proposal"`
		ContextExtensions hexBytes `json:"group_context_extensions_proposal"`
		Commit            hexBytes `json:"commit"`
		PublicApplication hexBytes `json:"public_message_application"`
		PublicProposal    hexBytes `json:"public_message_proposal"`
		PublicCommit      hexBytes `json:"public_message_commit"`
		PrivateMessage    hexBytes `json:"private_message"`
	}
	official(t, "messages", &vectors)
	understood, refused := map[string]int{}, map[string]int{}
	same := func(name string, got, want []byte) {
		t.Helper()
		if !bytes.Equal(got, want) {
			t.Errorf("%s is written in another way", name)
		}
		understood[name]++
	}
	unsupported := func(name string, err error) {
		t.Helper()
		if !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: got %v", name, err)
		}
		refused[name]++
	}
	for _, v := range vectors {
		reencode(t, v.Welcome)
		understood["welcome"]++

		r, err := open(v.GroupInfo, formatGroupInfo)
		if err != nil {
			t.Fatal(err)
		}
		info := r.groupInfo()
		same("group info", appendGroupInfo(nil, &info), v.GroupInfo[headerSize:])

		reencode(t, v.KeyPackage)
		understood["key package"]++

		reencodeTree(t, suiteX25519, v.Tree)
		understood["tree"]++

		r = &reader{b: v.GroupSecrets}
		secrets := r.groupSecrets()
		if !r.done() {
			t.Error("group secrets are not understood")
		}
		if !secrets.hasPSKs {
			t.Error("group secrets have no pre-shared keys")
		}
		// The core writes no pre-shared keys: an empty list ends what it wrote.
		own := secrets.append(nil)
		same("group secrets", own[:len(own)-1], v.GroupSecrets[:len(own)-1])

		for _, p := range []struct {
			name string
			kind uint16
			body []byte
		}{{"add", proposalAdd, v.Add}, {"update", proposalUpdate, v.Update}, {"remove", proposalRemove, v.Remove}} {
			wire := append(binary.BigEndian.AppendUint16(nil, p.kind), p.body...)
			r := &reader{b: wire}
			got := r.proposal()
			if !r.done() {
				t.Fatalf("%s is not understood", p.name)
			}
			same(p.name, got.append(nil), wire)
		}
		if r = (&reader{b: v.Update}); !bytes.Equal(appendLeaf(t, nil, r.leaf()), v.Update) {
			t.Error("leaf is written in another way")
		}
		for _, p := range []struct {
			name string
			kind uint16
			body []byte
		}{
			{"pre-shared key", 4, v.PreSharedKey}, {"reinit", 5, v.ReInit}, {"external init", 6, v.ExternalInit},
			{"group context extensions", 7, v.ContextExtensions},
		} {
			head := appendHead(appendHeader(nil, formatPublic), []byte("g"), 1, 0, nil, contentProposal)
			wire := append(binary.BigEndian.AppendUint16(head, p.kind), p.body...)
			_, err := readPublic(append(wire, 0, 0)) // signature, membership tag
			unsupported(p.name, err)
		}

		r = &reader{b: v.Commit}
		c := r.commit()
		if !r.done() {
			t.Fatal("commit is not understood")
		}
		same("commit", c.append(nil), v.Commit)

		_, err = readPublic(v.PublicApplication)
		unsupported("public application message", err)
		for name, wire := range map[string][]byte{
			"public proposal": v.PublicProposal, "public commit": v.PublicCommit, "private message": v.PrivateMessage,
		} {
			reencode(t, wire)
			understood[name]++
		}
	}
	t.Logf("%d entries; understood: %v; refused: %v", len(vectors), understood, refused)
	counts := append(slices.Collect(maps.Values(understood)), slices.Collect(maps.Values(refused))...)
	if len(vectors) != 300 || len(understood) != 12 || len(refused) != 5 ||
		slices.ContainsFunc(counts, func(n int) bool { return n != 300 }) {
		t.Error("other counts than expected")
	}
}
