package mls

// Readers of the structures that arrive from peers. They find what the checks
// need and make sure that the library sees only well-formed, bounded input:
// its own readers have lenient fallbacks, one of which allocates what the
// input asks for.

type wireLeaf struct {
	encryptionKey []byte
	member        Member
	credType      uint16
	caps          wireCaps
	source        uint8
	lifetime      Lifetime
	extensions    []uint16
	signed        []byte // everything before the signature
	signature     []byte
}

type wireCaps struct {
	versions, suites, extensions, proposals, credentials []uint16
}

func (r *reader) u16s(count int) (out []uint16) {
	r.each(count, func(in *reader) { out = append(out, in.u16()) })
	return out
}

func (r *reader) extensions(visit func(kind uint16, data []byte)) {
	seen := map[uint16]bool{}
	r.each(maxExtensions, func(in *reader) {
		kind, data := in.u16(), in.vec(maxMessage)
		if seen[kind] { // RFC 9420 section 13
			in.fail()
			return
		}
		seen[kind] = true
		if visit != nil && !in.bad {
			visit(kind, data)
		}
	})
}

// leaf reads a LeafNode (RFC 9420 section 7.2).
func (r *reader) leaf() (l wireLeaf) {
	start := r.b
	l.encryptionKey = r.vec(keySize)
	l.member.SignatureKey = r.vec(keySize)
	l.credType = r.u16()
	l.member.Credential = r.vec(maxCredential)
	l.caps = wireCaps{
		versions:    r.u16s(maxCapability),
		suites:      r.u16s(maxCapability),
		extensions:  r.u16s(maxCapability),
		proposals:   r.u16s(maxCapability),
		credentials: r.u16s(maxCapability),
	}
	l.source = r.u8()
	switch l.source {
	case sourcePackage:
		l.lifetime = Lifetime{NotBefore: r.u64(), NotAfter: r.u64()}
	case sourceCommit:
		r.vec(64) // parent hash
	default: // an update leaf comes from an Update proposal, which SLIM has not
		r.fail()
	}
	r.extensions(func(kind uint16, _ []byte) { l.extensions = append(l.extensions, kind) })
	if !r.bad {
		l.signed = start[:len(start)-len(r.b)]
	}
	l.signature = r.vec(256)
	return l
}

type wireKeyPackage struct {
	version, suite uint16
	initKey        []byte
	leaf           wireLeaf
	extensions     []uint16
	raw            []byte // without MLSMessage header
	signed         []byte
	signature      []byte
}

// keyPackage reads a KeyPackage (RFC 9420 section 10).
func (r *reader) keyPackage() (k wireKeyPackage) {
	start := r.b
	k.version, k.suite = r.u16(), r.u16()
	k.initKey = r.vec(keySize)
	k.leaf = r.leaf()
	r.extensions(func(kind uint16, _ []byte) { k.extensions = append(k.extensions, kind) })
	if !r.bad {
		k.signed = start[:len(start)-len(r.b)]
	}
	k.signature = r.vec(256)
	if !r.bad {
		k.raw = start[:len(start)-len(r.b)]
	}
	return k
}

type wireCommit struct {
	groupID []byte
	epoch   uint64
	sender  uint32
	aad     []byte
	adds    []wireKeyPackage
	removes []uint32
	path    *wireLeaf
}

// commitMessage reads a PublicMessage with a Commit of a member (RFC 9420
// sections 6.2 and 12.4) in SLIM's profile.
func (r *reader) commitMessage() (c wireCommit, err error) {
	c.groupID, c.epoch = r.vec(maxGroupID), r.u64()
	if kind := r.u8(); kind != senderMember && !r.bad {
		return c, fail(ErrUnsupported, "sender is not a member")
	}
	c.sender = r.u32()
	c.aad = r.vec(maxAAD)
	if content := r.u8(); content != contentCommit && !r.bad {
		return c, fail(ErrUnsupported, "content is not a commit")
	}
	var foreign bool
	r.each(maxProposals, func(in *reader) { foreign = c.proposal(in) || foreign })
	if foreign {
		return c, fail(ErrUnsupported, "proposal type")
	}
	if r.optional() {
		leaf := r.leaf()
		c.path = &leaf
		r.each(maxLeaves, func(in *reader) { // UpdatePathNode
			in.vec(keySize)
			in.each(maxLeaves, func(ct *reader) { ct.vec(keySize); ct.vec(256) })
		})
	}
	r.vec(256) // signature
	r.vec(64)  // confirmation tag
	r.vec(64)  // membership tag
	if !r.done() {
		return c, fail(ErrMalformed, "commit")
	}
	return c, nil
}

// proposal reads one proposal by value and reports whether it is of a kind
// that SLIM does not use.
func (c *wireCommit) proposal(r *reader) (foreign bool) {
	if byValue := r.u8(); byValue != 1 {
		r.fail()
		return true
	}
	switch r.u16() {
	case proposalAdd:
		c.adds = append(c.adds, r.keyPackage())
	case proposalRemove:
		c.removes = append(c.removes, r.u32())
	default:
		r.fail()
		return true
	}
	return false
}

type wireWelcome struct {
	suite     uint16
	entries   []wireSecret
	groupInfo []byte // encrypted
}

type wireSecret struct{ ref, kem, ciphertext []byte }

// welcome reads a Welcome (RFC 9420 section 12.4.3.1).
func (r *reader) welcome() (w wireWelcome) {
	w.suite = r.u16()
	r.each(maxSecrets, func(in *reader) {
		w.entries = append(w.entries, wireSecret{ref: in.vec(64), kem: in.vec(keySize), ciphertext: in.vec(4096)})
	})
	w.groupInfo = r.vec(maxMessage)
	return w
}

type wireGroupInfo struct {
	suite       uint16
	groupID     []byte
	contextExts int
	tree        []byte // content of the ratchet_tree extension
	hasTree     bool
}

// info reads a GroupInfo (RFC 9420 section 12.4.3).
func (r *reader) info() (g wireGroupInfo) {
	r.u16() // version, part of what the confirmation tag covers
	g.suite = r.u16()
	g.groupID = r.vec(maxGroupID)
	r.u64()   // epoch
	r.vec(64) // tree hash
	r.vec(64) // confirmed transcript hash
	r.extensions(func(uint16, []byte) { g.contextExts++ })
	r.extensions(func(kind uint16, data []byte) {
		if kind == extRatchetTree {
			g.tree, g.hasTree = data, true
		}
	})
	r.vec(64) // confirmation tag
	r.u32()   // signer
	r.vec(256)
	return g
}

// checkTree reports whether a ratchet_tree extension has RFC form (RFC 9420
// section 12.4.3.3), is within bounds, and ends in a node that is not blank.
func checkTree(data []byte) bool {
	r := &reader{b: data}
	index, present := 0, false
	r.each(2*maxLeaves-1, func(in *reader) {
		if present = in.optional(); present {
			in.treeNode(index)
		}
		index++
	})
	return r.done() && present && index%2 == 1
}

func (r *reader) treeNode(index int) {
	kind := r.u8()
	switch {
	case kind == 1 && index%2 == 0:
		r.leaf()
	case kind == 2 && index%2 == 1:
		r.vec(keySize) // encryption key
		r.vec(64)      // parent hash
		var last int64 = -1
		r.each(maxLeaves, func(in *reader) { // unmerged leaves, ascending
			leaf := int64(in.u32())
			if leaf <= last {
				in.fail()
			}
			last = leaf
		})
	default:
		r.fail()
	}
}

type wirePrivate struct {
	groupID    []byte
	epoch      uint64
	content    uint8
	aad        []byte
	senderData []byte
	ciphertext []byte
}

// private reads a PrivateMessage (RFC 9420 section 6.3).
func (r *reader) private() (p wirePrivate) {
	p.groupID, p.epoch, p.content = r.vec(maxGroupID), r.u64(), r.u8()
	p.aad = r.vec(maxAAD)
	p.senderData = r.vec(64)
	p.ciphertext = r.vec(maxMessage)
	return p
}
