package mlsdiff

import (
	"bytes"
	"crypto/rand"
	"errors"
	"slices"
	"strings"

	"github.com/thomas-vilte/mls-go/ciphersuite"
	"github.com/thomas-vilte/mls-go/credentials"
	"github.com/thomas-vilte/mls-go/framing"
	"github.com/thomas-vilte/mls-go/group"
	"github.com/thomas-vilte/mls-go/keypackages"
	"github.com/thomas-vilte/mls-go/treesync"
)

const suite = ciphersuite.MLS128DHKEMP256

// libraryParty is a member by the library. Its calls are not atomic: after an
// error it is of no more use.
type libraryParty struct {
	subject string
	key     *credentials.CredentialWithKey
	signer  *ciphersuite.SignaturePrivateKey
	pack    *keypackages.KeyPackage
	private *keypackages.KeyPackagePrivateKeys
	g       *group.Group
}

func newLibrary(subject string) (*libraryParty, error) {
	key, signer, err := credentials.GenerateCredentialWithKeyForCS(token(subject, 0), suite)
	if err != nil {
		return nil, err
	}
	return &libraryParty{subject: subject, key: key, signer: signer}, nil
}

func (l *libraryParty) name() string { return "library " + l.subject }

func (l *libraryParty) owner() string { return l.subject }

// headerKeyPackage is version and wire format of an MLSMessage with a
// KeyPackage, which the library reads and writes bare.
var headerKeyPackage = []byte{0, 1, 0, 5}

func (l *libraryParty) keyPackage() (pack []byte, err error) {
	if l.pack, l.private, err = keypackages.Generate(l.key, suite); err != nil {
		return nil, err
	}
	return slices.Concat(headerKeyPackage, l.pack.Marshal()), nil
}

func (l *libraryParty) create() error {
	if _, err := l.keyPackage(); err != nil {
		return err
	}
	id, err := group.NewGroupIDRandom()
	if err != nil {
		return err
	}
	if l.g, err = group.NewGroup(id, suite, l.pack, l.private); err != nil {
		return err
	}
	// The library starts its key schedule from zeros, against RFC 9420 section
	// 11: the secrets of epochs 0 and 1 would be public.
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return err
	}
	l.g.EpochSecrets().InitSecret = ciphersuite.NewSecretForCS(suite, secret)
	return nil
}

func (l *libraryParty) join(welcome []byte) error {
	m, err := framing.UnmarshalMLSMessage(welcome)
	if err != nil {
		return err
	}
	w, err := group.UnmarshalWelcome(m.Welcome)
	if err != nil {
		return err
	}
	l.g, err = group.JoinFromWelcome(w, l.pack, l.private, nil)
	return err
}

// commit makes and applies a commit. The library gives it a path whenever
// there was somebody else in the group before.
func (l *libraryParty) commit(ch change) (commit, welcome []byte, err error) {
	if ch.credential != nil {
		if err := l.setCredential(ch.credential); err != nil {
			return nil, nil, err
		}
	}
	l.mask(ch.replaced)
	packs, err := l.propose(ch)
	if err != nil {
		return nil, nil, err
	}
	staged, err := l.g.Commit(l.signer, l.signer.PublicKey(), nil)
	if err != nil {
		return nil, nil, err
	}
	joiner := staged.JoinerSecret()
	if err := l.g.MergeCommit(staged); err != nil {
		return nil, nil, err
	}
	ac := staged.AuthenticatedContent()
	commit = framing.NewMLSMessagePublic(&framing.PublicMessage{
		Content: ac.Content, Auth: ac.Auth, MembershipTag: staged.MembershipTag(),
	}).Marshal()
	if len(packs) == 0 {
		return commit, nil, nil
	}
	w, err := l.g.CreateWelcomeWithOpts(packs, l.signer, group.WithJoinerSecret(joiner),
		group.WithPSKIDs(staged.PskIDs()), group.WithPSKSecret(staged.RawPskSecret()), group.WithStagedCommit(staged))
	if err != nil {
		return nil, nil, err
	}
	return commit, (&framing.MLSMessage{Welcome: w.Marshal()}).Marshal(), nil
}

func (l *libraryParty) propose(ch change) (packs []*keypackages.KeyPackage, err error) {
	for _, leaf := range ch.remove {
		if _, err := l.g.RemoveMember(group.LeafNodeIndex(leaf)); err != nil {
			return nil, err
		}
	}
	for _, wire := range ch.add {
		raw, ok := bytes.CutPrefix(wire, headerKeyPackage)
		if !ok {
			return nil, errors.New("not a key package")
		}
		pack, err := keypackages.UnmarshalKeyPackage(raw)
		if err != nil {
			return nil, err
		}
		if _, err := l.g.AddMember(pack); err != nil {
			return nil, err
		}
		packs = append(packs, pack)
	}
	return packs, nil
}

// setCredential replaces the own credential in the leaf of the next path.
func (l *libraryParty) setCredential(credential []byte) error {
	m, ok := l.g.GetMember(l.g.OwnLeafIndex())
	if !ok {
		return errors.New("own leaf is missing")
	}
	l.key.Credential = credentials.NewBasicCredential(slices.Clone(credential))
	m.Credential = l.key.Credential
	return nil
}

// mask hides the signature keys of leaves from the library's search for
// duplicates, which does not know that the same commit removes them.
func (l *libraryParty) mask(leaves []uint32) {
	for _, i := range leaves {
		if node := l.leaf(i); node != nil {
			masked := *node.LeafData
			masked.SignatureKeyRaw = []byte{0}
			node.LeafData = &masked
		}
	}
}

func (l *libraryParty) leaf(i uint32) *treesync.Node {
	node := l.g.GetTreeLeaf(group.LeafNodeIndex(i))
	if node == nil || node.State != treesync.NodeStatePresent || node.LeafData == nil {
		return nil
	}
	return node
}

func (l *libraryParty) process(commit []byte, replaced []uint32) error {
	m, err := framing.UnmarshalMLSMessage(commit)
	if err != nil {
		return err
	}
	if !bytes.Equal(m.Marshal(), commit) {
		return errors.New("the library reads another commit than was sent")
	}
	public, ok := m.AsPublic()
	if !ok {
		return errors.New("not a public message")
	}
	l.mask(replaced)
	return l.g.ProcessPublicMessage(public)
}

func (l *libraryParty) protect(text, aad []byte) ([]byte, error) {
	m, err := l.g.SendMessage(text, l.signer, group.WithAAD(aad))
	if err != nil {
		return nil, err
	}
	return framing.NewMLSMessagePrivate(m).Marshal(), nil
}

func (l *libraryParty) unprotect(message []byte) (received, error) {
	m, err := framing.UnmarshalMLSMessage(message)
	if err != nil {
		return received{}, err
	}
	private, ok := m.AsPrivate()
	if !ok {
		return received{}, errors.New("not a private message")
	}
	text, aad, leaf, err := l.g.ReceiveApplicationMessage(private)
	return received{text, aad, uint32(leaf)}, err
}

func (l *libraryParty) save() ([]byte, error) { return l.g.MarshalState() }

// reload loses the past epochs: the library's state has none.
func (l *libraryParty) reload() (past bool, err error) {
	state, err := l.save()
	if err != nil {
		return false, err
	}
	l.g, err = group.UnmarshalGroupState(state)
	return false, err
}

func (l *libraryParty) view() view {
	v := view{
		epoch: l.g.Epoch().AsUint64(), authenticator: string(l.g.EpochAuthenticator()), self: uint32(l.g.OwnLeafIndex()),
	}
	var roster strings.Builder
	for i := range l.g.SecretTree().LeafCount() {
		if node := l.leaf(i); node != nil {
			roster.WriteString(describe(i, node.LeafData.Credential.Identity, node.LeafData.SigKeyBytes()))
		}
	}
	v.roster = roster.String()
	return v
}
