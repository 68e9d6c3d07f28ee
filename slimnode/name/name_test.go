package name_test

import (
	"fmt"
	"testing"

	"github.com/slimbridge/slimbridge/slimnode/name"
)

// Values printed by the real library 2.2.0.
func TestHashComponent(t *testing.T) {
	for s, want := range map[string]uint64{
		"org": 9745323415579563579, "ns": 17219925055306830033, "alice": 8903823788458029442,
		"bob": 5309210987355009988, "agntcy": 1629362083701025730, "default": 2419281581437851240,
		"class": 16084145698115845298, "mcp-server": 7687962860888330520, "": 10764519495013463364,
		"é": 6681816855883765286, "日本語": 14184457526193890418,
		"0123456789abcdef0123456789abcdef": 11674996787376010651,
	} {
		if got := name.HashComponent(s); got != want {
			t.Errorf("HashComponent(%q) = %d, want %d", s, got, want)
		}
	}
}

func TestIDOf(t *testing.T) {
	for s, want := range map[string]string{
		"org/ns/bob_T8lGWEI1":   "9c1e1232-3fbc-1149-ea30-7aa1e1750cb2",
		"org/ns/alice_HFS9f4IB": "7150f6a9-3fd2-8739-231d-800ecce9fe18",
		"org/ns/bob_lqC1MBwE":   "31b633d6-142f-8fa1-6493-6d4dad6a1308",
		"alice-sub":             "97cbea59-0979-11ef-c8ba-3ccd1e4a1054",
		"did:key:z6Mkfvtar6ATQYC5jXqVLBjCH8R6AUAuKjta6LsFcG4gUND1": "48b1da60-0caa-b75f-a73e-4fe334bf1482",
	} {
		if got := name.IDOf(s).String(); got != want {
			t.Errorf("IDOf(%q) = %s, want %s", s, got, want)
		}
	}
}

func TestChannelIDs(t *testing.T) {
	data, control, ok := name.ChannelIDs("org/ns/alice_JHvvmQSB", name.New("org", "ns", "chan"))
	got := fmt.Sprintf("%016x%016x %016x%016x %v", data.Hi, data.Lo, control.Hi, control.Lo, ok)
	if want := "aa24eb0bc8ec18cb44624e6211cc2747 49dab5efa32b02ce3ae7126d9f1a437c true"; got != want {
		t.Errorf("ChannelIDs = %s, want %s", got, want)
	}
}

func TestParse(t *testing.T) {
	n, err := name.Parse(" a / b / c ")
	if err != nil || n.String() != "a/b/c" || n != name.New("a", "b", "c") {
		t.Errorf("Parse = %v, %v", n, err)
	}
	for _, bad := range []string{"", "a/b", "a/b/c/d", "a//c", "/a/b/c", "a/b/ ", "a/b/\xff", "a/b/" + string(make([]byte, 300))} {
		if n, err := name.Parse(bad); err == nil {
			t.Errorf("Parse(%q) = %v, want an error", bad, n)
		}
	}
}

func TestParseID(t *testing.T) {
	want := name.ID{Hi: 0x9c1e12323fbc1149, Lo: 0xea307aa1e1750cb2}
	for _, s := range []string{
		"9c1e1232-3fbc-1149-ea30-7aa1e1750cb2", "9C1E12323FBC1149EA307AA1E1750CB2",
		"{9c1e1232-3fbc-1149-ea30-7aa1e1750cb2}", "urn:uuid:9c1e1232-3fbc-1149-ea30-7aa1e1750cb2",
	} {
		if got, err := name.ParseID(s); err != nil || got != want {
			t.Errorf("ParseID(%q) = %v, %v", s, got, err)
		}
	}
	if got, err := name.ParseID(name.Any.String()); err != nil || got != name.Any {
		t.Errorf("ParseID(NULL_COMPONENT) = %v, %v", got, err)
	}
	for _, bad := range []string{"", "9c1e1232", "9c1e1232-3fbc-1149-ea30-7aa1e1750cb", "zc1e12323fbc1149ea307aa1e1750cb2"} {
		if got, err := name.ParseID(bad); err == nil {
			t.Errorf("ParseID(%q) = %v, want an error", bad, got)
		}
	}
}

func TestReserved(t *testing.T) {
	top := ^uint64(0)
	for _, tc := range []struct {
		id   name.ID
		want bool
	}{{name.Any, true}, {name.ID{Hi: top, Lo: top - 50}, true}, {name.ID{Hi: top, Lo: top - 51}, false}, {name.ID{Lo: top}, false}} {
		if got := tc.id.Reserved(); got != tc.want {
			t.Errorf("%v.Reserved() = %v", tc.id, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("org/ns/bob")
	f.Add(" a / b / c ")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := name.Parse(s)
		if err != nil {
			return
		}
		again, err := name.Parse(n.Path())
		if err != nil || again != n {
			t.Errorf("Parse(%q).Path() = %q, parsed again: %v, %v", s, n.Path(), again, err)
		}
	})
}

func BenchmarkHashComponent(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		name.HashComponent("mcp-server")
	}
}

func ExampleParse() {
	n, _ := name.Parse("org/ns/bob")
	fmt.Println(n, n.ID)
	fmt.Println(n.WithID(name.IDOf("org/ns/bob_T8lGWEI1")))
	// Output:
	// org/ns/bob NULL_COMPONENT
	// org/ns/bob/9c1e1232-3fbc-1149-ea30-7aa1e1750cb2
}
