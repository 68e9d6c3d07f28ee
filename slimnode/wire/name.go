package wire

import (
	"github.com/slimbridge/slimbridge/slimnode/name"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// ToName reads a Name of the wire. It is false if the encoded part is absent,
// or if the strings are present and do not hash to it: no real peer sends that,
// and a reader would be shown another name than the one that was routed. An
// absent id is [name.Any]; absent strings leave the components empty.
func ToName(n *pb.Name) (name.Name, bool) {
	e := n.GetName()
	if e == nil {
		return name.Name{}, false
	}
	out := name.Name{Prefix: name.Prefix{e.GetComponent_0(), e.GetComponent_1(), e.GetComponent_2()}, ID: name.Any}
	if id := e.GetNameId(); id != nil {
		out.ID = name.ID{Hi: id.GetId_0(), Lo: id.GetId_1()}
	}
	if s := n.GetStrName(); s != nil {
		out.Components = [3]string{s.GetStrComponent_0(), s.GetStrComponent_1(), s.GetStrComponent_2()}
		for i, c := range out.Components {
			if name.HashComponent(c) != out.Prefix[i] {
				return name.Name{}, false
			}
		}
	}
	return out, true
}

// FromName writes a Name as the real library does: id always explicit, strings
// whenever they are known.
func FromName(n name.Name) *pb.Name {
	out := &pb.Name{Name: &pb.EncodedName{
		Component_0: n.Prefix[0],
		Component_1: n.Prefix[1],
		Component_2: n.Prefix[2],
		NameId:      &pb.NameId{Id_0: n.ID.Hi, Id_1: n.ID.Lo},
	}}
	if n.HasStrings() {
		out.StrName = &pb.StringName{
			StrComponent_0: n.Components[0],
			StrComponent_1: n.Components[1],
			StrComponent_2: n.Components[2],
		}
	}
	return out
}
