package identity

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSecretNeverPrints(t *testing.T) {
	const text = "do-not-print-me-do-not-print-me-x"
	s, err := NewSecret([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	type config struct {
		Open   Secret
		hidden Secret // fmt cannot call its methods
	}
	c := config{s, s}
	asJSON, err := json.Marshal(map[string]any{"s": s, "p": &s})
	if err != nil {
		t.Fatal(err)
	}
	asText, _ := s.MarshalText()
	printed := []string{string(asJSON), string(asText), s.String(), s.GoString(), fmt.Sprint(s), fmt.Sprint(&s)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		printed = append(printed, fmt.Sprintf(verb, s), fmt.Sprintf(verb, c), fmt.Sprintf(verb, &c), fmt.Sprintf(verb, []Secret{s}))
	}
	asHex, asDecimal := fmt.Sprintf("%x", text[:8]), strings.Trim(fmt.Sprint([]byte(text[:4])), "[]")
	for _, p := range printed {
		for _, leak := range []string{text[:8], asHex, strings.ToUpper(asHex), asDecimal, "0x64, 0x6f"} {
			if strings.Contains(p, leak) {
				t.Errorf("printed: %s", p)
			}
		}
	}
	if string(s.Reveal()) != text {
		t.Error("Reveal differs")
	}
}

func TestNewSecretMinimum(t *testing.T) {
	if _, err := NewSecret(make([]byte, 31)); err == nil || !strings.Contains(err.Error(), "slimbridge secret new") {
		t.Errorf("31 bytes: %v", err)
	}
	if _, err := NewSecret([]byte(strings.Repeat("é", 16))); err != nil {
		t.Errorf("16 characters of two bytes: %v", err)
	}
	if s := GenerateSecret(); len(s.Reveal()) != 43 || string(s.Reveal()) == string(GenerateSecret().Reveal()) {
		t.Error("generated secret is short or repeats")
	}
}

func TestReadSecretFile(t *testing.T) {
	body := strings.Repeat("k", 32)
	tests := []struct {
		name, content, want string
	}{
		{"no newline", body, body},
		{"newline", body + "\n", body},
		{"CRLF", body + "\r\n", body},
		{"one newline of two", body + "\n\n", body + "\n"},
		{"inner white space", body + " \n", body + " "},
		{"31 bytes and newline", body[1:] + "\n", ""},
		{"empty", "", ""},
		{"huge", strings.Repeat("k", 1<<17), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "secret")
			if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := ReadSecretFile(path)
			if (err == nil) != (tt.want != "") || string(s.Reveal()) != tt.want {
				t.Errorf("got %d bytes, %v", len(s.Reveal()), err)
			}
			if err != nil && strings.ContainsRune(err.Error(), '\n') {
				t.Errorf("more than one line: %v", err)
			}
		})
	}
	if _, err := ReadSecretFile(filepath.Join(t.TempDir(), "absent")); err == nil {
		t.Error("absent file read")
	}
}

func TestWriteAndCheckSecretFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	s := GenerateSecret()
	if err := WriteSecretFile(path, s); err != nil {
		t.Fatal(err)
	}
	if err := CheckSecretFile(path); err != nil {
		t.Errorf("own file: %v", err)
	}
	back, err := ReadSecretFile(path)
	if err != nil || string(back.Reveal()) != string(s.Reveal()) {
		t.Errorf("read back: %v", err)
	}
	if err := WriteSecretFile(path, s); err == nil {
		t.Error("overwrote a secret")
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := CheckSecretFile(path); err == nil {
		t.Error("group-readable file passes")
	}
}

func TestIdentityNeverPrintsItsSecret(t *testing.T) {
	const text = "do-not-print-me-do-not-print-me-x"
	p := holder(t, text)
	config := struct {
		Open   any
		hidden *SharedSecret
	}{p, p}
	asHex, asDecimal := fmt.Sprintf("%x", text[:8]), strings.Trim(fmt.Sprint([]byte(text[:4])), "[]")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		for _, printed := range []string{fmt.Sprintf(verb, p), fmt.Sprintf(verb, *p), fmt.Sprintf(verb, config), fmt.Sprintf(verb, p.Signer())} {
			for _, leak := range []string{text[:8], asHex, strings.ToUpper(asHex), asDecimal, "0x64, 0x6f"} {
				if strings.Contains(printed, leak) {
					t.Errorf("%s printed: %s", verb, printed)
				}
			}
		}
	}
	if fmt.Sprintf("%+v", p.Signer()) != redacted {
		t.Error("the signer prints itself")
	}
}
